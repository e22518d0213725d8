// Which blocks are being worked on: ordinary commands side by side, commands that read and then write alone.
//
// A shared holder (READ, WRITE, UNMAP ...) waits only for exclusive ones that overlap it; an exclusive holder (COMPARE
// AND WRITE, ORWRITE, atomic writes, a copy's destination) waits for everything that overlaps. First come, first served
// among those that overlap, so nobody starves.
//
// Threads:    one. Pure.
// Allocation: none: the locks bring their links. While nobody is exclusive, taking and releasing a shared lock is O(1).
//             With granules so is an exclusive one, unless another of a granule that it touches is there: the others
//             are looked at only then.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace mpath::target {

struct RangeLock {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  bool exclusive = false;
  // Called when the lock is granted later than by lock().
  void (*granted)(RangeLock&) noexcept = nullptr;
  void* owner = nullptr;

  // RangeLocks' own.
  RangeLock* previous = nullptr;
  RangeLock* next = nullptr;
  bool held = false;
};

class RangeLocks {
 public:
  static constexpr unsigned no_granules = 64;
  // Granules of 2^`granule_bits` blocks: larger than most ranges, much smaller than all of it.
  explicit RangeLocks(unsigned granule_bits = no_granules) : granule_bits_(granule_bits) {}

  // True: held now. False: `granted` will be called.
  [[nodiscard]] bool lock(RangeLock& lock);
  // Gives it back, or stops waiting for it. May call `granted` of others.
  void release(RangeLock& lock);
  [[nodiscard]] bool idle() const { return first_ == nullptr; }

 private:
  // The granules of a lock; no more than a few are counted one by one.
  struct Granules {
    std::uint64_t first = 0, last = 0;
    [[nodiscard]] bool many() const { return last - first >= granules_max; }
  };
  static constexpr std::uint64_t granules_max = 4;

  [[nodiscard]] Granules granules_of(const RangeLock& lock) const {
    return {lock.first >> granule_bits_, (lock.first + lock.count - 1) >> granule_bits_};
  }
  [[nodiscard]] std::uint32_t& counter(std::uint64_t granule);
  // False: nothing that is there overlaps it. It is counted from here on.
  [[nodiscard]] bool count(const RangeLock& lock);
  void uncount(const RangeLock& lock);
  void grant();

  // Constant after construction.
  unsigned granule_bits_;

  RangeLock* first_ = nullptr;  // in order of arrival, held or waiting
  RangeLock* last_ = nullptr;
  unsigned exclusive_ = 0;  // held or waiting
  std::size_t waiting_ = 0;
  std::size_t wide_ = 0;                          // locks of many granules
  std::array<std::uint32_t, 256> counters_ = {};  // the others, by a hash of each of their granules
  bool granting_ = false;
  bool again_ = false;  // somebody may have become free since the walk began
};

}  // namespace mpath::target
