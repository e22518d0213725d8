// Listings as iscsiadm prints them, byte for byte, and as JSON. Pure: records in, text out.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "db/records.hpp"
#include "initiator/session_report.hpp"

namespace mpath::adm {

// "192.0.2.1:3260", "[2001:db8::1]:3260"
[[nodiscard]] std::string portal_text(std::string_view address, std::uint16_t port);

// An unknown portal group shows as 65535 in node mode and as -1 in discovery; scripts know both.
enum class UnknownGroup : std::uint8_t { as_65535, as_minus_one };
[[nodiscard]] std::string nodes_flat(std::span<const db::NodeKey> nodes, UnknownGroup unknown);  // one line a portal
// iscsiadm has three trees of nodes, which differ in their repeated lines.
enum class TreeStyle : std::uint8_t {
  node,       // every record has its Portal and its Iface Name
  discovery,  // a Portal once, with the Iface Names under it
  iface,      // below an "Iface:" line: one tab deeper, no Iface Name
};
[[nodiscard]] std::string nodes_tree(std::span<const db::NodeKey> nodes, TreeStyle style);

[[nodiscard]] std::string node_added(const db::NodeKey& key, const db::Settings& iface);

[[nodiscard]] std::string ifaces_flat(std::span<const db::IfaceRecord> ifaces);
[[nodiscard]] std::string ifaces_tree(std::span<const db::IfaceRecord> ifaces, std::span<const db::NodeKey> nodes);

[[nodiscard]] std::string discoveries_flat(std::span<const db::DiscoveryRecord> records);
// `nodes` are all of the store: those that no discovery found are the STATIC ones.
[[nodiscard]] std::string discoveries_tree(std::span<const db::DiscoveryRecord> records, std::span<const db::NodeKey> nodes);

// Passwords of a session's record, asked for only with -S.
struct Secrets {
  std::string password;
  std::string password_in;
};
using SecretsOf = std::function<Secrets(const db::NodeKey&)>;  // empty: ********

[[nodiscard]] std::string sessions_flat(std::span<const SessionReport> sessions);
[[nodiscard]] std::string sessions_tree(std::span<const SessionReport> sessions, int level, std::string_view version,
                                        const SecretsOf& secrets = {});
[[nodiscard]] std::string session_stats(const SessionReport& session);

// "[iface: default, target: iqn..., portal: 192.0.2.1,3260]" and "[sid: 1, target: iqn..., portal: 192.0.2.1,3260]"
[[nodiscard]] std::string node_brackets(const db::NodeKey& key);
[[nodiscard]] std::string session_brackets(unsigned sid, const db::NodeKey& key);

// A record with its settings; secrets masked unless `show_secrets`.
[[nodiscard]] nlohmann::json settings_json(const db::Settings& settings, bool show_secrets);
[[nodiscard]] std::string json_text(const nlohmann::json& json);  // indented, newline at the end

}  // namespace mpath::adm
