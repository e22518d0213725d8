// The control socket: one JSON object a line in each direction, with a version.
//
//   -> {"v":1,"verb":"session.list","args":{...}}
//   <- {"v":1,"ok":true,"result":{...}}
//   <- {"v":1,"ok":false,"error":{"code":21,"text":"no sessions"}}      codes are iscsiadm's (base/exit_codes.hpp)
//
// A connection carries any number of requests, answered in order. A server answers clients of its own version and older
// ones; a newer client gets error 27 and the server's version. Lines are at most line_bytes_max long.
//
// Verbs of mpathd (implemented by initiator/session_manager and mpathd/command):
//   daemon.status   {}                                -> {"pid","version","state"}
//   session.login   {"nodes":[KEY...],"wait":bool}    -> {"results":[{"node":KEY,"sid":N,"code":0,"text":""}...]}
//   session.logout  {"sids":[N...]} or {"nodes":[KEY...]}, "wait"  -> {"results":[{"node":KEY,"sid":N,"code":0,"text":""}...]}
//   session.list    {"sid"?:N}                        -> {"sessions":[SESSION...]}
//   session.rescan  {"sid"?:N}                        -> {"results":[...]}
//   session.stats   {"sid"?:N}                        -> {"sessions":[{"sid","node",counters...}]}
//   mpath           {"line":"show paths","tty":bool}  -> {"text":"...","code":0}      the multipathd grammar
//   topology        {"level":"-l"|"-ll","map"?:NAME,"tty":bool,"json":bool}  -> {"text":"...","code":0}
// KEY = {"target","address","port","tpgt","iface"}.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.hpp"

namespace mpath::control {

inline constexpr int version = 1;
inline constexpr std::size_t line_bytes_max = std::size_t{32} << 20;

struct Reply {
  bool ok = false;
  int code = 0;      // 0, or iscsiadm's exit code
  std::string text;  // why, one line
};

// One request, blocking: connects, asks, waits up to `timeout` for the whole answer. `result` is set when ok.
// Fails with the errno of connect (ENOENT, ECONNREFUSED: no daemon), ETIMEDOUT, EPROTO.
[[nodiscard]] Result<Reply> call(const std::filesystem::path& socket, const std::string& verb, const nlohmann::json& args,
                                 nlohmann::json& result, std::chrono::milliseconds timeout);

}  // namespace mpath::control
