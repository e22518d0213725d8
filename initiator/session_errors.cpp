#include "initiator/session_errors.hpp"

namespace mpath {

ExitCode exit_code_of(SessionEnd end) {
  switch (end) {
    case SessionEnd::link_down:
    case SessionEnd::bind_failed:
    case SessionEnd::connect_failed:
    case SessionEnd::peer_closed: return ExitCode::connection_failure;
    case SessionEnd::connect_timeout:
    case SessionEnd::login_timeout: return ExitCode::connect_timeout;
    case SessionEnd::login_rejected: return ExitCode::non_retryable_login;
    case SessionEnd::auth_failed: return ExitCode::authorization_failure;
    case SessionEnd::nop_timeout:
    case SessionEnd::task_timeout: return ExitCode::pdu_timeout;
    case SessionEnd::logged_out:
    case SessionEnd::target_unavailable:
    case SessionEnd::redirect_failed:
    case SessionEnd::protocol_error:
    case SessionEnd::asked_to_leave:
    case SessionEnd::aborted: return ExitCode::login_failure;
  }
  return ExitCode::login_failure;
}

}  // namespace mpath
