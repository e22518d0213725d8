// What mpathadm's commands work with: records, the daemon, discovery and the two output streams. mpathadm_main.cpp puts the
// real ones in, tests their own.
#pragma once

#include <chrono>
#include <expected>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/exit_codes.hpp"
#include "base/layout.hpp"
#include "db/store.hpp"
#include "initiator/session_report.hpp"

namespace mpath::adm {

// Why something was not done: the program's exit code and one line.
struct Failure {
  ExitCode code = ExitCode::generic;
  std::string text;
};
template <typename T>
using Outcome = std::expected<T, Failure>;

// One object of a request to the daemon.
struct SessionOutcome {
  db::NodeKey node;
  unsigned sid = 0;
  ExitCode code = ExitCode::success;
  std::string text;  // the cause, when it failed
};

class Daemon {
 public:
  virtual ~Daemon() = default;
  struct Login {
    std::vector<db::NodeKey> nodes;
    bool wait = true;
    bool additional = false;  // one session more, however many there are
  };
  [[nodiscard]] virtual Outcome<std::vector<SessionOutcome>> log_in(const Login& login) = 0;
  [[nodiscard]] virtual Outcome<std::vector<SessionOutcome>> log_out(std::span<const unsigned> sids) = 0;
  // ExitCode::daemon_unreachable when no daemon runs: then there is no session either.
  [[nodiscard]] virtual Outcome<std::vector<SessionReport>> sessions() = 0;
  [[nodiscard]] virtual Outcome<std::vector<SessionOutcome>> rescan(unsigned sid) = 0;
  [[nodiscard]] virtual Outcome<void> stop() = 0;
};

// The daemon behind the control socket. Calls block, each for a bounded time.
[[nodiscard]] std::unique_ptr<Daemon> connect_daemon(std::filesystem::path socket);

// Asks one portal what it has, through one iface.
struct DiscoveryRequest {
  db::DiscoveryRecord record;
  db::IfaceRecord iface;
  std::string initiator_name;
};
using Discover = std::function<Outcome<std::vector<db::NodeAddress>>(const DiscoveryRequest&)>;

// Lines for people on stderr with the program's name in front, listings on stdout.
class Console {
 public:
  Console(std::ostream& out, std::ostream& err, std::string program, bool terminal = false)
      : out_(out), err_(err), program_(std::move(program)), terminal_(terminal) {}

  void print(std::string_view text);
  void error(std::string_view line);
  // "initiator reported error (N - text)"
  void report(ExitCode code);
  // Something that takes long has begun; shown on a terminal only, wiped by the next line or clear_progress().
  void progress(std::string_view line);
  void clear_progress();
  [[nodiscard]] const std::string& program() const { return program_; }

 private:
  std::ostream& out_;
  std::ostream& err_;
  std::string program_;
  bool terminal_;
  bool in_progress_ = false;
};

struct Context {
  const Layout& layout;
  Console& console;
  Daemon& daemon;
  Discover discover;
  // Opened at first use: a listing of sessions needs no database.
  std::function<Outcome<db::Store*>()> store;
  std::function<Outcome<db::Settings>()> conf;            // iscsid.conf
  std::function<Outcome<std::string>()> initiator_name;  // initiatorname.iscsi
  std::string version;
  // Numeric addresses of a host name; empty when there is none.
  std::function<std::vector<std::string>(const std::string&)> resolve;
};

// A store's error as a failure: what went wrong with what.
[[nodiscard]] Failure store_failure(const std::error_code& error, std::string_view what);
// Prints it: its line, then "initiator reported error" for database and daemon failures. Returns its code.
ExitCode show_failure(Console& console, const Failure& failure);

// Checks every pair against the settings tables before anything is written.
[[nodiscard]] Outcome<db::Settings> checked_settings(std::span<const struct Assignment> assignments);

}  // namespace mpath::adm
