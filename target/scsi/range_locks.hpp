// Which blocks are being worked on: ordinary commands side by side, commands that read and then write alone.
//
// A shared holder (READ, WRITE, UNMAP ...) waits only for exclusive ones that overlap it; an exclusive holder (COMPARE
// AND WRITE, ORWRITE, atomic writes, a copy's destination) waits for everything that overlaps. First come, first served
// among those that overlap, so nobody starves.
//
// Threads:    one. Pure.
// Allocation: none: the locks bring their links. While nobody is exclusive, taking and releasing a shared lock is O(1).
#pragma once

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
  // True: held now. False: `granted` will be called.
  [[nodiscard]] bool lock(RangeLock& lock);
  // Gives it back, or stops waiting for it. May call `granted` of others.
  void release(RangeLock& lock);
  [[nodiscard]] bool idle() const { return first_ == nullptr; }

 private:
  void grant();

  RangeLock* first_ = nullptr;  // in order of arrival, held or waiting
  RangeLock* last_ = nullptr;
  unsigned exclusive_ = 0;  // held or waiting
  bool granting_ = false;
  bool again_ = false;  // somebody may have become free since the walk began
};

}  // namespace mpath::target
