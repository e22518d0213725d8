// An io_uring for reads and writes of one descriptor: what was queued in a wake leaves with one system call, and what
// the kernel can answer at once (the page cache) is reaped by the same call.
//
// Threads:    open() anywhere; everything else on the shard, which the kernel holds the ring to.
// Allocation: none per I/O.
#pragma once

#include <liburing.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <memory>

#include "base/handler_memory.hpp"
#include "base/result.hpp"
#include "target/store/store_io.hpp"

namespace mpath::target {

class Uring {
 public:
  static constexpr unsigned entries = 256;  // and no more in flight
  // `result` is the kernel's: bytes, or a negative errno. May push() again.
  using Completed = void (*)(void* owner, StoreIo& io, int result) noexcept;

  // EPERM, ENOSYS and others when the kernel or the container does not let us. `waits`: most of the I/O will not be
  // answered at once (it goes around the page cache).
  [[nodiscard]] static Result<std::unique_ptr<Uring>> open(boost::asio::io_context& loop, int fd, bool waits,
                                                           void* owner, Completed completed);
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  [[nodiscard]] bool full() const { return in_flight_ >= entries; }
  // Queues the next piece of the transfer; not while full().
  void push(StoreIo& io) noexcept;
  // Sends what is queued, hands out what is complete, and looks after the rest.
  void submit() noexcept;
  [[nodiscard]] std::uint64_t system_calls() const { return system_calls_; }

 private:
  explicit Uring(boost::asio::io_context& loop) : wake_(loop) {}
  void enter() noexcept;
  void expect_wake(bool expected) noexcept;
  void reap() noexcept;
  void arm();

  io_uring ring_{};
  bool disabled_ = false;  // until the shard takes it over: the kernel binds it to the thread that enables it
  bool waits_ = false;
  bool wake_expected_ = false;
  boost::asio::posix::stream_descriptor wake_;  // an eventfd: the ring's own descriptor tells nothing of deferred work
  HandlerMemory wake_memory_;
  bool armed_ = false;
  // Not registered with the ring: the kernel takes a ring apart in the background, and would hold the file and its lock
  // for a while after we are gone. A daemon that is started again at once would find its own lock.
  int fd_ = -1;
  void* owner_ = nullptr;
  Completed completed_ = nullptr;
  unsigned in_flight_ = 0;
  unsigned queued_ = 0;
  bool reaping_ = false;
  std::uint64_t system_calls_ = 0;
};

}  // namespace mpath::target
