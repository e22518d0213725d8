#include "target/config/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace mpath::target {
namespace {

// States that a port group of ours can have: optimized, non-optimized, standby, unavailable.
constexpr std::uint8_t supported_states = 0x0f;

template <typename Object>
const Object* find_named(const std::vector<Object>& objects, std::string_view name) {
  const auto place = std::ranges::find_if(objects, [name](const Object& object) { return object.name == name; });
  return place == objects.end() ? nullptr : &*place;
}

// The fingerprint without the lines that change in use.
std::string lasting(const std::string& fingerprint) {
  std::string kept;
  for (std::size_t at = 0; at < fingerprint.size();) {
    const std::size_t end = std::min(fingerprint.find('\n', at), fingerprint.size() - 1) + 1;
    const std::string line = fingerprint.substr(at, end - at);
    if (!line.starts_with("size=") && !line.starts_with("drill=")) kept += line;
    at = end;
  }
  return kept;
}

bool only_adjusted(const LuConfig& before, const LuConfig& after) {
  return lasting(before.fingerprint) == lasting(after.fingerprint) && before.store.kind == StoreKind::file &&
         after.store.size_bytes >= before.store.size_bytes;
}

bool same_groups(const std::vector<PortalGroupConfig>& a, const std::vector<PortalGroupConfig>& b) {
  return std::ranges::equal(a, b, [](const PortalGroupConfig& x, const PortalGroupConfig& y) {
    return x.tag == y.tag && x.fingerprint == y.fingerprint && x.portals == y.portals;
  });
}

bool same_login(const LoginLimits& a, const LoginLimits& b) {
  return a.stage_timeout == b.stage_timeout && a.login_timeout == b.login_timeout &&
         a.half_open_max == b.half_open_max && a.failures_before_lockout == b.failures_before_lockout &&
         a.lockout == b.lockout;
}

bool same_cluster(const std::optional<ClusterConfig>& a, const std::optional<ClusterConfig>& b) {
  if (a.has_value() != b.has_value()) return false;
  return !a || (a->name == b->name && a->self == b->self && a->fingerprint == b->fingerprint);
}

bool same_account(const Account& a, const Account& b) {
  return a.user == b.user && a.secret == b.secret;
}

bool same_authentication(const Authentication& a, const Authentication& b) {
  if (a.outgoing.has_value() != b.outgoing.has_value()) return false;
  if (a.outgoing && !same_account(*a.outgoing, *b.outgoing)) return false;
  return a.algorithms == b.algorithms && std::ranges::equal(a.incoming, b.incoming, same_account);
}

}  // namespace

bool ConfigPlan::empty() const {
  return units_added.empty() && units_removed.empty() && units_reopened.empty() && units_adjusted.empty() &&
         targets_added.empty() && targets_removed.empty() && targets_changed.empty() && !groups_changed &&
         !discovery_changed && cluster_made.empty() && !cluster_changed && !needs_restart;
}

std::vector<std::string> ConfigPlan::lines() const {
  std::vector<std::string> text;
  const auto each = [&text](const char* sign, const char* kind, const std::vector<std::string>& names,
                            const char* how = "") {
    for (const std::string& name : names) text.push_back(fmt::format("{} {} {}{}", sign, kind, name, how));
  };
  if (!cluster_made.empty()) text.push_back("+ cluster " + cluster_made);
  each("-", "target", targets_removed);
  each("-", "lu", units_removed);
  each("+", "lu", units_added);
  each("~", "lu", units_reopened, " (opened anew)");
  each("~", "lu", units_adjusted, " (in use)");
  each("+", "target", targets_added);
  each("~", "target", targets_changed);
  if (groups_changed) text.emplace_back("~ portal groups");
  if (discovery_changed) text.emplace_back("~ discovery");
  if (cluster_changed) text.emplace_back("! cluster changed: it takes effect at the next start");
  if (needs_restart) text.emplace_back("! global settings changed: they take effect at the next start");
  return text;
}

ConfigPlan make_plan(const TargetdConfig& before, const TargetdConfig& after) {
  ConfigPlan plan;
  for (const LuConfig& unit : after.units) {
    const LuConfig* old = find_named(before.units, unit.name);
    if (old == nullptr)
      plan.units_added.push_back(unit.name);
    else if (old->fingerprint == unit.fingerprint)
      continue;
    else if (only_adjusted(*old, unit))
      plan.units_adjusted.push_back(unit.name);
    else
      plan.units_reopened.push_back(unit.name);
  }
  for (const LuConfig& unit : before.units) {
    if (find_named(after.units, unit.name) == nullptr) plan.units_removed.push_back(unit.name);
  }
  for (const TargetConfig& target : after.targets) {
    const TargetConfig* old = find_named(before.targets, target.name);
    if (old == nullptr)
      plan.targets_added.push_back(target.name);
    else if (old->fingerprint != target.fingerprint)
      plan.targets_changed.push_back(target.name);
  }
  for (const TargetConfig& target : before.targets) {
    if (find_named(after.targets, target.name) == nullptr) plan.targets_removed.push_back(target.name);
  }
  plan.groups_changed = !same_groups(before.portal_groups, after.portal_groups);
  plan.discovery_changed = !same_authentication(before.discovery, after.discovery);
  // There is always a portal group once there is a configuration.
  const bool at_start = before.portal_groups.empty();
  if (at_start && after.cluster)
    plan.cluster_made =
        fmt::format("{}: this is node {}", after.cluster->name, mpath::replication::name(after.cluster->self));
  else
    plan.cluster_changed = !same_cluster(before.cluster, after.cluster);
  plan.needs_restart = before.shards != after.shards || !same_login(before.login, after.login);
  return plan;
}

std::vector<const PortalGroupConfig*> groups_of(const TargetdConfig& config, const TargetConfig& target) {
  std::vector<const PortalGroupConfig*> groups;
  for (const PortalGroupConfig& group : config.portal_groups) {
    const bool named = std::ranges::find(target.portal_groups, group.tag) != target.portal_groups.end();
    if (target.portal_groups.empty() || named) groups.push_back(&group);
  }
  return groups;
}

UnitPorts ports_of(const TargetdConfig& config, std::string_view unit) {
  UnitPorts result;
  for (const TargetConfig& target : config.targets) {
    const auto holds = [unit](const auto& lun) { return lun.second == unit; };
    if (std::ranges::none_of(target.luns, holds)) continue;
    for (const PortalGroupConfig* group : groups_of(config, target)) {
      result.ports.push_back({target.name, group->tag, group->relative_id, group->alua_group});
      auto place = std::ranges::find(result.groups, group->alua_group, &scsi::PortGroup::id);
      if (place == result.groups.end()) {
        result.groups.push_back({.id = group->alua_group, .supported = supported_states});
        place = result.groups.end() - 1;
      }
      if (std::ranges::find(place->ports, group->relative_id) == place->ports.end())
        place->ports.push_back(group->relative_id);
    }
  }
  std::ranges::sort(result.groups, {}, &scsi::PortGroup::id);
  std::ranges::sort(result.ports);
  return result;
}

}  // namespace mpath::target
