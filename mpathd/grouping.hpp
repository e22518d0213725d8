// Paths to priority groups, and which group carries the I/O. Pure functions over snapshots.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "mpathd/policy.hpp"

namespace mpath {

// One path as grouping sees it; its index in the span is its name here.
struct GroupingInput {
  int priority = 1;
  bool usable = false;
  bool standby =
      false;  // connected, and its port group does not serve now: never used, but it counts for what is shown
};

struct Group {
  std::vector<std::size_t> members;  // indices into the input, in input order
  friend bool operator==(const Group&, const Group&) = default;
};

// failover: a group a path. multibus: one group. group_by_prio: a group for each priority. Groups do not depend on
// health, so that they keep their numbers while paths come and go; they stand in order of falling priority (mean of all
// members), then of first member.
[[nodiscard]] std::vector<Group> make_groups(GroupingPolicy policy, std::span<const GroupingInput> paths);

// The group to use now. `current` is kept while it has a usable path under manual failback; under immediate failback
// the best usable group wins at once: the highest priority, then the most usable paths, then the lowest number. Nothing
// usable: nothing.
[[nodiscard]] std::optional<std::size_t> choose_group(std::span<const Group> groups,
                                                      std::span<const GroupingInput> paths,
                                                      std::optional<std::size_t> current, Failback failback);

[[nodiscard]] std::size_t usable_count(const Group& group, std::span<const GroupingInput> paths);

// Mean priority of the usable members, else of those in standby; 0 when there are none of either.
[[nodiscard]] int group_priority(const Group& group, std::span<const GroupingInput> paths);

}  // namespace mpath
