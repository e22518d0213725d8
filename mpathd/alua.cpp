#include "mpathd/alua.hpp"

#include <algorithm>

#include "base/bytes.hpp"

namespace mpath {
namespace {

using scsi::AccessState;

int state_priority(AccessState state) {
  switch (state) {
    case AccessState::optimized:
      return 50;
    case AccessState::non_optimized:
      return 10;
    case AccessState::lba_dependent:
      return 5;
    case AccessState::standby:
      return 1;
    case AccessState::unavailable:
    case AccessState::offline:
    case AccessState::transitioning:
      return 0;
  }
  return 0;  // a value that SPC-4 reserves
}

}  // namespace

std::optional<std::uint16_t> port_group_of(const scsi::DeviceId& page) {
  for (const scsi::Designator& designator : page.designators) {
    const bool ours = designator.association == scsi::Association::target_port &&
                      designator.type == scsi::DesignatorType::target_port_group;
    if (!ours) continue;
    Reader r(designator.bytes);
    r.skip(2);
    const std::uint16_t id = r.u16();
    if (r.ok()) return id;
  }
  return std::nullopt;
}

int alua_priority(const scsi::PortGroup& group, bool exclusive_pref_bit) {
  constexpr int preferred = 80;
  const bool counts = group.preferred && (exclusive_pref_bit || group.state != AccessState::optimized);
  return state_priority(group.state) + (counts ? preferred : 0);
}

CheckerState checker_state_of(AccessState state) {
  switch (state) {
    case AccessState::optimized:
    case AccessState::non_optimized:
    case AccessState::lba_dependent:
      return CheckerState::ready;
    case AccessState::standby:
      return CheckerState::ghost;
    case AccessState::transitioning:
      return CheckerState::pending;
    case AccessState::unavailable:
    case AccessState::offline:
      return CheckerState::faulty;
  }
  return CheckerState::faulty;
}

bool access_changed(const scsi::Sense& sense) {
  return sense.key == scsi::SenseKey::unit_attention && sense.asc == 0x2a && (sense.ascq == 0x06 || sense.ascq == 0x07);
}

bool refused_by_access(const scsi::Sense& sense) {
  return sense.key == scsi::SenseKey::not_ready && sense.asc == 0x04 && sense.ascq >= 0x0a && sense.ascq <= 0x0c;
}

const scsi::PortGroup* find_group(const scsi::PortGroupReport& report, std::uint16_t id) {
  const auto found = std::ranges::find(report.groups, id, &scsi::PortGroup::id);
  return found == report.groups.end() ? nullptr : &*found;
}

std::chrono::seconds takeover_wait(const scsi::PortGroupReport& report) {
  return report.transition_seconds == 0 ? takeover_wait_default : std::chrono::seconds(report.transition_seconds);
}

bool access_states_fence(const LuFacts& facts) {
  return facts.vendor == "MPATH";
}

bool out_of_service(const scsi::PortGroupReport& report, std::uint16_t reporter, std::uint16_t group) {
  const scsi::PortGroup* serving = find_group(report, reporter);
  if (reporter == group || serving == nullptr || serving->state != AccessState::optimized) return false;
  const scsi::PortGroup* other = find_group(report, group);
  if (other == nullptr) return true;
  switch (other->state) {
    case AccessState::standby:
    case AccessState::unavailable:
    case AccessState::offline:
      return true;
    case AccessState::optimized:
    case AccessState::non_optimized:
    case AccessState::lba_dependent:
    case AccessState::transitioning:
      return false;
  }
  return false;
}

}  // namespace mpath
