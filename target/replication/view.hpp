// The words of the pair's agreement: members, views, ballots. What they promise together is in INVARIANTS.md.
#pragma once

#include <bit>
#include <compare>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

namespace mpath::target::replication {

// Who votes. On disk and on the wire: never renumber.
enum class Member : std::uint8_t { a = 0, b = 1, witness = 2 };

[[nodiscard]] constexpr bool holds_data(Member member) {
  return member != Member::witness;
}
// The other data node.
[[nodiscard]] constexpr Member peer_of(Member member) {
  return member == Member::a ? Member::b : Member::a;
}
[[nodiscard]] constexpr const char* name(Member member) {
  switch (member) {
    case Member::a:
      return "a";
    case Member::b:
      return "b";
    case Member::witness:
      return "witness";
  }
  return "?";
}

class MemberSet {
 public:
  constexpr MemberSet() = default;
  constexpr MemberSet(std::initializer_list<Member> members) {
    for (const Member member : members) add(member);
  }
  static constexpr MemberSet of_bits(std::uint8_t bits) {
    MemberSet set;
    set.bits_ = bits & 7;
    return set;
  }
  constexpr void add(Member member) { bits_ = static_cast<std::uint8_t>(bits_ | 1U << static_cast<unsigned>(member)); }
  [[nodiscard]] constexpr bool has(Member member) const { return (bits_ >> static_cast<unsigned>(member) & 1U) != 0; }
  [[nodiscard]] constexpr bool only(Member member) const { return *this == MemberSet{member}; }
  [[nodiscard]] constexpr int size() const { return std::popcount(bits_); }
  [[nodiscard]] constexpr std::uint8_t bits() const { return bits_; }
  [[nodiscard]] constexpr MemberSet with(MemberSet other) const {
    return of_bits(static_cast<std::uint8_t>(bits_ | other.bits_));
  }
  bool operator==(const MemberSet&) const = default;

 private:
  std::uint8_t bits_ = 0;
};

// Who serves, and who holds every acknowledged write. Number 0: none was decided yet.
struct View {
  std::uint64_t number = 0;
  Member primary = Member::a;
  MemberSet in_sync;
  bool operator==(const View&) const = default;
};

// Whether `next` may follow: its primary held everything, and it is the next number.
[[nodiscard]] constexpr bool may_follow(const View& before, const View& next) {
  return next.number == before.number + 1 && before.in_sync.has(next.primary) && next.in_sync.has(next.primary) &&
         !next.in_sync.has(Member::witness);
}

// "7 primary=a in_sync=ab"
[[nodiscard]] inline std::string format_view(const View& view) {
  std::string text = std::to_string(view.number) + " primary=" + name(view.primary) + " in_sync=";
  for (const Member member : {Member::a, Member::b}) {
    if (view.in_sync.has(member)) text += name(member);
  }
  return text;
}

// Orders the attempts to decide one number.
struct Ballot {
  std::uint64_t round = 0;  // 0: none
  Member proposer = Member::a;
  auto operator<=>(const Ballot&) const = default;
};

struct Vote {
  Ballot ballot;
  View view;
  bool stand_in = false;  // proposed when a handler stood in for the vote of a peer that is off: one vote may decide it
  bool operator==(const Vote&) const = default;
};

}  // namespace mpath::target::replication
