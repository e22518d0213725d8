// The libiscsi engine behind Session (ARCHITECTURE, "Sessions").
//
// What it does for itself, because the library cannot or must not: deadlines in ms, the limit in flight (tasks_max, and
// three quarters of the widest window seen, and never past MaxCmdSN), immediate NOP-Out, byte counts, sense and status,
// bounds and order of Data-In and R2T, async messages, login status and keys, binding, redirects, reset on abort.
// What it cannot do: data digests, CHAP other than MD5, more than one connection, LUNs above 16383.
#pragma once

#include "initiator/session.hpp"

namespace mpath {

[[nodiscard]] std::unique_ptr<Session> make_libiscsi_session(Shard& shard, SessionConfig config, SessionListener& listener);

}  // namespace mpath
