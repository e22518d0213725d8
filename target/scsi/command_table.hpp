// What is true of a command before anybody looks at its fields: one row per operation code and service action.
//
// Pure. Everything that treats commands alike reads it: what stands in a task's way (target/scsi/gate.hpp), the
// reservation rules (target/scsi/access.hpp), how much data a session gathers, REPORT SUPPORTED OPERATION CODES. A
// command that has no row does not exist.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace mpath::target {

// What a reservation has to say about it (SPC-4 table 66, SBC-3 table 13).
enum class AccessClass : std::uint8_t {
  always,      // allowed to everybody
  reads,       // "allowed" in the columns that only exclude writers
  writes,      // needs the right to write
  reserve,     // RESERVE(6) and (10), RELEASE(6) and (10): SPC-2 rules with the exceptions of SPC-4 5.13.3
  persistent,  // PERSISTENT RESERVE OUT: its service actions judge themselves
  prevent,     // PREVENT ALLOW MEDIUM REMOVAL: `always` when it allows, else `writes`
  start_stop,  // START STOP UNIT: `always` when it starts, else `writes`
};

// How the length of the data is found in the CDB.
enum class Moves : std::uint8_t {
  nothing,
  in_bytes,     // data-in, at most the allocation length
  out_bytes,    // a parameter list
  in_blocks,    // READ
  out_blocks,   // WRITE
  out_verify,   // by BYTCHK: nothing, the blocks, or one block
  out_same,     // one block, or none with NDOB
  out_compare,  // twice the blocks
};

struct CommandRow {
  static constexpr std::int16_t no_service = -1;

  std::string_view name;
  std::uint8_t opcode = 0;
  std::int16_t service = no_service;  // service action
  Moves moves = Moves::nothing;
  std::uint8_t length_at = 0;  // where in the CDB the length is, and how wide
  std::uint8_t length_width = 0;
  AccessClass access = AccessClass::always;
  bool under_reserve = false;   // allowed while another initiator holds RESERVE(6) (SPC-2 table 10)
  bool past_attention = false;  // a pending unit attention does not stop it (SAM-5 5.14.5)
  bool medium = false;          // needs a medium that is in
  bool modifies = false;        // changes the medium: refused when that is write protected
  bool changes = false;         // changes LuState: only where the pair serves
  bool in_standby = false;      // works in ALUA state standby
  bool in_unavailable = false;  //          ... unavailable
  bool in_transition = false;   //          ... transitioning
  bool while_sanitizing = false;
  std::array<std::uint8_t, 16> usage{};  // CDB usage data: the bits that are evaluated
};

[[nodiscard]] std::span<const CommandRow> command_table();
// Null: there is no such command. `opcode_known` tells which kind of "no such" that is.
[[nodiscard]] const CommandRow* find_command(std::span<const std::byte> cdb);
[[nodiscard]] bool opcode_known(std::uint8_t opcode);
// Operation codes whose rows are told apart by a service action.
[[nodiscard]] bool has_services(std::uint8_t opcode);
// The service action in a CDB of such an operation code.
[[nodiscard]] std::uint16_t service_of(std::span<const std::byte> cdb);
// Only the node of a pair that serves can carry it out: it touches the medium, or changes what both nodes keep.
[[nodiscard]] inline bool needs_lead(const CommandRow& row) {
  return row.changes || !row.in_standby;
}
// Not a command of units whose port groups' states follow from which node serves.
[[nodiscard]] bool sets_port_groups(std::uint8_t opcode);

}  // namespace mpath::target
