// Counts what passes and how long it takes.
#pragma once

#include <array>
#include <cstdint>

#include "base/block_names.hpp"
#include "base/filter_device.hpp"
#include "base/filter_slots.hpp"

namespace mpath {

class StatsDevice final : public FilterDevice {
 public:
  struct OpStats {
    static constexpr std::size_t bucket_count = 32;
    std::uint64_t requests = 0;  // completed
    std::uint64_t bytes = 0;
    std::uint64_t errors = 0;
    Duration longest{0};
    std::array<std::uint64_t, bucket_count> buckets{};  // by latency: below 1, 2, 4 ... microseconds
    // An upper bound of the latency that `fraction` of the requests stayed below; never above `longest`.
    [[nodiscard]] Duration percentile(double fraction) const;
  };

  StatsDevice(BlockDevice& behind, Clock& clock) : FilterDevice(behind), clock_(clock) {}
  void submit(BlockRequest& request) noexcept override;
  [[nodiscard]] std::string spec() const override { return "stats"; }
  // One line for each op that was used: `read 120 requests 480k errors 0 p50 128us p99 2ms longest 2100us`.
  [[nodiscard]] std::string report() const override;
  [[nodiscard]] std::size_t in_flight() const override { return slots_.used(); }
  [[nodiscard]] const OpStats& of(BlockOp op) const { return stats_[static_cast<std::size_t>(op)]; }

 private:
  void completed(FilterSlots::Slot& slot) noexcept;

  Clock& clock_;
  std::array<OpStats, block_op_count> stats_{};
  FilterSlots slots_;
};

}  // namespace mpath
