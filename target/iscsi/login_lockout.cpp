#include "target/iscsi/login_lockout.hpp"

#include <algorithm>

namespace mpath::target {

bool LoginLockout::failed(std::string_view initiator, std::string_view address, TimePoint now) {
  if (failures_max_ == 0) return false;
  const bool pair = count({std::string(address), std::string(initiator)}, failures_max_, now);
  const bool alone = count({std::string(address), {}}, failures_max_ * address_factor, now);
  return pair || alone;
}

void LoginLockout::succeeded(std::string_view initiator, std::string_view address) {
  entries_.erase({std::string(address), std::string(initiator)});
}

bool LoginLockout::locked(std::string_view initiator, std::string_view address, TimePoint now) const {
  return reached({std::string(address), std::string(initiator)}, failures_max_, now) ||
         reached({std::string(address), {}}, failures_max_ * address_factor, now);
}

bool LoginLockout::count(Who who, unsigned most, TimePoint now) {
  if (!entries_.contains(who)) make_room(now);
  Entry& entry = entries_[std::move(who)];
  if (entry.forget_at <= now) entry.failures = 0;
  ++entry.failures;
  entry.forget_at = now + lockout_;
  return entry.failures == most;
}

bool LoginLockout::reached(const Who& who, unsigned most, TimePoint now) const {
  const auto found = entries_.find(who);
  return found != entries_.end() && now < found->second.forget_at && found->second.failures >= most;
}

void LoginLockout::make_room(TimePoint now) {
  if (entries_.size() < entries_max) return;
  std::erase_if(entries_, [now](const auto& item) { return item.second.forget_at <= now; });
  if (entries_.size() < entries_max) return;
  entries_.erase(std::ranges::min_element(entries_, {}, [](const auto& item) { return item.second.forget_at; }));
}

}  // namespace mpath::target
