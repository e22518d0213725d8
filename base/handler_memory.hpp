// Memory for the one handler of a kind that an object has outstanding, so that arming a wait allocates nothing.
//
// Threads:   one.
// Ownership: the owner keeps it until the handler ran or was dropped. A second handler at a time, or a larger one, falls
//            back on the heap.
#pragma once

#include <boost/asio/bind_allocator.hpp>
#include <cstddef>
#include <new>
#include <utility>

namespace mpath {

class HandlerMemory {
 public:
  HandlerMemory() = default;
  HandlerMemory(const HandlerMemory&) = delete;
  HandlerMemory& operator=(const HandlerMemory&) = delete;

  [[nodiscard]] void* allocate(std::size_t size) {
    if (used_ || size > sizeof(storage_)) return ::operator new(size);
    used_ = true;
    return storage_;
  }
  void deallocate(void* place) noexcept {
    if (place == storage_) {
      used_ = false;
    } else {
      ::operator delete(place);
    }
  }

 private:
  bool used_ = false;
  alignas(std::max_align_t) std::byte storage_[256];
};

// The allocator that a handler is bound to.
template <typename T>
class HandlerAllocator {
 public:
  using value_type = T;
  explicit HandlerAllocator(HandlerMemory& memory) noexcept : memory_(&memory) {}
  template <typename U>
  HandlerAllocator(const HandlerAllocator<U>& other) noexcept : memory_(other.memory_) {}

  [[nodiscard]] T* allocate(std::size_t count) { return static_cast<T*>(memory_->allocate(sizeof(T) * count)); }
  void deallocate(T* place, std::size_t) noexcept { memory_->deallocate(place); }

  friend bool operator==(const HandlerAllocator& a, const HandlerAllocator& b) noexcept {
    return a.memory_ == b.memory_;
  }

 private:
  template <typename>
  friend class HandlerAllocator;
  HandlerMemory* memory_;
};

// The handler, kept in `memory` while it is outstanding.
template <typename Handler>
[[nodiscard]] auto in_memory(HandlerMemory& memory, Handler handler) {
  return boost::asio::bind_allocator(HandlerAllocator<void*>(memory), std::move(handler));
}

}  // namespace mpath
