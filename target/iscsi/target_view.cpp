#include "target/iscsi/target_view.hpp"

#include <algorithm>

#include "target/iscsi/ip_address.hpp"

namespace mpath::target {
namespace {

bool matches_name(std::string_view pattern, std::string_view name) {
  if (pattern.ends_with('*')) return name.starts_with(pattern.substr(0, pattern.size() - 1));
  return pattern == name;
}

enum class Match : std::uint8_t { none, any, exact };

Match match(const iscsi::TargetAddress& portal, const IpAddress& address, std::uint16_t port) {
  const auto own = parse_ip_address(portal.host);
  if (!own || portal.port != port) return Match::none;
  if (*own == address) return Match::exact;
  return own->is_any() && own->is_v4() == address.is_v4() ? Match::any : Match::none;
}

}  // namespace

bool AccessList::allows(std::string_view initiator, std::string_view address) const {
  const auto named = [&](const std::string& pattern) { return matches_name(pattern, initiator); };
  if (!initiators.empty() && std::ranges::none_of(initiators, named)) return false;
  if (addresses.empty()) return true;
  const auto from = parse_ip_address(address);
  if (!from) return false;
  return std::ranges::any_of(addresses, [&](const std::string& text) {
    const auto prefix = parse_ip_prefix(text);
    return prefix && prefix->holds(*from);
  });
}

const LunEntry* TargetView::find(scsi::Lun lun) const {
  const auto found = std::ranges::find(luns, lun.value, [](const LunEntry& entry) { return entry.lun.value; });
  return found == luns.end() ? nullptr : &*found;
}

const PortalGroupView* TargetView::group(std::uint16_t tag) const {
  const auto found = std::ranges::find(groups, tag, &PortalGroupView::tag);
  return found == groups.end() ? nullptr : &*found;
}

const PortalGroupView* TargetView::group_at(std::string_view host, std::uint16_t port) const {
  const auto address = parse_ip_address(host);
  if (!address) return nullptr;
  const PortalGroupView* found = nullptr;
  for (const PortalGroupView& candidate : groups) {
    if (candidate.peer) continue;
    for (const iscsi::TargetAddress& portal : candidate.portals) {
      const Match how = match(portal, *address, port);
      if (how == Match::exact) return &candidate;
      if (how == Match::any && found == nullptr) found = &candidate;
    }
  }
  return found;
}

std::shared_ptr<const TargetView> TargetsView::find(std::string_view name) const {
  const auto found = std::ranges::find_if(targets, [&](const auto& target) { return target->name == name; });
  return found == targets.end() ? nullptr : *found;
}

}  // namespace mpath::target
