// What all stores have in common: name, limits, observers, and the last error's place.
//
// Threads: the shard.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "target/store/store.hpp"

namespace mpath::target {

class StoreBase : public Store {
 public:
  [[nodiscard]] const std::string& name() const final { return name_; }
  [[nodiscard]] const BlockLimits& limits() const final { return limits_; }
  void add_observer(BlockDeviceObserver& observer) final { observers_.push_back(&observer); }
  void remove_observer(BlockDeviceObserver& observer) final {
    for (BlockDeviceObserver*& each : observers_) {
      if (each == &observer) each = nullptr;
    }
  }
  [[nodiscard]] std::uint64_t error_offset() const final { return error_offset_; }

 protected:
  StoreBase(std::string name, BlockLimits limits) : name_(std::move(name)), limits_(limits) {
    const std::uint32_t block = limits.block_size;
    CHECK(block != 0 && (block & (block - 1)) == 0);
  }
  void set_size(std::uint64_t size_bytes) {
    const std::uint64_t usable = size_bytes / limits_.block_size * limits_.block_size;
    if (usable <= limits_.size_bytes) return;
    limits_.size_bytes = usable;
    // By index: an observer may add or remove observers.
    for (std::size_t i = 0; i < observers_.size(); ++i) {
      if (observers_[i] != nullptr) observers_[i]->on_limits_changed(limits_);
    }
    std::erase(observers_, nullptr);
  }
  static void finish(BlockRequest& request, BlockStatus status) {
    request.status = status;
    request.done(request);
  }

  std::string name_;
  BlockLimits limits_;
  std::uint64_t error_offset_ = 0;

 private:
  std::vector<BlockDeviceObserver*> observers_;
};

}  // namespace mpath::target
