#include "exports/ublk_ring.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>

#include "base/check.hpp"
#include "base/unique_fd.hpp"

namespace mpath {
namespace {

constexpr int rounds_max = 8;  // of one pump, so that one disk cannot hold the shard

}  // namespace

Result<std::shared_ptr<UblkRing>> UblkRing::open(boost::asio::io_context& loop, int character, unsigned depth,
                                                 Owner& owner) {
  std::shared_ptr<UblkRing> made(new UblkRing(loop, owner));
  io_uring_params params{};
  // The kernel's side of a request (the copy of its data) runs when we ask for it, not whenever this thread enters the
  // kernel for something else; and it says when there is something to ask for.
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
  int error = ::io_uring_queue_init_params(depth, &made->ring_, &params);
  if (error == -EINVAL) {  // before Linux 6.1
    params = {};
    error = ::io_uring_queue_init_params(depth, &made->ring_, &params);
  }
  if (error < 0) return failure(-error);
  made->open_ = true;
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return failure(errno);
  if (const int refused = ::io_uring_register_eventfd(&made->ring_, wake.get()); refused < 0) return failure(-refused);
  if (const int refused = ::io_uring_register_files(&made->ring_, &character, 1); refused < 0) return failure(-refused);
  made->wake_.assign(wake.release());
  made->arm();
  return made;
}

void UblkRing::close() noexcept {
  if (!open_) return;
  open_ = false;
  ::io_uring_queue_exit(&ring_);
  boost::system::error_code ignored;
  wake_.close(ignored);
}

void UblkRing::fetch(unsigned tag, std::byte* buffer) noexcept {
  ublksrv_io_cmd io{};
  io.tag = static_cast<std::uint16_t>(tag);
  io.addr = reinterpret_cast<std::uintptr_t>(buffer);
  push(ublk::IoCommand::fetch, io);
}

void UblkRing::commit(unsigned tag, std::int32_t result, std::byte* buffer) noexcept {
  ublksrv_io_cmd io{};
  io.tag = static_cast<std::uint16_t>(tag);
  io.result = result;
  io.addr = reinterpret_cast<std::uintptr_t>(buffer);
  push(ublk::IoCommand::commit_and_fetch, io);
  if (!pumping_) post_pump();
}

void UblkRing::push(ublk::IoCommand command, const ublksrv_io_cmd& io) noexcept {
  io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
  CHECK(entry != nullptr);  // there is one for each tag
  ::io_uring_prep_rw(IORING_OP_URING_CMD, entry, 0, nullptr, 0, 0);
  entry->flags = IOSQE_FIXED_FILE;
  entry->cmd_op = static_cast<std::uint32_t>(command);
  std::memcpy(entry->cmd, &io, sizeof io);
  entry->user_data = io.tag;
  ++queued_;
}

void UblkRing::pump(bool woken) noexcept {
  if (pumping_ || !open_) return;
  pumping_ = true;
  for (int round = 0;; ++round) {
    enter();
    // What we reaped ourselves has signalled the eventfd as well. Whatever else it told is looked for once more, so that
    // it can be read without losing anything.
    if (reap() || woken) swallow_event();
    woken = false;
    if (!open_ || (queued_ == 0 && !more_waits())) break;
    if (round == rounds_max) {
      post_pump();
      break;
    }
  }
  pumping_ = false;
}

void UblkRing::enter() noexcept {
  ++enters_;
  const int sent = ::io_uring_submit_and_get_events(&ring_);
  // Out of memory, or a signal: the loop tries again.
  if (sent < 0) {
    CHECK(sent == -EAGAIN || sent == -EBUSY || sent == -EINTR || sent == -ENOMEM);
    return;
  }
  queued_ -= static_cast<unsigned>(sent);
}

bool UblkRing::reap() noexcept {
  bool any = false;
  io_uring_cqe* found = nullptr;
  while (open_ && ::io_uring_peek_cqe(&ring_, &found) == 0 && found != nullptr) {
    const auto tag = static_cast<unsigned>(found->user_data);
    const int result = found->res;
    ::io_uring_cqe_seen(&ring_, found);
    owner_.on_tag(tag, result);
    any = true;
  }
  return any;
}

bool UblkRing::more_waits() const {
  return ::io_uring_cq_ready(&ring_) > 0 || (__atomic_load_n(ring_.sq.kflags, __ATOMIC_ACQUIRE) & IORING_SQ_TASKRUN) != 0;
}

void UblkRing::swallow_event() {
  if (!open_) return;
  std::uint64_t events = 0;
  static_cast<void>(::read(wake_.native_handle(), &events, sizeof events));
}

void UblkRing::arm() {
  const auto ready = [self = shared_from_this()](const boost::system::error_code& error) {
    if (error || !self->open_) return;
    self->pump(true);
    if (self->open_) self->arm();
  };
  wake_.async_wait(boost::asio::posix::stream_descriptor::wait_read, in_memory(wake_memory_, ready));
}

void UblkRing::post_pump() {
  if (pump_posted_) return;
  pump_posted_ = true;
  const auto run = [self = shared_from_this()] {
    self->pump_posted_ = false;
    self->pump();
  };
  boost::asio::post(loop_, in_memory(pump_memory_, run));
}

}  // namespace mpath
