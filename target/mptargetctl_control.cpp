#include "target/mptargetctl_control.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/control.hpp"

namespace mpath::target {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds timeout{60};  // making a large file without holes takes its time

}  // namespace

void print(std::FILE* stream, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stream);
}

json Control::ask(const std::string& verb, const json& args) const {
  const auto socket = layout().target_socket();
  json result;
  const auto reply = control::call(socket, verb, args, result, timeout);
  if (!reply) {
    const auto error = reply.error();
    if (error == std::errc::no_such_file_or_directory || error == std::errc::connection_refused)
      throw Failure{ExitCode::daemon_unreachable,
                    fmt::format("cannot reach mptargetd at {}: {} (is it running?)", socket.string(), error.message())};
    if (error == std::errc::permission_denied)
      throw Failure{ExitCode::access_denied, fmt::format("{}: {}", socket.string(), error.message())};
    if (error == std::errc::timed_out) throw Failure{ExitCode::daemon_timeout, "mptargetd did not answer in time"};
    throw Failure{ExitCode::daemon_io_error, fmt::format("{}: {}", socket.string(), error.message())};
  }
  if (!reply->ok) throw Failure{static_cast<ExitCode>(reply->code), reply->text};
  return result;
}

void Control::change(const std::string& verb, const json& args) const {
  const json result = ask(verb, args);
  if (as_json) print(stdout, result.dump(2) + "\n");
}

void Control::show(const std::string& what, std::string (*text)(const json&)) const {
  const json result = ask("show." + what, json::object());
  print(stdout, as_json ? result.dump(2) + "\n" : text(result));
}

}  // namespace mpath::target
