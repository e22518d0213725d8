// Requests that wait for a time each, given back in order of time, then of arrival.
//
// Threads:    the clock's loop.
// Allocation: none once as many waited before.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/block_device.hpp"
#include "base/clock.hpp"

namespace mpath {

class DelayQueue {
 public:
  // `release` runs from the loop; it may push() again.
  DelayQueue(Clock& clock, std::function<void(BlockRequest&)> release);

  void push(BlockRequest& request, TimePoint due);
  // Takes out the one that waits shortest, or null.
  [[nodiscard]] BlockRequest* take();
  [[nodiscard]] std::size_t size() const { return waiting_.size(); }

 private:
  struct Waiting {
    TimePoint due;
    std::uint64_t sequence;
    BlockRequest* request;
  };
  static bool later(const Waiting& a, const Waiting& b);
  void fire();

  Clock& clock_;
  std::function<void(BlockRequest&)> release_;
  std::uint64_t sequence_ = 0;
  std::vector<Waiting> waiting_;  // a heap, the earliest in front
  std::unique_ptr<Alarm> alarm_;
};

}  // namespace mpath
