#include "target/cluster/action_queue.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include "base/check.hpp"

namespace mpath::target::cluster {

using replication::Action;
using replication::Persist;
using replication::Send;

ActionQueue::Actions ActionQueue::add(Actions actions) {
  Actions now;
  for (Action& action : actions) {
    const auto* const send = std::get_if<Send>(&action);
    const bool waits = persisting_ && (send == nullptr || send->after_persist);
    if (waits) {
      keep(std::move(action));
      continue;
    }
    persisting_ = persisting_ || std::holds_alternative<Persist>(action);
    now.push_back(std::move(action));
  }
  return now;
}

ActionQueue::Actions ActionQueue::persisted() {
  CHECK(persisting_);
  persisting_ = false;
  return add(std::exchange(waiting_, {}));
}

void ActionQueue::keep(Action action) {
  if (std::holds_alternative<Persist>(action)) {
    const auto is_persist = [](const Action& each) { return std::holds_alternative<Persist>(each); };
    const auto place = std::ranges::find_if(waiting_, is_persist);
    if (place != waiting_.end()) {
      *place = std::move(action);
    } else {
      waiting_.push_back(std::move(action));
    }
    return;
  }
  // The wish for a fence is one at most while it is not answered.
  if (std::holds_alternative<Send>(action) && waiting_.size() >= waiting_max) return;
  waiting_.push_back(std::move(action));
}

}  // namespace mpath::target::cluster
