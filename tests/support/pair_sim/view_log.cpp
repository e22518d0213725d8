#include "tests/support/pair_sim/view_log.hpp"

namespace mpath::target::replication::test {

ViewLog::News ViewLog::learned(const View& view) {
  if (view.number > highest_.number) highest_ = view;
  if (view.number == 0) return News::known;
  const auto [place, fresh] = decided_.emplace(view.number, view);
  if (!fresh) return place->second == view ? News::known : News::contradicts;
  const auto before = decided_.find(view.number - 1);
  if (before == decided_.end()) return News::decided;
  if (before->second.primary != view.primary) ++takeovers_;
  return may_follow(before->second, view) ? News::decided : News::does_not_follow;
}

}  // namespace mpath::target::replication::test
