// What the multipathd grammar (mpathd/command) asks of the daemon. The daemon implements it; tests put a fake in its stead.
//
// Threads:      all members are called, and complete, on the control thread; an implementation posts to shards and comes home.
// Cancellation: a cancelled call may or may not have taken effect.
// Errors:       outcomes are values; no member throws.
#pragma once

#include <sys/types.h>

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "mpathd/export_kind.hpp"
#include "mpathd/snapshot.hpp"

namespace mpath {

// How a request went. Everything but `ok` is shown as "fail", followed by the text.
enum class CommandStatus : std::uint8_t {
  ok,
  not_found,      // no such path, map or group
  in_use,         // map or path in use
  timeout,        // asked, and no answer in time
  not_supported,
  failed,         // see the text
};

struct CommandOutcome {
  CommandStatus status = CommandStatus::ok;
  std::string text;  // why, one line without a full stop; empty: the status says it all
  [[nodiscard]] bool ok() const { return status == CommandStatus::ok; }
};

enum class DaemonPhase : std::uint8_t { init, startup, configure, idle, running, shutdown };

struct DaemonState {
  pid_t pid = 0;
  DaemonPhase phase = DaemonPhase::running;
  bool reconfigure_pending = false;
  bool busy = false;  // logins, scans or map changes are under way
};

class MapControl {
 public:
  template <typename T>
  using awaitable = boost::asio::awaitable<T>;

  MapControl() = default;
  MapControl(const MapControl&) = delete;
  MapControl& operator=(const MapControl&) = delete;
  virtual ~MapControl() = default;

  // All maps and orphans as they are now. Never waits for a target.
  [[nodiscard]] virtual awaitable<Snapshot> snapshot() = 0;
  [[nodiscard]] virtual awaitable<DaemonState> daemon_state() = 0;

  // Paths by device name (PathSnapshot::device). A failed path stays failed until it is reinstated by hand or a check
  // after that finds it good; reinstating one that does not answer fails.
  [[nodiscard]] virtual awaitable<CommandOutcome> fail_path(std::string path) = 0;
  [[nodiscard]] virtual awaitable<CommandOutcome> reinstate_path(std::string path) = 0;
  // Scans the session of the path again; `path` may be new to the daemon, then all sessions are scanned.
  [[nodiscard]] virtual awaitable<CommandOutcome> add_path(std::string path) = 0;
  [[nodiscard]] virtual awaitable<CommandOutcome> remove_path(std::string path) = 0;

  // Maps by name (MapSnapshot::name); the caller has resolved WWIDs. remove_map is `in_use` while somebody has it open.
  [[nodiscard]] virtual awaitable<CommandOutcome> add_map(std::string map) = 0;  // by name or WWID
  [[nodiscard]] virtual awaitable<CommandOutcome> remove_map(std::string map) = 0;
  // Reads the capacity on every path; takes the new size only when all usable paths agree.
  [[nodiscard]] virtual awaitable<CommandOutcome> resize_map(std::string map) = 0;
  // Groups count from 1, in the order of the snapshot.
  [[nodiscard]] virtual awaitable<CommandOutcome> switch_group(std::string map, unsigned group) = 0;
  // No map: all of them. Disabling fails what is queued; restoring puts no_path_retry in force again.
  [[nodiscard]] virtual awaitable<CommandOutcome> disable_queueing(std::optional<std::string> map) = 0;
  [[nodiscard]] virtual awaitable<CommandOutcome> restore_queueing(std::optional<std::string> map) = 0;
  [[nodiscard]] virtual awaitable<CommandOutcome> reset_stats(std::optional<std::string> map) = 0;

  // Offers a map in one more way, or in one less; what the machine has in use (mounted, part of another device) is kept:
  // `in_use`. Lasts over a restart of the daemon, until the machine goes down.
  [[nodiscard]] virtual awaitable<CommandOutcome> export_map(std::string map, ExportKind kind) = 0;
  [[nodiscard]] virtual awaitable<CommandOutcome> unexport_map(std::string map, ExportKind kind) = 0;

  // Reads multipath.conf again; with errors in it the old settings stay in force and the text names the first one.
  [[nodiscard]] virtual awaitable<CommandOutcome> reconfigure() = 0;
  // Answers first, then stops the daemon in order.
  [[nodiscard]] virtual awaitable<CommandOutcome> shutdown() = 0;
};

}  // namespace mpath
