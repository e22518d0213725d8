// All sessions that somebody asked for: makes a nexus from a node record, keeps it, logs it out again, and answers the
// session verbs of the control socket.
//
// A nexus is made on the shard that the target's name hashes to, and is touched and destroyed only there; here is kept
// what the control thread must know. SIDs count up from 1 and are not used again while the daemon lives.
//
// What is wanted survives a restart: every session logged in by hand is written to state()/sessions.json with the boot
// it belongs to, and start() logs in again what that file names and what node.startup says. A logout takes it out.
//
// Threads:   all members run on the control thread; callbacks too, unless said.
// Ownership: everything in Setup is borrowed and must outlive the manager. Call stop() and wait for it before the shards
//            stop and before destruction.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/layout.hpp"
#include "base/log.hpp"
#include "base/result.hpp"
#include "base/shard.hpp"
#include "db/records.hpp"
#include "db/store.hpp"
#include "initiator/nexus_listener.hpp"
#include "initiator/reconnect_policy.hpp"
#include "initiator/session.hpp"
#include "initiator/session_report.hpp"

namespace mpath {

namespace control {
class Server;
}

// What the paths of a nexus are, asked for by SID. Called on the control thread; `done` runs there, once.
using AttachedDevices = std::function<void(unsigned sid, std::function<void(std::vector<AttachedDevice>)> done)>;

// Reads the sizes of a session's logical units again and looks for new ones. Called on the control thread; `done` runs there,
// once: with an empty text, or with what went wrong.
using RescanSession = std::function<void(unsigned sid, std::function<void(std::string error)> done)>;

class SessionManager {
 public:
  struct Setup {
    boost::asio::io_context& control;   // the control thread's loop
    boost::asio::thread_pool& blocking; // for sqlite, getaddrinfo and fsync
    std::span<const std::unique_ptr<Shard>> shards;
    SessionFactory factory;
    // Opens the store; called on a thread of `blocking`, once an operation.
    std::function<Result<std::unique_ptr<db::Store>>()> open_store;
    Layout layout;
    NexusListener& listener;
    AttachedDevices attached;           // may be empty: no devices are shown
    std::optional<Log> log{};           // nothing: nothing is logged
    RescanSession rescan{};             // may be empty: a rescan is answered "not supported"
    std::string instance{};             // as NodeSurroundings has it
    ReconnectPolicy preparing{.first = std::chrono::seconds(1), .longest = std::chrono::seconds(10)};  // NIC or host name missing
  };
  explicit SessionManager(Setup setup);
  ~SessionManager();

  // session.login, session.logout, session.list, session.rescan, session.stats.
  void register_verbs(control::Server& server);

  // Logs in every node with startup automatic or onboot and what was logged in before a restart. Returns at once; each
  // is tried for ever in the background. `started` runs when all have been set going (not: logged in).
  void start(std::function<void()> started = {});

  // Waits until nothing that an earlier process had left at the targets can be carried out any more, at most until
  // `deadline`; true: so it is. Every session that start() set going has logged in once, which with the ISID of that process
  // ends what it had there; or, where its NIC or portal does not answer, another one has done so in its place.
  [[nodiscard]] boost::asio::awaitable<bool> all_returned(TimePoint deadline);
  // The records of the sessions that there are, each once.
  [[nodiscard]] std::vector<db::NodeKey> keys() const;

  // From the link monitor: the NIC lost its carrier or its address or itself, or has all of them again.
  void link_changed(const std::string& net_ifacename, bool usable);

  // Logs out everything, at most `limit` long, and remembers it for the next start. Then `done`. No verb works after it.
  void stop(std::chrono::milliseconds limit, std::function<void()> done);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mpath
