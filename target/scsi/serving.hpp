// Until when this node may answer initiators: what the agreement tells the shards.
//
// Threads: any. Written by the control thread; a shard looks before each answer that rests on what only this node knows
// (reads, SCSI state). Acknowledged writes need no clock: the peer has them (target/replication/INVARIANTS.md).
#pragma once

#include <atomic>

#include "base/clock.hpp"

namespace mpath::target {

class Serving {
 public:
  [[nodiscard]] bool may_answer(TimePoint now) const {
    return now.time_since_epoch().count() < until_.load(std::memory_order_acquire);
  }
  // `never`: no other node can serve. TimePoint::min(): not at all.
  void set_until(TimePoint until) { until_.store(until.time_since_epoch().count(), std::memory_order_release); }

 private:
  std::atomic<Duration::rep> until_{TimePoint::min().time_since_epoch().count()};
};

}  // namespace mpath::target
