// Changes of a unit's state, one after the other: worked out on a copy, made durable, then in force, then answered.
//
// On the node of a pair that follows, the state is what the other node sends: adopt() puts it in force, and changes of
// this node's own are refused with UnitErrc::elsewhere, forced ones too.
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
  // Whether it is certain that what is in force here is in force everywhere. Empty: there is no other node.
  using Certain = std::function<bool()>;

  StateChanges(StateLog& log, LuState state, Certain certain = nullptr)
      : log_(log), certain_(std::move(certain)), state_(std::move(state)) {}

  [[nodiscard]] const LuState& state() const { return state_; }
  [[nodiscard]] bool idle() const { return queue_.empty(); }

  // A change that leaves the state as it is is done without the log.
  void change(Modify modify, Done done) { add({std::move(modify), std::move(done), Kind::plain}); }
  // For what must happen even when it cannot be written down, because a power cycle would do it as well: RESERVE(6)
  // ended, mode values gone back to the saved ones.
  void force(Modify modify, Done done) { add({std::move(modify), std::move(done), Kind::forced}); }
  // A command's: `done` is what its answer rests on. One that changes nothing, as the other node has not seen it, is
  // refused when its turn comes and it is not certain that this node still leads.
  void answer(Modify modify, Done done) { add({std::move(modify), std::move(done), Kind::answered}); }

  // The other node leads, or this one does.
  void follow() { follows_ = true; }
  void lead() { follows_ = false; }
  [[nodiscard]] bool follows() const { return follows_; }
  // In force at once. What the log is still writing down does not come into force any more.
  void adopt(LuState state);

 private:
  enum class Kind : std::uint8_t { plain, forced, answered };
  struct Change {
    Modify modify;
    Done done;
    Kind kind;
  };
  void add(Change change);
  void work();
  void committed(error_code error);

  StateLog& log_;
  Certain certain_;
  LuState state_;
  LuState next_;              // what the log is making durable
  std::deque<Change> queue_;  // the first one is under way
  bool working_ = false;      // work() is on the stack
  bool committing_ = false;
  bool overtaken_ = false;  // a state was adopted since the log got `next_`
  bool follows_ = false;
};

}  // namespace mpath::target
