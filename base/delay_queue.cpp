#include "base/delay_queue.hpp"

#include <algorithm>
#include <utility>

namespace mpath {

DelayQueue::DelayQueue(Clock& clock, std::function<void(BlockRequest&)> release)
    : clock_(clock), release_(std::move(release)), alarm_(clock.make_alarm([this] { fire(); })) {}

bool DelayQueue::later(const Waiting& a, const Waiting& b) { return std::pair(a.due, a.sequence) > std::pair(b.due, b.sequence); }

void DelayQueue::push(BlockRequest& request, TimePoint due) {
  waiting_.push_back({due, ++sequence_, &request});
  std::push_heap(waiting_.begin(), waiting_.end(), later);
  if (waiting_.front().request == &request) alarm_->set(due);
}

BlockRequest* DelayQueue::take() {
  if (waiting_.empty()) return nullptr;
  std::pop_heap(waiting_.begin(), waiting_.end(), later);
  BlockRequest* request = waiting_.back().request;
  waiting_.pop_back();
  return request;
}

void DelayQueue::fire() {
  const TimePoint now = clock_.now();
  // Those that release_() pushes for now wait for the next turn: the loop must not starve.
  const std::uint64_t last = sequence_;
  while (!waiting_.empty() && waiting_.front().due <= now && waiting_.front().sequence <= last) release_(*take());
  alarm_->set(waiting_.empty() ? never : waiting_.front().due);
}

}  // namespace mpath
