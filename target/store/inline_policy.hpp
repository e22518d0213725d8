// Whether buffered writes may be made on the shard itself: cheaper than handing them to a worker (4.1 against 6.0 us of
// CPU for 4 KiB), as long as the page cache takes them at once. Pure.
//
// A write that took long (dirty pages are being throttled, a block had to be read first, a slow file system) sends all
// writes to the workers for a while; each time it happens again the while is twice as long. So a shard loses at most
// one such wait in `pause_min`, and a medium that is always slow soon none.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.hpp"

namespace mpath::target {

class InlinePolicy {
 public:
  static constexpr std::uint64_t bytes_per_wake = 256 << 10;  // what one wake may spend on copying
  static constexpr std::uint64_t bytes_per_write = 64 << 10;  // more is better copied beside the loop
  static constexpr Duration slow = std::chrono::milliseconds(2);
  static constexpr Duration pause_min = std::chrono::seconds(1);
  static constexpr Duration pause_max = std::chrono::seconds(60);

  // A wake of the shard begins.
  void begin(TimePoint now) {
    now_ = now;
    bytes_left_ = now < resume_at_ ? 0 : bytes_per_wake;
  }
  [[nodiscard]] bool allows(std::uint64_t bytes) const { return bytes <= std::min(bytes_left_, bytes_per_write); }
  // Whether a write that ends now took long: it began when the last one ended, or the wake.
  [[nodiscard]] bool took_long(TimePoint now) const { return now - now_ > slow; }
  // A write that was allowed ended at `now`. `slept`: the thread gave up the CPU by itself in the meantime. Without
  // that it was only somebody else's turn, which a worker would have had to wait for as well.
  void ended(std::uint64_t bytes, TimePoint now, bool slept) {
    bytes_left_ -= std::min(bytes_left_, bytes);
    if (slept && took_long(now)) {
      // Quick for as long as it was slow before: that was another time.
      if (now - resume_at_ > pause_) pause_ = Duration(0);
      pause_ = std::clamp(2 * pause_, pause_min, pause_max);
      resume_at_ = now + pause_;
      bytes_left_ = 0;
    }
    now_ = now;
  }

 private:
  TimePoint now_{};
  TimePoint resume_at_{};
  Duration pause_{0};
  std::uint64_t bytes_left_ = 0;
};

}  // namespace mpath::target
