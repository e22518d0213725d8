#include "target/mptargetctl_print.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/units.hpp"

namespace mpath::target {
namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

std::string columns(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t at = 0; at < row.size(); ++at) widths[at] = std::max(widths[at], row[at].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t at = 0; at < row.size(); ++at) line += fmt::format("{:<{}}  ", row[at], widths[at]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string text_of(const json& object, const char* key) {
  return object.value(key, std::string());
}
const char* yes_no(const json& object, const char* key) {
  return object.value(key, false) ? "Yes" : "No";
}
std::string number(const json& object, const char* key) {
  return std::to_string(object.value(key, std::uint64_t{0}));
}

std::string or_dash(std::string text) {
  return text.empty() ? "-" : text;
}

// Without its port.
std::string host(const std::string& remote) {
  return remote.substr(0, remote.rfind(':'));
}

std::string nexus_text(const json& nexus) {
  std::string text =
      fmt::format("        I_T nexus: {}\n            Initiator: {} alias: {}\n", number(nexus, "sid"),
                  text_of(nexus, "initiator"), text_of(nexus, "alias").empty() ? "none" : text_of(nexus, "alias"));
  for (const json& connection : nexus.at("connections"))
    text += fmt::format("            Connection: {}\n                IP Address: {}\n", number(connection, "cid"),
                        host(text_of(connection, "remote")));
  return text;
}

std::string lun_text(const json& lun) {
  const auto size = lun.value("size", std::uint64_t{0});
  std::string text = fmt::format("        LUN: {}\n", number(lun, "lun"));
  const auto line = [&text](const char* name, const std::string& value) {
    text += fmt::format("            {}: {}\n", name, value);
  };
  line("Type", "disk");
  line("SCSI ID", text_of(lun, "scsi_id"));
  line("SCSI SN", text_of(lun, "scsi_sn"));
  line("Size", fmt::format("{} MB, Block size: {}", (size + 500'000) / 1'000'000, number(lun, "block_size")));
  line("Online", yes_no(lun, "online"));
  line("Removable media", yes_no(lun, "removable"));
  line("Readonly", yes_no(lun, "read_only"));
  line("Thin-provisioning", yes_no(lun, "thin"));
  line("Backing store type", text_of(lun, "store"));
  line("Backing store path", text_of(lun, "path").empty() ? "None" : text_of(lun, "path"));
  line("Name", text_of(lun, "name"));
  if (!text_of(lun, "trouble").empty()) line("Trouble", text_of(lun, "trouble"));
  return text;
}

}  // namespace

std::string targets_text(const json& answer) {
  std::string text;
  for (const json& target : answer.at("targets")) {
    text +=
        fmt::format("Target {}: {}\n    System information:\n        Driver: {}\n        State: {}\n",
                    number(target, "id"), text_of(target, "name"), text_of(target, "driver"), text_of(target, "state"));
    text += "    I_T nexus information:\n";
    for (const json& nexus : target.at("nexuses")) text += nexus_text(nexus);
    text += "    LUN information:\n";
    for (const json& lun : target.at("luns")) text += lun_text(lun);
    text += "    Account information:\n";
    for (const json& account : target.at("accounts"))
      text += fmt::format("        {}{}\n", text_of(account, "user"),
                          account.value("outgoing", false) ? " (outgoing)" : "");
    text += "    ACL information:\n";
    for (const json& entry : target.at("acl")) text += fmt::format("        {}\n", entry.get<std::string>());
    if (target.at("acl").empty()) text += "        ALL\n";
  }
  return text;
}

std::string sessions_text(const json& answer) {
  std::vector<Row> rows{{"SID", "TARGET", "INITIATOR", "FROM", "TPGT", "SHARD", "COMMANDS", "READ", "WRITTEN"}};
  for (const json& session : answer.at("sessions")) {
    std::string from;
    for (const json& connection : session.at("connections"))
      from += (from.empty() ? "" : ",") + text_of(connection, "remote");
    rows.push_back(
        {number(session, "sid"), text_of(session, "type") == "discovery" ? "(discovery)" : text_of(session, "target"),
         text_of(session, "initiator"), or_dash(from), number(session, "portal_group"), number(session, "shard"),
         number(session, "commands"), number(session, "data_in_bytes"), number(session, "data_out_bytes")});
  }
  return rows.size() == 1 ? "" : columns(rows);
}

std::string reservations_text(const json& answer) {
  std::string text;
  for (const json& unit : answer.at("reservations")) {
    text += fmt::format("lu {}: generation {}{}\n", text_of(unit, "lu"), number(unit, "generation"),
                        unit.value("persist", false) ? ", kept over power loss" : "");
    for (const json& each : unit.at("registrations"))
      text += fmt::format("  registered {} {} isid {} on {},{}\n", text_of(each, "key"), text_of(each, "initiator"),
                          text_of(each, "isid"), text_of(each, "target"), number(each, "portal_group"));
    if (unit.contains("held")) {
      const json& held = unit.at("held");
      text += fmt::format("  reserved {} {}{}\n", text_of(held, "key"), text_of(held, "type"),
                          held.contains("holder") ? " by " + text_of(held.at("holder"), "initiator") : "");
    }
    if (unit.contains("reserved_by"))
      text += fmt::format("  RESERVE by {}\n", text_of(unit.at("reserved_by"), "initiator"));
  }
  return text;
}

std::string units_text(const json& answer) {
  std::vector<Row> rows{{"LU", "STATE", "SIZE", "USED", "STORE", "PATH", "SHARD", "READS", "WRITES", "ERRORS", "NOTE"}};
  for (const json& unit : answer.at("lus")) {
    std::string note = text_of(unit, "trouble");
    if (!text_of(unit, "drill").empty()) note += (note.empty() ? "drill " : "; drill ") + text_of(unit, "drill");
    rows.push_back({text_of(unit, "name"), unit.value("online", false) ? "online" : "offline",
                    format_size(unit.value("size", std::uint64_t{0})),
                    format_size(unit.value("allocated", std::uint64_t{0})), text_of(unit, "store"),
                    or_dash(text_of(unit, "path")), number(unit, "shard"), number(unit, "reads"),
                    number(unit, "writes"), number(unit, "errors"), note});
  }
  return rows.size() == 1 ? "" : columns(rows);
}

std::string portals_text(const json& answer) {
  std::vector<Row> rows{{"TAG", "PORTALS", "ALUA", "WHERE", "FROM"}};
  for (const json& group : answer.at("portal_groups")) {
    std::string portals;
    for (const json& portal : group.at("portals")) portals += (portals.empty() ? "" : ",") + portal.get<std::string>();
    rows.push_back({number(group, "tag"), portals, number(group, "alua_group"),
                    group.value("peer", false) ? "peer" : "here", text_of(group, "origin")});
  }
  std::string listening;
  for (const json& portal : answer.at("listening")) listening += " " + portal.get<std::string>();
  return columns(rows) + "listening on" + listening + "\n";
}

std::string accounts_text(const json& answer) {
  std::vector<Row> rows{{"USER", "FROM"}};
  for (const json& account : answer.at("accounts"))
    rows.push_back({text_of(account, "user"), text_of(account, "origin")});
  return rows.size() == 1 ? "" : columns(rows);
}

}  // namespace mpath::target
