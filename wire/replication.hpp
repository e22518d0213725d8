// What the members of a fail-over pair and its witness tell each other: the words of their agreement (who serves, who
// is in sync), and how they travel. What they promise together: target/replication/INVARIANTS.md.
//
// A frame: version, kind, length, header checksum, body checksum, sender, its incarnation and a number that grows with
// each frame of a life; then the body; then, when a key is agreed, HMAC-SHA256 over all before it.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <compare>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.hpp"

namespace mpath::replication {

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
  [[nodiscard]] constexpr bool empty() const { return bits_ == 0; }
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

// ---- messages

// What administrators said last about who does not take over by itself (`cluster maintenance`, `cluster standby`).
struct HeldBack {
  std::uint64_t number = 0;  // grows with each word
  MemberSet members;
  bool operator==(const HeldBack&) const = default;
};
// Whether `next` is the later word. Of two that were said at once, the more cautious one.
[[nodiscard]] constexpr bool supersedes(const HeldBack& next, const HeldBack& before) {
  return next.number != before.number ? next.number > before.number : next.members.bits() > before.members.bits();
}

// Every keepalive: I am here. A primary asks for a word with it.
struct Beat {
  std::uint64_t lease_id = 0;  // 0: asks for nothing
  HeldBack held_back;
  bool asks_to_serve = false;  // a switchover was said here, and the other node is the primary
  bool operator==(const Beat&) const = default;
};
struct Grant {
  std::uint64_t lease_id = 0;
  std::chrono::microseconds lease{};  // how long the voter keeps its word: the holder counts no longer than that
  bool operator==(const Grant&) const = default;
};
struct Prepare {
  Ballot ballot;
  bool operator==(const Prepare&) const = default;
};
struct Promise {
  Ballot ballot;
  std::optional<Vote> accepted;
  bool operator==(const Promise&) const = default;
};
struct Propose {
  Vote vote;
  bool operator==(const Propose&) const = default;
};
struct Accepted {
  Ballot ballot;
  bool operator==(const Accepted&) const = default;
};
// Not now: `promised` was promised to another, or another has our word for `wait` longer.
struct Refused {
  Ballot ballot;  // round 0: a word was asked for
  Ballot promised;
  std::chrono::microseconds wait{};
  bool operator==(const Refused&) const = default;
};
using Body = std::variant<Beat, Grant, Prepare, Promise, Propose, Accepted, Refused>;

struct Message {
  Member from = Member::a;
  std::uint64_t incarnation = 0;  // of the sender: another one after each start
  bool suspect = false;           // the sender may have lost what it acknowledged
  View decided;                   // the last that the sender knows of
  Body body;
  bool operator==(const Message&) const = default;
};

// ---- frames

inline constexpr std::uint16_t frame_version = 1;  // of frames and records
inline constexpr std::size_t head_bytes = 36;
inline constexpr std::size_t tag_bytes = 32;           // HMAC-SHA256
inline constexpr std::uint32_t body_bytes_max = 1024;  // of a message; nothing longer is allocated for

using Key = std::array<std::byte, 32>;

struct Frame {
  std::uint64_t number = 0;  // grows by one with each frame of the sender's life: repeated and old ones are known by it
  Message message;
  bool operator==(const Frame&) const = default;
};

[[nodiscard]] std::vector<std::byte> encode(const Frame& frame, const Key* key);
// The whole of `bytes` is one frame. Fails with WireErrc::truncated, ::trailing, ::bad_version, ::bad_digest (a
// checksum, or the tag: damaged, or not of this key), ::bad_opcode, ::bad_field or ::bad_length. The tag is compared in
// constant time.
[[nodiscard]] Result<Frame> decode(std::span<const std::byte> bytes, const Key* key);

// ---- on the medium

// What a voter must not forget.
struct VoteRecord {
  View decided;                  // the last that this voter knows of
  Ballot promised;               // for the number after it
  std::optional<Vote> accepted;  // likewise
  bool operator==(const VoteRecord&) const = default;
};

// One copy of two that are written in turn; the newer one that is whole counts. Padded to one sector.
inline constexpr std::size_t record_bytes = 512;
struct StoredRecord {
  std::array<std::byte, 16> cluster{};  // another cluster's record is not taken
  std::uint64_t serial = 0;
  VoteRecord record;
  bool operator==(const StoredRecord&) const = default;
};
[[nodiscard]] std::array<std::byte, record_bytes> encode(const StoredRecord& record);
// Fails as decode() does.
[[nodiscard]] Result<StoredRecord> decode_record(std::span<const std::byte> bytes);

}  // namespace mpath::replication
