#include "target/daemon.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/thread_pool.hpp>
#include <map>
#include <thread>

#include "base/atomic_file.hpp"
#include "base/control_server.hpp"
#include "base/event.hpp"
#include "base/offload.hpp"
#include "base/shard.hpp"
#include "base/system_clock.hpp"
#include "target/cluster/cluster_verbs.hpp"
#include "target/config/config_files.hpp"
#include "target/config/secrets.hpp"
#include "target/iscsi/portals.hpp"
#include "target/verbs.hpp"

namespace mpath::target {
namespace {

using boost::asio::awaitable;
using Lines = std::vector<std::string>;

constexpr unsigned shards_by_default_max = 4;

Refusal refused(const ConfigProblems& problems) {
  Refusal refusal{.kind = Refusal::Kind::invalid};
  for (const ConfigProblem& problem : problems) {
    if (problem.severity == ConfigProblem::Severity::error) refusal.lines.push_back(problem.text());
  }
  return refusal;
}

Refusal failed(std::string line) {
  return {Refusal::Kind::failed, {std::move(line)}};
}

}  // namespace

struct TargetDaemon::Impl {
  Impl(TargetDaemon& owner, boost::asio::io_context& loop, TargetDaemonOptions given, const Log& about)
      : self(owner),
        control(loop),
        options(std::move(given)),
        log(about),
        clock(loop),
        server(loop.get_executor(), clock),
        idle(loop.get_executor()) {
    idle.set();
  }

  TargetDaemon& self;
  boost::asio::io_context& control;
  TargetDaemonOptions options;
  Log log;
  SystemClock clock;
  boost::asio::thread_pool pool{2};
  std::vector<std::unique_ptr<Shard>> shards;
  std::unique_ptr<Units> units;
  std::unique_ptr<Sessions> sessions;
  std::unique_ptr<Portals> portals;
  std::unique_ptr<cluster::Pair> pair;  // none: this node stands alone
  bool pair_started = false;
  control::Server server;
  ParsedConfig parsed;
  std::shared_ptr<const TargetsView> view = std::make_shared<TargetsView>();
  bool virtual_here = false;
  Event idle;      // set while no configuration is being applied
  Lines troubles;  // of the last one: what was valid and could not be done
  bool stopping = false;

  [[nodiscard]] std::expected<ParsedConfig, Refusal> read_blocking() const {
    std::vector<ConfigFile> files;
    if (options.fixed) {
      files = *options.fixed;
    } else {
      auto read = read_config_files(options.layout, options.config_file);
      if (!read) return std::unexpected(failed(read.error()));
      files = std::move(*read);
    }
    return checked(files);
  }

  [[nodiscard]] std::expected<ParsedConfig, Refusal> checked(const std::vector<ConfigFile>& files) const {
    ParsedConfig result = parse_targetd_config(files, read_secret_file, options.choice);
    if (has_errors(result.problems)) return std::unexpected(refused(result.problems));
    return result;
  }

  void make_shards(const TargetdConfig& config) {
    unsigned count = options.shards != 0 ? options.shards : config.shards;
    if (count == 0) count = std::clamp(std::thread::hardware_concurrency(), 1U, shards_by_default_max);
    for (unsigned index = 0; index < count; ++index) shards.push_back(std::make_unique<Shard>(index));
    for (auto& shard : shards) shard->start();
    std::vector<Shard*> all;
    for (auto& shard : shards) all.push_back(shard.get());
    Units::DirectoryOf directory = options.unit_directory;
    if (!directory)
      directory = [layout = options.layout](const std::string& unit) { return layout.target_units() / unit; };
    units = std::make_unique<Units>(control, all, pool, std::move(directory), log);
    sessions = std::make_unique<Sessions>(control, all, log);
    portals = std::make_unique<Portals>(control.get_executor(), clock, *sessions, config.login, log);
  }

  // Those on a virtual IP are listened on while this node serves.
  [[nodiscard]] std::vector<Portal> wanted_portals(const TargetdConfig& config) const {
    std::vector<Portal> all;
    for (const PortalGroupConfig& group : config.portal_groups) {
      if (group.is_virtual && !virtual_here) continue;
      if (!group.peer) all.insert(all.end(), group.portals.begin(), group.portals.end());
    }
    return all;
  }

  // What a portal of the configuration really listens on: port 0 becomes the kernel's choice.
  [[nodiscard]] Portal real_portal(const Portal& portal) const {
    if (portal.port != 0) return portal;
    const auto wanted = wanted_portals(parsed.config);
    for (const Portal& open : portals->listening()) {
      const bool other = std::ranges::any_of(wanted, [&open](const Portal& each) { return each == open; });
      if (open.address == portal.address && !other) return open;
    }
    return portal;
  }

  [[nodiscard]] std::shared_ptr<const TargetView> make_view(const TargetConfig& target) const {
    TargetView made{.name = target.name, .alias = target.alias};
    for (const auto& [lun, name] : target.luns) {
      if (auto unit = units->find(name)) made.luns.push_back({scsi::Lun{lun}, std::move(unit)});
    }
    for (const PortalGroupConfig* group : groups_of(parsed.config, target)) {
      PortalGroupView shown{.tag = group->tag,
                            .portals = {},
                            .peer = group->peer,
                            .moving = group->is_virtual,
                            .alua_group = group->alua_group,
                            .relative_id = group->relative_id};
      for (const Portal& portal : group->portals) {
        const Portal real = group->peer ? portal : real_portal(portal);
        shown.portals.push_back({.host = real.address, .port = real.port, .portal_group = group->tag});
      }
      made.groups.push_back(std::move(shown));
    }
    made.authentication = target.authentication;
    made.access = target.access;
    made.wishes = target.wishes;
    made.window = target.window;
    made.sessions_max = target.sessions_max;
    made.nop_interval_ms = target.nop_interval_ms;
    made.nop_timeout_ms = target.nop_timeout_ms;
    made.redirect = target.redirect;
    made.redirect_to = target.redirect_to;
    // All of its units offline: initiators wait for a target that is not ready, they do not give up on an empty one.
    const auto online = [this](const auto& lun) { return !units->offline(lun.second); };
    made.ready = target.luns.empty() || std::ranges::any_of(target.luns, online);
    return std::make_shared<const TargetView>(std::move(made));
  }

  // The picture there is, and the targets to come as not ready: between listening and serving an initiator is told to
  // try again. "No such target" would be final, for Linux's first login.
  [[nodiscard]] std::shared_ptr<const TargetsView> with_coming(const TargetdConfig& next) const {
    auto picture = std::make_shared<TargetsView>(*view);
    picture->discovery = next.discovery;
    for (const TargetConfig& target : next.targets) {
      if (view->find(target.name) != nullptr) continue;
      TargetView coming{.name = target.name};
      for (const PortalGroupConfig* group : groups_of(next, target)) {
        PortalGroupView shown{.tag = group->tag, .portals = {}, .peer = group->peer};
        for (const Portal& portal : group->portals)
          shown.portals.push_back({.host = portal.address, .port = portal.port, .portal_group = group->tag});
        coming.groups.push_back(std::move(shown));
      }
      coming.access = target.access;
      coming.ready = false;
      picture->targets.push_back(std::make_shared<const TargetView>(std::move(coming)));
    }
    return picture;
  }

  // `keep`: targets whose picture stays the one there is, so that nobody looks at their sessions.
  [[nodiscard]] awaitable<void> show_targets(std::function<bool(const TargetConfig&)> keep) {
    auto next = std::make_shared<TargetsView>();
    next->discovery = parsed.config.discovery;
    for (const TargetConfig& target : parsed.config.targets) {
      auto before = view->find(target.name);
      next->targets.push_back(before != nullptr && keep(target) ? before : make_view(target));
    }
    view = next;
    portals->set_targets(view);
    co_await sessions->update(view);
  }

  [[nodiscard]] static bool holds_any(const TargetConfig& target, const std::vector<std::string>& names) {
    return std::ranges::any_of(
        target.luns, [&names](const auto& lun) { return std::ranges::find(names, lun.second) != names.end(); });
  }

  // ---- a pair

  void make_pair(const TargetdConfig& config) {
    cluster::VirtualService::Doors doors;
    doors.listen = [this](bool with_virtual) {
      virtual_here = with_virtual;
      return portals->listen(wanted_portals(parsed.config));
    };
    doors.drop_logins = [this](const IpAddress& address) { portals->drop_local(address); };
    doors.drop_connections = [this](IpAddress address) { return sessions->drop_local(address); };
    doors.may_serve = [this] { return pair->keeps_address(); };
    doors.mute_connections = [this](IpAddress address) { return sessions->mute_local(address); };
    std::vector<std::string> service;
    for (const PortalGroupConfig& group : config.portal_groups) {
      if (group.peer || group.is_virtual) continue;
      for (const Portal& portal : group.portals) service.push_back(portal.address);
    }
    pair = std::make_unique<cluster::Pair>(control, clock, pool, *config.cluster,
                                           options.layout.target_state() / "cluster", std::move(doors),
                                           std::move(service), log);
    pair->set_drop_initiators([this](const char* why) { return sessions->drop_all(why); });
    units->set_serving(pair->serving());
  }

  [[nodiscard]] awaitable<std::expected<void, std::string>> start_pair() {
    std::vector<cluster::PairUnit> all = units->replicated();
    for (cluster::PairUnit& unit : all) {
      for (const scsi::PortGroup& group : ports_of(parsed.config, unit.name).groups) {
        const bool others = std::ranges::any_of(parsed.config.portal_groups, [&group](const PortalGroupConfig& each) {
          return each.alua_group == group.id && each.peer;
        });
        (others ? unit.peer_groups : unit.own_groups).push_back(group.id);
      }
    }
    pair_started = true;
    co_return co_await pair->start(std::move(all));
  }

  // What a running pair cannot take: its copies are known to the other node.
  [[nodiscard]] std::optional<std::string> refused_by_pair(const ConfigPlan& plan, const TargetdConfig& next) const {
    if (!pair_started) return std::nullopt;
    const auto replicated = [](const TargetdConfig& config, const std::string& name) {
      const auto place = std::ranges::find(config.units, name, &LuConfig::name);
      return place != config.units.end() && place->replicated;
    };
    for (const auto* names : {&plan.units_added, &plan.units_removed, &plan.units_reopened}) {
      for (const std::string& name : *names) {
        if (replicated(next, name) || replicated(parsed.config, name))
          return fmt::format("lu {} is replicated: it is added, changed and removed by a restart of mptargetd", name);
      }
    }
    return std::nullopt;
  }

  // The difference, done. Nothing was changed when it is refused.
  [[nodiscard]] awaitable<Outcome<Lines>> apply(ParsedConfig next) {
    ConfigPlan plan = make_plan(parsed.config, next.config);
    if (auto why = refused_by_pair(plan, next.config)) co_return std::unexpected(failed(std::move(*why)));
    // Whoever was offline gets another try, with whatever the administrator mended.
    for (const LuConfig& unit : next.config.units) {
      const bool planned = std::ranges::find(plan.units_reopened, unit.name) != plan.units_reopened.end();
      if (unit.replicated) continue;  // at the next start: the pair has learned that this copy cannot be used
      if (!units->offline(unit.name) || planned) continue;
      std::erase(plan.units_adjusted, unit.name);
      plan.units_reopened.push_back(unit.name);
    }
    portals->set_targets(with_coming(next.config));
    if (auto listening = portals->listen(wanted_portals(next.config)); !listening) {
      portals->set_targets(view);
      co_return std::unexpected(failed(listening.error()));
    }
    troubles.clear();
    const TargetdConfig before = std::move(parsed.config);
    parsed = std::move(next);
    for (const ConfigProblem& problem : parsed.problems) log.warning("{}", problem.text());
    Lines lines = plan.lines();
    for (const std::string& line : lines) log.notice("plan: {}", line);

    const bool unchanged_groups = !plan.groups_changed;
    std::vector<std::string> touched;
    for (const auto* names : {&plan.units_removed, &plan.units_reopened, &plan.units_added})
      touched.insert(touched.end(), names->begin(), names->end());
    const auto keep = [&](const TargetConfig& target) {
      const bool changed = std::ranges::find(plan.targets_changed, target.name) != plan.targets_changed.end();
      return unchanged_groups && !changed && !holds_any(target, touched);
    };
    co_await close_units(plan, keep);
    co_await open_units(plan, before);
    co_await show_targets(keep);
    co_return lines;
  }

  // Sessions leave what is about to be closed before it is.
  [[nodiscard]] awaitable<void> close_units(const ConfigPlan& plan, std::function<bool(const TargetConfig&)> keep) {
    if (plan.units_removed.empty() && plan.units_reopened.empty()) co_return;
    auto less = std::make_shared<TargetsView>();
    less->discovery = parsed.config.discovery;
    const auto leaving = [&plan](const std::string& name) {
      return std::ranges::find(plan.units_removed, name) != plan.units_removed.end() ||
             std::ranges::find(plan.units_reopened, name) != plan.units_reopened.end();
    };
    std::vector<std::shared_ptr<LogicalUnit>> gone;
    for (const auto* names : {&plan.units_removed, &plan.units_reopened}) {
      for (const std::string& name : *names) gone.push_back(units->find(name));
    }
    for (const TargetConfig& target : parsed.config.targets) {
      const auto before = view->find(target.name);
      if (before == nullptr) continue;
      const bool stays =
          keep(target) && std::ranges::none_of(target.luns, [&](const auto& lun) { return leaving(lun.second); });
      if (stays) {
        less->targets.push_back(before);
        continue;
      }
      TargetView smaller = *before;
      std::erase_if(smaller.luns,
                    [&gone](const LunEntry& entry) { return std::ranges::find(gone, entry.unit) != gone.end(); });
      less->targets.push_back(std::make_shared<const TargetView>(std::move(smaller)));
    }
    gone.clear();
    view = less;
    portals->set_targets(view);
    co_await sessions->update(view);
    for (const auto* names : {&plan.units_removed, &plan.units_reopened}) {
      for (const std::string& name : *names) static_cast<void>(co_await units->close(name));
    }
  }

  [[nodiscard]] awaitable<void> open_units(const ConfigPlan& plan, const TargetdConfig& before) {
    const auto listed = [](const std::vector<std::string>& names, const std::string& name) {
      return std::ranges::find(names, name) != names.end();
    };
    for (const LuConfig& unit : parsed.config.units) {
      const UnitPorts ports = ports_of(parsed.config, unit.name);
      if (listed(plan.units_added, unit.name) || listed(plan.units_reopened, unit.name)) {
        co_await units->open(unit, ports);
        continue;
      }
      if (ports != ports_of(before, unit.name)) co_await note(units->set_ports(unit.name, ports));
      if (!listed(plan.units_adjusted, unit.name)) continue;
      const auto old = std::ranges::find(before.units, unit.name, &LuConfig::name);
      units->update_config(unit);
      if (old->drill != unit.drill) co_await note(units->set_drill(unit.name, unit.drill));
      if (old->store.size_bytes != unit.store.size_bytes) co_await note(units->grow(unit.name, unit.store.size_bytes));
    }
  }

  [[nodiscard]] awaitable<void> note(awaitable<std::string> work) {
    const std::string trouble = co_await std::move(work);
    if (trouble.empty()) co_return;
    log.error("{}", trouble);
    troubles.push_back(trouble);
  }

  // One at a time. The turn ends with the object, whatever happens to the coroutine that holds it.
  class Turn {
   public:
    explicit Turn(Event& idle) : idle_(&idle) {}
    Turn(Turn&& other) noexcept : idle_(std::exchange(other.idle_, nullptr)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (idle_ != nullptr) idle_->set();
    }

   private:
    Event* idle_;
  };
  [[nodiscard]] awaitable<Turn> turn() {
    while (!idle.is_set()) co_await idle.wait_uncancelled();
    idle.clear();
    co_return Turn(idle);
  }
};

TargetDaemon::TargetDaemon(boost::asio::io_context& control, TargetDaemonOptions options, const Log& log)
    : impl_(std::make_unique<Impl>(*this, control, std::move(options), log)) {}

TargetDaemon::~TargetDaemon() {
  for (auto& shard : impl_->shards) shard->stop();
  impl_->pool.join();
}

awaitable<error_code> TargetDaemon::start() {
  auto parsed = impl_->read_blocking();
  if (!parsed) {
    for (const std::string& line : parsed.error().lines) impl_->log.error("{}", line);
    co_return std::make_error_code(std::errc::invalid_argument);
  }
  impl_->make_shards(parsed->config);
  if (impl_->options.control_socket) {
    add_target_verbs(impl_->server, *this);
    cluster::add_cluster_verbs(impl_->server,
                               [this] { return static_cast<cluster::ClusterControl*>(impl_->pair.get()); });
    const auto socket = impl_->options.layout.target_socket();
    if (const error_code error = impl_->server.listen(socket)) {
      impl_->log.error("{}: {}", socket.string(), error.message());
      co_return error;
    }
  }
  const auto turn = co_await impl_->turn();
  if (parsed->config.cluster) {
    impl_->make_pair(parsed->config);
    if (const auto prepared = impl_->pair->prepare(); !prepared) {
      impl_->log.error("{}", prepared.error());
      impl_->pair.reset();
      co_return std::make_error_code(std::errc::invalid_argument);
    }
  }
  const auto applied = co_await impl_->apply(std::move(*parsed));
  if (!applied) {
    for (const std::string& line : applied.error().lines) impl_->log.error("{}", line);
    co_return std::make_error_code(std::errc::address_not_available);
  }
  if (impl_->pair != nullptr) {
    const auto started = co_await impl_->start_pair();
    if (!started) {
      impl_->log.error("{}", started.error());
      co_return std::make_error_code(std::errc::invalid_argument);
    }
  }
  co_return error_code{};
}

awaitable<void> TargetDaemon::stop() {
  impl_->stopping = true;
  if (impl_->sessions == nullptr) co_return;
  if (impl_->pair != nullptr) co_await impl_->pair->stop();
  co_await impl_->portals->close();
  co_await impl_->server.close();
  const auto turn = co_await impl_->turn();
  co_await impl_->sessions->close(impl_->options.logout_grace);
  impl_->view = std::make_shared<TargetsView>();
  impl_->portals->set_targets(impl_->view);
  const bool synchronised = co_await impl_->units->close_all();
  if (impl_->pair != nullptr) co_await impl_->pair->finish(synchronised);
  for (auto& shard : impl_->shards) shard->stop();
}

awaitable<Outcome<Lines>> TargetDaemon::reload() {
  if (impl_->stopping) co_return std::unexpected(Refusal{Refusal::Kind::busy, {"mptargetd is stopping"}});
  const auto turn = co_await impl_->turn();
  auto reading = [this] { return impl_->read_blocking(); };
  auto parsed = co_await offload(impl_->pool, reading);
  Outcome<Lines> outcome;
  if (parsed) {
    outcome = co_await impl_->apply(std::move(*parsed));
  } else {
    outcome = std::unexpected(parsed.error());
  }
  if (!outcome) {
    for (const std::string& line : outcome.error().lines) impl_->log.error("{}", line);
    impl_->log.error("the configuration stays as it was");
    co_return outcome;
  }
  impl_->log.notice("configuration read again changes={}", outcome->size());
  Lines troubles = impl_->troubles;
  if (impl_->pair != nullptr) {
    const auto keys = co_await impl_->pair->read_keys_again();
    if (!keys) troubles.push_back(fmt::format("the keys of the pair stay as they are: {}", keys.error()));
    if (keys && *keys) outcome->push_back("the keys of the pair");
  }
  for (const LuConfig& unit : config().units) {
    if (impl_->units->offline(unit.name))
      troubles.push_back(fmt::format("lu {} is offline: {}", unit.name, impl_->units->trouble(unit.name)));
  }
  if (!troubles.empty()) co_return std::unexpected(Refusal{Refusal::Kind::failed, std::move(troubles)});
  co_return outcome;
}

awaitable<Outcome<Lines>> TargetDaemon::edit(std::filesystem::path file, std::optional<std::string> text) {
  if (impl_->stopping) co_return std::unexpected(Refusal{Refusal::Kind::busy, {"mptargetd is stopping"}});
  if (impl_->options.fixed)
    co_return std::unexpected(failed("this mptargetd serves the files of its command line; it has no configuration"));
  const auto turn = co_await impl_->turn();
  const auto keep = [&file](const std::optional<std::string>& what) -> std::expected<void, std::string> {
    const error_code error = what ? replace_file(file, *what) : remove_file(file);
    if (error) return std::unexpected(fmt::format("{}: {}", file.string(), error.message()));
    return {};
  };
  std::optional<std::string> former;
  auto work = [this, &file, &text, &former, &keep]() -> std::expected<ParsedConfig, Refusal> {
    auto files = read_config_files(impl_->options.layout, impl_->options.config_file);
    if (!files) return std::unexpected(failed(files.error()));
    const auto mine = [&file](const ConfigFile& each) { return each.name == file.string(); };
    if (const auto old = std::ranges::find_if(*files, mine); old != files->end()) former = old->text;
    std::erase_if(*files, mine);
    if (text) files->push_back({.name = file.string(), .text = *text, .managed = true});
    std::ranges::stable_sort(*files, {}, [](const ConfigFile& each) { return std::pair(each.managed, each.name); });
    auto next = impl_->checked(*files);
    if (!next) return next;
    if (auto kept = keep(text); !kept) return std::unexpected(failed(kept.error()));
    return next;
  };
  auto parsed = co_await offload(impl_->pool, work);
  Outcome<Lines> outcome;
  if (parsed) {
    outcome = co_await impl_->apply(std::move(*parsed));
    if (!outcome) {  // what could not be done is not found at the next start either
      auto restore = [&keep, &former] { return keep(former); };
      const auto restored = co_await offload(impl_->pool, restore);
      if (!restored) outcome.error().lines.push_back(restored.error());
    }
  } else {
    outcome = std::unexpected(parsed.error());
  }
  if (outcome && !impl_->troubles.empty()) co_return std::unexpected(Refusal{Refusal::Kind::failed, impl_->troubles});
  co_return outcome;
}

Outcome<Lines> TargetDaemon::check() const {
  const auto parsed = impl_->read_blocking();
  if (!parsed) return std::unexpected(parsed.error());
  Lines lines;
  for (const ConfigProblem& problem : parsed->problems) lines.push_back("warning: " + problem.text());
  std::ranges::move(make_plan(TargetdConfig{}, parsed->config).lines(), std::back_inserter(lines));
  return lines;
}

const ParsedConfig& TargetDaemon::parsed() const {
  return impl_->parsed;
}
const TargetdConfig& TargetDaemon::config() const {
  return impl_->parsed.config;
}
const Layout& TargetDaemon::layout() const {
  return impl_->options.layout;
}
Units& TargetDaemon::units() {
  return *impl_->units;
}
Sessions& TargetDaemon::sessions() {
  return *impl_->sessions;
}
std::vector<Portal> TargetDaemon::listening() const {
  return impl_->portals->listening();
}

}  // namespace mpath::target
