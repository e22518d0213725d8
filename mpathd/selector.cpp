#include "mpathd/selector.hpp"

#include <tuple>

namespace mpath {
namespace {

bool takes(const PathLoad& path) { return path.usable && path.room > 0; }

std::uint64_t cost(SelectorKind kind, const PathLoad& path) {
  switch (kind) {
    case SelectorKind::round_robin:
      return 0;
    case SelectorKind::queue_length:
      return path.in_flight;
    case SelectorKind::service_time:
      return path.in_flight_bytes;
  }
  return 0;
}

}  // namespace

std::optional<std::size_t> Selector::pick(std::span<const PathLoad> paths) {
  if (paths.empty()) return std::nullopt;
  if (last_ >= paths.size()) last_ = 0;
  if (kind_ == SelectorKind::round_robin && used_in_turn_ > 0 && used_in_turn_ < rr_min_io_ && takes(paths[last_])) {
    ++used_in_turn_;
    return last_;
  }
  std::optional<std::size_t> best;
  for (std::size_t turn = 1; turn <= paths.size(); ++turn) {
    const std::size_t index = (last_ + turn) % paths.size();
    if (!takes(paths[index])) continue;
    if (!best || cost(kind_, paths[index]) < cost(kind_, paths[*best])) best = index;
  }
  if (best) {
    last_ = *best;
    used_in_turn_ = 1;
  }
  return best;
}

}  // namespace mpath
