// What the administrator decided about one map: the settings of multipath.conf in force, as types.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace mpath {

enum class GroupingPolicy : std::uint8_t { failover, multibus, group_by_prio };
enum class Prioritizer : std::uint8_t { constant, alua };
enum class SelectorKind : std::uint8_t { round_robin, queue_length, service_time };
enum class CheckerKind : std::uint8_t { tur, directio };
enum class Failback : std::uint8_t { manual, immediate };
enum class WriteFence : std::uint8_t { reinstate, lu_reset, wait, none };

// no_path_retry: what a map without a usable path does with I/O.
struct NoPathRetry {
  enum class Mode : std::uint8_t { fail, queue, count } mode = Mode::queue;
  unsigned checks = 0;  // count: queue for so many polling intervals, then fail
  friend bool operator==(const NoPathRetry&, const NoPathRetry&) = default;
};

struct MapPolicy {
  GroupingPolicy grouping = GroupingPolicy::multibus;
  bool grouping_written = false;  // by the administrator: detection leaves it alone
  Prioritizer prioritizer = Prioritizer::constant;
  bool exclusive_pref_bit = false;  // prio_args
  bool detect_prio = true;          // alua where the LU has port groups with states ...
  bool detect_grouping = true;      // ... and then group_by_prio, unless something else is written
  SelectorKind selector = SelectorKind::service_time;
  unsigned rr_min_io = 1;  // round-robin: requests before the next path (rr_min_io_rq)
  CheckerKind checker = CheckerKind::tur;
  Failback failback = Failback::immediate;
  NoPathRetry no_path_retry{};
  WriteFence write_fence = WriteFence::reinstate;
  std::chrono::milliseconds write_fence_wait{5000};  // `wait`, and the fall-back of the others
  std::chrono::milliseconds polling_interval{5000};
  std::chrono::milliseconds checker_timeout{30000};  // also the deadline of every command
  friend bool operator==(const MapPolicy&, const MapPolicy&) = default;
};

// What is in force for a LU that has (alua) or has not target port groups with access states.
[[nodiscard]] inline MapPolicy detected(MapPolicy policy, bool alua) {
  if (alua && policy.detect_prio) policy.prioritizer = Prioritizer::alua;
  const bool by_priority = alua && policy.detect_grouping && policy.prioritizer == Prioritizer::alua;
  if (by_priority && !policy.grouping_written) policy.grouping = GroupingPolicy::group_by_prio;
  return policy;
}

}  // namespace mpath
