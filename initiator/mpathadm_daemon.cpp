// The daemon as mpathadm sees it: verbs of the control socket, and answers turned into values.
#include <fmt/format.h>
#include <signal.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/control.hpp"
#include "initiator/mpathadm_context.hpp"

namespace mpath::adm {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr auto listing_limit = 5s;
constexpr auto session_limit = 180s;  // the daemon bounds logins and logouts itself; this is for a daemon that hangs

ExitCode code_of(const std::error_code& error) {
  if (error.category() != std::generic_category() && error.category() != std::system_category()) return ExitCode::daemon_io_error;
  switch (error.value()) {
    case ENOENT:
    case ENOTDIR:
    case ECONNREFUSED: return ExitCode::daemon_unreachable;
    case EACCES:
    case EPERM: return ExitCode::access_denied;
    case ETIMEDOUT: return ExitCode::daemon_timeout;
    default: return ExitCode::daemon_io_error;
  }
}

ExitCode code_from(const json& number) {
  const int value = number.get<int>();
  const bool known = value >= 0 && value <= static_cast<int>(ExitCode::daemon_timeout);
  return known ? static_cast<ExitCode>(value) : ExitCode::generic;
}

class SocketDaemon final : public Daemon {
 public:
  explicit SocketDaemon(std::filesystem::path socket) : socket_(std::move(socket)) {}

  Outcome<std::vector<SessionOutcome>> log_in(const Login& login) override {
    json nodes = json::array();
    for (const auto& key : login.nodes) nodes.push_back(to_json(key));
    return outcomes("session.login", {{"nodes", std::move(nodes)}, {"wait", login.wait}, {"additional", login.additional}});
  }

  Outcome<std::vector<SessionOutcome>> log_out(std::span<const unsigned> sids) override {
    return outcomes("session.logout", {{"sids", std::vector<unsigned>(sids.begin(), sids.end())}, {"wait", true}});
  }

  Outcome<std::vector<SessionReport>> sessions() override {
    const auto result = ask("session.list", json::object(), listing_limit);
    if (!result) return std::unexpected(result.error());
    std::vector<SessionReport> reports;
    for (const json& one : result->value("sessions", json::array())) {
      auto report = session_report_from_json(one);
      if (!report) return std::unexpected(not_understood());
      reports.push_back(std::move(*report));
    }
    return reports;
  }

  Outcome<std::vector<SessionOutcome>> rescan(unsigned sid) override { return outcomes("session.rescan", {{"sid", sid}}); }

  Outcome<void> stop() override {
    const auto status = ask("daemon.status", json::object(), listing_limit);
    if (!status) return std::unexpected(status.error());
    const auto pid = status->value("pid", 0);
    if (pid <= 1) return std::unexpected(not_understood());
    if (::kill(pid, SIGTERM) != 0) {
      return std::unexpected(Failure{errno == EPERM ? ExitCode::access_denied : ExitCode::daemon_io_error,
                                     fmt::format("cannot stop mpathd, process {}: {}", pid, std::generic_category().message(errno))});
    }
    return {};
  }

 private:
  [[nodiscard]] Failure not_understood() const {
    return {ExitCode::daemon_io_error, fmt::format("the answer of mpathd at {} is not understood: another version?", socket_.string())};
  }

  Outcome<json> ask(const std::string& verb, const json& args, std::chrono::milliseconds limit) {
    json result;
    const auto reply = control::call(socket_, verb, args, result, limit);
    if (!reply) {
      const ExitCode code = code_of(reply.error());
      const std::string_view did = code == ExitCode::daemon_unreachable || code == ExitCode::access_denied ? "cannot connect to" : "no answer from";
      return std::unexpected(Failure{code, fmt::format("{} mpathd at {}: {}", did, socket_.string(), reply.error().message())});
    }
    if (!reply->ok) return std::unexpected(Failure{code_from(reply->code), reply->text});
    return result;
  }

  Outcome<std::vector<SessionOutcome>> outcomes(const std::string& verb, const json& args) {
    const auto result = ask(verb, args, session_limit);
    if (!result) return std::unexpected(result.error());
    std::vector<SessionOutcome> all;
    try {
      for (const json& one : result->at("results")) {
        auto key = node_key_from_json(one.at("node"));
        if (!key) return std::unexpected(not_understood());
        all.push_back({.node = std::move(*key), .sid = one.at("sid"), .code = code_from(one.at("code")), .text = one.value("text", "")});
      }
    } catch (const json::exception&) {
      return std::unexpected(not_understood());
    }
    return all;
  }

  std::filesystem::path socket_;
};

}  // namespace

std::unique_ptr<Daemon> connect_daemon(std::filesystem::path socket) { return std::make_unique<SocketDaemon>(std::move(socket)); }

}  // namespace mpath::adm
