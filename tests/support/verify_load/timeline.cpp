#include "tests/support/verify_load/timeline.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace mpath::verify {

std::size_t LatencyHistogram::bucket_of(std::uint64_t microseconds) {
  constexpr std::uint64_t linear = std::uint64_t{1} << sub_bits;
  if (microseconds < linear) return microseconds;
  const unsigned shift = static_cast<unsigned>(std::bit_width(microseconds)) - 1 - sub_bits;
  return (static_cast<std::size_t>(shift + 1) << sub_bits) + ((microseconds >> shift) - linear);
}

std::uint64_t LatencyHistogram::upper_bound_of(std::size_t bucket) {
  constexpr std::uint64_t linear = std::uint64_t{1} << sub_bits;
  if (bucket < linear) return bucket;
  const std::size_t shift = (bucket >> sub_bits) - 1;
  return ((linear + (bucket & (linear - 1)) + 1) << shift) - 1;
}

void LatencyHistogram::add(Duration latency) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(latency).count();
  ++buckets_[bucket_of(static_cast<std::uint64_t>(std::max<std::int64_t>(us, 0)))];
  ++count_;
}

Duration LatencyHistogram::percentile(double share) const {
  const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(count_));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen > 0 && seen >= wanted) return std::chrono::microseconds(upper_bound_of(i));
  }
  return {};
}

Timeline::Timeline(TimePoint now, std::string first_phase) : last_progress_(now) {
  phases_.push_back(Phase{.name = std::move(first_phase), .begin = now, .end = now});
}

void Timeline::started(TimePoint now) {
  if (outstanding_++ == 0 && !interrupted_) last_progress_ = now;
}

Duration Timeline::completed(TimePoint now, Duration latency, bool error) {
  const Duration stall = now - last_progress_;
  count_stall(now);
  last_progress_ = now;
  interrupted_ = false;
  --outstanding_;
  ++completions_;
  slowest_ = std::max(slowest_, latency);
  Phase& phase = phases_.back();
  ++phase.completions;
  if (error) ++phase.errors;
  phase.slowest = std::max(phase.slowest, latency);
  phase.latency.add(latency);
  return stall;
}

void Timeline::abandoned() {
  --outstanding_;
  interrupted_ = true;
}

void Timeline::mark(TimePoint now, std::string name) {
  finish(now);
  phases_.push_back(Phase{.name = std::move(name), .begin = now, .end = now});
}

void Timeline::finish(TimePoint now) {
  if (outstanding_ != 0 || interrupted_) count_stall(now);
  phases_.back().end = now;
}

void Timeline::count_stall(TimePoint now) {
  longest_stall_ = std::max(longest_stall_, now - last_progress_);
  Phase& phase = phases_.back();
  phase.longest_stall = std::max(phase.longest_stall, now - std::max(last_progress_, phase.begin));
}

}  // namespace mpath::verify
