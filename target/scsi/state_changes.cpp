#include "target/scsi/state_changes.hpp"

#include <utility>

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
    next_ = state_;
    queue_.front().modify(next_);
    if (next_ == state_) {
      committed({});
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
  if (!error || change.forced) state_ = std::move(next_);
  change.done(error);
}

}  // namespace mpath::target
