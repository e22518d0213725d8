#include "target/iscsi/send_targets.hpp"

#include <algorithm>
#include <optional>

#include "target/iscsi/ip_address.hpp"
#include "wire/iscsi_keys.hpp"

namespace mpath::target {
namespace {

constexpr std::string_view all_targets = "All";
constexpr std::string_view key_send_targets = "SendTargets";

// The portal as the asker can reach it; nothing when we cannot tell.
std::optional<iscsi::TargetAddress> reachable(const iscsi::TargetAddress& portal, const PortalGroupView& group,
                                              const iscsi::TargetAddress& came_to) {
  iscsi::TargetAddress shown{.host = portal.host, .port = portal.port, .portal_group = group.tag};
  const auto address = parse_ip_address(portal.host);
  if (!address || !address->is_any()) return shown;
  const auto ours = parse_ip_address(came_to.host);
  if (group.peer || !ours || ours->is_v4() != address->is_v4()) return std::nullopt;
  shown.host = came_to.host;
  return shown;
}

iscsi::DiscoveredTarget describe(const TargetView& target, const iscsi::TargetAddress& came_to) {
  iscsi::DiscoveredTarget described{.name = target.name};
  for (const PortalGroupView& group : target.groups) {
    for (const iscsi::TargetAddress& portal : group.portals) {
      const auto shown = reachable(portal, group, came_to);
      if (shown && std::ranges::find(described.addresses, *shown) == described.addresses.end()) {
        described.addresses.push_back(*shown);
      }
    }
  }
  return described;
}

}  // namespace

iscsi::KeyValues answer_send_targets(std::string_view value, const TargetsView& targets,
                                     const SendTargetsAsker& asker) {
  const bool normal = asker.logged_in != nullptr;
  if ((normal && value == all_targets) || (!normal && value.empty())) {
    return {{.key = std::string(key_send_targets), .value = std::string(iscsi::reply_reject)}};
  }
  const auto asked_for = [&](const TargetView& target) {
    if (normal) return target.name == asker.logged_in->name && (value.empty() || value == target.name);
    return value == all_targets || value == target.name;
  };
  std::vector<iscsi::DiscoveredTarget> shown;
  for (const auto& target : targets.targets) {
    if (!asked_for(*target) || !target->access.allows(asker.initiator, asker.address)) continue;
    // Without an address an initiator would take it to be here, where it is not.
    if (auto described = describe(*target, asker.came_to); !described.addresses.empty()) {
      shown.push_back(std::move(described));
    }
  }
  return iscsi::format_send_targets(shown);
}

}  // namespace mpath::target
