// REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS: the command table, as initiators read it (SPC-4 6.35,
// 6.36).
#include <algorithm>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "target/scsi/command_table.hpp"
#include "target/scsi/commands.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;

constexpr std::size_t timeouts_bytes = 12;
constexpr std::size_t descriptor_bytes = 8;
constexpr std::uint8_t bit_timeouts_all = 0x02;  // CTDP in a descriptor of the whole list
constexpr std::uint8_t bit_timeouts_one = 0x80;  //      in the answer about one command
constexpr std::uint8_t bit_service = 0x01;
constexpr std::uint8_t not_supported = 1;
constexpr std::uint8_t supported = 3;  // as the standard says
constexpr std::uint32_t recommended_seconds = 30;
constexpr std::uint8_t service_mask = 0x1f;

// RFC 7143 carries them all but QUERY TASK and its kin, and CLEAR ACA needs an ACA: ATS, ATSS, CTSS, LURS, TRS.
constexpr std::uint8_t task_functions = 0x80 | 0x40 | 0x10 | 0x08 | 0x02;

bool by_service(const CommandRow& row) {
  return row.service != CommandRow::no_service;
}

void write_timeouts(Writer& w) {
  w.u16(timeouts_bytes - 2);
  w.skip(2);
  w.u32(0);  // nominal: not said
  w.u32(recommended_seconds);
}

// Those that the unit takes.
std::vector<CommandRow> rows_of(UnitSeat& unit) {
  std::vector<CommandRow> rows;
  for (const CommandRow& row : command_table()) {
    if (!unit.pair_decides_access() || !sets_port_groups(row.opcode)) rows.push_back(row);
  }
  return rows;
}

scsi::Bytes all_commands(std::span<const CommandRow> rows, bool timeouts) {
  const std::size_t length = rows.size() * (descriptor_bytes + (timeouts ? timeouts_bytes : 0));
  scsi::Bytes bytes(4 + length);
  Writer w(bytes);
  w.u32(static_cast<std::uint32_t>(length));
  for (const CommandRow& row : rows) {
    w.u8(row.opcode);
    w.skip(1);
    w.u16(by_service(row) ? static_cast<std::uint16_t>(row.service) : 0);
    w.skip(1);
    w.u8(static_cast<std::uint8_t>((timeouts ? bit_timeouts_all : 0) | (by_service(row) ? bit_service : 0)));
    w.u16(scsi::cdb_length(row.opcode));
    if (timeouts) write_timeouts(w);
  }
  return bytes;
}

// `row` may be null: there is no such command.
scsi::Bytes one_command(const CommandRow* row, bool timeouts) {
  const bool with_timeouts = timeouts && row != nullptr;
  const std::size_t length = row != nullptr ? scsi::cdb_length(row->opcode) : 0;
  scsi::Bytes bytes(4 + length + (with_timeouts ? timeouts_bytes : 0));
  Writer w(bytes);
  w.skip(1);
  w.u8(
      static_cast<std::uint8_t>((with_timeouts ? bit_timeouts_one : 0) | (row != nullptr ? supported : not_supported)));
  w.u16(static_cast<std::uint16_t>(length));
  for (std::size_t i = 0; i < length; ++i) {
    // The service action stands there itself, not as a mask.
    const bool here = i == 1 && by_service(*row);
    w.u8(here ? static_cast<std::uint8_t>((row->usage[i] & ~service_mask) | row->service) : row->usage[i]);
  }
  if (with_timeouts) write_timeouts(w);
  return bytes;
}

const CommandRow* find_row(std::span<const CommandRow> rows, std::uint8_t opcode, std::uint16_t service) {
  for (const CommandRow& row : rows) {
    if (row.opcode == opcode && (!by_service(row) || row.service == service)) return &row;
  }
  return nullptr;
}

}  // namespace

void run(UnitSeat& unit, Task& task, const scsi::ReportSupportedOpcodes& command) {
  const std::vector<CommandRow> rows = rows_of(unit);
  const bool known = std::ranges::find(rows, command.opcode, &CommandRow::opcode) != rows.end();
  const bool services = known && has_services(command.opcode);
  const CommandRow* row = find_row(rows, command.opcode, command.service);
  const auto refuse = [&](std::uint16_t at) { unit.fail(task, sense::invalid_field_in_cdb, {.field = at}); };
  switch (command.options) {
    case 0:
      return unit.answer(task, all_commands(rows, command.timeouts), command.length);
    case 1:
      if (services) return refuse(3);
      break;
    case 2:
      if (row != nullptr && !services) return refuse(3);
      break;
    case 3:
      if (!services && command.service != 0) row = nullptr;
      break;
    default:
      return refuse(2);
  }
  unit.answer(task, one_command(row, command.timeouts), command.length);
}

void run(UnitSeat& unit, Task& task, const scsi::ReportSupportedTaskFunctions& command) {
  constexpr std::size_t short_bytes = 4;
  constexpr std::size_t extended_bytes = 16;
  scsi::Bytes bytes(command.extended ? extended_bytes : short_bytes);
  Writer w(bytes);
  w.u8(task_functions);
  w.skip(2);
  w.u8(command.extended ? extended_bytes - short_bytes : 0);
  unit.answer(task, bytes, command.length);
}

}  // namespace mpath::target
