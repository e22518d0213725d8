// For filters that must see completions: requests of their own that stand for the submitters'.
//
// A slot is a copy of the outer request whose done() comes to the filter first.
#pragma once

#include <deque>

#include "base/block_device.hpp"
#include "base/clock.hpp"

namespace mpath {

class FilterSlots {
 public:
  struct Slot : BlockRequest {
    void* owner = nullptr;
    BlockRequest* outer = nullptr;
    TimePoint started{};
    Slot* next_free = nullptr;
  };

  Slot& take(BlockRequest& outer, void* owner, BlockRequest::Done done, TimePoint now) {
    if (free_ == nullptr) free_ = &slots_.emplace_back();
    Slot& slot = *free_;
    free_ = slot.next_free;
    static_cast<BlockRequest&>(slot) = outer;
    slot.done = done;
    slot.next = nullptr;
    slot.owner = owner;
    slot.outer = &outer;
    slot.started = now;
    ++used_;
    return slot;
  }
  // Hands the result to the outer request; the caller completes it.
  BlockRequest& give_back(Slot& slot) {
    BlockRequest& outer = *slot.outer;
    outer.status = slot.status;
    slot.next_free = free_;
    free_ = &slot;
    --used_;
    return outer;
  }
  [[nodiscard]] std::size_t used() const { return used_; }
  [[nodiscard]] std::size_t made() const { return slots_.size(); }

 private:
  std::deque<Slot> slots_;  // addresses stay
  Slot* free_ = nullptr;
  std::size_t used_ = 0;
};

}  // namespace mpath
