#include "mpathd/mpathctl_client.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/control.hpp"

namespace mpath {
namespace {

using Answer = std::expected<CommandReply, std::string>;

std::string cannot_ask(const std::filesystem::path& socket, const error_code& error) {
  if (error == std::errc::timed_out) return "timeout: the daemon did not answer in time";
  if (error == std::errc::no_such_file_or_directory || error == std::errc::connection_refused)
    return fmt::format("cannot reach mpathd at {}: {} (is the daemon running?)", socket.string(), error.message());
  return fmt::format("cannot ask mpathd at {}: {}", socket.string(), error.message());
}

Answer ask(const std::filesystem::path& socket, std::chrono::milliseconds timeout, const std::string& verb,
           const nlohmann::json& arguments) {
  nlohmann::json result;
  const Result<control::Reply> reply = control::call(socket, verb, arguments, result, timeout);
  if (!reply) return std::unexpected(cannot_ask(socket, reply.error()));
  if (!reply->ok) return std::unexpected(reply->text);
  const bool well_formed = result.is_object() && result.value("text", nlohmann::json()).is_string();
  if (!well_formed) return std::unexpected("the daemon's answer makes no sense");
  const auto code = result.find("code");
  const bool has_code = code != result.end() && code->is_number_integer();
  return CommandReply{.text = result["text"].get<std::string>(), .code = has_code ? code->get<int>() : 0};
}

}  // namespace

MpathctlClient::MpathctlClient(std::filesystem::path socket, std::chrono::milliseconds timeout)
    : socket_(std::move(socket)), timeout_(timeout) {}

Answer MpathctlClient::command(const std::string& line, bool tty) const {
  return ask(socket_, timeout_, "mpath", {{"line", line}, {"tty", tty}});
}

Answer MpathctlClient::topology(const TopologyRequest& request) const {
  const bool brief = request.level == TopologyRequest::Level::brief;
  nlohmann::json arguments{{"level", brief ? "-l" : "-ll"}, {"tty", request.tty}, {"json", request.json}};
  if (request.map) arguments["map"] = *request.map;
  return ask(socket_, timeout_, "topology", arguments);
}

ShownReply take_apart(const CommandReply& reply) {
  constexpr std::string_view mark = "fail\n";
  if (!reply.text.starts_with(mark)) return {.text = reply.text, .reason = {}};
  std::string reason = reply.text.substr(mark.size());
  while (reason.ends_with('\n')) reason.pop_back();
  return {.text = std::string(mark), .reason = std::move(reason)};
}

}  // namespace mpath
