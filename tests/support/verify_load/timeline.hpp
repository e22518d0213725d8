// When requests completed: stalls, slow requests and percentiles, for the whole run and between marks. Pure.
//
// A stall is a time without any completion while at least one request was outstanding. One that spans a mark counts for
// each phase with the part that lies in it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.hpp"

namespace mpath::verify {

// Counts durations in buckets of 1/32 of their size: percentiles within 3 %.
class LatencyHistogram {
 public:
  void add(Duration latency);
  // The latency that `share` (0..1) of the requests did not exceed; zero when there are none.
  [[nodiscard]] Duration percentile(double share) const;
  [[nodiscard]] std::uint64_t count() const { return count_; }

 private:
  static constexpr unsigned sub_bits = 5;
  [[nodiscard]] static std::size_t bucket_of(std::uint64_t microseconds);
  [[nodiscard]] static std::uint64_t upper_bound_of(std::size_t bucket);
  std::array<std::uint64_t, 64U << sub_bits> buckets_{};
  std::uint64_t count_ = 0;
};

struct Phase {
  std::string name;
  TimePoint begin{};
  TimePoint end{};
  std::uint64_t completions = 0;
  std::uint64_t errors = 0;
  Duration longest_stall{};
  Duration slowest{};  // the longest single request that completed in the phase
  LatencyHistogram latency;
};

class Timeline {
 public:
  Timeline(TimePoint now, std::string first_phase);

  void started(TimePoint now);
  // Returns the stall that this completion ended.
  Duration completed(TimePoint now, Duration latency, bool error);
  // The request will not be answered: its connection is gone. The time until the next completion is a stall.
  void abandoned();
  void mark(TimePoint now, std::string name);
  void finish(TimePoint now);

  [[nodiscard]] const std::vector<Phase>& phases() const { return phases_; }
  [[nodiscard]] const Phase& current() const { return phases_.back(); }
  [[nodiscard]] std::uint64_t completions() const { return completions_; }
  [[nodiscard]] std::uint64_t outstanding() const { return outstanding_; }
  [[nodiscard]] TimePoint last_progress() const { return last_progress_; }
  [[nodiscard]] Duration longest_stall() const { return longest_stall_; }  // not cut at marks
  [[nodiscard]] Duration slowest() const { return slowest_; }
  [[nodiscard]] TimePoint begin() const { return phases_.front().begin; }

 private:
  void count_stall(TimePoint now);

  std::vector<Phase> phases_;
  TimePoint last_progress_;
  std::uint64_t outstanding_ = 0;
  std::uint64_t completions_ = 0;
  bool interrupted_ = false;  // abandoned requests, and no completion since
  Duration longest_stall_{};
  Duration slowest_{};
};

}  // namespace mpath::verify
