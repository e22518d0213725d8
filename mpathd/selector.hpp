// Which path of the active group takes the next request. Pure: a decision over a table of loads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "mpathd/policy.hpp"

namespace mpath {

// What a selector knows of one path.
struct PathLoad {
  bool usable = false;
  std::uint32_t room = 0;             // commands its port takes now; 0 = full
  std::uint32_t in_flight = 0;        // commands
  std::uint64_t in_flight_bytes = 0;
};

class Selector {
 public:
  explicit Selector(SelectorKind kind, unsigned rr_min_io = 1) : kind_(kind), rr_min_io_(rr_min_io == 0 ? 1 : rr_min_io) {}

  // The index of the path to use, or nothing when no path is usable or all that are usable are full.
  // round-robin  the next path in turn, after rr_min_io requests on the same one
  // queue-length the fewest commands in flight
  // service-time the fewest bytes in flight (paths are taken as equally fast)
  // Ties go to the path after the last one used, so that idle paths take turns.
  [[nodiscard]] std::optional<std::size_t> pick(std::span<const PathLoad> paths);

 private:
  SelectorKind kind_;
  unsigned rr_min_io_;
  std::size_t last_ = 0;
  unsigned used_in_turn_ = 0;
};

}  // namespace mpath
