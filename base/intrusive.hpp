// Containers for objects that carry their own links, and a slab that recycles them: no allocation per I/O.
//
// Threads: one.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.hpp"

namespace mpath {

// First in, first out over a `T* T::next`-like member. An element is in at most one queue that uses the same member.
template <typename T, T* T::*Next>
class IntrusiveQueue {
 public:
  [[nodiscard]] bool empty() const { return head_ == nullptr; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] T* front() const { return head_; }
  void push_back(T& element) {
    element.*Next = nullptr;
    (tail_ != nullptr ? tail_->*Next : head_) = &element;
    tail_ = &element;
    ++size_;
  }
  void push_front(T& element) {
    element.*Next = head_;
    head_ = &element;
    if (tail_ == nullptr) tail_ = &element;
    ++size_;
  }
  // The first element, or null when empty.
  T* pop_front() {
    T* element = head_;
    if (element == nullptr) return nullptr;
    head_ = element->*Next;
    if (head_ == nullptr) tail_ = nullptr;
    element->*Next = nullptr;
    --size_;
    return element;
  }
  // Everything at once, so that a handler may refill the queue while the old content is walked.
  [[nodiscard]] IntrusiveQueue take_all() { return std::exchange(*this, IntrusiveQueue{}); }

 private:
  T* head_ = nullptr;
  T* tail_ = nullptr;
  std::size_t size_ = 0;
};

// A free list of T that grows by chunks and never shrinks. get() hands out an object in whatever state put() left it:
// the user resets what it uses. Objects still out when the slab dies are a bug.
template <typename T, T* T::*Next, std::size_t chunk_size = 64>
class Slab {
 public:
  Slab() = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() { CHECK(out_ == 0); }

  [[nodiscard]] T& get() {
    if (free_.empty()) {
      chunks_.push_back(std::make_unique<T[]>(chunk_size));
      for (std::size_t index = 0; index < chunk_size; ++index) free_.push_back(chunks_.back()[index]);
    }
    ++out_;
    return *free_.pop_front();
  }
  void put(T& object) noexcept {
    --out_;
    free_.push_front(object);
  }
  [[nodiscard]] std::size_t out() const { return out_; }
  [[nodiscard]] std::size_t capacity() const { return chunks_.size() * chunk_size; }

 private:
  std::vector<std::unique_ptr<T[]>> chunks_;
  IntrusiveQueue<T, Next> free_;
  std::size_t out_ = 0;
};

}  // namespace mpath
