#include "target/store/uring.hpp"

#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>

#include "base/check.hpp"
#include "base/unique_fd.hpp"

namespace mpath::target {

Result<std::unique_ptr<Uring>> Uring::open(boost::asio::io_context& loop, int fd, bool waits, void* owner,
                                           Completed completed) {
  std::unique_ptr<Uring> made(new Uring(loop));
  io_uring_params params{};
  // Completions only when we ask for them, by the thread that asks: no interrupts of the shard, no locks in the kernel.
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED;
  int error = ::io_uring_queue_init_params(entries, &made->ring_, &params);
  made->disabled_ = error == 0;
  if (error == -EINVAL) {  // before Linux 6.1
    params = {};
    error = ::io_uring_queue_init_params(entries, &made->ring_, &params);
  }
  if (error < 0) {
    made->ring_.ring_fd = -1;
    return failure(-error);
  }
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return failure(errno);
  if (const int refused = ::io_uring_register_eventfd(&made->ring_, wake.get()); refused < 0) return failure(-refused);
  made->wake_.assign(wake.release());
  made->waits_ = waits;
  made->wake_expected_ = true;
  made->expect_wake(waits);
  made->fd_ = fd;
  made->owner_ = owner;
  made->completed_ = completed;
  return made;
}

Uring::~Uring() {
  if (ring_.ring_fd < 0) return;
  CHECK(in_flight_ == 0);
  ::io_uring_queue_exit(&ring_);
}

void Uring::push(StoreIo& io) noexcept {
  CHECK(!full());
  io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
  CHECK(entry != nullptr);
  const BlockRequest& request = *io.request;
  const std::span<const iovec> parts = io.cursor.next_parts();
  const std::uint64_t offset = request.offset + io.cursor.done();
  const bool reads = request.op == BlockOp::read;
  if (parts.size() == 1) {
    const iovec& part = parts.front();
    const auto bytes = static_cast<unsigned>(part.iov_len);
    if (reads) {
      ::io_uring_prep_read(entry, fd_, part.iov_base, bytes, offset);
    } else {
      ::io_uring_prep_write(entry, fd_, part.iov_base, bytes, offset);
    }
  } else {
    const auto count = static_cast<unsigned>(parts.size());
    if (reads) {
      ::io_uring_prep_readv(entry, fd_, parts.data(), count, offset);
    } else {
      ::io_uring_prep_writev(entry, fd_, parts.data(), count, offset);
    }
  }
  if (request.fua && !reads) entry->rw_flags = RWF_DSYNC;
  ::io_uring_sqe_set_data(entry, &io);
  ++in_flight_;
  ++queued_;
}

void Uring::submit() noexcept {
  if (reaping_) return;  // a completion pushed more: the loop below sees it
  do {
    if (queued_ > 0) enter();
    reap();
    if (in_flight_ > 0 && queued_ == 0 && !wake_expected_) {
      // From here on the eventfd tells; what became complete before it did is looked for once more.
      expect_wake(true);
      enter();
      reap();
    }
  } while (queued_ > 0);
  if (in_flight_ > 0) {
    arm();
  } else {
    expect_wake(waits_);
  }
}

// The page cache answers inside enter(): an event for that would only wake the loop for nothing.
void Uring::expect_wake(bool expected) noexcept {
  if (wake_expected_ == expected) return;
  CHECK(::io_uring_cq_eventfd_toggle(&ring_, expected) == 0);
  wake_expected_ = expected;
}

void Uring::enter() noexcept {
  if (disabled_) {
    // By its number: liburing 2.3 declares the function for this and forgets to export it.
    CHECK(::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0);
    disabled_ = false;
  }
  ++system_calls_;
  const int sent = ::io_uring_submit_and_get_events(&ring_);
  // Out of memory or of room for completions: what is complete makes room, and the loop tries again.
  if (sent < 0) {
    CHECK(sent == -EAGAIN || sent == -EBUSY || sent == -EINTR);
    return;
  }
  queued_ -= static_cast<unsigned>(sent);
}

void Uring::reap() noexcept {
  reaping_ = true;
  io_uring_cqe* found = nullptr;
  while (::io_uring_peek_cqe(&ring_, &found) == 0 && found != nullptr) {
    auto& io = *static_cast<StoreIo*>(::io_uring_cqe_get_data(found));
    const int result = found->res;
    ::io_uring_cqe_seen(&ring_, found);
    --in_flight_;
    completed_(owner_, io, result);
  }
  reaping_ = false;
}

void Uring::arm() {
  if (armed_) return;
  armed_ = true;
  const auto ready = [this](const boost::system::error_code& error) {
    armed_ = false;
    if (error) return;
    std::uint64_t events = 0;
    static_cast<void>(::read(wake_.native_handle(), &events, sizeof events));
    ++system_calls_;
    enter();
    submit();
  };
  wake_.async_wait(boost::asio::posix::stream_descriptor::wait_read, in_memory(wake_memory_, ready));
}

}  // namespace mpath::target
