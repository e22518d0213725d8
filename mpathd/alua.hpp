// Asymmetric access (SPC-4 5.15): what the states of target port groups mean for paths, their priorities, and for
// writes that were lost on them. Pure.
//
// A LU is reached through target port groups; each has an access state, and REPORT TARGET PORT GROUPS tells all of
// them. Of a fail-over pair each node is one group: the one that serves is active/optimized, the other in standby, and
// a takeover is nothing but a change of these states.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "mpathd/lu_facts.hpp"
#include "mpathd/snapshot.hpp"
#include "wire/scsi_data.hpp"

namespace mpath {

inline constexpr std::uint32_t port_groups_bytes_max = 4096;      // of one answer; far more groups than targets have
inline constexpr std::chrono::seconds takeover_wait_default{10};  // where the target does not say how long it may take

// The target port group that leads here, by page 83h as it was read through this path.
[[nodiscard]] std::optional<std::uint16_t> port_group_of(const scsi::DeviceId& page);

// multipath-tools' values: active/optimized 50, active/non-optimized 10, lba-dependent 5, standby 1, the others 0. The
// preferred bit adds 80 where the group is not optimized already; with `exclusive_pref_bit` everywhere.
[[nodiscard]] int alua_priority(const scsi::PortGroup& group, bool exclusive_pref_bit);

// How a path through a group in this state looks: ready; ghost in standby; pending in transition; faulty.
[[nodiscard]] CheckerState checker_state_of(scsi::AccessState state);

// Unit attentions that say that states have changed: 2Ah/06h and 07h.
[[nodiscard]] bool access_changed(const scsi::Sense& sense);
// NOT READY because of the state of the port group: 04h/0Ah to 0Ch.
[[nodiscard]] bool refused_by_access(const scsi::Sense& sense);

[[nodiscard]] const scsi::PortGroup* find_group(const scsi::PortGroupReport& report, std::uint16_t id);

// How long a takeover of this target may last, at most.
[[nodiscard]] std::chrono::seconds takeover_wait(const scsi::PortGroupReport& report);

// Does the target promise that a port group which is out of service carries out no write that it had before? Ours does
// (see write_fence in map_device.hpp); of others ALUA tells no such thing. Everything that asks for the kind of target
// asks here.
[[nodiscard]] bool access_states_fence(const LuFacts& facts);

// Reported through the group `reporter`: does the report say that `reporter` serves (active/optimized) and that `group`
// does not: standby, unavailable, offline, or not one of the groups any more?
[[nodiscard]] bool out_of_service(const scsi::PortGroupReport& report, std::uint16_t reporter, std::uint16_t group);

}  // namespace mpath
