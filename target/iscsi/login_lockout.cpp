#include "target/iscsi/login_lockout.hpp"

#include <iterator>

namespace mpath::target {

bool LoginLockout::failed(std::string_view initiator, std::string_view address, TimePoint now) {
  if (failures_max_ == 0) return false;
  const bool pair = count({std::string(address), std::string(initiator)}, failures_max_, now);
  const bool alone = count({std::string(address), {}}, failures_max_ * address_factor, now);
  return pair || alone;
}

void LoginLockout::succeeded(std::string_view initiator, std::string_view address) {
  const auto found = places_.find({std::string(address), std::string(initiator)});
  if (found == places_.end()) return;
  entries_.erase(found->second);
  places_.erase(found);
}

bool LoginLockout::locked(std::string_view initiator, std::string_view address, TimePoint now) const {
  return reached({std::string(address), std::string(initiator)}, failures_max_, now) ||
         reached({std::string(address), {}}, failures_max_ * address_factor, now);
}

bool LoginLockout::count(Who who, unsigned most, TimePoint now) {
  Entry& entry = entry_of(std::move(who));
  if (entry.forget_at <= now) entry.failures = 0;
  ++entry.failures;
  entry.forget_at = now + lockout_;
  return entry.failures == most;
}

// The entry, which is the latest now.
LoginLockout::Entry& LoginLockout::entry_of(Who who) {
  if (const auto found = places_.find(who); found != places_.end()) {
    entries_.splice(entries_.end(), entries_, found->second);
    return entries_.back();
  }
  if (entries_.size() == entries_max) {
    places_.erase(entries_.front().who);
    entries_.pop_front();
  }
  entries_.push_back({.who = std::move(who)});
  places_.emplace(entries_.back().who, std::prev(entries_.end()));
  return entries_.back();
}

bool LoginLockout::reached(const Who& who, unsigned most, TimePoint now) const {
  const auto found = places_.find(who);
  return found != places_.end() && now < found->second->forget_at && found->second->failures >= most;
}

}  // namespace mpath::target
