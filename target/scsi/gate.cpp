#include "target/scsi/gate.hpp"

#include <algorithm>

#include "target/scsi/access.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;

constexpr std::uint8_t sanitize_opcode = 0x48;
constexpr std::uint8_t naca_bit = 0x04;

Refusal check_condition(const scsi::Sense& sense, const SenseDetail& detail = {}) {
  return {.sense = sense, .detail = detail};
}

// SPC-4 5.15.2.4: what each access state leaves alive. A standby that is one because another node serves changes
// nothing of what both nodes keep. Nor does a node that is not certain to be the one that serves say anything that only
// that one knows: its state may be changing.
std::optional<Refusal> refuse_by_access(const CommandRow& row, scsi::AccessState state, const UnitFacts& facts) {
  using enum scsi::AccessState;
  switch (state) {
    case optimized:
    case non_optimized:
    case lba_dependent:
      if (facts.may_answer || row.in_transition) return std::nullopt;
      return check_condition(sense::alua_transition);
    case standby:
      if (facts.pair_access != nullptr ? !needs_lead(row) : row.in_standby) return std::nullopt;
      return check_condition(sense::alua_standby);
    case unavailable:
    case offline:
      if (row.in_unavailable) return std::nullopt;
      return check_condition(sense::alua_unavailable);
    case transitioning:
      if (row.in_transition) return std::nullopt;
      return check_condition(sense::alua_transition);
  }
  return std::nullopt;
}

// SBC-3 4.11.
std::optional<Refusal> refuse_by_sanitize(const CommandRow& row, const SanitizeState& sanitize,
                                          std::uint64_t bytes_of_all_passes) {
  switch (sanitize.phase) {
    case SanitizeState::Phase::none:
      return std::nullopt;
    case SanitizeState::Phase::running:
      if (row.while_sanitizing) return std::nullopt;
      return check_condition(sense::sanitize_in_progress,
                             {.progress = sanitize_progress(sanitize, bytes_of_all_passes)});
    case SanitizeState::Phase::failed:
      if (row.while_sanitizing || row.opcode == sanitize_opcode) return std::nullopt;
      return check_condition(sense::sanitize_failed);
  }
  return std::nullopt;
}

}  // namespace

std::uint16_t sanitize_progress(const SanitizeState& sanitize, std::uint64_t bytes_of_all_passes) {
  if (bytes_of_all_passes == 0) return 0;
  const double part = static_cast<double>(sanitize.done_bytes) / static_cast<double>(bytes_of_all_passes);
  return static_cast<std::uint16_t>(std::clamp(part * 65536.0, 0.0, 65535.0));
}

scsi::AccessState access_state(const LuState& state, const ClusterAccess* pair, std::uint16_t alua_group) {
  if (pair != nullptr) {
    const auto decided = pair->find(alua_group);
    if (decided != pair->end()) return decided->second;
  }
  const auto found = state.access.find(alua_group);
  return found == state.access.end() ? scsi::AccessState::optimized : found->second;
}

std::optional<Refusal> refuse(Nexus& nexus, std::span<const std::byte> cdb, const CommandRow* row, const LuState& state,
                              const UnitFacts& facts) {
  const bool past_attention = row != nullptr && row->past_attention;
  if (nexus.attentions.pending() && !past_attention) return check_condition(*nexus.attentions.take());
  const auto opcode = cdb.empty() ? std::uint8_t{0} : std::to_integer<std::uint8_t>(cdb[0]);
  const bool taken_away = facts.pair_access != nullptr && sets_port_groups(opcode);
  if (row == nullptr || taken_away) {
    if (!opcode_known(opcode) || taken_away) return check_condition(sense::invalid_opcode);
    return check_condition(sense::invalid_field_in_cdb, {.field = std::uint16_t{1}});  // the service action
  }
  // NORMACA is 0: auto contingent allegiance cannot be asked for.
  const std::size_t length = scsi::cdb_length(opcode);
  if (length == 0 || cdb.size() < length) return check_condition(sense::invalid_field_in_cdb);
  if ((std::to_integer<std::uint8_t>(cdb[length - 1]) & naca_bit) != 0)
    return check_condition(sense::invalid_field_in_cdb, {.field = static_cast<std::uint16_t>(length - 1)});
  const scsi::AccessState access = access_state(state, facts.pair_access, nexus.name.target.alua_group);
  if (auto refusal = refuse_by_access(*row, access, facts)) return refusal;
  if (judge(*row, cdb, state.reservations, nexus.name) == Verdict::conflict)
    return Refusal{.status = scsi::Status::reservation_conflict};
  if (auto refusal = refuse_by_sanitize(*row, state.sanitize, facts.sanitize_bytes)) return refusal;
  if (row->medium && !facts.medium_present) return check_condition(sense::no_medium);
  if (row->medium && facts.gone) return check_condition(sense::manual_intervention);
  if (row->modifies && (facts.read_only || state.modes.software_write_protect))
    return check_condition(sense::write_protected);
  return std::nullopt;
}

}  // namespace mpath::target
