// What a simulated pair is made of: its world, its members, and what is known of it by one who sees everything.
#pragma once

#include <array>
#include <memory>

#include "tests/support/pair_sim/cell_history.hpp"
#include "tests/support/pair_sim/history.hpp"
#include "tests/support/pair_sim/pair_sim.hpp"
#include "tests/support/pair_sim/view_log.hpp"
#include "tests/support/pair_sim/world.hpp"

namespace mpath::target::replication::test {

inline constexpr std::size_t blocks = 6;            // with one writer each
inline constexpr std::size_t early_blocks_max = 2;  // that are answered before the other node has them
inline constexpr std::size_t cell = blocks;         // the block after them, which several change by COMPARE AND WRITE

class Machine;

struct Pair {
  explicit Pair(const SimOptions& wanted);
  ~Pair();
  [[nodiscard]] Machine& at(Member member) { return *machines[static_cast<std::size_t>(member)]; }
  // The witness is, if there is one.
  [[nodiscard]] bool takes_part(Member member) const { return member != Member::witness || options.witness; }

  // `who` has this view as decided.
  void learned(Member who, const View& view);
  // A node has lost what it had not synchronised. Were all of those that held everything so, it may be gone, as on any
  // disk.
  void lost_memory();
  // Whether what the node answers now counts for both: it does not know of a view that only one has.
  [[nodiscard]] bool at_old_view(Member member);

  // Without a witness, and told to go on alone, both may: then there are two histories, until an administrator has
  // chosen one.
  [[nodiscard]] bool may_split() const { return !options.witness && options.on_peer_loss == PeerLoss::proceed; }
  [[nodiscard]] bool split() const { return split_; }
  // The process of `first` ends, and soon after the other one, before what was answered early was said again.
  void kill_both(Member first);
  // Both know.
  [[nodiscard]] bool split_is_found();
  void resolve_split(Member kept);

  const SimOptions options;
  SimResult result;
  World world;
  Histories history{blocks};
  CellHistory cell_history;
  ViewLog views;
  bool mended = false;           // nothing goes wrong any more
  bool parted = false;           // the nodes could not talk for a while, by now or before
  std::optional<Member> fenced;  // switched off, until an administrator comes
  std::array<std::unique_ptr<Machine>, 3> machines;

 private:
  [[nodiscard]] View view_in_truth();
  void lost_memory(const View& view);
  void fork(const View& view);
  void lose(History& side);

  std::optional<View> forked_at_;  // decided by its primary without the other, as far as is known
  bool split_ = false;
};

}  // namespace mpath::target::replication::test
