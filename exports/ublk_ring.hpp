// The io_uring by which one ublk queue talks to the kernel: each tag is either with the kernel (fetched) or with us.
//
//   eventfd readable, or answers to send ──► one io_uring_enter: commits go out, and what the kernel has for us comes in
//
// Threads:    all on the shard: the kernel holds the queue to the thread that fetched first.
// Allocation: none per I/O.
// Ownership:  shared with its own handlers, which may still be outstanding when close() has returned.
#pragma once

#include <liburing.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/handler_memory.hpp"
#include "base/result.hpp"
#include "exports/ublk_rules.hpp"

namespace mpath {

class UblkRing : public std::enable_shared_from_this<UblkRing> {
 public:
  class Owner {
   public:
    // The kernel gave the tag back: with a request (0), or for ever (a negative errno). May fetch() and commit().
    virtual void on_tag(unsigned tag, int result) noexcept = 0;

   protected:
    ~Owner() = default;
  };

  // `character` is /dev/ublkcN.
  [[nodiscard]] static Result<std::shared_ptr<UblkRing>> open(boost::asio::io_context& loop, int character,
                                                              unsigned depth, Owner& owner);
  ~UblkRing() { close(); }
  UblkRing(const UblkRing&) = delete;
  UblkRing& operator=(const UblkRing&) = delete;

  // Both leave with the next pump().
  void fetch(unsigned tag, std::byte* buffer) noexcept;
  void commit(unsigned tag, std::int32_t result, std::byte* buffer) noexcept;
  // Sends what waits and hands out what came, until neither is left.
  void pump() noexcept { pump(false); }
  // The owner is not called any more. The kernel takes all
  // tags back, in the background.
  void close() noexcept;

  [[nodiscard]] std::uint64_t enters() const { return enters_; }  // io_uring_enter calls so far

 private:
  explicit UblkRing(boost::asio::io_context& loop, Owner& owner) : loop_(loop), owner_(owner), wake_(loop) {}
  void push(ublk::IoCommand command, const ublksrv_io_cmd& io) noexcept;
  void pump(bool woken) noexcept;
  void enter() noexcept;
  [[nodiscard]] bool reap() noexcept;
  [[nodiscard]] bool more_waits() const;
  void swallow_event();
  void arm();
  void post_pump();

  boost::asio::io_context& loop_;
  Owner& owner_;
  io_uring ring_{};
  boost::asio::posix::stream_descriptor wake_;  // an eventfd: the ring's own descriptor tells nothing of deferred work
  HandlerMemory wake_memory_;
  HandlerMemory pump_memory_;
  bool open_ = false;
  bool pumping_ = false;
  bool pump_posted_ = false;
  unsigned queued_ = 0;
  std::uint64_t enters_ = 0;
};

}  // namespace mpath
