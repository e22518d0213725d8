// What clients know of the blocks they write, and so what a read may return. One writer a block at a time, who waits
// for his answer: a read returns the last value that was answered or read, or one whose end is open.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "wire/replication.hpp"

namespace mpath::target::replication::test {

using namespace mpath::replication;  // the words of the pair

// A client's write, from its birth until nobody can apply it any more: whoever may still do holds it.
struct Write {
  std::size_t block = 0;
  std::uint64_t value = 0;
  bool through = false;  // FUA
  TimePoint begun = TimePoint::min();
  bool answered = false;   // its client knows that it is done
  bool abandoned = false;  // its client has given up: an answer would reach nobody
};

// One course of things, seen from outside.
class History {
 public:
  explicit History(std::size_t blocks) : blocks_(blocks) {}

  void begun(const std::shared_ptr<Write>& write);
  void acknowledged(const Write& write);

  // --- protocol A: a takeover may lose what was answered last
  // ... this, if nothing of what follows comes first.
  void acknowledged_early(const Write& write, TimePoint now);
  // Something was answered that goes as with protocol C: all that was answered before it began is safe.
  void barrier(TimePoint begun);
  // All that was answered of blocks that the other node has.
  template <typename Has>
  void settle_risk(const Has& has) {
    std::erase_if(at_risk_, [&](const AtRisk& each) { return has(each.block, each.value); });
  }
  // What whoever serves now has taken over: a value a block. What was lost is among what was at risk, no more than
  // `lost_max`, and nothing is there that was begun after an answer to something lost. Empty: it is so.
  [[nodiscard]] std::string taken_over(const std::vector<std::uint64_t>& values, std::size_t lost_max);
  Member server = Member::a;  // who answers, by now
  std::uint64_t lost = 0;     // answered writes that takeovers have lost

  // What a read has returned. False: it cannot be.
  [[nodiscard]] bool seen(std::size_t block, std::uint64_t value);
  // What whoever serves has as generation of the SCSI state. False: it has gone back.
  [[nodiscard]] bool state_seen(std::uint32_t generation);
  void state_acknowledged(std::uint32_t generation) { generation_ = std::max(generation_, generation); }
  // Whether no write of the block may still come.
  [[nodiscard]] bool settled(std::size_t block) const;
  // Power was lost on every node that held everything: whatever was not synchronised may be gone.
  void total_loss();
  [[nodiscard]] std::string possible(std::size_t block) const;  // for people
  [[nodiscard]] std::uint32_t generation() const { return generation_; }

 private:
  static constexpr std::uint64_t nothing = 0;
  struct Block {
    std::set<std::uint64_t> possible{nothing};
    std::vector<std::weak_ptr<Write>> open;             // without an answer: they come while somebody holds them
    std::set<std::uint64_t> doubtful;                   // were open when all power was lost
    std::vector<std::uint64_t> since_through{nothing};  // what may be left when all power is lost: since the last FUA
  };
  struct AtRisk {
    std::size_t block = 0;
    std::uint64_t value = 0;
    TimePoint answered;
    std::set<std::uint64_t> before;  // what the block may hold without it
  };
  [[nodiscard]] static std::set<std::uint64_t> coming(const Block& block);

  std::vector<Block> blocks_;
  std::vector<AtRisk> at_risk_;   // one a block at most
  std::vector<TimePoint> begun_;  // by value
  std::uint32_t generation_ = 0;  // of the SCSI state: seen or acknowledged
};

// One history, or two while the nodes may go on each for itself.
class Histories {
 public:
  explicit Histories(std::size_t blocks) : sides_{std::make_shared<History>(blocks), nullptr} { sides_[1] = sides_[0]; }

  // Another value than any before.
  [[nodiscard]] std::shared_ptr<Write> begin(std::size_t block, bool through, TimePoint now);
  // The write that carries this value, while it is not known how it ended. Empty: there is none.
  [[nodiscard]] std::shared_ptr<void> holding(std::uint64_t value) const {
    return value < writes_.size() ? writes_[value].lock() : nullptr;
  }
  [[nodiscard]] bool settled(std::size_t block) const;
  [[nodiscard]] History& side(Member member) { return *sides_[static_cast<std::size_t>(member)]; }
  // For each side on which something counts that `member` has answered; `old_view`: under the view before the fork, so
  // that both have it.
  template <typename Do>
  void each_side(Member member, bool old_view, const Do& apply) {
    apply(side(member));
    if (old_view && forked()) apply(side(peer_of(member)));
  }

  // From here on the two go on by themselves; and whose history counts alone again.
  void fork();
  void join(Member kept);
  [[nodiscard]] bool forked() const { return sides_[0] != sides_[1]; }

 private:
  std::array<std::shared_ptr<History>, 2> sides_;
  std::vector<std::weak_ptr<Write>> writes_{1};  // by value; the first one is nothing
};

}  // namespace mpath::target::replication::test
