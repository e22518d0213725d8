// Port groups of a map (ALUA): what their states mean for priorities, for paths whose node was replaced, and for how long
// I/O waits for a takeover. What they mean for lost writes: map_fence.cpp.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "mpathd/map_internal.hpp"
#include "mpathd/path_state.hpp"

namespace mpath {

void MapDevice::set_port_group(MapPath& path, std::uint16_t id) const {
  if (path.port_group != id) path.told.reset();
  path.port_group = id;
}

// Says whether it is another than before.
bool MapDevice::set_priority(MapPath& path) const {
  const bool known = policy_.prioritizer == Prioritizer::alua && path.told;
  const int priority = known ? alua_priority(*path.told, policy_.exclusive_pref_bit) : 1;
  return std::exchange(path.priority, priority) != priority;
}

void MapDevice::on_port_groups(MapPath& reporter, const scsi::PortGroupReport& report, std::uint64_t losses) {
  const scsi::PortGroup* ours = reporter.port_group ? find_group(report, *reporter.port_group) : nullptr;
  if (ours == nullptr) return;
  if (const Duration wait = takeover_wait(report); wait != takeover_wait_) {
    takeover_wait_ = wait;
    if (usable_count() == 0) takeover_alarm_->set(no_path_since_ + wait);
  }
  const bool changed = !reporter.told || reporter.told->state != ours->state;
  if (changed) {
    environment_.listener.on_map_line(
        fmt::format("map {}: path {} port group {} is {}", name_, reporter.label, ours->id, scsi::name(ours->state)),
        false);
    look_soon();  // where one group changes others do
  }
  const MapPath* active = member_in_use();
  reporter.told = *ours;
  bool regrouped = set_priority(reporter);
  std::vector<MapPath*> demoted;
  for (const auto& path : paths_) {
    if (path.get() == &reporter || !path->port_group) continue;
    if (path->usable && access_states_fence(facts_) &&
        out_of_service(report, *reporter.port_group, *path->port_group)) {
      demoted.push_back(path.get());
    }
    // Of a path that cannot be asked itself the others know best.
    const scsi::PortGroup* theirs = find_group(report, *path->port_group);
    if (path->port->up() || theirs == nullptr) continue;
    path->told = *theirs;
    regrouped = set_priority(*path) || regrouped;
  }
  if (regrouped) {
    ++map_loads_;
    regroup(active);
  }
  // The node that serves knows that another does not: nothing more is sent there, even while it is silent.
  for (MapPath* path : demoted) {
    if (!path->usable) continue;
    path->owner->on_command_bad(CheckerState::ghost, true);
    path->grace_alarm->set(environment_.clock.now() + demotion_grace);
  }
  lift_fences(reporter, report, losses);
  pump();
}

// A node that lives has answered by now, be it with a refusal. One that does not is not waited for any longer: what it
// has is lost, and the node that serves is asked about it as about all lost writes.
void MapDevice::on_grace_over(MapPath& path) {
  if (path.port == nullptr || path.in_flight == 0 || path.usable) return;
  path.port->abort_session(SessionEnd::aborted,
                           fmt::format("its port group is out of service, {} commands have no answer", path.in_flight));
}

TimePoint MapDevice::hungry_since() const {
  return usable_count() == 0 ? no_path_since_ : never;
}

// However often news come in, paths are not asked without a pause between.
void MapDevice::look_soon() {
  const TimePoint now = environment_.clock.now();
  look_alarm_->set(looked_at_ == TimePoint::min() ? now : std::max(now, looked_at_ + hungry_pause_min));
}

bool MapDevice::takeover_expected() const {
  const bool any = std::ranges::any_of(paths_, [](const auto& path) { return path->standby; });
  return any && environment_.clock.now() < no_path_since_ + takeover_wait_;
}

}  // namespace mpath
