#include "exports/ublk_queue.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

#include "base/check.hpp"

namespace mpath {
namespace {

constexpr std::size_t page_bytes = 4096;

std::size_t whole_pages(std::size_t bytes) { return (bytes + page_bytes - 1) / page_bytes * page_bytes; }

// The tags need to know where the buffers are when they are made.
std::byte* map_buffers(std::size_t bytes) {
  void* place = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return nullptr;
  // With huge pages the first small request of each tag would bring megabytes in.
  ::madvise(place, bytes, MADV_NOHUGEPAGE);
  return static_cast<std::byte*>(place);
}

}  // namespace

UblkQueue::UblkQueue(Setup setup)
    : setup_(std::move(setup)),
      buffers_(map_buffers(std::size_t{setup_.depth} * setup_.io_bytes)),
      buffer_bytes_(std::size_t{setup_.depth} * setup_.io_bytes),
      tags_(setup_.device, setup_.depth, setup_.io_bytes, buffers_, *this) {}

UblkQueue::~UblkQueue() {
  close();
  if (buffers_ != nullptr) ::munmap(buffers_, buffer_bytes_);
}

Result<std::shared_ptr<UblkQueue>> UblkQueue::open(Setup setup) {
  const std::shared_ptr<UblkQueue> made(new UblkQueue(std::move(setup)));
  if (made->buffers_ == nullptr) return failure(ENOMEM);
  const std::size_t bytes = whole_pages(made->setup_.depth * sizeof(ublksrv_io_desc));
  void* place = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, made->setup_.character.get(),
                       UBLKSRV_CMD_BUF_OFFSET);
  if (place == MAP_FAILED) return failure(errno);
  made->descriptors_ = static_cast<const ublksrv_io_desc*>(place);
  made->descriptor_bytes_ = bytes;
  return made;
}

error_code UblkQueue::start() {
  auto ring = UblkRing::open(setup_.loop, setup_.character.get(), setup_.depth, *this);
  if (!ring) return ring.error();
  ring_ = *ring;
  for (unsigned tag = 0; tag < setup_.depth; ++tag) ring_->fetch(tag, tags_.buffer(tag));
  ring_->pump();
  return {};
}

void UblkQueue::on_tag(unsigned tag, int result) noexcept {
  if (result == UBLK_IO_RES_OK) {
    tags_.take(tag, descriptors_[tag]);
  } else if (!std::exchange(ending_, true)) {
    setup_.on_lost();
  }
}

void UblkQueue::on_answer(unsigned tag, std::int32_t result) noexcept {
  if (ring_) ring_->commit(tag, result, tags_.buffer(tag));
}

// From a loop's turn of its own: the last answer is still to be sent, and we may be deep in the device here.
void UblkQueue::on_idle() noexcept {
  if ((!left_ && !self_) || leave_posted_) return;
  leave_posted_ = true;
  boost::asio::post(setup_.loop, [queue = shared_from_this()] {
    queue->leave_posted_ = false;
    if (queue->tags_.in_flight() > 0) return;
    if (queue->ring_) queue->ring_->pump();
    queue->self_.reset();
    if (queue->left_) std::exchange(queue->left_, nullptr)();
  });
}

void UblkQueue::leave(std::function<void()> left) {
  ending_ = true;
  tags_.set_mode(UblkTags::Mode::holding);
  left_ = std::move(left);
  if (tags_.in_flight() == 0) on_idle();
}

void UblkQueue::abandon() {
  ending_ = true;
  tags_.set_mode(UblkTags::Mode::holding);
  left_ = nullptr;
  close();
  if (tags_.in_flight() > 0) self_ = shared_from_this();
}

void UblkQueue::close() {
  if (ring_) {
    ring_->close();
    enters_ = ring_->enters();
    ring_.reset();
  }
  if (descriptors_ != nullptr) {
    ::munmap(const_cast<ublksrv_io_desc*>(std::exchange(descriptors_, nullptr)), descriptor_bytes_);
  }
  setup_.character.reset();
}

UblkQueue::Counters UblkQueue::counters() const {
  return {{tags_.counters()}, ring_ ? ring_->enters() : enters_};
}

}  // namespace mpath
