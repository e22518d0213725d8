// Changes of a unit's state, one after the other: worked out on a copy, made durable, then in force, then answered.
//
// Threads:   the unit's shard. The log may call back at once or later.
// Ownership: the log is borrowed. Destroy only when idle().
#pragma once

#include <deque>
#include <functional>

#include "target/scsi/logical_unit.hpp"

namespace mpath::target {

class StateChanges {
 public:
  using Modify = std::function<void(LuState&)>;
  using Done = std::function<void(error_code)>;

  StateChanges(StateLog& log, LuState state) : log_(log), state_(std::move(state)) {}

  [[nodiscard]] const LuState& state() const { return state_; }
  [[nodiscard]] bool idle() const { return queue_.empty(); }

  // A change that leaves the state as it is is done without the log.
  void change(Modify modify, Done done) { add({std::move(modify), std::move(done), false}); }
  // For what must happen even when it cannot be written down, because a power cycle would do it as well: RESERVE(6)
  // ended, mode values gone back to the saved ones.
  void force(Modify modify, Done done) { add({std::move(modify), std::move(done), true}); }

 private:
  struct Change {
    Modify modify;
    Done done;
    bool forced;
  };
  void add(Change change);
  void work();
  void committed(error_code error);

  StateLog& log_;
  LuState state_;
  LuState next_;              // what the log is making durable
  std::deque<Change> queue_;  // the first one is under way
  bool working_ = false;      // work() is on the stack
  bool committing_ = false;
};

}  // namespace mpath::target
