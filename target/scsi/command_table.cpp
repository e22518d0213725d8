#include "target/scsi/command_table.hpp"

#include <algorithm>
#include <limits>

#include "target/scsi/logical_unit.hpp"

namespace mpath::target {
namespace {

constexpr std::int16_t none = CommandRow::no_service;

// The yes-or-no columns, so that a row fits a line.
constexpr unsigned reserve = 1;       // under_reserve
constexpr unsigned attention = 2;     // past_attention
constexpr unsigned medium = 4;        // needs a medium
constexpr unsigned modifies = 8;      // changes it
constexpr unsigned standby = 16;      // in_standby
constexpr unsigned unavailable = 32;  // in_unavailable
constexpr unsigned transition = 64;   // in_transition
constexpr unsigned sanitizing = 128;  // while_sanitizing
constexpr unsigned changes = 256;     // changes the state

constexpr std::uint8_t digit(char c) {
  return static_cast<std::uint8_t>(c <= '9' ? c - '0' : c - 'a' + 10);
}

constexpr CommandRow row(std::string_view name, std::uint8_t opcode, std::int16_t service, Moves moves,
                         std::uint8_t length_at, std::uint8_t length_width, AccessClass access, unsigned columns,
                         std::string_view usage) {
  CommandRow made{.name = name,
                  .opcode = opcode,
                  .service = service,
                  .moves = moves,
                  .length_at = length_at,
                  .length_width = length_width,
                  .access = access,
                  .under_reserve = (columns & reserve) != 0,
                  .past_attention = (columns & attention) != 0,
                  .medium = (columns & medium) != 0,
                  .modifies = (columns & modifies) != 0,
                  .changes = (columns & changes) != 0,
                  .in_standby = (columns & standby) != 0,
                  .in_unavailable = (columns & unavailable) != 0,
                  .in_transition = (columns & transition) != 0,
                  .while_sanitizing = (columns & sanitizing) != 0};
  for (std::size_t i = 0; 3 * i + 1 < usage.size(); ++i)
    made.usage[i] = static_cast<std::uint8_t>(digit(usage[3 * i]) << 4 | digit(usage[3 * i + 1]));
  return made;
}

// Ordered by operation code, then service action. RESERVE(6) and RELEASE(6) of iSCSI have no parameter list: extents
// are of SCSI-2.
constexpr CommandRow rows[] = {
    // clang-format off
    row("TEST UNIT READY", 0x00, none, Moves::nothing, 0, 0, AccessClass::always, medium, "00 00 00 00 00 00"),
    row("REQUEST SENSE", 0x03, none, Moves::in_bytes, 4, 1, AccessClass::always, reserve | attention | standby | unavailable | transition | sanitizing, "03 01 00 00 ff 00"),
    row("READ(6)", 0x08, none, Moves::in_blocks, 4, 1, AccessClass::reads, medium, "08 1f ff ff ff 00"),
    row("WRITE(6)", 0x0a, none, Moves::out_blocks, 4, 1, AccessClass::writes, medium | modifies, "0a 1f ff ff ff 00"),
    row("INQUIRY", 0x12, none, Moves::in_bytes, 3, 2, AccessClass::always, reserve | attention | standby | unavailable | transition | sanitizing, "12 01 ff ff ff 00"),
    row("MODE SELECT(6)", 0x15, none, Moves::out_bytes, 4, 1, AccessClass::writes, changes | standby, "15 11 00 00 ff 00"),
    row("RESERVE(6)", 0x16, none, Moves::out_bytes, 0, 0, AccessClass::reserve, changes, "16 00 00 00 00 00"),
    row("RELEASE(6)", 0x17, none, Moves::out_bytes, 0, 0, AccessClass::reserve, reserve | changes, "17 00 00 00 00 00"),
    row("MODE SENSE(6)", 0x1a, none, Moves::in_bytes, 4, 1, AccessClass::reads, standby, "1a 08 ff ff ff 00"),
    row("START STOP UNIT", 0x1b, none, Moves::nothing, 0, 0, AccessClass::start_stop, 0, "1b 01 00 0f f7 00"),
    row("PREVENT ALLOW MEDIUM REMOVAL", 0x1e, none, Moves::nothing, 0, 0, AccessClass::prevent, 0, "1e 00 00 00 03 00"),
    row("READ CAPACITY(10)", 0x25, none, Moves::in_bytes, 0, 0, AccessClass::always, reserve | medium | standby, "25 00 00 00 00 00 00 00 00 00"),
    row("READ(10)", 0x28, none, Moves::in_blocks, 7, 2, AccessClass::reads, medium, "28 18 ff ff ff ff 1f ff ff 00"),
    row("WRITE(10)", 0x2a, none, Moves::out_blocks, 7, 2, AccessClass::writes, medium | modifies, "2a 18 ff ff ff ff 1f ff ff 00"),
    row("WRITE AND VERIFY(10)", 0x2e, none, Moves::out_blocks, 7, 2, AccessClass::writes, medium | modifies, "2e 16 ff ff ff ff 1f ff ff 00"),
    row("VERIFY(10)", 0x2f, none, Moves::out_verify, 7, 2, AccessClass::reads, medium, "2f 16 ff ff ff ff 1f ff ff 00"),
    row("PRE-FETCH(10)", 0x34, none, Moves::nothing, 0, 0, AccessClass::reads, medium, "34 02 ff ff ff ff 1f ff ff 00"),
    row("SYNCHRONIZE CACHE(10)", 0x35, none, Moves::nothing, 0, 0, AccessClass::writes, medium, "35 02 ff ff ff ff 1f ff ff 00"),
    row("READ DEFECT DATA(10)", 0x37, none, Moves::in_bytes, 7, 2, AccessClass::reads, medium, "37 00 1f 00 00 00 00 ff ff 00"),
    row("WRITE SAME(10)", 0x41, none, Moves::out_same, 7, 2, AccessClass::writes, medium | modifies, "41 18 ff ff ff ff 1f ff ff 00"),
    row("UNMAP", 0x42, none, Moves::out_bytes, 7, 2, AccessClass::writes, medium | modifies, "42 01 00 00 00 00 1f ff ff 00"),
    row("SANITIZE, OVERWRITE", 0x48, 0x01, Moves::out_bytes, 7, 2, AccessClass::writes, medium | modifies | changes, "48 bf 00 00 00 00 00 ff ff 00"),
    row("SANITIZE, BLOCK ERASE", 0x48, 0x02, Moves::out_bytes, 7, 2, AccessClass::writes, medium | modifies | changes, "48 bf 00 00 00 00 00 ff ff 00"),
    row("SANITIZE, EXIT FAILURE MODE", 0x48, 0x1f, Moves::out_bytes, 7, 2, AccessClass::writes, medium | modifies | changes, "48 bf 00 00 00 00 00 ff ff 00"),
    row("LOG SENSE", 0x4d, none, Moves::in_bytes, 7, 2, AccessClass::always, reserve | standby | sanitizing, "4d 00 ff ff 00 ff ff ff ff 00"),
    row("MODE SELECT(10)", 0x55, none, Moves::out_bytes, 7, 2, AccessClass::writes, changes | standby, "55 11 00 00 00 00 00 ff ff 00"),
    row("RESERVE(10)", 0x56, none, Moves::out_bytes, 7, 2, AccessClass::reserve, changes, "56 00 00 00 00 00 00 ff ff 00"),
    row("RELEASE(10)", 0x57, none, Moves::out_bytes, 7, 2, AccessClass::reserve, reserve | changes, "57 00 00 00 00 00 00 ff ff 00"),
    row("MODE SENSE(10)", 0x5a, none, Moves::in_bytes, 7, 2, AccessClass::reads, standby, "5a 18 ff ff 00 00 00 ff ff 00"),
    row("PERSISTENT RESERVE IN, READ KEYS", 0x5e, 0x00, Moves::in_bytes, 7, 2, AccessClass::always, standby | sanitizing, "5e 1f 00 00 00 00 00 ff ff 00"),
    row("PERSISTENT RESERVE IN, READ RESERVATION", 0x5e, 0x01, Moves::in_bytes, 7, 2, AccessClass::always, standby | sanitizing, "5e 1f 00 00 00 00 00 ff ff 00"),
    row("PERSISTENT RESERVE IN, REPORT CAPABILITIES", 0x5e, 0x02, Moves::in_bytes, 7, 2, AccessClass::always, standby | sanitizing, "5e 1f 00 00 00 00 00 ff ff 00"),
    row("PERSISTENT RESERVE IN, READ FULL STATUS", 0x5e, 0x03, Moves::in_bytes, 7, 2, AccessClass::always, standby | sanitizing, "5e 1f 00 00 00 00 00 ff ff 00"),
    row("PERSISTENT RESERVE OUT, REGISTER", 0x5f, 0x00, Moves::out_bytes, 5, 4, AccessClass::persistent, changes | standby, "5f 1f ff 00 00 ff ff ff ff 00"),
    row("PERSISTENT RESERVE OUT, RESERVE", 0x5f, 0x01, Moves::out_bytes, 5, 4, AccessClass::persistent, changes | standby, "5f 1f ff 00 00 ff ff ff ff 00"),
    row("PERSISTENT RESERVE OUT, RELEASE", 0x5f, 0x02, Moves::out_bytes, 5, 4, AccessClass::persistent, changes | standby, "5f 1f ff 00 00 ff ff ff ff 00"),
    row("PERSISTENT RESERVE OUT, CLEAR", 0x5f, 0x03, Moves::out_bytes, 5, 4, AccessClass::persistent, changes | standby, "5f 1f ff 00 00 ff ff ff ff 00"),
    row("PERSISTENT RESERVE OUT, PREEMPT", 0x5f, 0x04, Moves::out_bytes, 5, 4, AccessClass::persistent, changes | standby, "5f 1f ff 00 00 ff ff ff ff 00"),
    row("PERSISTENT RESERVE OUT, PREEMPT AND ABORT", 0x5f, 0x05, Moves::out_bytes, 5, 4, AccessClass::persistent, changes | standby, "5f 1f ff 00 00 ff ff ff ff 00"),
    row("PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", 0x5f, 0x06, Moves::out_bytes, 5, 4, AccessClass::persistent, changes | standby, "5f 1f ff 00 00 ff ff ff ff 00"),
    row("PERSISTENT RESERVE OUT, REGISTER AND MOVE", 0x5f, 0x07, Moves::out_bytes, 5, 4, AccessClass::persistent, changes | standby, "5f 1f ff 00 00 ff ff ff ff 00"),
    row("EXTENDED COPY(LID1)", 0x83, 0x00, Moves::out_bytes, 10, 4, AccessClass::writes, medium | modifies, "83 1f 00 00 00 00 00 00 00 00 ff ff ff ff 00 00"),
    row("RECEIVE COPY STATUS(LID1)", 0x84, 0x00, Moves::in_bytes, 10, 4, AccessClass::reads, 0, "84 1f ff 00 00 00 00 00 00 00 ff ff ff ff 00 00"),
    row("RECEIVE COPY DATA(LID1)", 0x84, 0x01, Moves::in_bytes, 10, 4, AccessClass::reads, 0, "84 1f ff 00 00 00 00 00 00 00 ff ff ff ff 00 00"),
    row("RECEIVE COPY OPERATING PARAMETERS", 0x84, 0x03, Moves::in_bytes, 10, 4, AccessClass::reads, 0, "84 1f 00 00 00 00 00 00 00 00 ff ff ff ff 00 00"),
    row("RECEIVE COPY FAILURE DETAILS(LID1)", 0x84, 0x04, Moves::in_bytes, 10, 4, AccessClass::reads, 0, "84 1f ff 00 00 00 00 00 00 00 ff ff ff ff 00 00"),
    row("READ(16)", 0x88, none, Moves::in_blocks, 10, 4, AccessClass::reads, medium, "88 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"),
    row("COMPARE AND WRITE", 0x89, none, Moves::out_compare, 13, 1, AccessClass::writes, medium | modifies, "89 18 ff ff ff ff ff ff ff ff 00 00 00 ff 1f 00"),
    row("WRITE(16)", 0x8a, none, Moves::out_blocks, 10, 4, AccessClass::writes, medium | modifies, "8a 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"),
    row("ORWRITE(16)", 0x8b, none, Moves::out_blocks, 10, 4, AccessClass::writes, medium | modifies, "8b 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"),
    row("WRITE AND VERIFY(16)", 0x8e, none, Moves::out_blocks, 10, 4, AccessClass::writes, medium | modifies, "8e 16 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"),
    row("VERIFY(16)", 0x8f, none, Moves::out_verify, 10, 4, AccessClass::reads, medium, "8f 16 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"),
    row("PRE-FETCH(16)", 0x90, none, Moves::nothing, 0, 0, AccessClass::reads, medium, "90 02 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"),
    row("SYNCHRONIZE CACHE(16)", 0x91, none, Moves::nothing, 0, 0, AccessClass::writes, medium, "91 02 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"),
    row("WRITE SAME(16)", 0x93, none, Moves::out_same, 10, 4, AccessClass::writes, medium | modifies, "93 19 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"),
    row("WRITE ATOMIC(16)", 0x9c, none, Moves::out_blocks, 12, 2, AccessClass::writes, medium | modifies, "9c 18 ff ff ff ff ff ff ff ff ff ff ff ff 1f 00"),
    row("READ CAPACITY(16)", 0x9e, 0x10, Moves::in_bytes, 10, 4, AccessClass::always, reserve | medium | standby, "9e 1f 00 00 00 00 00 00 00 00 ff ff ff ff 00 00"),
    row("GET LBA STATUS", 0x9e, 0x12, Moves::in_bytes, 10, 4, AccessClass::reads, medium, "9e 1f ff ff ff ff ff ff ff ff ff ff ff ff 00 00"),
    row("REPORT LUNS", 0xa0, none, Moves::in_bytes, 6, 4, AccessClass::always, reserve | attention | standby | unavailable | transition | sanitizing, "a0 00 ff 00 00 00 ff ff ff ff 00 00"),
    row("REPORT TARGET PORT GROUPS", 0xa3, 0x0a, Moves::in_bytes, 6, 4, AccessClass::always, reserve | standby | unavailable | transition | sanitizing, "a3 ff 00 00 00 00 ff ff ff ff 00 00"),
    row("REPORT SUPPORTED OPERATION CODES", 0xa3, 0x0c, Moves::in_bytes, 6, 4, AccessClass::reads, standby | sanitizing, "a3 1f 87 ff ff ff ff ff ff ff 00 00"),
    row("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0xa3, 0x0d, Moves::in_bytes, 6, 4, AccessClass::reads, standby | sanitizing, "a3 1f 80 00 00 00 ff ff ff ff 00 00"),
    row("SET TARGET PORT GROUPS", 0xa4, 0x0a, Moves::out_bytes, 6, 4, AccessClass::writes, changes | standby | unavailable, "a4 1f 00 00 00 00 ff ff ff ff 00 00"),
    row("READ(12)", 0xa8, none, Moves::in_blocks, 6, 4, AccessClass::reads, medium, "a8 18 ff ff ff ff ff ff ff ff 1f 00"),
    row("WRITE(12)", 0xaa, none, Moves::out_blocks, 6, 4, AccessClass::writes, medium | modifies, "aa 18 ff ff ff ff ff ff ff ff 1f 00"),
    row("WRITE AND VERIFY(12)", 0xae, none, Moves::out_blocks, 6, 4, AccessClass::writes, medium | modifies, "ae 16 ff ff ff ff ff ff ff ff 1f 00"),
    row("VERIFY(12)", 0xaf, none, Moves::out_verify, 6, 4, AccessClass::reads, medium, "af 16 ff ff ff ff ff ff ff ff 1f 00"),
    row("READ DEFECT DATA(12)", 0xb7, none, Moves::in_bytes, 6, 4, AccessClass::reads, medium, "b7 1f ff ff ff ff ff ff ff ff 00 00"),
    // clang-format on
};

// Where the rows of each operation code begin; one past the last row where there are none.
constexpr std::size_t count = std::size(rows);
constexpr auto first_rows = [] {
  std::array<std::uint8_t, 256> first{};
  first.fill(static_cast<std::uint8_t>(count));
  for (std::size_t i = count; i-- > 0;) first[rows[i].opcode] = static_cast<std::uint8_t>(i);
  return first;
}();
static_assert(count < std::numeric_limits<std::uint8_t>::max());
static_assert(std::ranges::is_sorted(rows, {}, [](const CommandRow& r) { return r.opcode * 65536 + r.service; }));

std::uint64_t big_endian(std::span<const std::byte> cdb, std::size_t at, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width && at + i < cdb.size(); ++i)
    value = value << 8 | std::to_integer<std::uint64_t>(cdb[at + i]);
  return value;
}

constexpr std::uint8_t read_6 = 0x08;
constexpr std::uint8_t write_6 = 0x0a;
constexpr std::uint8_t write_same_16 = 0x93;
constexpr std::uint8_t read_capacity_10 = 0x25;
constexpr std::uint8_t set_target_port_groups = 0xa4;
constexpr std::uint64_t capacity_10_bytes = 8;

}  // namespace

std::span<const CommandRow> command_table() {
  return rows;
}

bool opcode_known(std::uint8_t opcode) {
  return first_rows[opcode] != count;
}

bool has_services(std::uint8_t opcode) {
  return opcode_known(opcode) && rows[first_rows[opcode]].service != none;
}

std::uint16_t service_of(std::span<const std::byte> cdb) {
  return static_cast<std::uint16_t>(big_endian(cdb, 1, 1) & 0x1f);
}

bool sets_port_groups(std::uint8_t opcode) {
  return opcode == set_target_port_groups;
}

const CommandRow* find_command(std::span<const std::byte> cdb) {
  if (cdb.empty()) return nullptr;
  const auto opcode = std::to_integer<std::uint8_t>(cdb[0]);
  const std::size_t first = first_rows[opcode];
  if (first == count) return nullptr;
  if (rows[first].service == none) return &rows[first];
  const std::int16_t service = static_cast<std::int16_t>(service_of(cdb));
  for (std::size_t i = first; i < count && rows[i].opcode == opcode; ++i) {
    if (rows[i].service == service) return &rows[i];
  }
  return nullptr;
}

TransferNeed transfer_need(std::span<const std::byte> cdb, std::uint32_t block_bytes) {
  using Direction = TransferNeed::Direction;
  const CommandRow* const row = find_command(cdb);
  if (row == nullptr) return {};
  std::uint64_t length = big_endian(cdb, row->length_at, row->length_width);
  if (row->length_width == 0) length = row->opcode == read_capacity_10 ? capacity_10_bytes : 0;
  if ((row->opcode == read_6 || row->opcode == write_6) && length == 0) length = 256;
  const auto need = [](Direction direction, std::uint64_t bytes) {
    return bytes == 0 ? TransferNeed{} : TransferNeed{.direction = direction, .bytes = bytes};
  };
  switch (row->moves) {
    case Moves::nothing:
      return {};
    case Moves::in_bytes:
      return need(Direction::in, length);
    case Moves::out_bytes:
      return need(Direction::out, length);
    case Moves::in_blocks:
      return need(Direction::in, length * block_bytes);
    case Moves::out_blocks:
      return need(Direction::out, length * block_bytes);
    case Moves::out_verify: {  // BYTCHK: 01b compares all blocks, 11b one block with each
      const auto check = big_endian(cdb, 1, 1) >> 1 & 3;
      if (check == 1) return need(Direction::out, length * block_bytes);
      return need(Direction::out, check == 3 && length != 0 ? block_bytes : 0);
    }
    case Moves::out_same: {
      const bool no_data_out = row->opcode == write_same_16 && (big_endian(cdb, 1, 1) & 1) != 0;
      return need(Direction::out, no_data_out ? 0 : block_bytes);
    }
    case Moves::out_compare:
      return need(Direction::out, 2 * length * block_bytes);
  }
  return {};
}

}  // namespace mpath::target
