// iscsiadm's exit codes, which scripts know; also the codes of control replies. Never renumber.
#pragma once

namespace mpath {

enum class ExitCode : int {
  success = 0,
  generic = 1,
  session_not_found = 2,
  no_memory = 3,
  connection_failure = 4,
  login_failure = 5,
  database_failure = 6,
  invalid_argument = 7,
  connect_timeout = 8,
  internal = 9,
  logout_failure = 10,
  pdu_timeout = 11,
  transport_missing = 12,
  access_denied = 13,
  transport_lacks_capability = 14,
  session_exists = 15,
  bad_management_request = 16,
  isns_unavailable = 17,
  daemon_io_error = 18,
  non_retryable_login = 19,
  daemon_unreachable = 20,
  no_objects_found = 21,
  sysfs_lookup = 22,
  host_not_found = 23,
  authorization_failure = 24,
  isns_query_failed = 25,
  isns_registration_failed = 26,
  not_supported = 27,
  busy = 28,
  try_again = 29,
  unknown_discovery_type = 30,
  child_terminated = 31,
  session_not_connected = 32,
  daemon_timeout = 33,
};

// The words iscsiadm prints in "initiator reported error (N - text)".
[[nodiscard]] const char* exit_text(ExitCode code);

}  // namespace mpath
