// What a simulated pair is made of: its world, its members, and what is known of it by one who sees everything.
#pragma once

#include <array>
#include <memory>

#include "tests/support/pair_sim/history.hpp"
#include "tests/support/pair_sim/pair_sim.hpp"
#include "tests/support/pair_sim/view_log.hpp"
#include "tests/support/pair_sim/world.hpp"

namespace mpath::target::replication::test {

inline constexpr std::size_t blocks = 6;

class Machine;

struct Pair {
  explicit Pair(const SimOptions& wanted);
  ~Pair();
  [[nodiscard]] Machine& at(Member member) { return *machines[static_cast<std::size_t>(member)]; }
  // The witness is, if there is one.
  [[nodiscard]] bool takes_part(Member member) const { return member != Member::witness || options.witness; }

  // A node has this view as decided.
  void learned(const View& view);
  // A node has lost what it had not synchronised. Were all of those that held everything so, it may be gone, as on any
  // disk.
  void lost_memory() { lost_memory(view_in_truth()); }

  const SimOptions options;
  SimResult result;
  World world;
  History history{blocks};
  ViewLog views;
  bool mended = false;           // nothing goes wrong any more
  std::optional<Member> fenced;  // switched off, until an administrator comes
  std::array<std::unique_ptr<Machine>, 3> machines;

 private:
  [[nodiscard]] View view_in_truth();
  void lost_memory(const View& view);
};

}  // namespace mpath::target::replication::test
