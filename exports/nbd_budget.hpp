// What all connections of one export may have in flight together: requests, and bytes of payload. A connection that
// does not get its share stops reading its socket (the client feels it as back-pressure) and is woken when there is
// room.
//
// Threads: the export's shard.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mpath {

struct NbdBudgetLimits {
  std::uint32_t requests_max = 4096;
  std::uint64_t bytes_max = std::uint64_t{128} << 20;
};

class NbdBudget {
 public:
  class Waiter {
   public:
    virtual void on_budget() noexcept = 0;  // there may be room; must not call back into the budget at once

   protected:
    ~Waiter() = default;
  };

  explicit NbdBudget(NbdBudgetLimits limits) : limits_(limits) {}

  // True: taken. False: the waiter is queued and will be told. A budget that is not used at all always has room, so
  // that a request larger than the whole budget still gets through alone.
  [[nodiscard]] bool take(std::uint64_t bytes, Waiter& waiter) {
    if (requests_ > 0 && (requests_ >= limits_.requests_max || bytes_ + bytes > limits_.bytes_max)) {
      waiters_.push_back(&waiter);
      return false;
    }
    ++requests_;
    bytes_ += bytes;
    return true;
  }
  // Everyone who waits is told: whoever does not get its share queues again, so no turn can be lost.
  void give_back(std::uint64_t bytes) noexcept {
    --requests_;
    bytes_ -= bytes;
    for (Waiter* const waiter : waiters_) waiter->on_budget();
    waiters_.clear();
  }
  void forget(Waiter& waiter) noexcept { std::erase(waiters_, &waiter); }

  [[nodiscard]] std::uint32_t requests() const { return requests_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  NbdBudgetLimits limits_;
  std::uint32_t requests_ = 0;
  std::uint64_t bytes_ = 0;
  std::vector<Waiter*> waiters_;
};

}  // namespace mpath
