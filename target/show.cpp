#include "target/show.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "target/config/parse.hpp"

namespace mpath::target {
namespace {

using nlohmann::json;

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

template <typename Isid>
std::string isid_text(const Isid& isid) {
  std::string text;
  for (const auto byte : isid) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

const char* kind_name(StoreKind kind) {
  switch (kind) {
    case StoreKind::file:
      return "file";
    case StoreKind::block:
      return "block";
    case StoreKind::ram:
      return "ram";
    case StoreKind::null:
      return "null";
  }
  return "";
}

const char* type_name(ReservationType type) {
  switch (type) {
    case ReservationType::write_exclusive:
      return "Write Exclusive";
    case ReservationType::exclusive_access:
      return "Exclusive Access";
    case ReservationType::write_exclusive_registrants_only:
      return "Write Exclusive, registrants only";
    case ReservationType::exclusive_access_registrants_only:
      return "Exclusive Access, registrants only";
    case ReservationType::write_exclusive_all_registrants:
      return "Write Exclusive, all registrants";
    case ReservationType::exclusive_access_all_registrants:
      return "Exclusive Access, all registrants";
  }
  return "unknown";
}

json unit_json(const UnitReport& unit) {
  const LuConfig& config = unit.config;
  const bool known = unit.uuid != Uuid{};
  json shown{{"name", config.name},
             {"type", "disk"},
             {"online", unit.status.has_value() && unit.status->online},
             {"removable", config.unit.removable},
             {"read_only", config.unit.read_only},
             {"thin", config.unit.thin},
             {"store", kind_name(config.store.kind)},
             {"path", config.store.path},
             {"block_size", config.store.block_bytes},
             {"shard", unit.shard},
             {"trouble", unit.trouble},
             {"managed", config.managed},
             {"origin", config.origin.text()},
             {"uuid", known ? format_uuid(unit.uuid) : ""},
             {"scsi_id", known ? "naa." + hex(naa6(unit.uuid)) : ""},
             {"scsi_sn", known ? serial_number(unit.uuid) : ""},
             {"size", config.store.size_bytes}};
  if (!unit.status) return shown;
  const LuStatus& status = *unit.status;
  shown["size"] = status.size_bytes;
  shown["block_size"] = status.block_bytes;
  if (!status.trouble.empty()) shown["trouble"] = status.trouble;
  shown["engine"] = unit.engine;
  shown["drill"] = unit.drill;
  shown["drill_report"] = unit.drill_report;
  shown["allocated"] = unit.allocated_bytes;
  shown["available"] = unit.available_bytes;
  shown["nexuses"] = status.nexuses.size();
  shown["reads"] = status.reads;
  shown["writes"] = status.writes;
  shown["read_bytes"] = status.read_bytes;
  shown["write_bytes"] = status.write_bytes;
  shown["errors"] = status.errors;
  shown["alua"] = json::object();
  for (const auto& [group, state] : status.state.access) shown["alua"][std::to_string(group)] = scsi::name(state);
  return shown;
}

json session_json(const SessionStatus& session) {
  json connections = json::array();
  for (const ConnectionStatus& connection : session.connections) {
    connections.push_back({{"cid", connection.cid},
                           {"remote", connection.remote},
                           {"local", connection.local},
                           {"header_digest", connection.header_digest},
                           {"data_digest", connection.data_digest}});
  }
  const iscsi::Parameters& agreed = session.parameters;
  return {{"sid", session.sid},
          {"tsih", session.tsih},
          {"type", session.discovery ? "discovery" : "normal"},
          {"target", session.target},
          {"portal_group", session.portal_group},
          {"initiator", session.initiator_name},
          {"alias", session.initiator_alias},
          {"user", session.user},
          {"isid", isid_text(session.isid)},
          {"shard", session.shard},
          {"connections", std::move(connections)},
          {"commands", session.commands},
          {"data_in_bytes", session.data_in_bytes},
          {"data_out_bytes", session.data_out_bytes},
          {"digest_errors", session.digest_errors},
          {"protocol_errors", session.protocol_errors},
          {"parameters",
           {{"MaxConnections", agreed.max_connections},
            {"InitialR2T", agreed.initial_r2t},
            {"ImmediateData", agreed.immediate_data},
            {"MaxRecvDataSegmentLength", agreed.receive_segment_max},
            {"MaxXmitDataSegmentLength", agreed.send_segment_max},
            {"MaxBurstLength", agreed.max_burst},
            {"FirstBurstLength", agreed.first_burst},
            {"MaxOutstandingR2T", agreed.max_outstanding_r2t},
            {"ErrorRecoveryLevel", agreed.error_recovery_level}}}};
}

json registration_json(const Registration& registration) {
  return {{"initiator", registration.initiator.name},
          {"isid", isid_text(registration.initiator.isid)},
          {"target", registration.target.target},
          {"portal_group", registration.target.portal_group},
          {"key", fmt::format("0x{:016x}", registration.key)}};
}

json acl_json(const AccessList& access) {
  json list = json::array();
  for (const std::string& name : access.initiators) list.push_back(name);
  for (const std::string& address : access.addresses) list.push_back(address);
  return list;
}

}  // namespace

json targets_json(const TargetdConfig& config, std::span<const UnitReport> units,
                  std::span<const SessionStatus> sessions) {
  json all = json::array();
  for (const TargetConfig& target : config.targets) {
    json shown{{"id", all.size() + 1},           {"name", target.name},
               {"alias", target.alias},          {"driver", "iscsi"},
               {"origin", target.origin.text()}, {"managed", target.managed},
               {"nexuses", json::array()},       {"luns", json::array()},
               {"accounts", json::array()},      {"portal_groups", json::array()},
               {"acl", acl_json(target.access)}};
    for (const SessionStatus& session : sessions) {
      if (!session.discovery && session.target == target.name) shown["nexuses"].push_back(session_json(session));
    }
    bool any_online = target.luns.empty();
    for (const auto& [lun, name] : target.luns) {
      const auto unit =
          std::ranges::find_if(units, [&name](const UnitReport& each) { return each.config.name == name; });
      json entry = unit != units.end() ? unit_json(*unit) : json{{"name", name}, {"online", false}};
      entry["lun"] = lun;
      any_online = any_online || entry["online"].get<bool>();
      shown["luns"].push_back(std::move(entry));
    }
    shown["state"] = any_online ? "ready" : "offline";
    for (const Account& account : target.authentication.incoming)
      shown["accounts"].push_back({{"user", account.user}, {"outgoing", false}});
    if (target.authentication.outgoing)
      shown["accounts"].push_back({{"user", target.authentication.outgoing->user}, {"outgoing", true}});
    for (const std::uint16_t tag : target.portal_groups) shown["portal_groups"].push_back(tag);
    all.push_back(std::move(shown));
  }
  return {{"targets", std::move(all)}};
}

json sessions_json(std::span<const SessionStatus> sessions) {
  json all = json::array();
  for (const SessionStatus& session : sessions) all.push_back(session_json(session));
  return {{"sessions", std::move(all)}};
}

json units_json(std::span<const UnitReport> units) {
  json all = json::array();
  for (const UnitReport& unit : units) all.push_back(unit_json(unit));
  return {{"lus", std::move(all)}};
}

json reservations_json(std::span<const UnitReport> units) {
  json all = json::array();
  for (const UnitReport& unit : units) {
    if (!unit.status) continue;
    const Reservations& reservations = unit.status->state.reservations;
    if (reservations.registrations.empty() && !reservations.held && !reservations.reserved) continue;
    json shown{{"lu", unit.config.name},
               {"generation", reservations.generation},
               {"persist", reservations.persist},
               {"registrations", json::array()}};
    for (const Registration& each : reservations.registrations)
      shown["registrations"].push_back(registration_json(each));
    if (reservations.held) {
      shown["held"] = {{"type", type_name(reservations.held->type)},
                       {"key", fmt::format("0x{:016x}", reservations.held->key)}};
      if (reservations.held->holder) shown["held"]["holder"] = registration_json(*reservations.held->holder);
    }
    if (reservations.reserved) {
      shown["reserved_by"] = {{"initiator", reservations.reserved->initiator.name},
                              {"isid", isid_text(reservations.reserved->initiator.isid)}};
    }
    all.push_back(std::move(shown));
  }
  return {{"reservations", std::move(all)}};
}

json portals_json(const TargetdConfig& config, std::span<const Portal> listening) {
  json all = json::array();
  for (const PortalGroupConfig& group : config.portal_groups) {
    json portals = json::array();
    for (const Portal& portal : group.portals) portals.push_back(format_portal(portal));
    all.push_back({{"tag", group.tag},
                   {"portals", std::move(portals)},
                   {"peer", group.peer},
                   {"alua_group", group.alua_group},
                   {"relative_id", group.relative_id},
                   {"managed", group.managed},
                   {"origin", group.origin.text()}});
  }
  json open = json::array();
  for (const Portal& portal : listening) open.push_back(format_portal(portal));
  return {{"portal_groups", std::move(all)}, {"listening", std::move(open)}};
}

json accounts_json(const TargetdConfig& config) {
  json all = json::array();
  for (const AccountConfig& account : config.accounts)
    all.push_back({{"user", account.account.user}, {"managed", account.managed}, {"origin", account.origin.text()}});
  return {{"accounts", std::move(all)}};
}

}  // namespace mpath::target
