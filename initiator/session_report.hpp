// What the daemon tells of one session: an element of session.list's answer, and its form in JSON.
//
// Field names in JSON are part of the control protocol and of `mpathadm --json`: never rename, only add.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "db/records.hpp"
#include "initiator/session.hpp"

namespace mpath {

// One logical unit of a session as `-m session -P 3` shows it.
struct AttachedDevice {
  std::uint64_t lun = 0;
  std::string name;               // of the path, for example sda; empty: no disk
  std::string state = "running";  // the word after "State:"
};

enum class SessionPhase : std::uint8_t {
  preparing,   // no nexus yet: its NIC is missing or its host name does not resolve
  connecting,  // first login, or a new one
  logged_in,
  waiting,     // between two logins
  stopping,    // logging out
};

struct SessionTimeouts {  // seconds, as the node record says
  int recovery = 120;
  int target_reset = 30;
  int lun_reset = 30;
  int abort = 15;
};

struct SessionReport {
  unsigned sid = 0;
  db::NodeKey node;                  // address as recorded: the persistent portal
  SessionPhase phase = SessionPhase::preparing;
  bool established = false;          // logged in once at least: what iscsiadm calls a session
  std::string current_address;       // numeric; empty before the first connection
  std::string initiator_name;
  std::string transport = "tcp";
  std::string hwaddress;             // of the iface record
  std::string net_ifacename;         // of the iface record
  SessionTimeouts timeouts;
  std::string chap_name;
  std::string chap_in_name;
  SessionInfo info;                  // valid while logged in
  SessionCounters counters;
  std::uint64_t logins = 0;
  std::string last_failure;          // one line; empty: none yet
  std::vector<AttachedDevice> devices;
};

[[nodiscard]] std::string_view to_word(SessionPhase phase);

[[nodiscard]] nlohmann::json to_json(const db::NodeKey& key);
[[nodiscard]] nlohmann::json to_json(const SessionCounters& counters);
[[nodiscard]] nlohmann::json to_json(const SessionReport& report);
// EPROTO when a field is missing or of another type.
[[nodiscard]] Result<db::NodeKey> node_key_from_json(const nlohmann::json& json);
[[nodiscard]] Result<SessionReport> session_report_from_json(const nlohmann::json& json);

}  // namespace mpath
