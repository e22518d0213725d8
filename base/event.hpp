// A flag that coroutines wait for.
//
// Threads: one; the executor given at construction must run on one thread only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

namespace mpath {

class Event {
 public:
  explicit Event(const boost::asio::any_io_executor& executor) : timer_(executor, boost::asio::steady_timer::time_point::max()) {}

  // Resumes every waiter from the loop, and lets later ones pass until clear().
  void set() {
    set_ = true;
    timer_.cancel();
  }
  void clear() { set_ = false; }
  [[nodiscard]] bool is_set() const { return set_; }

  // True when the wait was cancelled before the event was set. Never throws once it waits.
  [[nodiscard]] boost::asio::awaitable<bool> wait();
  // Cannot be cancelled: the coroutine's cancellation is seen at its next await.
  [[nodiscard]] boost::asio::awaitable<void> wait_uncancelled();

 private:
  bool set_ = false;
  boost::asio::steady_timer timer_;  // never expires; cancelled by set()
};

}  // namespace mpath
