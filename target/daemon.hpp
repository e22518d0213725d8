// The target daemon as one object: stores and units below, sessions and portals above, the control socket beside.
// mptargetd_main.cpp makes one, runs the control loop, and is told when it is over.
//
// Threads:   all members on the control thread.
// Ownership: owns the shards and everything on them. Destroy after stop() has ended.
// Order:     start: shards, units, targets, portals, control socket. stop: no new logins or requests, sessions logged
//            out, units, stores, shards.
// Reload:    everything is read and checked first; then only what differs is touched, one reload at a time.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <expected>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/layout.hpp"
#include "base/log.hpp"
#include "target/config/parse.hpp"
#include "target/config/plan.hpp"
#include "target/iscsi/sessions.hpp"
#include "target/units.hpp"

namespace mpath::target {

struct TargetDaemonOptions {
  Layout layout;
  // Instead of the files of the layout: a configuration that never changes.
  std::optional<std::vector<ConfigFile>> fixed;
  std::filesystem::path config_file;  // instead of mptarget.conf; conf.d is read all the same
  NodeChoice choice;                  // which node of a pair this is, if it is one
  unsigned shards = 0;                // 0: what the configuration says
  bool control_socket = true;
  std::function<std::filesystem::path(const std::string& unit)> unit_directory;  // none: of the layout
  std::chrono::milliseconds logout_grace{800};
};

// Why a command was not carried out.
struct Refusal {
  enum class Kind : std::uint8_t { invalid, not_found, busy, failed } kind = Kind::failed;
  std::vector<std::string> lines;  // at least one
};
template <typename T>
using Outcome = std::expected<T, Refusal>;

class TargetDaemon {
 public:
  TargetDaemon(boost::asio::io_context& control, TargetDaemonOptions options, const Log& log);
  ~TargetDaemon();
  TargetDaemon(const TargetDaemon&) = delete;
  TargetDaemon& operator=(const TargetDaemon&) = delete;

  // Everything up to "ready". A unit that cannot be opened does not prevent it. Fails with what cannot be used
  // (configuration, sockets); each cause was logged.
  [[nodiscard]] boost::asio::awaitable<error_code> start();
  // In order and bounded.
  [[nodiscard]] boost::asio::awaitable<void> stop();
  // Reads and checks, and answers with the plan from nothing; changes nothing. Blocks.
  [[nodiscard]] Outcome<std::vector<std::string>> check() const;
  // Called when "shutdown" was commanded.
  std::function<void()> on_shutdown;

  // Reads the files again and applies the difference. Answers with the lines of the plan.
  [[nodiscard]] boost::asio::awaitable<Outcome<std::vector<std::string>>> reload();
  // Writes one managed object (no text: removes its file), if the whole would then be valid, and applies it.
  [[nodiscard]] boost::asio::awaitable<Outcome<std::vector<std::string>>> edit(std::filesystem::path file,
                                                                               std::optional<std::string> text);

  [[nodiscard]] const ParsedConfig& parsed() const;
  [[nodiscard]] const TargetdConfig& config() const;
  [[nodiscard]] const Layout& layout() const;
  [[nodiscard]] Units& units();
  [[nodiscard]] Sessions& sessions();
  [[nodiscard]] std::vector<Portal> listening() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mpath::target
