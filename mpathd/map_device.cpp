#include "mpathd/map_device.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.hpp"
#include "mpathd/map_internal.hpp"
#include "mpathd/path_state.hpp"

namespace mpath {
namespace {

GroupingInput grouping_input(const MapPath& path) {
  return {.priority = path.priority, .usable = path.usable, .standby = path.standby};
}

std::vector<GroupingInput> grouping_inputs(const std::vector<std::unique_ptr<MapPath>>& paths) {
  std::vector<GroupingInput> inputs;
  inputs.reserve(paths.size());
  for (const auto& path : paths) inputs.push_back(grouping_input(*path));
  return inputs;
}

const char* selector_text(SelectorKind kind) {
  switch (kind) {
    case SelectorKind::round_robin:
      return "round-robin 0";
    case SelectorKind::queue_length:
      return "queue-length 0";
    case SelectorKind::service_time:
      return "service-time 0";
  }
  return "";
}

const char* failback_text(Failback failback) {
  switch (failback) {
    case Failback::manual:
      return "manual";
    case Failback::immediate:
      return "immediate";
  }
  return "";
}

}  // namespace

void MapPath::link(Command& command) {
  command.path_previous = nullptr;
  command.path_next = in_flight_first;
  if (in_flight_first != nullptr) in_flight_first->path_previous = &command;
  in_flight_first = &command;
  ++in_flight;
  in_flight_bytes += command.length;
}

void MapPath::unlink(Command& command) {
  (command.path_previous != nullptr ? command.path_previous->path_next : in_flight_first) = command.path_next;
  if (command.path_next != nullptr) command.path_next->path_previous = command.path_previous;
  command.path_next = command.path_previous = nullptr;
  --in_flight;
  in_flight_bytes -= command.length;
}

MapDevice::MapDevice(std::string name, std::string wwid, const LuFacts& facts, const MapPolicy& policy,
                     Environment environment)
    : name_(std::move(name)),
      wwid_(std::move(wwid)),
      environment_(environment),
      facts_(facts),
      policy_(policy),
      selector_(policy.selector, policy.rr_min_io),
      reservations_(std::make_unique<Reservations>()),
      pools_(std::make_unique<Pools>()) {
  reservations_->step.map = this;
  no_path_alarm_ = environment_.clock.make_alarm([this] {
    ++queue_timeouts_;
    gave_up_ = true;
    environment_.listener.on_map_line(fmt::format("map {}: no path for too long, failing I/O", name_), true);
    decide_without_path();
  });
  takeover_alarm_ = environment_.clock.make_alarm([this] {
    const bool any = std::ranges::any_of(paths_, [](const auto& path) { return path->standby; });
    if (!any || takeover_expected() || usable_count() != 0) return;
    environment_.listener.on_map_line(
        fmt::format("map {}: no takeover in time, {} I/O", name_, may_queue() ? "queueing" : "failing"), true);
    decide_without_path();
  });
  look_alarm_ = environment_.clock.make_alarm([this] {
    looked_at_ = environment_.clock.now();
    std::vector<MapPath*> paths;  // what they do may end with one of them leaving
    for (const auto& path : paths_) paths.push_back(path.get());
    for (MapPath* path : paths) {
      const bool here = std::ranges::find(paths_, path, &std::unique_ptr<MapPath>::get) != paths_.end();
      if (here) path->owner->on_look_wanted();
    }
  });
  pause_alarm_ = environment_.clock.make_alarm([this] {
    auto paused = pools_->paused.take_all();
    while (Command* command = paused.pop_front()) dispatch(*command);
  });
  no_path_since_ = environment_.clock.now();
  update_limits();
}

MapDevice::~MapDevice() {
  CHECK(pools_->ios.out() == 0);
  CHECK(std::ranges::all_of(leaving_, [](const auto& path) { return path->unused(); }));
}

// Paths.

MapPath& MapDevice::attach(ScsiPort& port, scsi::Lun lun, MapPathOwner& owner, std::string label, int priority) {
  auto path = std::make_unique<MapPath>();
  path->port = &port;
  path->owner = &owner;
  path->lun = lun;
  path->label = std::move(label);
  path->priority = priority;
  path->fence_alarm = environment_.clock.make_alarm([this, raw = path.get()] { on_fence_alarm(*raw); });
  path->grace_alarm = environment_.clock.make_alarm([this, raw = path.get()] { on_grace_over(*raw); });
  const MapPath* active = member_in_use();
  paths_.push_back(std::move(path));
  ++map_loads_;
  regroup(active);
  return *paths_.back();
}

void MapDevice::detach(MapPath& path) {
  forget_registering(path);
  Command* const step = reservations_->command;
  if (step != nullptr && step->only == &path) step->only = nullptr;
  set_usable(path, false);
  set_standby(path, false);
  set_pending(path, false);
  const auto place = std::ranges::find(paths_, &path, &std::unique_ptr<MapPath>::get);
  CHECK(place != paths_.end());
  path.port = nullptr;
  path.owner = nullptr;
  path.grace_alarm->cancel();
  leaving_.push_back(std::move(*place));
  paths_.erase(place);
  ++map_loads_;
  active_group_.reset();
  regroup();
  if (path.fencing) advance_fence(path);
  forget_unused_paths();
}

void MapDevice::set_usable(MapPath& path, bool usable) {
  if (!usable) forget_registering(path);
  if (path.usable == usable || (usable && must_register(path))) return;
  change_usable(path, usable);
}

void MapDevice::change_usable(MapPath& path, bool usable) {
  path.usable = usable;
  if (!usable) ++path_faults_;
  const std::size_t count = usable_count();
  environment_.listener.on_map_line(fmt::format("map {}: path {} {}, {} of {} paths usable", name_, path.label,
                                                usable ? "reinstated" : "failed", count, paths_.size()),
                                    !usable);
  choose_active_group();
  if (usable && count == 1) on_first_path_back();
  if (!usable && count == 0) on_last_path_gone();
  const auto serves_best = [](const MapPath& each) {
    return each.told && each.told->state == scsi::AccessState::optimized;
  };
  const bool best_left =
      std::ranges::any_of(paths_, [&](const auto& each) { return each->usable && serves_best(*each); });
  if (!usable && serves_best(path) && !best_left) look_soon();
  if (usable) advance_fences();
  pump();
}

void MapDevice::port_up(MapPath& path) {
  if (path.fencing && path.port->generation() > path.lost_generation)
    release_fence(path, "the path logged in again", false);
}

void MapDevice::port_room(MapPath&) {
  pump();
}

std::size_t MapDevice::usable_count() const {
  return static_cast<std::size_t>(std::ranges::count_if(paths_, [](const auto& path) { return path->usable; }));
}

const PathCounters& MapDevice::counters(const MapPath& path) const {
  return path.counters;
}
std::uint32_t MapDevice::in_flight(const MapPath& path) const {
  return path.in_flight;
}

void MapDevice::forget_unused_paths() {
  std::erase_if(leaving_, [](const auto& path) { return path->unused(); });
  check_idle();
}

// Groups, and life without a path.

// `active`: the new group with this path takes the place of the one in use, so that a choice survives new groups.
void MapDevice::regroup(const MapPath* active) {
  const auto inputs = grouping_inputs(paths_);
  groups_ = make_groups(policy_.grouping, inputs);
  if (active != nullptr) {
    const auto has_it = [&](const Group& group) {
      return std::ranges::any_of(group.members, [&](std::size_t member) { return paths_[member].get() == active; });
    };
    active_group_ = static_cast<std::size_t>(std::ranges::find_if(groups_, has_it) - groups_.begin());
  }
  choose_active_group();
}

const MapPath* MapDevice::member_in_use() const {
  if (!active_group_ || *active_group_ >= groups_.size()) return nullptr;
  const auto& members = groups_[*active_group_].members;
  const auto usable = std::ranges::find_if(members, [&](std::size_t member) { return paths_[member]->usable; });
  return paths_[usable == members.end() ? members.front() : *usable].get();
}

void MapDevice::choose_active_group() {
  const auto inputs = grouping_inputs(paths_);
  const auto chosen = choose_group(groups_, inputs, active_group_, policy_.failback);
  if (!chosen) return;  // the last one stays marked until something is usable again
  if (active_group_ && *active_group_ != *chosen) {
    ++switch_group_count_;
    environment_.listener.on_map_line(fmt::format("map {}: switched to path group {}", name_, *chosen + 1), false);
  }
  active_group_ = chosen;
}

void MapDevice::set_pending(MapPath& path, bool pending) {
  if (path.pending == pending) return;
  path.pending = pending;
  if (!pending) decide_without_path();
}

void MapDevice::set_standby(MapPath& path, bool standby) {
  if (path.standby == standby) return;
  path.standby = standby;
  if (!standby) decide_without_path();
}

bool MapDevice::may_queue() const {
  if (closing_) return false;
  if (std::ranges::any_of(paths_, [](const auto& path) { return path->pending || path->registering; })) return true;
  if (queueing_disabled_) return false;
  if (takeover_expected()) return true;
  switch (policy_.no_path_retry.mode) {
    case NoPathRetry::Mode::fail:
      return false;
    case NoPathRetry::Mode::queue:
      return true;
    case NoPathRetry::Mode::count:
      return !gave_up_;
  }
  return false;
}

void MapDevice::on_last_path_gone() {
  no_path_since_ = environment_.clock.now();
  environment_.listener.on_map_line(
      fmt::format("map {}: no path left, {} I/O", name_, may_queue() ? "queueing" : "failing"), true);
  takeover_alarm_->set(no_path_since_ + takeover_wait_);
  if (policy_.no_path_retry.mode == NoPathRetry::Mode::count) {
    gives_up_at_ = no_path_since_ + policy_.no_path_retry.checks * policy_.polling_interval;
    if (takeover_expected()) gives_up_at_ += takeover_wait_;
    no_path_alarm_->set(gives_up_at_);
  }
  decide_without_path();
  look_alarm_->set(environment_.clock.now());
}

void MapDevice::decide_without_path() {
  if (usable_count() == 0 && !may_queue()) fail_waiting();
}

void MapDevice::on_first_path_back() {
  if (no_path_since_ != never) total_queue_time_ += environment_.clock.now() - no_path_since_;
  no_path_since_ = gives_up_at_ = never;
  gave_up_ = false;
  no_path_alarm_->cancel();
  takeover_alarm_->cancel();
}

void MapDevice::fail_waiting() {
  const BlockStatus status = closing_ ? BlockStatus::shutdown : BlockStatus::io_error;
  auto backlog = pools_->backlog.take_all();
  while (Command* command = backlog.pop_front()) finish(*command, status);
  auto paused = pools_->paused.take_all();
  while (Command* command = paused.pop_front()) finish(*command, status);
  // A lost write that is given up may still run. The caller is told, and nothing overtakes it: see ghost_owner().
  const auto give_up = [&](const auto& paths) {
    for (const auto& path : paths) {
      auto unfenced = path->unfenced.take_all();
      if (!unfenced.empty()) path->ghosts = true;
      while (Command* command = unfenced.pop_front()) finish(*command, status);
    }
  };
  give_up(paths_);
  give_up(leaving_);
}

// Administration.

void MapDevice::set_policy(const MapPolicy& policy) {
  if (policy == policy_) return;
  policy_ = policy;
  selector_ = Selector(policy.selector, policy.rr_min_io);
  ++map_loads_;
  active_group_.reset();
  for (const auto& path : paths_) static_cast<void>(set_priority(*path));
  regroup();
  decide_without_path();
  advance_fences();
  pump();
}

bool MapDevice::switch_group(unsigned number) {
  if (number == 0 || number > groups_.size()) return false;
  const auto inputs = grouping_inputs(paths_);
  if (mpath::usable_count(groups_[number - 1], inputs) == 0) return false;
  if (active_group_ != number - 1) ++switch_group_count_;
  active_group_ = number - 1;
  environment_.listener.on_map_line(
      fmt::format("map {}: switched to path group {} by the administrator", name_, number), false);
  pump();
  return true;
}

void MapDevice::set_queueing_disabled(bool disabled) {
  if (queueing_disabled_ == disabled) return;
  queueing_disabled_ = disabled;
  environment_.listener.on_map_line(fmt::format("map {}: queueing {}", name_, disabled ? "disabled" : "restored"),
                                    disabled);
  decide_without_path();
}

void MapDevice::reset_stats() {
  path_faults_ = switch_group_count_ = map_loads_ = queue_timeouts_ = 0;
  total_queue_time_ = {};
  for (auto& path : paths_) path->counters = {};
}

void MapDevice::set_facts(const LuFacts& facts) {
  CHECK(facts.block_size == facts_.block_size);
  facts_ = facts;
  write_same_refused_ = unmap_refused_ = extents_refused_ = false;
  update_limits();
}

void MapDevice::update_limits() {
  BlockLimits limits;
  limits.size_bytes = facts_.size_bytes;
  limits.block_size = facts_.block_size;
  limits.preferred_block = std::max<std::uint32_t>(facts_.physical_block_size, 4096);
  limits.transfer_max = std::uint64_t{32} << 20;
  limits.read_only = facts_.read_only;
  limits.can_trim = (facts_.unmap || facts_.write_same_unmap) && !unmap_refused_;
  limits.can_zero = !write_same_refused_;
  limits.can_report_extents = facts_.thin && !extents_refused_;
  limits.write_cache = facts_.write_cache;
  if (limits == limits_) return;
  limits_ = limits;
  const auto observers = observers_;
  for (BlockDeviceObserver* observer : observers) observer->on_limits_changed(limits_);
}

void MapDevice::add_observer(BlockDeviceObserver& observer) {
  observers_.push_back(&observer);
}
void MapDevice::remove_observer(BlockDeviceObserver& observer) {
  std::erase(observers_, &observer);
}

void MapDevice::close(std::function<void()> idle) {
  idle_ = std::move(idle);
  if (!closing_) {
    closing_ = true;
    no_path_alarm_->cancel();
    takeover_alarm_->cancel();
    fail_waiting();
    const auto observers = observers_;
    for (BlockDeviceObserver* observer : observers) observer->on_gone();
  }
  forget_unused_paths();
}

void MapDevice::check_idle() {
  if (!closing_ || !idle_ || pools_->ios.out() != 0) return;
  const auto quiet = [](const auto& path) { return path->in_flight == 0 && !path->fence_running; };
  if (!std::ranges::all_of(paths_, quiet) || !std::ranges::all_of(leaving_, quiet)) return;
  for (auto& path : leaving_) path->fencing = false;
  const auto idle = std::exchange(idle_, {});
  idle();
}

MapSnapshot MapDevice::snapshot() const {
  MapSnapshot shot;
  shot.name = name_;
  shot.wwid = wwid_;
  shot.failback = failback_text(policy_.failback);
  const bool no_path = usable_count() == 0;
  switch (policy_.no_path_retry.mode) {
    case NoPathRetry::Mode::fail:
      shot.queueing = "-";
      break;
    case NoPathRetry::Mode::queue:
      shot.queueing = "on";
      shot.features = "1 queue_if_no_path";
      break;
    case NoPathRetry::Mode::count:
      shot.features = "1 queue_if_no_path";
      if (!no_path) {
        shot.queueing = fmt::format("{} chk", policy_.no_path_retry.checks);
      } else if (gave_up_) {
        shot.queueing = "off";
        shot.features = "0";
      } else {
        const auto told = no_path_since_ + policy_.no_path_retry.checks * policy_.polling_interval;
        const auto until = gives_up_at_ == never ? told : gives_up_at_;
        const auto left = std::chrono::ceil<std::chrono::seconds>(until - environment_.clock.now());
        shot.queueing = fmt::format("{} sec", std::max<std::int64_t>(0, left.count()));
      }
      break;
  }
  if (queueing_disabled_) {
    shot.queueing = "off";
    shot.features = "0";
  }
  shot.read_only = facts_.read_only;
  shot.size_bytes = facts_.size_bytes;
  shot.vendor = facts_.vendor;
  shot.product = facts_.product;
  shot.revision = facts_.revision;
  shot.path_faults = path_faults_;
  shot.switch_group = switch_group_count_;
  shot.map_loads = map_loads_;
  Duration queued_time = total_queue_time_;
  if (no_path && no_path_since_ != never) queued_time += environment_.clock.now() - no_path_since_;
  shot.total_queue_seconds =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(queued_time).count());
  shot.queue_timeouts = queue_timeouts_;
  shot.queued = pools_->backlog.size() + pools_->paused.size();
  const auto inputs = grouping_inputs(paths_);
  for (std::size_t index = 0; index < groups_.size(); ++index) {
    GroupSnapshot group;
    group.selector = selector_text(policy_.selector);
    group.priority = group_priority(groups_[index], inputs);
    group.state = active_group_ == index && !no_path ? GroupState::active : GroupState::enabled;
    for (const std::size_t member : groups_[index].members) {
      const MapPath& path = *paths_[member];
      PathSnapshot path_shot = path.owner->path_snapshot();
      path_shot.map = name_;
      path_shot.in_flight = path.in_flight;
      path_shot.priority = path.priority;
      path_shot.failures += path.counters.failures;
      path_shot.read_ios = path.counters.read_ios;
      path_shot.write_ios = path.counters.write_ios;
      path_shot.read_bytes = path.counters.read_bytes;
      path_shot.write_bytes = path.counters.write_bytes;
      group.paths.push_back(std::move(path_shot));
    }
    shot.groups.push_back(std::move(group));
  }
  for (const auto& path : paths_) shot.queued += path->unfenced.size();
  for (const auto& path : leaving_) shot.queued += path->unfenced.size();
  return shot;
}

}  // namespace mpath
