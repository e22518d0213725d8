// The order in which a member's actions are done: what rests on the vote record waits until that is durable, everything
// else leaves at once.
//
// While one record is being written, those that follow become one: the latest, in the place of the first that waits.
// What was to follow an earlier one follows the latest instead, which says at least as much. So an answer waits for two
// writes at most, and what waits is bounded however slow the medium and however busy the peer; beyond the bound
// messages are lost, as on any link.
//
// Pure.
#pragma once

#include <cstddef>
#include <vector>

#include "target/replication/message.hpp"

namespace mpath::target::cluster {

class ActionQueue {
 public:
  using Actions = std::vector<replication::Action>;
  static constexpr std::size_t waiting_max = 256;

  // What is to be done now, in order; the rest is kept. At most one Persist is among it: call persisted() when that is
  // on the medium.
  [[nodiscard]] Actions add(Actions actions);
  [[nodiscard]] Actions persisted();

  [[nodiscard]] bool idle() const { return !persisting_ && waiting_.empty(); }
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }

 private:
  void keep(replication::Action action);

  bool persisting_ = false;
  Actions waiting_;
};

}  // namespace mpath::target::cluster
