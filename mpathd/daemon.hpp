// The daemon as one object: sessions below, maps in the middle, exports and the control socket above. mpathd_main.cpp makes
// one, runs the control loop, and is told when it is over.
//
// Threads:   all members on the control thread, but for what MapDirectory and NexusListener say of themselves.
// Ownership: owns the shards and everything on them. Destroy after run() has ended.
// Order:     start: settings, control socket, sessions. stop: no new requests, exports drained, sessions logged out, shards.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/control_server.hpp"
#include "base/layout.hpp"
#include "base/log.hpp"
#include "base/system_clock.hpp"
#include "base/task_group.hpp"
#include "base/unique_fd.hpp"
#include "exports/nbd_server.hpp"
#include "ifaces/link_monitor.hpp"
#include "initiator/boot_firmware.hpp"
#include "initiator/session_manager.hpp"
#include "mpathd/map_control.hpp"
#include "mpathd/map_exports.hpp"
#include "mpathd/multipath_config.hpp"
#include "mpathd/shard_maps.hpp"

namespace mpath {

struct DaemonOptions {
  Layout layout;
  unsigned shards = 1;
  bool for_root = false;        // serves the root file system, beside the usual mpathd: ends with the machine only
  std::string nbd_tcp_address;  // empty: unix sockets only
  std::uint16_t nbd_tcp_port = 10809;
  UniqueFd control_fd;              // from the service manager
  std::vector<UniqueFd> nbd_fds;    // the same: listening sockets that offer every export
  std::chrono::milliseconds leave_limit{6000};  // for what disks of the kernel have under way
  std::chrono::milliseconds logout_limit{10000};
};

class Daemon final : public MapControl, private MapDirectory, private NexusListener, private LinkListener {
 public:
  Daemon(boost::asio::io_context& control, DaemonOptions options, SessionFactory factory, Log log);
  ~Daemon() override;

  // Everything up to "ready"; sessions go on being made in the background. Fails with what cannot be used (settings,
  // database, sockets); each cause was logged.
  [[nodiscard]] boost::asio::awaitable<error_code> start();
  // In order and bounded; `start` may not be called again.
  [[nodiscard]] boost::asio::awaitable<void> stop();
  // Called when "shutdown" was commanded.
  std::function<void()> on_shutdown;

  // MapControl
  [[nodiscard]] awaitable<Snapshot> snapshot() override;
  [[nodiscard]] awaitable<DaemonState> daemon_state() override;
  [[nodiscard]] awaitable<CommandOutcome> fail_path(std::string path) override;
  [[nodiscard]] awaitable<CommandOutcome> reinstate_path(std::string path) override;
  [[nodiscard]] awaitable<CommandOutcome> add_path(std::string path) override;
  [[nodiscard]] awaitable<CommandOutcome> remove_path(std::string path) override;
  [[nodiscard]] awaitable<CommandOutcome> add_map(std::string map) override;
  [[nodiscard]] awaitable<CommandOutcome> remove_map(std::string map) override;
  [[nodiscard]] awaitable<CommandOutcome> resize_map(std::string map) override;
  [[nodiscard]] awaitable<CommandOutcome> switch_group(std::string map, unsigned group) override;
  [[nodiscard]] awaitable<CommandOutcome> disable_queueing(std::optional<std::string> map) override;
  [[nodiscard]] awaitable<CommandOutcome> restore_queueing(std::optional<std::string> map) override;
  [[nodiscard]] awaitable<CommandOutcome> reset_stats(std::optional<std::string> map) override;
  [[nodiscard]] awaitable<CommandOutcome> export_map(std::string map, ExportKind kind) override;
  [[nodiscard]] awaitable<CommandOutcome> unexport_map(std::string map, ExportKind kind) override;
  [[nodiscard]] awaitable<CommandOutcome> reconfigure() override;
  [[nodiscard]] awaitable<CommandOutcome> shutdown() override;

 private:
  // What the control thread knows of a map: who it is, and where it lives.
  struct KnownMap {
    std::string alias;
    unsigned shard = 0;
    std::string vendor, product, revision;
    ExportSettings exports;
  };

  // MapDirectory: on shards.
  [[nodiscard]] bool wants(const std::string& target_name, scsi::Lun lun) const override;
  void plan_map(Shard& shard, const LuFacts& facts, std::function<void(const MapPlan&)> answer) override;
  void on_map_made(Shard& shard, const std::string& wwid, BlockDevice& device) override;
  void on_map_closed(Shard& shard, const std::string& alias, std::function<void()> release) override;
  void on_line(const std::string& line, bool warning) override;
  // NexusListener: on shards.
  void on_nexus_created(Nexus& nexus, Shard& shard) override;
  void on_nexus_stopped(Nexus& nexus) override;
  // LinkListener: here.
  void on_link(const LinkEvent& event) override;

  [[nodiscard]] awaitable<void> make_plan(Shard* shard, LuFacts facts, std::function<void(const MapPlan&)> answer);
  [[nodiscard]] awaitable<std::string> choose_alias(std::string wwid, MapSettings settings);
  void on_map_ready(Shard& shard, const std::string& wwid, BlockDevice& device);
  [[nodiscard]] awaitable<void> former_ended(std::string wwid);
  [[nodiscard]] awaitable<std::vector<std::string>> ways_to(std::string wwid);
  [[nodiscard]] KnownMap* known_map(const std::string& name);
  [[nodiscard]] Shard& shard_of(const KnownMap& map) { return *shards_[map.shard]; }
  [[nodiscard]] ShardMaps& maps_of(const Shard& shard) { return *maps_[shard.index()]; }
  [[nodiscard]] Result<std::unique_ptr<db::Store>> open_store() const;
  void attached_devices(unsigned sid, std::function<void(std::vector<AttachedDevice>)> done);
  void rescan_session(unsigned sid, std::function<void(std::string)> done);
  void register_verbs();
  [[nodiscard]] bool load_settings(std::string& first_error);
  [[nodiscard]] awaitable<CommandOutcome> on_path(std::string path, std::function<CommandOutcome(Path&)> work);
  [[nodiscard]] awaitable<CommandOutcome> on_maps(std::optional<std::string> map, std::function<void(MapDevice&)> work);
  [[nodiscard]] awaitable<void> watch_shards();

  boost::asio::io_context& control_;
  DaemonOptions options_;
  Log log_;
  SystemClock clock_;
  BootFirmware firmware_;  // for_root: what the machine boots from; constant once shards run
  boost::asio::thread_pool blocking_{2};
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<std::unique_ptr<ShardMaps>> maps_;  // by shard; touched on the shard once it runs
  std::map<std::string, KnownMap> known_;         // by WWID
  std::shared_ptr<const MultipathConfig> config_;
  TaskGroup tasks_;
  control::Server server_;
  NbdServer nbd_;
  std::unique_ptr<SessionManager> sessions_;
  std::unique_ptr<MapExports> exports_;
  TimePoint started_at_{};
  std::unique_ptr<LinkMonitor> links_;
  std::set<std::string> addressed_;               // devices that had an address once
  DaemonPhase phase_ = DaemonPhase::startup;
};

}  // namespace mpath
