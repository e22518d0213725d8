// Latencies in buckets of about 1.6 % width: counting one costs a few instructions and no memory.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace mpath::bench {

class Histogram {
 public:
  void add(std::uint64_t nanoseconds) {
    ++counts_[bucket(nanoseconds)];
    ++total_;
    max_ = std::max(max_, nanoseconds);
  }
  // The smallest latency that `share` (0 to 1) of all do not exceed, in nanoseconds.
  [[nodiscard]] std::uint64_t percentile(double share) const {
    const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(total_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > wanted) return std::min(upper_bound(i), max_);
    }
    return max_;
  }
  [[nodiscard]] std::uint64_t max() const { return max_; }
  [[nodiscard]] std::uint64_t total() const { return total_; }

 private:
  static constexpr unsigned sub_bits = 6;  // each power of two is cut into 64
  static constexpr std::size_t sub_count = std::size_t{1} << sub_bits;

  static std::size_t bucket(std::uint64_t value) {
    if (value < sub_count) return value;
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - sub_bits - 1;
    return (shift + 1) * sub_count + (value >> shift) - sub_count;
  }
  static std::uint64_t upper_bound(std::size_t index) {
    if (index < sub_count) return index;
    const auto shift = static_cast<unsigned>(index / sub_count - 1);
    return ((index % sub_count + sub_count + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 - sub_bits + 1) * sub_count> counts_{};
  std::uint64_t total_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace mpath::bench
