// Objects handed from any thread to one loop: a lock-free stack that the loop empties in one go, oldest first.
//
// Threads:    push() from any thread; `deliver` runs on the loop's thread. The mailbox outlives every push.
// Order:      per sender, in the order of its pushes; and anything the same sender posts to the loop later runs later.
// Allocation: none per object: the object brings its link, and the loop is woken only when the box was empty.
// Ownership:  an object in the box belongs to the box until `deliver` is called with it. `deliver` may push again.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "base/check.hpp"

namespace mpath {

template <typename T, T* T::* Next>
class Mailbox {
 public:
  using Deliver = void (*)(void* owner, T& object) noexcept;

  Mailbox(boost::asio::io_context& loop, void* owner, Deliver deliver)
      : loop_(loop), owner_(owner), deliver_(deliver) {}
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox() { CHECK(newest_.load(std::memory_order_relaxed) == nullptr); }

  void push(T& object) {
    T* before = newest_.load(std::memory_order_relaxed);
    do {
      object.*Next = before;
    } while (!newest_.compare_exchange_weak(before, &object, std::memory_order_release, std::memory_order_relaxed));
    if (before == nullptr) boost::asio::post(loop_, [this] { empty(); });
  }

 private:
  void empty() noexcept {
    T* newest = newest_.exchange(nullptr, std::memory_order_acquire);
    T* oldest = nullptr;
    while (newest != nullptr) {
      T* next = newest->*Next;
      newest->*Next = oldest;
      oldest = newest;
      newest = next;
    }
    while (oldest != nullptr) {
      T* next = oldest->*Next;
      oldest->*Next = nullptr;
      deliver_(owner_, *oldest);
      oldest = next;
    }
  }

  boost::asio::io_context& loop_;
  void* owner_;
  Deliver deliver_;
  std::atomic<T*> newest_{nullptr};
};

}  // namespace mpath
