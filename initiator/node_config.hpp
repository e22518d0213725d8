// From a node record's settings to what a session needs. Pure.
//
// What becomes of the time settings:
//   node.conn[0].timeo.login_timeout     login_timeout; connect_timeout too where it is the shorter one
//   node.conn[0].timeo.logout_timeout    logout_timeout
//   node.conn[0].timeo.auth_timeout      part of login_timeout
//   node.conn[0].timeo.noop_out_interval nop_interval: how often an idle session is asked
//   node.conn[0].timeo.noop_out_timeout  5 (the default): silence is noticed after 500 ms and ends the session 700 ms later.
//                                        Any other value: that many seconds altogether. Both settings 0: not watched
//   node.session.reopen_max              attempts_max of the background logins
//   node.session.initial_login_retry_max kept; a login by hand is tried once, in the background it is tried for ever
//   node.session.timeo.replacement_timeout, node.session.err_timeo.*
//                                        shown only: a lost session's commands go to another path at once, and how long a
//                                        map without paths queues is its no_path_retry
#pragma once

#include <expected>
#include <string>

#include "db/records.hpp"
#include "ifaces/binding.hpp"
#include "initiator/reconnect_policy.hpp"
#include "initiator/session.hpp"
#include "initiator/session_report.hpp"

namespace mpath {

struct NodeConfig {
  SessionConfig session;
  ReconnectPolicy reconnect;
  SessionTimeouts timeouts;
};

// What a record does not know of itself.
struct NodeSurroundings {
  std::string initiator_name;  // of initiatorname.iscsi; an iface's own goes before it
  std::string address;         // numeric form of the record's address
  Binding binding;             // of its iface
  unsigned index = 0;          // which of the record's nr_sessions
  std::string instance;        // which mpathd of this machine; empty: the usual one
};

// The session of `record`, or one line that says which setting cannot be met.
[[nodiscard]] std::expected<NodeConfig, std::string> node_config(const db::NodeRecord& record, const NodeSurroundings& around);

// node.session.nr_sessions, at least 1.
[[nodiscard]] unsigned sessions_wanted(const db::NodeRecord& record);

// True when node.startup or node.conn[0].startup is `word`.
[[nodiscard]] bool has_startup(const db::NodeRecord& record, std::string_view word);

// The initiator port of this path (RFC 7143, 11.12.5: type 10b, random): the same for the same record at every login and
// after every restart, so that a login ends what an earlier one left; different for every other path, and for every other
// mpathd of this machine, so that two with the same record do not end each other's sessions.
[[nodiscard]] Isid isid_of(const db::NodeKey& key, unsigned index, const std::string& instance = {});

}  // namespace mpath
