#include "base/exit_codes.hpp"

namespace mpath {

const char* exit_text(ExitCode code) {
  switch (code) {
    case ExitCode::success: return "success";
    case ExitCode::generic: return "unknown error";
    case ExitCode::session_not_found: return "session not found";
    case ExitCode::no_memory: return "no available memory";
    case ExitCode::connection_failure: return "encountered connection failure";
    case ExitCode::login_failure: return "encountered iSCSI login failure";
    case ExitCode::database_failure: return "encountered iSCSI database failure";
    case ExitCode::invalid_argument: return "invalid parameter";
    case ExitCode::connect_timeout: return "connection timed out";
    case ExitCode::internal: return "internal error";
    case ExitCode::logout_failure: return "encountered iSCSI logout failure";
    case ExitCode::pdu_timeout: return "iSCSI PDU timed out";
    case ExitCode::transport_missing: return "iSCSI transport not found";
    case ExitCode::access_denied: return "daemon access denied";
    case ExitCode::transport_lacks_capability: return "iSCSI transport does not support requested capability";
    case ExitCode::session_exists: return "session exists";
    case ExitCode::bad_management_request: return "unknown request";
    case ExitCode::isns_unavailable: return "encountered iSNS failure";
    case ExitCode::daemon_io_error: return "could not communicate to mpathd";
    case ExitCode::non_retryable_login: return "encountered non-retryable iSCSI login failure";
    case ExitCode::daemon_unreachable: return "could not connect to mpathd";
    case ExitCode::no_objects_found: return "no objects found";
    case ExitCode::sysfs_lookup: return "sysfs lookup failure";
    case ExitCode::host_not_found: return "host not found";
    case ExitCode::authorization_failure: return "iSCSI login failed due to authorization failure";
    case ExitCode::isns_query_failed: return "iSNS query failed";
    case ExitCode::isns_registration_failed: return "iSNS registration failed";
    case ExitCode::not_supported: return "operation not supported";
    case ExitCode::busy: return "device or resource in use";
    case ExitCode::try_again: return "retryable error";
    case ExitCode::unknown_discovery_type: return "unknown discovery type";
    case ExitCode::child_terminated: return "child process terminated";
    case ExitCode::session_not_connected: return "session likely not connected";
    case ExitCode::daemon_timeout: return "mpathd did not answer in time";
  }
  return "unknown error";  // a number from a peer that is newer than this table
}

}  // namespace mpath
