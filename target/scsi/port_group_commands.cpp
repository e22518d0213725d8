// REPORT and SET TARGET PORT GROUPS (SPC-4 5.15, 6.37, 6.45).
#include <algorithm>
#include <utility>

#include "target/scsi/commands.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;

// All states but "logical block dependent": T_SUP, O_SUP, U_SUP, S_SUP, AN_SUP, AO_SUP.
constexpr std::uint8_t supported_states = 0xcf;
constexpr std::uint8_t changed_implicitly = 2;
constexpr std::uint8_t transition_seconds = 0;  // not said: a change of state is one write to a log

bool serves(scsi::AccessState state) {
  using enum scsi::AccessState;
  switch (state) {
    case optimized:
    case non_optimized:
    case lba_dependent:
      return true;
    case standby:
    case unavailable:
    case offline:
    case transitioning:
      return false;
  }
  return false;
}

// The groups as they are now. A unit that was told of no groups has the one it is reached through.
//
// Two things are promised beyond SCSI, because our own initiator repeats lost writes on their strength
// (mpathd/map_fence.cpp). A node of a pair says that its group serves only while it leads and holds the lease. And a
// group that takes no more commands is said to be in transition until those have ended which it had taken before:
// whoever hears that it is in standby knows that nothing which was sent there can run any more.
std::vector<scsi::PortGroup> groups_of(UnitSeat& unit, const Task& task) {
  const TargetPort& asked = task.nexus->name.target;
  std::vector<scsi::PortGroup> groups = unit.options().port_groups;
  if (groups.empty()) groups.push_back({.id = asked.alua_group, .ports = {asked.relative_id}});
  for (scsi::PortGroup& group : groups) {
    group.state = unit.access(group.id);
    if (group.id == asked.alua_group && serves(group.state) && !unit.leads())
      group.state = scsi::AccessState::transitioning;
    if (!serves(group.state) && unit.group_busy(group.id, task)) group.state = scsi::AccessState::transitioning;
    group.supported = supported_states;
    if (unit.pair_decides_access() || unit.state().access.contains(group.id)) group.status = changed_implicitly;
  }
  return groups;
}

// What an initiator may ask for; transitions and offline are the target's own affair.
std::optional<scsi::AccessState> parse_state(std::uint8_t state) {
  if (state <= std::to_underlying(scsi::AccessState::unavailable)) return static_cast<scsi::AccessState>(state);
  return std::nullopt;
}

void refuse(UnitSeat& unit, Task& task, std::size_t at) {
  unit.fail(task, sense::invalid_field_in_parameters, {.field = static_cast<std::uint16_t>(at), .field_in_cdb = false});
}

}  // namespace

void run(UnitSeat& unit, Task& task, const scsi::ReportTargetPortGroups& command) {
  const auto groups = groups_of(unit, task);
  unit.answer(task,
              command.extended ? scsi::encode_port_groups_extended(groups, transition_seconds)
                               : scsi::encode_port_groups(groups),
              command.length);
}

void run(UnitSeat& unit, Task& task, const scsi::SetTargetPortGroups& command) {
  if (command.length == 0) return unit.good(task);
  const auto changes = scsi::decode_port_group_changes(parameter_list(task));
  if (!changes) return unit.fail(task, sense::parameter_list_length);
  const auto groups = groups_of(unit, task);
  std::vector<std::pair<std::uint16_t, scsi::AccessState>> wanted;
  for (std::size_t i = 0; i < changes->size(); ++i) {
    const scsi::PortGroupChange& change = (*changes)[i];
    const std::size_t at = 4 + 4 * i;
    const auto state = parse_state(change.state);
    if (!state) return refuse(unit, task, at);
    if (std::ranges::find(groups, change.id, &scsi::PortGroup::id) == groups.end()) return refuse(unit, task, at + 2);
    wanted.emplace_back(change.id, *state);
  }
  const bool changes_any =
      std::ranges::any_of(wanted, [&](const auto& pair) { return unit.access(pair.first) != pair.second; });
  unit.change(
      [wanted](LuState& state) {
        for (const auto& [group, access] : wanted) state.access[group] = access;
      },
      [&unit, &task, changes_any](error_code error) {
        if (error) return unit.fail(task, sense::set_port_groups_failed);
        if (changes_any) unit.attention(sense::alua_changed, task.nexus);
        unit.good(task);
      });
}

}  // namespace mpath::target
