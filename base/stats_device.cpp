#include "base/stats_device.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace mpath {
namespace {

std::chrono::microseconds micros(Duration duration) { return std::chrono::duration_cast<std::chrono::microseconds>(duration); }

}  // namespace

void StatsDevice::submit(BlockRequest& request) noexcept {
  constexpr auto done = [](BlockRequest& each) noexcept {
    auto& slot = static_cast<FilterSlots::Slot&>(each);
    static_cast<StatsDevice*>(slot.owner)->completed(slot);
  };
  behind().submit(slots_.take(request, this, done, clock_.now()));
}

void StatsDevice::completed(FilterSlots::Slot& slot) noexcept {
  const Duration took = clock_.now() - slot.started;
  BlockRequest& outer = slots_.give_back(slot);
  OpStats& stats = stats_[static_cast<std::size_t>(outer.op)];
  ++stats.requests;
  if (outer.status == BlockStatus::ok) {
    stats.bytes += outer.length;
  } else {
    ++stats.errors;
  }
  stats.longest = std::max(stats.longest, took);
  const auto us = static_cast<std::uint64_t>(std::max<std::int64_t>(micros(took).count(), 0));
  ++stats.buckets[std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(us)), OpStats::bucket_count - 1)];
  outer.done(outer);
}

Duration StatsDevice::OpStats::percentile(double fraction) const {
  const auto wanted = static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(requests)));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < bucket_count; ++i) {
    seen += buckets[i];
    if (seen >= wanted && seen > 0) return std::min<Duration>(longest, std::chrono::microseconds(std::int64_t{1} << i));
  }
  return longest;
}

std::string StatsDevice::report() const {
  std::string text;
  for (std::size_t i = 0; i < block_op_count; ++i) {
    const OpStats& stats = stats_[i];
    if (stats.requests == 0) continue;
    text += fmt::format("{} {} requests {} errors {} p50 {} p99 {} longest {}\n", block_op_name(static_cast<BlockOp>(i)),
                        stats.requests, format_size(stats.bytes), stats.errors, format_duration(micros(stats.percentile(0.5))),
                        format_duration(micros(stats.percentile(0.99))), format_duration(micros(stats.longest)));
  }
  return text;
}

}  // namespace mpath
