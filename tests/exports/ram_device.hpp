// A disk in memory for tests: sparse, observable, and able to hold requests back so that a test decides who completes
// when.
//
// Threads: one shard, like every device.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "base/block_device.hpp"
#include "base/check.hpp"

namespace mpath::test {

class RamDevice final : public BlockDevice {
 public:
  RamDevice(std::string name, BlockLimits limits) : name_(std::move(name)), limits_(limits) {
    void* const place =
        ::mmap(nullptr, limits.size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(place != MAP_FAILED);
    memory_ = static_cast<std::byte*>(place);
    allocated_.resize((limits.size_bytes + unit - 1) / unit);
  }
  ~RamDevice() override { ::munmap(memory_, limits_.size_bytes); }
  RamDevice(const RamDevice&) = delete;
  RamDevice& operator=(const RamDevice&) = delete;

  static BlockLimits all_features(std::uint64_t size_bytes) {
    return {.size_bytes = size_bytes, .can_trim = true, .can_zero = true, .can_report_extents = true};
  }

  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] const BlockLimits& limits() const override { return limits_; }
  void submit(BlockRequest& request) noexcept override {
    ++submitted;
    if (hold) {
      held.push_back(&request);
    } else {
      complete(request);
    }
  }
  void add_observer(BlockDeviceObserver& observer) override { observers_.push_back(&observer); }
  void remove_observer(BlockDeviceObserver& observer) override { std::erase(observers_, &observer); }

  // Carries out one request, or fails it.
  void complete(BlockRequest& request) noexcept {
    request.status = gone_ ? BlockStatus::shutdown : fail_with != BlockStatus::ok ? fail_with : carry_out(request);
    request.done(request);
  }
  // Completes the held request at `index`.
  void release(std::size_t index = 0) {
    BlockRequest* const request = held.at(index);
    held.erase(held.begin() + static_cast<std::ptrdiff_t>(index));
    complete(*request);
  }
  void release_all() {
    while (!held.empty()) release();
  }
  void change_limits(const BlockLimits& limits) {
    limits_ = limits;
    for (BlockDeviceObserver* const observer : observers_) observer->on_limits_changed(limits_);
  }
  void go() {
    gone_ = true;
    for (BlockDeviceObserver* const observer : observers_) observer->on_gone();
    release_all();
  }
  [[nodiscard]] std::byte* memory() { return memory_; }
  [[nodiscard]] std::size_t observers() const { return observers_.size(); }

  bool hold = false;
  BlockStatus fail_with = BlockStatus::ok;
  std::deque<BlockRequest*> held;
  std::uint64_t submitted = 0;
  std::uint64_t flushes = 0;
  std::uint64_t fua_writes = 0;

 private:
  static constexpr std::uint64_t unit = 65536;  // of allocation

  BlockStatus carry_out(BlockRequest& request) noexcept {
    std::byte* at = memory_ + request.offset;
    switch (request.op) {
      case BlockOp::read:
        for (const iovec& part : request.data) {
          std::memcpy(part.iov_base, at, part.iov_len);
          at += part.iov_len;
        }
        return BlockStatus::ok;
      case BlockOp::write:
        for (const iovec& part : request.data) {
          std::memcpy(at, part.iov_base, part.iov_len);
          at += part.iov_len;
        }
        mark(request, true);
        fua_writes += request.fua ? 1 : 0;
        return BlockStatus::ok;
      case BlockOp::flush:
        ++flushes;
        return BlockStatus::ok;
      case BlockOp::trim:
      case BlockOp::write_zeroes:
        std::memset(at, 0, request.length);
        if (request.op == BlockOp::trim || request.may_unmap) {
          mark(request, false);
        } else {
          mark(request, true);
        }
        return BlockStatus::ok;
      case BlockOp::prefetch:
        return BlockStatus::ok;
      case BlockOp::extents:
        return report(request);
    }
    return BlockStatus::invalid;
  }

  // Writing touches every unit the range overlaps; unmapping only those it covers.
  void mark(const BlockRequest& request, bool allocated) {
    const std::uint64_t end = request.offset + request.length;
    const std::uint64_t first = allocated ? request.offset / unit : (request.offset + unit - 1) / unit;
    const std::uint64_t last = allocated || end == limits_.size_bytes ? (end + unit - 1) / unit : end / unit;
    for (std::uint64_t i = first; i < last; ++i) allocated_[i] = allocated;
  }

  BlockStatus report(BlockRequest& request) const {
    if (!limits_.can_report_extents) return BlockStatus::not_supported;
    std::uint64_t at = request.offset;
    const std::uint64_t end = request.offset + request.length;
    while (at < end && request.extents->size() < request.extents_max) {
      const bool data = allocated_[at / unit];
      std::uint64_t next = at;
      while (next < limits_.size_bytes && allocated_[next / unit] == data) next = (next / unit + 1) * unit;
      next = std::min(next, limits_.size_bytes);
      request.extents->push_back({.length = next - at, .hole = !data, .zero = !data});
      at = next;
    }
    return BlockStatus::ok;
  }

  std::string name_;
  BlockLimits limits_;
  std::byte* memory_ = nullptr;
  std::vector<bool> allocated_;
  std::vector<BlockDeviceObserver*> observers_;
  bool gone_ = false;
};

}  // namespace mpath::test
