#include "base/buffer_pool.hpp"

#include <cstdlib>
#include <utility>

#include "base/check.hpp"

namespace mpath {
namespace {

constexpr std::size_t page_size = 4096;

std::byte* allocate(std::size_t size) {
  void* block = std::aligned_alloc(page_size, (size + page_size - 1) / page_size * page_size);
  CHECK(block != nullptr);
  return static_cast<std::byte*>(block);
}

}  // namespace

Buffer Buffer::part(std::size_t offset, std::size_t size) {
  CHECK(data_ != nullptr && offset <= size_ && size <= size_ - offset);
  if (shared_ == nullptr) {
    shared_ = &pool_->shared_.get();
    shared_->data = data_;
    shared_->size = size_;
    shared_->size_class = size_class_;
    shared_->handles = 1;
  }
  ++shared_->handles;
  Buffer part;
  part.pool_ = pool_;
  part.data_ = data_ + offset;
  part.size_ = size;
  part.shared_ = shared_;
  return part;
}

void Buffer::give_back() noexcept {
  Shared* const shared = std::exchange(shared_, nullptr);
  if (shared == nullptr) {
    pool_->give_back(data_, size_, size_class_);
  } else if (--shared->handles == 0) {
    pool_->give_back(shared->data, shared->size, shared->size_class);
    pool_->shared_.put(*shared);
  }
  pool_ = nullptr;
  data_ = nullptr;
  size_ = 0;
}

BufferPool::BufferPool(std::size_t keep_bytes_max) : keep_bytes_max_(keep_bytes_max) {}

BufferPool::~BufferPool() {
  CHECK(bytes_out_ == 0);
  for (const auto& list : free_) {
    for (std::byte* block : list) std::free(block);
  }
}

Buffer BufferPool::take(std::size_t size) {
  Buffer buffer;
  buffer.pool_ = this;
  buffer.size_ = size;
  while (buffer.size_class_ < unpooled && class_sizes[buffer.size_class_] < size) ++buffer.size_class_;
  bytes_out_ += size;
  if (buffer.size_class_ < unpooled && !free_[buffer.size_class_].empty()) {
    buffer.data_ = free_[buffer.size_class_].back();
    free_[buffer.size_class_].pop_back();
    kept_bytes_ -= class_sizes[buffer.size_class_];
    return buffer;
  }
  ++allocations_;
  buffer.data_ = allocate(buffer.size_class_ < unpooled ? class_sizes[buffer.size_class_] : std::max<std::size_t>(size, 1));
  return buffer;
}

void BufferPool::give_back(std::byte* data, std::size_t size, std::uint8_t size_class) noexcept {
  bytes_out_ -= size;
  if (size_class == unpooled || kept_bytes_ + class_sizes[size_class] > keep_bytes_max_) {
    std::free(data);
    return;
  }
  kept_bytes_ += class_sizes[size_class];
  free_[size_class].push_back(data);
}

}  // namespace mpath
