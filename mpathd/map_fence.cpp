// Write fencing: a write that was sent and not answered may still run. Before its copy goes down another path, the old
// nexus is ended, so that the target cannot carry it out after its successor (ARCHITECTURE, rule 2).
//
//   lost write -> parked on its path -> fence -> sent again
//   fence: the path logs in again by itself (same ISID: reinstatement), or another path's port logs in with the lost
//   one's ISID, or it resets the LU, or the configured time passes; or the target takes the lost path's port group out
//   of service, which our own target makes a fence.
//
// A port group out of service is a fence (access_states_fence(), lift_fences()) when all of this holds:
//   1. The target is one of ours. To a SCSI target in general, standby is how it answers commands that arrive from now
//      on; what it had taken before may still be carried out, by a controller that is only slow. There the fence waits.
//   2. The report was asked for after the write was lost, and came by another port group, which reports itself as
//      active/optimized. A node of the pair says so only while it holds the lease of a majority: then the view in which
//      it is primary has been decided, and no other node serves.
//   3. It reports the lost path's group as standby, unavailable, offline, or not at all.
//
// Why a write of the old nexus can then not run any more: the node behind it is not the primary of the decided view.
// What it still has can reach neither an acknowledgement nor the other copy, because whoever has moved on refuses what
// comes with an older view (target/replication/INVARIANTS.md); and before it serves again it has ended all that it had
// taken in its earlier view, and its own copy has become that of the other. Two groups of one node: the unit reports a
// group as out of service only when all that it had taken through it has ended (target/scsi/port_group_commands.cpp).
//
// The write is then sent again through the group that serves. If that node loses its role meanwhile, it refuses or never
// answers, and all begins anew with the next loss.
#include <fmt/format.h>

#include <algorithm>

#include "mpathd/map_internal.hpp"

namespace mpath {

// Until it is certain that a write which was given up to the caller cannot run, nothing may overtake it.
MapPath* MapDevice::ghost_owner() const {
  for (const auto& path : paths_) {
    if (path->ghosts && path->fencing) return path.get();
  }
  for (const auto& path : leaving_) {
    if (path->ghosts && path->fencing) return path.get();
  }
  return nullptr;
}

void MapDevice::park(Command& command, MapPath& lost) {
  if (command.path == &lost) {
    lost.lost_generation = std::max(lost.lost_generation, command.generation);
    lost.loss = ++losses_;
  }
  if (usable_count() == 0 && !may_queue()) {
    lost.ghosts = true;
    finish(command, closing_ ? BlockStatus::shutdown : BlockStatus::io_error);
  } else {
    lost.unfenced.push_back(command);
  }
  start_fence(lost);
}

void MapDevice::start_fence(MapPath& lost) {
  if (lost.fencing) return;
  lost.fencing = true;
  lost.fence_since = environment_.clock.now();
  // From the loop, so that every command of the lost session is parked before the first try.
  lost.fence_alarm->set(lost.fence_since);
}

MapPath* MapDevice::fence_helper(const MapPath& lost) const {
  for (const auto& path : paths_) {
    // To log in, a path in standby is as good as any.
    const bool reaches = path->usable || (path->standby && policy_.write_fence == WriteFence::reinstate);
    if (path.get() == &lost || !reaches || !path->port->up()) continue;
    switch (policy_.write_fence) {
      case WriteFence::reinstate:
        if (lost.port != nullptr && path->port != lost.port &&
            path->port->portal_group() == lost.port->portal_group()) {
          return path.get();
        }
        break;
      case WriteFence::lu_reset:
        return path.get();
      case WriteFence::wait:
      case WriteFence::none:
        break;
    }
  }
  return nullptr;
}

void MapDevice::advance_fence(MapPath& lost) {
  if (!lost.fencing) return;
  if (lost.fence_running) return ask_about(lost);
  if (lost.port != nullptr && lost.port->generation() > lost.lost_generation) {
    return release_fence(lost, "the path logged in again", false);
  }
  if (policy_.write_fence == WriteFence::none) return release_fence(lost, "not fenced, as configured", false);
  const TimePoint now = environment_.clock.now();
  const TimePoint given_up = lost.fence_since + policy_.write_fence_wait;
  if (now >= given_up) {
    const bool as_configured = policy_.write_fence == WriteFence::wait;
    return release_fence(lost, fmt::format("waited {} ms", policy_.write_fence_wait.count()), !as_configured);
  }
  lost.fence_alarm->set(given_up);
  ask_about(lost);
  MapPath* helper = fence_helper(lost);
  if (helper == nullptr) return;
  lost.fence_running = true;
  const auto done = [this, &lost, helper](bool fenced) {
    on_fence_result(lost, *helper, fenced, policy_.write_fence == WriteFence::lu_reset);
  };
  if (policy_.write_fence == WriteFence::lu_reset) {
    helper->port->fence_by_lu_reset(helper->lun, given_up, done);
  } else {
    helper->port->fence_by_reinstatement(*lost.port, given_up, done);
  }
}

// Another port group may know that the lost one is out of service: it is asked, again and again.
void MapDevice::ask_about(MapPath& lost) {
  const auto knows = [&](const auto& path) {
    return path->usable && path->port_group && path->port_group != lost.port_group;
  };
  if (!access_states_fence(facts_) || !lost.port_group || std::ranges::none_of(paths_, knows)) return;
  look_soon();
  const TimePoint given_up = lost.fence_since + policy_.write_fence_wait;
  lost.fence_alarm->set(std::min(given_up, environment_.clock.now() + fence_pause));
}

void MapDevice::lift_fences(const MapPath& reporter, const scsi::PortGroupReport& report, std::uint64_t losses) {
  if (!access_states_fence(facts_)) return;
  std::vector<MapPath*> lifted;
  for (const auto* paths : {&paths_, &leaving_}) {
    for (const auto& path : *paths) {
      const bool asked_since = path->fencing && path->loss <= losses;
      if (asked_since && path->port_group && out_of_service(report, *reporter.port_group, *path->port_group)) {
        lifted.push_back(path.get());
      }
    }
  }
  for (MapPath* path : lifted) {
    release_fence(
        *path, fmt::format("port group {} is out of service, group {} serves", *path->port_group, *reporter.port_group),
        false);
  }
  if (!lifted.empty()) forget_unused_paths();
}

void MapDevice::advance_fences() {
  // Releasing a fence may end with a path being forgotten: walk over names, not over the vectors.
  std::vector<MapPath*> fencing;
  for (const auto* paths : {&paths_, &leaving_}) {
    for (const auto& path : *paths) {
      if (path->fencing) fencing.push_back(path.get());
    }
  }
  for (MapPath* path : fencing) advance_fence(*path);
}

void MapDevice::on_fence_alarm(MapPath& lost) {
  advance_fence(lost);
  forget_unused_paths();
}

void MapDevice::on_fence_result(MapPath& lost, MapPath& helper, bool fenced, bool whole_lu) {
  lost.fence_running = false;
  if (fenced && whole_lu) end_other_sessions(helper);
  if (lost.fencing) {
    if (fenced) {
      release_fence(lost, fmt::format("{} through {}", whole_lu ? "LU reset" : "session reinstated", helper.label),
                    false);
    } else {
      const TimePoint given_up = lost.fence_since + policy_.write_fence_wait;
      lost.fence_alarm->set(std::min(given_up, environment_.clock.now() + fence_pause));
    }
  }
  forget_unused_paths();
}

// A LOGICAL UNIT RESET ends the commands of every nexus, and those of the others are never answered. Their sessions are
// made anew; what comes back lost is known to be ended.
void MapDevice::end_other_sessions(const MapPath& helper) {
  for (const auto& path : paths_) {
    if (path->in_flight == 0 || path->port == nullptr) continue;
    for (Command* command = path->in_flight_first; command != nullptr; command = command->path_next)
      command->fenced = true;
    path->port->abort_session(SessionEnd::aborted, fmt::format("LOGICAL UNIT RESET sent through {}", helper.label));
  }
}

void MapDevice::release_fence(MapPath& lost, const std::string& how, bool warning) {
  const auto waited =
      std::chrono::duration_cast<std::chrono::milliseconds>(environment_.clock.now() - lost.fence_since);
  environment_.listener.on_map_line(fmt::format("map {}: path {} fenced how=\"{}\" ms={} writes={}", name_, lost.label,
                                                how, waited.count(), lost.unfenced.size()),
                                    warning);
  lost.fencing = false;
  lost.ghosts = false;
  lost.fence_alarm->cancel();
  auto unfenced = lost.unfenced.take_all();
  while (Command* command = unfenced.pop_front()) dispatch(*command);
}

}  // namespace mpath
