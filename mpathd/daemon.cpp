#include "mpathd/daemon.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <ranges>

#include "base/event.hpp"
#include "base/offload.hpp"
#include "base/run_on.hpp"
#include "base/within.hpp"
#include "mpathd/command_verbs.hpp"

namespace mpath {
namespace {

using boost::asio::awaitable;

CommandOutcome not_found(const char* what) { return {CommandStatus::not_found, what}; }

}  // namespace

Daemon::Daemon(boost::asio::io_context& control, DaemonOptions options, SessionFactory factory, Log log)
    : control_(control),
      options_(std::move(options)),
      log_(std::move(log)),
      clock_(control),
      config_(std::make_shared<MultipathConfig>()),
      tasks_(control.get_executor()),
      server_(control.get_executor(), clock_),
      nbd_(control, clock_, log_.about("nbd"), NbdServerOptions{.directory = options_.layout.nbd_sockets()}) {
  for (unsigned index = 0; index < std::max(1U, options_.shards); ++index) {
    shards_.push_back(std::make_unique<Shard>(index));
    maps_.push_back(std::make_unique<ShardMaps>(*shards_.back(), static_cast<MapDirectory&>(*this), log_));
  }
  sessions_ = std::make_unique<SessionManager>(SessionManager::Setup{
      .control = control_,
      .blocking = blocking_,
      .shards = shards_,
      .factory = std::move(factory),
      .open_store = [this] { return open_store(); },
      .layout = options_.layout,
      .listener = *this,
      .attached = [this](unsigned sid, std::function<void(std::vector<AttachedDevice>)> done) {
        attached_devices(sid, std::move(done));
      },
      .log = log_,
      .rescan = [this](unsigned sid, std::function<void(std::string)> done) { rescan_session(sid, std::move(done)); },
      .instance = options_.for_root ? "root" : ""});
  exports_ = std::make_unique<MapExports>(MapExports::Surroundings{
      .control = control_,
      .blocking = blocking_,
      .clock = clock_,
      .nbd = nbd_,
      .layout = options_.layout,
      .for_root = options_.for_root,
      .log = log_,
      .former_ended = [this](std::string wwid) { return former_ended(std::move(wwid)); },
      .by_path = [this](std::string wwid) { return ways_to(std::move(wwid)); }});
  links_ = std::make_unique<LinkMonitor>(control_, static_cast<LinkListener&>(*this));
}

Daemon::~Daemon() {
  for (auto& shard : shards_) shard->stop();
  blocking_.join();
}

Result<std::unique_ptr<db::Store>> Daemon::open_store() const { return db::Store::open(options_.layout.database()); }

// Start and stop.

awaitable<error_code> Daemon::start() {
  std::string first_error;
  if (!load_settings(first_error)) co_return errno_code(EINVAL);
  auto opening = [this] { return open_store(); };
  const auto store = co_await offload(blocking_, opening);
  if (!store) {
    log_.error("database {}: {}", options_.layout.database().string(), store.error().message());
    co_return store.error();
  }
  if (options_.for_root) {
    auto reading = [this] { return read_boot_firmware(options_.layout.boot_firmware()); };
    auto firmware = co_await offload(blocking_, reading);
    if (firmware) {
      firmware_ = *std::move(firmware);
    } else {
      log_.warning("{}: {}: every unit of its targets is taken", options_.layout.boot_firmware().string(), firmware.error().message());
    }
  }
  for (auto& shard : shards_) shard->start();
  register_verbs();
  const int inherited = options_.control_fd.release();
  const error_code listening = inherited >= 0 ? server_.adopt(inherited) : server_.listen(options_.layout.control_socket());
  if (listening) {
    log_.error("control socket {}: {}", options_.layout.control_socket().string(), listening.message());
    co_return listening;
  }
  if (!options_.nbd_tcp_address.empty()) {
    const auto port = nbd_.listen_tcp(options_.nbd_tcp_address, options_.nbd_tcp_port);
    if (!port) {
      log_.error("nbd {}:{}: {}", options_.nbd_tcp_address, options_.nbd_tcp_port, port.error().message());
      co_return port.error();
    }
    log_.notice("nbd listens on {}:{}", options_.nbd_tcp_address, *port);
  }
  for (UniqueFd& fd : options_.nbd_fds) {
    if (const error_code error = nbd_.adopt(std::move(fd))) {
      log_.error("nbd: inherited socket: {}", error.message());
      co_return error;
    }
  }
  if (const error_code error = links_->start()) {
    log_.warning("link events are not to be had ({}): lost links are noticed by their silence", error.message());
  }
  co_await exports_->begin();
  started_at_ = clock_.now();
  sessions_->start();
  tasks_.spawn(watch_shards());
  phase_ = DaemonPhase::running;
  co_return error_code{};
}

awaitable<void> Daemon::stop() {
  phase_ = DaemonPhase::shutdown;
  links_->stop();
  co_await server_.close();
  // First what is left to the next process: with queueing, so that nobody is told of an error.
  Event left(control_.get_executor());
  auto leaving = [this, &left]() -> awaitable<void> {
    co_await exports_->leave();
    left.set();
  };
  tasks_.spawn(leaving);
  static_cast<void>(co_await within(clock_, clock_.now() + options_.leave_limit, left.wait()));
  // What waits for a path that will not come back would hold the drain up.
  static_cast<void>(co_await disable_queueing(std::nullopt));
  co_await left.wait_uncancelled();
  co_await nbd_.close();
  Event stopped(control_.get_executor());
  auto done = [&stopped] { stopped.set(); };
  sessions_->stop(options_.logout_limit, done);
  co_await stopped.wait();
  co_await exports_->finish();
  co_await tasks_.close();
  for (auto& shard : shards_) shard->stop();
}

// Each shard must come round within seconds; one that does not is a bug that only a restart cures.
awaitable<void> Daemon::watch_shards() {
  for (;;) {
    for (auto& shard : shards_) {
      auto nothing = [] {};
      co_await run_on(*shard, nothing);
    }
    if (co_await sleep_until(clock_, clock_.now() + std::chrono::seconds(5))) co_return;
  }
}

bool Daemon::load_settings(std::string& first_error) {
  const auto loaded = load_multipath_config(options_.layout);
  if (!loaded) {
    for (const ConfigProblem& problem : loaded.error()) log_.error("{}", problem.text());
    first_error = loaded.error().empty() ? "multipath.conf cannot be read" : loaded.error().front().text();
    return false;
  }
  config_ = *loaded;
  for (const ConfigProblem& problem : config_->warnings()) log_.warning("{}", problem.text());
  return true;
}

void Daemon::register_verbs() {
  sessions_->register_verbs(server_);
  server_.add("daemon.status", [](nlohmann::json) -> awaitable<control::HandlerResult> {
    co_return nlohmann::json{{"pid", ::getpid()}, {"version", MPATHD_VERSION}, {"state", "running"}};
  });
  add_command_verbs(server_, *this, [this] { return config_; });
}

// From shards.

void Daemon::on_nexus_created(Nexus& nexus, Shard& shard) { maps_of(shard).nexus_created(nexus); }

void Daemon::on_nexus_stopped(Nexus& nexus) {
  // It was created on the shard that this runs on; the others do not know it.
  for (std::size_t index = 0; index < shards_.size(); ++index) {
    if (shards_[index]->context().get_executor().running_in_this_thread()) maps_[index]->nexus_stopped(nexus);
  }
}

void Daemon::on_line(const std::string& line, bool warning) {
  if (warning) {
    log_.warning("{}", line);
  } else {
    log_.notice("{}", line);
  }
}

// The other disks of a target that the root file system comes from are the usual mpathd's.
bool Daemon::wants(const std::string& target_name, scsi::Lun lun) const {
  return firmware_.targets.empty() || boots_from(firmware_, target_name, lun);
}

void Daemon::plan_map(Shard& shard, const LuFacts& facts, std::function<void(const MapPlan&)> answer) {
  boost::asio::post(control_, [this, &shard, facts, answer = std::move(answer)] {
    tasks_.spawn(make_plan(&shard, facts, answer));
  });
}

awaitable<void> Daemon::make_plan(Shard* shard, LuFacts facts, std::function<void(const MapPlan&)> answer) {
  const MapSettings settings = config_->settings_for(facts.wwid, facts.vendor, facts.product, facts.revision);
  MapPlan plan{.policy = settings.policy, .drill = settings.drill};
  const auto known = known_.find(facts.wwid);
  if (settings.blacklisted) {
    plan.refused = true;
    plan.refused_why = "blacklisted: " + settings.blacklist_reason;
  } else if (known != known_.end() && known->second.shard != shard->index()) {
    plan.refused = true;
    plan.refused_why = fmt::format("map {} lives on another shard; start mpathd with --shards 1", known->second.alias);
  } else {
    plan.alias = co_await choose_alias(facts.wwid, settings);
    KnownMap map{.alias = plan.alias, .shard = shard->index(), .vendor = facts.vendor, .product = facts.product,
                 .revision = facts.revision};
    map.exports = settings.exports;
    known_.insert_or_assign(facts.wwid, std::move(map));
  }
  shard->post([answer, plan] { answer(plan); });
}

// The administrator's alias, else a friendly one that the database keeps, else the WWID; never one that is taken.
awaitable<std::string> Daemon::choose_alias(std::string wwid, MapSettings settings) {
  std::string alias = wwid;
  if (settings.alias) {
    alias = *settings.alias;
  } else if (settings.user_friendly_names) {
    auto asking = [this, wwid, prefix = settings.alias_prefix]() -> Result<std::string> {
      auto store = open_store();
      if (!store) return failure(store.error());
      return (*store)->alias_for(wwid, prefix);
    };
    const auto friendly = co_await offload(blocking_, asking);
    if (friendly) {
      alias = *friendly;
    } else {
      log_.error("no alias for {}: {}", wwid, friendly.error().message());
    }
  }
  const auto taken = [&](const auto& item) { return item.second.alias == alias && item.first != wwid; };
  if (std::ranges::any_of(known_, taken)) {
    log_.error("alias {} of {} is taken by another map, which keeps it", alias, wwid);
    alias = wwid;
  }
  co_return alias;
}

void Daemon::on_map_made(Shard& shard, const std::string& wwid, BlockDevice& device) {
  boost::asio::post(control_, [this, &shard, wwid, &device] { on_map_ready(shard, wwid, device); });
}

void Daemon::on_map_ready(Shard& shard, const std::string& wwid, BlockDevice& device) {
  const auto place = known_.find(wwid);
  if (place == known_.end() || phase_ == DaemonPhase::shutdown) return;
  const KnownMap& map = place->second;
  exports_->add({.name = map.alias, .wwid = wwid, .device = &device, .shard = &shard, .settings = map.exports});
}

// What a killed mpathd sent may still be carried out by the target until its sessions have been reinstated by ours.
awaitable<void> Daemon::former_ended(std::string wwid) {
  const auto place = known_.find(wwid);
  if (place == known_.end()) co_return;
  const KnownMap map = place->second;
  const MapPolicy policy = config_->settings_for(wwid, map.vendor, map.product, map.revision).policy;
  if (policy.write_fence == WriteFence::none) co_return;
  if (co_await sessions_->all_returned(started_at_ + policy.write_fence_wait)) co_return;
  log_.warning("map {}: not every session of the mpathd before this one could be ended; waited for {} ms", map.alias,
               policy.write_fence_wait.count());
}

awaitable<std::vector<std::string>> Daemon::ways_to(std::string wwid) {
  std::set<std::string> ways;
  const Snapshot now = co_await snapshot();
  const auto keys = sessions_->keys();
  for (const MapSnapshot& map : now.maps) {
    if (map.wwid != wwid) continue;
    for (const GroupSnapshot& group : map.groups) {
      for (const PathSnapshot& path : group.paths) {
        for (const db::NodeKey& key : keys) {
          if (key.target_name != path.target_name) continue;
          ways.insert(fmt::format("ip-{}:{}-iscsi-{}-lun-{}", key.address, key.port, key.target_name, path.lun));
        }
      }
    }
  }
  co_return std::vector<std::string>(ways.begin(), ways.end());
}

void Daemon::on_map_closed(Shard& shard, const std::string& alias, std::function<void()> release) {
  boost::asio::post(control_, [this, &shard, alias, release = std::move(release)] {
    std::erase_if(known_, [&](const auto& item) { return item.second.alias == alias; });
    exports_->remove(alias, [&shard, release] { shard.post(release); });
  });
}

// Links.

void Daemon::on_link(const LinkEvent& event) {
  const bool had_address = addressed_.contains(event.net_ifacename);
  if (event.state.has_address) addressed_.insert(event.net_ifacename);
  // A device that never had an address may work with link-local ones; one that lost its address does not.
  const bool usable = event.state.present && event.state.carrier && (event.state.has_address || !had_address);
  if (event.cause != LinkEvent::Cause::initial) {
    log_.info("link {}: {} carrier={} address={}", event.net_ifacename, usable ? "usable" : "not usable", event.state.carrier,
              event.state.has_address);
  }
  sessions_->link_changed(event.net_ifacename, usable);
}

// Show.

void Daemon::attached_devices(unsigned sid, std::function<void(std::vector<AttachedDevice>)> done) {
  auto asking = [this, sid, done = std::move(done)]() -> awaitable<void> {
    std::vector<AttachedDevice> devices;
    for (auto& shard : shards_) {
      auto look = [this, sid, index = shard->index()] { return maps_[index]->attached(sid); };
      for (const auto& found : co_await run_on(*shard, look)) {
        devices.push_back({.lun = found.lun, .name = found.device, .state = found.running ? "running" : "offline"});
      }
    }
    done(std::move(devices));
  };
  tasks_.spawn(asking);
}

void Daemon::rescan_session(unsigned sid, std::function<void(std::string)> done) {
  auto asking = [this, sid, done = std::move(done)]() -> awaitable<void> {
    for (auto& shard : shards_) {
      auto scan = [this, sid, index = shard->index()] { maps_[index]->rescan(sid); };
      co_await run_on(*shard, scan);
    }
    done({});
  };
  tasks_.spawn(asking);
}

awaitable<Snapshot> Daemon::snapshot() {
  Snapshot all;
  for (auto& shard : shards_) {
    auto look = [this, index = shard->index()] { return maps_[index]->snapshot(); };
    Snapshot part = co_await run_on(*shard, look);
    std::ranges::move(part.maps, std::back_inserter(all.maps));
    std::ranges::move(part.orphans, std::back_inserter(all.orphans));
  }
  for (MapSnapshot& map : all.maps) {
    map.sysfs = exports_->device_name(map.name);
    map.exports = exports_->places(map.name);
  }
  std::ranges::sort(all.maps, {}, &MapSnapshot::name);
  co_return all;
}

awaitable<DaemonState> Daemon::daemon_state() {
  co_return DaemonState{.pid = ::getpid(), .phase = phase_, .busy = tasks_.size() > 1};
}

// Administration.

awaitable<CommandOutcome> Daemon::on_path(std::string path, std::function<CommandOutcome(Path&)> work) {
  for (auto& shard : shards_) {
    auto look = [this, &path, &work, index = shard->index()]() -> std::optional<CommandOutcome> {
      Path* found = maps_[index]->find_path(path);
      if (found == nullptr) return std::nullopt;
      return work(*found);
    };
    const auto outcome = co_await run_on(*shard, look);
    if (outcome) co_return *outcome;
  }
  co_return not_found("no such path");
}

awaitable<CommandOutcome> Daemon::fail_path(std::string path) {
  auto work = [](Path& found) {
    found.operator_fail();
    return CommandOutcome{};
  };
  co_return co_await on_path(std::move(path), work);
}

awaitable<CommandOutcome> Daemon::reinstate_path(std::string path) {
  auto work = [](Path& found) {
    found.operator_reinstate();
    if (!found.port().up()) return CommandOutcome{CommandStatus::failed, "its session is down; it comes back by itself"};
    return CommandOutcome{};
  };
  co_return co_await on_path(std::move(path), work);
}

awaitable<CommandOutcome> Daemon::add_path(std::string) {
  for (auto& shard : shards_) {
    auto work = [this, index = shard->index()] { maps_[index]->rescan(std::nullopt); };
    co_await run_on(*shard, work);
  }
  co_return CommandOutcome{};
}

awaitable<CommandOutcome> Daemon::remove_path(std::string) {
  co_return CommandOutcome{CommandStatus::not_supported, "a path goes with its session: log out with mpathadm"};
}

awaitable<CommandOutcome> Daemon::add_map(std::string map) {
  if (known_map(map) != nullptr) co_return CommandOutcome{};
  co_return not_found("no such map: maps are made of the paths of sessions that are logged in");
}

awaitable<CommandOutcome> Daemon::remove_map(std::string map) {
  if (known_map(map) == nullptr) co_return not_found("no such map");
  co_return CommandOutcome{CommandStatus::in_use, "a map goes with its paths: log out with mpathadm"};
}

Daemon::KnownMap* Daemon::known_map(const std::string& name) {
  for (auto& [wwid, map] : known_) {
    if (map.alias == name || wwid == name) return &map;
  }
  return nullptr;
}

awaitable<CommandOutcome> Daemon::resize_map(std::string map) {
  const KnownMap* known = known_map(map);
  if (known == nullptr) co_return not_found("no such map");
  struct Answer {
    bool ok = false;
    std::string text;
  };
  auto answer = std::make_shared<Answer>();
  auto answered = std::make_shared<Event>(control_.get_executor());
  auto work = [this, map, answer, answered, index = known->shard] {
    auto done = [this, answer, answered](bool ok, const std::string& text) {
      boost::asio::post(control_, [answer, answered, ok, text] {
        *answer = {ok, text};
        answered->set();
      });
    };
    MapDevice* device = maps_[index]->find_map(map);
    if (device == nullptr) return done(false, "no such map");
    maps_[index]->resize(*device, done);
  };
  co_await run_on(shard_of(*known), work);
  co_await answered->wait();
  log_.notice("map {}: resize {} text={}", map, answer->ok ? "done" : "failed", mpath::quoted(answer->text));
  co_return CommandOutcome{answer->ok ? CommandStatus::ok : CommandStatus::failed, answer->ok ? "" : answer->text};
}

awaitable<CommandOutcome> Daemon::switch_group(std::string map, unsigned group) {
  const KnownMap* known = known_map(map);
  if (known == nullptr) co_return not_found("no such map");
  auto work = [this, map, group, index = known->shard] {
    MapDevice* device = maps_[index]->find_map(map);
    return device != nullptr && device->switch_group(group);
  };
  const bool switched = co_await run_on(shard_of(*known), work);
  co_return switched ? CommandOutcome{} : CommandOutcome{CommandStatus::failed, "no such group, or it has no usable path"};
}

awaitable<CommandOutcome> Daemon::on_maps(std::optional<std::string> map, std::function<void(MapDevice&)> work) {
  if (map && known_map(*map) == nullptr) co_return not_found("no such map");
  for (auto& shard : shards_) {
    auto each = [this, &map, &work, index = shard->index()] {
      for (MapDevice* device : maps_[index]->maps()) {
        if (!map || device->name() == *map || device->wwid() == *map) work(*device);
      }
    };
    co_await run_on(*shard, each);
  }
  co_return CommandOutcome{};
}

awaitable<CommandOutcome> Daemon::disable_queueing(std::optional<std::string> map) {
  auto work = [](MapDevice& device) { device.set_queueing_disabled(true); };
  co_return co_await on_maps(std::move(map), work);
}

awaitable<CommandOutcome> Daemon::restore_queueing(std::optional<std::string> map) {
  auto work = [](MapDevice& device) { device.set_queueing_disabled(false); };
  co_return co_await on_maps(std::move(map), work);
}

awaitable<CommandOutcome> Daemon::reset_stats(std::optional<std::string> map) {
  auto work = [](MapDevice& device) { device.reset_stats(); };
  co_return co_await on_maps(std::move(map), work);
}

awaitable<CommandOutcome> Daemon::export_map(std::string map, ExportKind kind) { return exports_->open(std::move(map), kind); }
awaitable<CommandOutcome> Daemon::unexport_map(std::string map, ExportKind kind) { return exports_->close(std::move(map), kind); }

awaitable<CommandOutcome> Daemon::reconfigure() {
  std::string first_error;
  if (!load_settings(first_error)) co_return CommandOutcome{CommandStatus::failed, first_error};
  for (const auto& [wwid, map] : known_) {
    const MapSettings settings = config_->settings_for(wwid, map.vendor, map.product, map.revision);
    const MapPlan plan{.alias = map.alias, .policy = settings.policy, .drill = settings.drill};
    auto work = [this, plan, index = map.shard] { maps_[index]->set_plan(plan); };
    boost::asio::post(shards_[map.shard]->context(), work);
    exports_->set_settings(map.alias, settings.exports);
  }
  log_.notice("settings read again");
  co_return CommandOutcome{};
}

awaitable<CommandOutcome> Daemon::shutdown() {
  if (options_.for_root) co_return CommandOutcome{CommandStatus::in_use, "it serves the root file system"};
  boost::asio::post(control_, [this] {
    if (on_shutdown) on_shutdown();
  });
  co_return CommandOutcome{};
}

}  // namespace mpath
