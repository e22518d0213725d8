// Page-aligned memory for payloads, reused so that no I/O allocates in steady state.
//
// Threads:   one pool a shard, used on that shard's thread only.
// Ownership: a Buffer returns to its pool when destroyed; the pool must outlive its buffers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace mpath {

class BufferPool;

// A movable handle on one contiguous block. Empty when default made or moved from.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(size_class_, other.size_class_);
    return *this;
  }
  ~Buffer() { reset(); }

  void reset() noexcept;
  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }  // as asked for; the block may be larger
  [[nodiscard]] std::span<std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] explicit operator bool() const { return data_ != nullptr; }

 private:
  friend class BufferPool;
  BufferPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::uint8_t size_class_ = 0;
};

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

 private:
  friend class Buffer;
  static constexpr std::array<std::size_t, 6> class_sizes = {4096, 16384, 65536, 262144, 1048576, 4194304};
  static constexpr std::uint8_t unpooled = class_sizes.size();

  void give_back(std::byte* data, std::size_t size, std::uint8_t size_class) noexcept;

  std::size_t keep_bytes_max_;
  std::size_t kept_bytes_ = 0;
  std::size_t bytes_out_ = 0;
  std::uint64_t allocations_ = 0;
  std::array<std::vector<std::byte*>, class_sizes.size()> free_;
};

}  // namespace mpath
