// Section `portal_group`, and addresses as people write them.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>

#include "target/config/config_builder.hpp"

namespace mpath::target {
namespace {

constexpr std::size_t portals_of_group_max = 64;

bool is_any(const std::string& address) {
  return address == "0.0.0.0" || address == "::";
}
bool is_v6(const std::string& address) {
  return address.find(':') != address.npos;
}

// Two sockets that cannot both listen.
bool overlap(const Portal& a, const Portal& b) {
  if (a.port != b.port || a.port == 0 || is_v6(a.address) != is_v6(b.address)) return false;
  return a.address == b.address || is_any(a.address) || is_any(b.address);
}

}  // namespace

std::expected<Portal, std::string> parse_portal(std::string_view text, std::uint16_t default_port) {
  const auto wrong = std::unexpected(fmt::format("\"{}\" is no ADDRESS[:PORT] (numeric, IPv6 in brackets)", text));
  const bool bracket = text.starts_with('[');
  const std::size_t end = std::min(text.find(bracket ? ']' : ':'), text.size());
  if (bracket && end == text.size()) return wrong;
  Portal portal{.address = std::string(text.substr(bracket, end - bracket)), .port = default_port};
  const std::string_view rest = text.substr(std::min(end + bracket, text.size()));
  unsigned char bytes[16];
  if (::inet_pton(bracket ? AF_INET6 : AF_INET, portal.address.c_str(), bytes) != 1) return wrong;
  if (rest.empty()) return portal;
  // Port 0 is any that is free: for tests, and for mptargetd --port 0.
  const auto port = rest.front() == ':' ? parse_integer(rest.substr(1), 0, 65535) : std::unexpected(std::string());
  if (!port) return wrong;
  portal.port = static_cast<std::uint16_t>(*port);
  return portal;
}

std::string format_portal(const Portal& portal) {
  return is_v6(portal.address) ? fmt::format("[{}]:{}", portal.address, portal.port)
                               : fmt::format("{}:{}", portal.address, portal.port);
}

void ConfigBuilder::build_group(const Item& item) {
  const SettingValues& values = values_of(item);
  const auto tag = parse_integer(item.section.label, 1, 65535);
  if (!tag) return complain(item.section.origin, fmt::format("portal_group {}: {}", item.section.label, tag.error()));
  PortalGroupConfig group{.tag = static_cast<std::uint16_t>(*tag), .origin = item.section.origin};
  group.managed = result_.objects[item.object].managed;
  group.peer = values.yes_no("peer");
  take_node(values, group);
  const auto number = [&](const char* key) {
    return values.is_set(key) ? static_cast<std::uint16_t>(values.integer(key)) : group.tag;
  };
  group.alua_group = number("alua_group");
  group.relative_id = number("relative_id");
  for (const ConfigEntry& entry : item.section.entries) {
    if (entry.key != "portal") continue;
    auto portal = parse_portal(entry.value);
    if (!portal) {
      complain(entry.origin, portal.error());
      continue;
    }
    portal->moving = group.is_virtual;
    if (!group.peer) claim(*portal, group.tag, entry.origin);
    group.portals.push_back(*portal);
  }
  if (group.portals.empty()) complain(group.origin, fmt::format("portal_group {} has no portal", group.tag));
  if (group.portals.size() > portals_of_group_max)
    complain(group.origin, fmt::format("more than {} portals in a group", portals_of_group_max));
  for (const PortalGroupConfig& other : result_.config.portal_groups) {
    if (other.relative_id == group.relative_id)
      complain(group.origin, fmt::format("portal_group {} has relative_id {} too ({})", other.tag, group.relative_id,
                                         other.origin.text()));
  }
  group.fingerprint = fingerprint(values);
  result_.config.portal_groups.push_back(std::move(group));
}

void ConfigBuilder::claim(const Portal& portal, std::uint16_t tag, const Origin& origin) {
  for (const Claim& other : claims_) {
    if (overlap(other.portal, portal))
      complain(origin, fmt::format("portal {} of group {} overlaps {} ({})", format_portal(portal), tag,
                                   format_portal(other.portal), other.origin.text()));
  }
  claims_.push_back({portal, origin});
}

}  // namespace mpath::target
