// Page-aligned memory for payloads, reused so that no I/O allocates in steady state.
//
// Threads:   one pool a shard, used on that shard's thread only.
// Ownership: a Buffer returns to its pool when destroyed; the pool must outlive its buffers. Parts of a block return it
//            with the last of them, whichever that is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/intrusive.hpp"

namespace mpath {

class BufferPool;

// A movable handle on one contiguous block, or a part of one. Empty when default made or moved from.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(size_class_, other.size_class_);
    std::swap(shared_, other.shared_);
    return *this;
  }
  ~Buffer() { reset(); }

  void reset() noexcept {
    if (data_ != nullptr) give_back();
  }
  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }  // as asked for; the block may be larger
  [[nodiscard]] std::span<std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] explicit operator bool() const { return data_ != nullptr; }

  // A handle of its own on [offset, offset + size), which keeps the block as this one does; not page-aligned.
  [[nodiscard]] Buffer part(std::size_t offset, std::size_t size);
  // There are parts: whoever writes into it writes into theirs.
  [[nodiscard]] bool has_parts() const;

 private:
  friend class BufferPool;
  struct Shared;  // what several handles on a block have in common
  void give_back() noexcept;

  BufferPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::uint8_t size_class_ = 0;
  Shared* shared_ = nullptr;
};

struct Buffer::Shared {
  std::byte* data = nullptr;
  std::size_t size = 0;
  std::uint8_t size_class = 0;
  std::size_t handles = 0;
  Shared* next = nullptr;
};

inline bool Buffer::has_parts() const {
  return shared_ != nullptr && shared_->handles > 1;
}

class BufferPool {
 public:
  // Blocks kept for reuse are bounded by `keep_bytes_max`; more are returned to the system when freed.
  explicit BufferPool(std::size_t keep_bytes_max = std::size_t{64} << 20);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // A block of at least `size` bytes, not cleared. Sizes above the largest class come straight from the system.
  [[nodiscard]] Buffer take(std::size_t size);

  [[nodiscard]] std::size_t bytes_out() const { return bytes_out_; }            // handed out and not returned
  [[nodiscard]] std::uint64_t system_allocations() const { return allocations_; }  // blocks ever asked of the system
  [[nodiscard]] std::size_t blocks_in_parts() const { return shared_.out(); }

 private:
  friend class Buffer;
  static constexpr std::array<std::size_t, 6> class_sizes = {4096, 16384, 65536, 262144, 1048576, 4194304};
  static constexpr std::uint8_t unpooled = class_sizes.size();

  void give_back(std::byte* data, std::size_t size, std::uint8_t size_class) noexcept;

  std::size_t keep_bytes_max_;
  std::size_t kept_bytes_ = 0;
  std::size_t bytes_out_ = 0;
  std::uint64_t allocations_ = 0;
  Slab<Buffer::Shared, &Buffer::Shared::next> shared_;
  std::array<std::vector<std::byte*>, class_sizes.size()> free_;
};

}  // namespace mpath
