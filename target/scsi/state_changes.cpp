#include "target/scsi/state_changes.hpp"

#include <utility>

#include "target/scsi/unit_error.hpp"

namespace mpath::target {

void StateChanges::add(Change change) {
  queue_.push_back(std::move(change));
  work();
}

// Callbacks may ask for more changes: they queue up, and the loop below takes them.
void StateChanges::work() {
  if (working_) return;
  working_ = true;
  while (!queue_.empty() && !committing_) {
    overtaken_ = false;
    next_ = state_;
    queue_.front().modify(next_);
    if (next_ == state_) {
      const bool uncertain = queue_.front().kind == Kind::answered && certain_ && !certain_();
      committed(uncertain ? make_error_code(UnitErrc::elsewhere) : error_code{});
    } else if (follows_) {
      committed(UnitErrc::elsewhere);
    } else {
      committing_ = true;
      log_.commit(next_, [this](error_code error) {
        committing_ = false;
        committed(error);
        work();
      });
    }
  }
  working_ = false;
}

void StateChanges::committed(error_code error) {
  const Change change = std::move(queue_.front());
  queue_.pop_front();
  const bool in_force = !error || (change.kind == Kind::forced && !follows_);
  if (in_force && !overtaken_) state_ = std::move(next_);
  change.done(error);
}

void StateChanges::adopt(LuState state) {
  state_ = std::move(state);
  overtaken_ = committing_;
}

}  // namespace mpath::target
