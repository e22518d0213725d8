#include "target/scsi/range_locks.hpp"

#include "base/check.hpp"

namespace mpath::target {
namespace {

bool overlap(const RangeLock& a, const RangeLock& b) {
  if (a.count == 0 || b.count == 0) return false;
  return a.first < b.first ? b.first - a.first < a.count : a.first - b.first < b.count;
}

// Whether an earlier lock, held or waiting, stands before `lock`.
bool blocked(const RangeLock& lock) {
  for (const RangeLock* earlier = lock.previous; earlier != nullptr; earlier = earlier->previous) {
    if ((earlier->exclusive || lock.exclusive) && overlap(*earlier, lock)) return true;
  }
  return false;
}

}  // namespace

std::uint32_t& RangeLocks::counter(std::uint64_t granule) {
  constexpr std::uint64_t golden = 0x9e3779b97f4a7c15;  // neighbours lie far apart
  return counters_[granule * golden >> 56];
}

bool RangeLocks::count(const RangeLock& lock) {
  if (granule_bits_ == no_granules) return true;
  if (lock.count == 0) return false;
  const Granules granules = granules_of(lock);
  if (granules.many()) {
    ++wide_;
    return true;
  }
  bool met = wide_ > 0;
  for (std::uint64_t granule = granules.first; granule <= granules.last; ++granule) met = counter(granule)++ > 0 || met;
  return met;
}

void RangeLocks::uncount(const RangeLock& lock) {
  if (granule_bits_ == no_granules || lock.count == 0) return;
  const Granules granules = granules_of(lock);
  if (granules.many()) {
    --wide_;
    return;
  }
  for (std::uint64_t granule = granules.first; granule <= granules.last; ++granule) --counter(granule);
}

bool RangeLocks::lock(RangeLock& lock) {
  CHECK(lock.previous == nullptr && lock.next == nullptr && first_ != &lock);
  lock.previous = last_;
  (last_ != nullptr ? last_->next : first_) = &lock;
  last_ = &lock;
  if (lock.exclusive) ++exclusive_;
  const bool met = count(lock);
  lock.held = !met || exclusive_ == 0 || !blocked(lock);
  if (!lock.held) ++waiting_;
  return lock.held;
}

void RangeLocks::release(RangeLock& lock) {
  (lock.previous != nullptr ? lock.previous->next : first_) = lock.next;
  (lock.next != nullptr ? lock.next->previous : last_) = lock.previous;
  lock.previous = nullptr;
  lock.next = nullptr;
  uncount(lock);
  if (!lock.held) --waiting_;
  lock.held = false;
  if (lock.exclusive) --exclusive_;
  if (waiting_ > 0) grant();
}

// `granted` may lock and release in its turn, and so change the list under the walk: the walk then starts anew. A
// release from inside only asks for that, so that a long queue on a store that completes at once is no deep recursion.
void RangeLocks::grant() {
  again_ = true;
  if (granting_) return;
  granting_ = true;
  while (again_) {
    again_ = false;
    for (RangeLock* each = first_; each != nullptr && !again_; each = each->next) {
      if (each->held || blocked(*each)) continue;
      each->held = true;
      --waiting_;
      again_ = true;
      CHECK(each->granted != nullptr);
      each->granted(*each);
      break;
    }
  }
  granting_ = false;
}

}  // namespace mpath::target
