#include "mpathd/grouping.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace mpath {
namespace {

template <typename Predicate>
int mean_priority(const Group& group, std::span<const GroupingInput> paths, Predicate counts) {
  int sum = 0;
  int count = 0;
  for (const std::size_t index : group.members) {
    if (!counts(paths[index])) continue;
    sum += paths[index].priority;
    ++count;
  }
  return count == 0 ? 0 : sum / count;
}

}  // namespace

std::size_t usable_count(const Group& group, std::span<const GroupingInput> paths) {
  return static_cast<std::size_t>(std::count_if(group.members.begin(), group.members.end(),
                                                [&](std::size_t index) { return paths[index].usable; }));
}

int group_priority(const Group& group, std::span<const GroupingInput> paths) {
  if (usable_count(group, paths) > 0)
    return mean_priority(group, paths, [](const GroupingInput& path) { return path.usable; });
  return mean_priority(group, paths, [](const GroupingInput& path) { return path.standby; });
}

std::vector<Group> make_groups(GroupingPolicy policy, std::span<const GroupingInput> paths) {
  std::vector<Group> groups;
  if (paths.empty()) return groups;
  switch (policy) {
    case GroupingPolicy::multibus: {
      Group& all = groups.emplace_back();
      all.members.resize(paths.size());
      std::iota(all.members.begin(), all.members.end(), std::size_t{0});
      break;
    }
    case GroupingPolicy::failover:
      for (std::size_t index = 0; index < paths.size(); ++index) groups.push_back(Group{{index}});
      break;
    case GroupingPolicy::group_by_prio:
      for (std::size_t index = 0; index < paths.size(); ++index) {
        const auto same = [&](const Group& group) {
          return paths[group.members.front()].priority == paths[index].priority;
        };
        const auto place = std::ranges::find_if(groups, same);
        if (place == groups.end()) {
          groups.push_back(Group{{index}});
        } else {
          place->members.push_back(index);
        }
      }
      break;
  }
  const auto every = [](const GroupingInput&) { return true; };
  std::stable_sort(groups.begin(), groups.end(), [&](const Group& left, const Group& right) {
    return mean_priority(left, paths, every) > mean_priority(right, paths, every);
  });
  return groups;
}

std::optional<std::size_t> choose_group(std::span<const Group> groups, std::span<const GroupingInput> paths,
                                        std::optional<std::size_t> current, Failback failback) {
  const bool current_works = current && *current < groups.size() && usable_count(groups[*current], paths) > 0;
  if (current_works && failback == Failback::manual) return current;
  std::optional<std::size_t> best;
  auto rank = [&](std::size_t index) {
    return std::tuple(group_priority(groups[index], paths), usable_count(groups[index], paths));
  };
  for (std::size_t index = 0; index < groups.size(); ++index) {
    if (usable_count(groups[index], paths) == 0) continue;
    if (!best || rank(index) > rank(*best)) best = index;
  }
  return best;
}

}  // namespace mpath
