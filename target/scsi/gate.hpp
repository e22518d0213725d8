// What stands between a task and its command, in the order in which SCSI wants it told: unit attention, unknown
// command, access state, reservation, sanitize, medium, write protection.
//
// Pure, but for one thing: a unit attention that is told is thereby taken from the nexus.
#pragma once

#include <optional>

#include "target/scsi/command_table.hpp"
#include "target/scsi/unit_seat.hpp"

namespace mpath::target {

struct Refusal {
  scsi::Status status = scsi::Status::check_condition;
  scsi::Sense sense;
  SenseDetail detail;
};

// Nothing: the command may run.
[[nodiscard]] std::optional<Refusal> refuse(Nexus& nexus, std::span<const std::byte> cdb, const CommandRow* row,
                                            const LuState& state, const UnitFacts& facts);

// Of 65536, as sense data wants it.
[[nodiscard]] std::uint16_t sanitize_progress(const SanitizeState& sanitize, std::uint64_t bytes_of_all_passes);

// `pair` lies over the state; null: there is none.
[[nodiscard]] scsi::AccessState access_state(const LuState& state, const ClusterAccess* pair, std::uint16_t alua_group);

}  // namespace mpath::target
