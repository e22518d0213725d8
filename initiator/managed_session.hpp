// One session that somebody asked for, from its record to its logout: the control thread's half of a nexus.
//
//   preparing --record, NIC and address known--> running (the nexus makes sessions) --leave()--> leaving --> gone
//       |  ^
//       +--+ again after a pause, or at once when nudged; an impatient one is gone after its first failure
//
// Threads:   the control thread; the nexus lives on its shard and is touched only there.
// Ownership: shared: whoever waits for it keeps it. Everything in Surroundings is borrowed.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "base/event.hpp"
#include "base/log.hpp"
#include "base/shard.hpp"
#include "initiator/nexus.hpp"
#include "initiator/nexus_listener.hpp"
#include "initiator/session_preparation.hpp"
#include "initiator/session_report.hpp"

namespace mpath {

class ManagedSession final : public std::enable_shared_from_this<ManagedSession>, private ScsiPortObserver {
 public:
  struct Surroundings {
    boost::asio::io_context& control;
    boost::asio::thread_pool& blocking;
    Clock& clock;
    SessionFactory factory;
    NexusListener& listener;
    PreparationSources sources;
    ReconnectPolicy preparing;
    std::optional<Log> log;
    std::function<void(boost::asio::awaitable<void>)> spawn;  // into the owner's task group
  };
  struct Identity {
    unsigned sid = 0;
    db::NodeKey key;
    unsigned index = 0;    // which of the record's sessions
    bool patient = false;  // goes on after a failed first attempt
  };

  ManagedSession(const Surroundings& around, Shard& shard, Identity identity);
  ~ManagedSession() override;

  // The whole life; returns when gone, or when cancelled (then the nexus is left to its shard).
  [[nodiscard]] boost::asio::awaitable<void> run();

  // Ends it, with a logout where it is logged in. Repeatable.
  void leave();
  void be_patient() { identity_.patient = true; }
  // The NIC changed: one that is waited for may be there now; one that is used may be lost or back.
  void link_changed(const std::string& net_ifacename, bool usable);

  // The first attempt has ended: with failure() or without.
  [[nodiscard]] Event& settled() { return settled_; }
  [[nodiscard]] const std::optional<LoginFailure>& failure() const { return failure_; }
  [[nodiscard]] Event& gone() { return gone_; }
  [[nodiscard]] bool leaving() const { return leaving_.is_set(); }
  [[nodiscard]] bool patient() const { return identity_.patient; }
  [[nodiscard]] bool established() const { return established_; }

  [[nodiscard]] unsigned sid() const { return identity_.sid; }
  [[nodiscard]] const db::NodeKey& key() const { return identity_.key; }
  [[nodiscard]] unsigned index() const { return identity_.index; }
  [[nodiscard]] Shard& shard() { return shard_; }

  // The session that an earlier process had in the place of `lost` is ended from here: by a login over this one's NIC and
  // portal, which is to be of the same target and portal group. False: it could not be.
  [[nodiscard]] boost::asio::awaitable<bool> end_former_of(std::shared_ptr<ManagedSession> lost, TimePoint deadline);

  // Without devices, which only the maps know.
  [[nodiscard]] boost::asio::awaitable<SessionReport> report();

 private:
  struct Look {  // what only the shard can tell
    bool exists = false;
    NexusState state = NexusState::idle;
    SessionInfo info;
    SessionCounters counters;
    std::uint64_t logins = 0;
    std::string failure;
  };

  [[nodiscard]] boost::asio::awaitable<bool> prepare();
  [[nodiscard]] boost::asio::awaitable<void> start_nexus();
  [[nodiscard]] boost::asio::awaitable<void> end_nexus();
  // Reads the record again for the sessions to come: its settings, its NIC or its address may be others by now.
  [[nodiscard]] boost::asio::awaitable<void> refresh();
  void spawn_refresh();
  void settle(std::optional<LoginFailure> failure);

  // On the shard.
  void destroy_nexus();
  [[nodiscard]] Look look() const;
  void on_port_up() override;
  void on_port_down(const SessionFailure& failure) override;
  void on_port_room() override {}
  void on_port_event(const scsi::Sense&) override {}

  // Constant.
  const Surroundings& around_;
  Shard& shard_;
  // The control thread's.
  Identity identity_;
  std::optional<Log> log_;
  std::optional<PreparedSession> prepared_;
  std::optional<LoginFailure> failure_;
  bool established_ = false;
  bool refreshing_ = false;
  Event settled_, leaving_, nudged_, stopped_, gone_;
  // The shard's, from the start of the nexus to its end.
  std::unique_ptr<Nexus> nexus_;
};

}  // namespace mpath
