// Who may synchronise the medium, and through which descriptor: each such operation under way has one of its own.
//
// The kernel reports a lost write once to each open file description. Were two to share one, the first fsync would take
// the error and the second would call the lost data safe.
//
// Threads: the shard.
#pragma once

#include <array>

#include "base/intrusive.hpp"
#include "base/unique_fd.hpp"
#include "target/store/journal.hpp"
#include "target/store/store_io.hpp"

namespace mpath::target {

class SyncLanes {
 public:
  static constexpr unsigned count = Journal::slots;  // a lane is a journal slot as well

  void set(unsigned lane, UniqueFd fd) { lanes_[lane].fd = std::move(fd); }
  [[nodiscard]] int fd(int lane) const { return lanes_[static_cast<unsigned>(lane)].fd.get(); }
  // Gives the I/O a lane, or lets it wait for one: false.
  [[nodiscard]] bool enter(StoreIo& io) {
    for (unsigned i = 0; i < count; ++i) {
      if (lanes_[i].busy) continue;
      lanes_[i].busy = true;
      io.lane = static_cast<int>(i);
      return true;
    }
    waiting_.push_back(io);
    return false;
  }
  // The one that gets the lane next, if any waits.
  [[nodiscard]] StoreIo* leave(StoreIo& io) {
    const int lane = std::exchange(io.lane, -1);
    StoreIo* next = waiting_.pop_front();
    if (next != nullptr) {
      next->lane = lane;
    } else {
      lanes_[static_cast<unsigned>(lane)].busy = false;
    }
    return next;
  }

 private:
  struct Lane {
    UniqueFd fd;
    bool busy = false;
  };
  std::array<Lane, count> lanes_;
  IntrusiveQueue<StoreIo, &StoreIo::next> waiting_;
};

}  // namespace mpath::target
