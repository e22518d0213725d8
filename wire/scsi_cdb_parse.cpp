// The parser of command descriptor blocks; the builders are in scsi_cdb.cpp.
//
// Layouts are those of SBC-3 and SPC-4, and of SCSI-2 and SPC-2 for RESERVE and RELEASE, which later standards dropped.
#include "base/bytes.hpp"
#include "wire/error.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::scsi {
namespace {

constexpr std::uint8_t service_action_mask = 0x1f;
constexpr std::uint8_t service_read_capacity_16 = 0x10;
constexpr std::uint8_t service_get_lba_status = 0x12;
constexpr std::uint8_t service_report_target_port_groups = 0x0a;
constexpr std::uint8_t service_report_supported_opcodes = 0x0c;
constexpr std::uint8_t service_report_supported_task_functions = 0x0d;
constexpr std::uint8_t service_set_target_port_groups = 0x0a;
constexpr std::uint8_t extended_header_format = 0x20;

constexpr std::uint32_t form_6_lba_max = 0x1fffff;
constexpr std::uint32_t form_6_zero_blocks = 256;  // what a count of 0 means in the six-byte forms, and only there

constexpr bool bit(std::uint8_t byte, unsigned number) {
  return (byte >> number & 1) != 0;
}
constexpr std::uint8_t bits(std::uint8_t byte, unsigned high, unsigned low) {
  return static_cast<std::uint8_t>(byte >> low & ((2U << (high - low)) - 1));
}

// What the block commands have in common, whatever their length.
struct BlockFields {
  std::uint8_t flags;
  std::uint64_t lba;
  std::uint32_t blocks;
};

BlockFields form_6(Reader& r) {
  const std::uint32_t lba = r.u24() & form_6_lba_max;
  const std::uint8_t blocks = r.u8();
  return {.flags = 0, .lba = lba, .blocks = blocks == 0 ? form_6_zero_blocks : blocks};
}

BlockFields form_10(Reader& r) {
  BlockFields fields{.flags = r.u8(), .lba = r.u32(), .blocks = 0};
  r.skip(1);  // group number
  fields.blocks = r.u16();
  return fields;
}

BlockFields form_12(Reader& r) {
  return {.flags = r.u8(), .lba = r.u32(), .blocks = r.u32()};
}

BlockFields form_16(Reader& r) {
  return {.flags = r.u8(), .lba = r.u64(), .blocks = r.u32()};
}

template <typename Transfer>
Transfer transfer(const BlockFields& fields) {
  return {.lba = fields.lba,
          .blocks = fields.blocks,
          .fua = bit(fields.flags, 3),
          .dpo = bit(fields.flags, 4),
          .protect = bits(fields.flags, 7, 5)};
}

template <typename Checked>
Checked checked(const BlockFields& fields) {
  return {.lba = fields.lba,
          .blocks = fields.blocks,
          .byte_check = bits(fields.flags, 2, 1),
          .dpo = bit(fields.flags, 4),
          .protect = bits(fields.flags, 7, 5)};
}

template <typename CacheCommand>
CacheCommand cache_command(const BlockFields& fields) {
  return {.lba = fields.lba, .blocks = fields.blocks, .immediate = bit(fields.flags, 1)};
}

WriteSame write_same(const BlockFields& fields, bool has_ndob) {
  return {.lba = fields.lba,
          .blocks = fields.blocks,
          .unmap = bit(fields.flags, 3),
          .anchor = bit(fields.flags, 4),
          .no_data_out = has_ndob && bit(fields.flags, 0),
          .protect = bits(fields.flags, 7, 5),
          .physical = bits(fields.flags, 2, 1) != 0};
}

CompareAndWrite compare_and_write(Reader& r) {  // SBC-3 5.2
  const std::uint8_t flags = r.u8();
  CompareAndWrite command{.lba = r.u64()};
  r.skip(3);
  command.blocks = r.u8();
  command.fua = bit(flags, 3);
  command.dpo = bit(flags, 4);
  command.protect = bits(flags, 7, 5);
  return command;
}

WriteAtomic write_atomic(Reader& r) {  // SBC-4 5.48
  const std::uint8_t flags = r.u8();
  WriteAtomic command{.lba = r.u64()};
  command.boundary = r.u16();
  command.blocks = r.u16();
  command.fua = bit(flags, 3);
  command.dpo = bit(flags, 4);
  command.protect = bits(flags, 7, 5);
  return command;
}

RequestSense request_sense(Reader& r) {
  RequestSense command{.descriptor = bit(r.u8(), 0)};
  r.skip(2);
  command.length = r.u8();
  return command;
}

ReportLuns report_luns(Reader& r) {
  r.skip(1);
  ReportLuns command{.select = r.u8()};
  r.skip(3);
  command.length = r.u32();
  return command;
}

// The length of the six-byte form has one byte, that of the ten-byte form two.
std::uint16_t length_6_or_10(Reader& r, bool short_form) {
  if (short_form) return r.u8();
  r.skip(3);
  return r.u16();
}

ModeSense mode_sense(Reader& r, bool short_form) {
  ModeSense command{.short_form = short_form, .no_block_descriptors = bit(r.u8(), 3)};
  const std::uint8_t page = r.u8();
  command.control = bits(page, 7, 6);
  command.page = bits(page, 5, 0);
  command.subpage = r.u8();
  command.length = length_6_or_10(r, short_form);
  return command;
}

ModeSelect mode_select(Reader& r, bool short_form) {
  const std::uint8_t flags = r.u8();
  r.skip(2);
  return {.short_form = short_form,
          .page_format = bit(flags, 4),
          .save = bit(flags, 0),
          .length = length_6_or_10(r, short_form)};
}

LogSense log_sense(Reader& r) {
  LogSense command{.save = bit(r.u8(), 0)};
  const std::uint8_t page = r.u8();
  command.control = bits(page, 7, 6);
  command.page = bits(page, 5, 0);
  command.subpage = r.u8();
  r.skip(1);
  command.parameter = r.u16();
  command.length = r.u16();
  return command;
}

StartStopUnit start_stop_unit(Reader& r) {
  const bool immediate = bit(r.u8(), 0);
  r.skip(1);
  const std::uint8_t modifier = bits(r.u8(), 3, 0);
  const std::uint8_t flags = r.u8();
  return {.immediate = immediate,
          .power_condition = bits(flags, 7, 4),
          .modifier = modifier,
          .no_flush = bit(flags, 2),
          .load_eject = bit(flags, 1),
          .start = bit(flags, 0)};
}

PreventAllow prevent_allow(Reader& r) {
  r.skip(3);
  return {.prevent = bits(r.u8(), 1, 0)};
}

// RESERVE and RELEASE, SCSI-2 9.2.12 and SPC-2 7.21: the same fields at other places.
template <typename Reservation>
Reservation reservation(Reader& r, bool short_form) {
  const std::uint8_t flags = r.u8();
  Reservation command{.third_party = bit(flags, 4), .extent = bit(flags, 0)};
  r.skip(short_form ? 1 : 5);
  command.length = r.u16();
  return command;
}

PersistentReserveIn persistent_reserve_in(Reader& r) {
  PersistentReserveIn command{.service = bits(r.u8(), 4, 0)};
  r.skip(5);
  command.length = r.u16();
  return command;
}

PersistentReserveOut persistent_reserve_out(Reader& r) {
  PersistentReserveOut command{.service = bits(r.u8(), 4, 0)};
  const std::uint8_t scope_and_type = r.u8();
  command.scope = bits(scope_and_type, 7, 4);
  command.type = bits(scope_and_type, 3, 0);
  r.skip(2);
  command.length = r.u32();
  return command;
}

Sanitize sanitize(Reader& r) {  // SBC-3 5.24
  const std::uint8_t flags = r.u8();
  Sanitize command{.service = bits(flags, 4, 0), .immediate = bit(flags, 7), .unrestricted_exit = bit(flags, 5)};
  r.skip(5);
  command.length = r.u16();
  return command;
}

Unmap unmap(Reader& r) {
  Unmap command{.anchor = bit(r.u8(), 0)};
  r.skip(5);
  command.length = r.u16();
  return command;
}

ReadDefectData read_defect_data(Reader& r, bool short_form) {
  if (short_form) r.skip(1);
  const std::uint8_t flags = r.u8();
  ReadDefectData command{
      .short_form = short_form, .primary = bit(flags, 4), .grown = bit(flags, 3), .format = bits(flags, 2, 0)};
  if (short_form) {
    r.skip(4);
    command.length = r.u16();
  } else {
    command.index = r.u32();
    command.length = r.u32();
  }
  return command;
}

ExtendedCopy extended_copy(Reader& r) {
  ExtendedCopy command{.service = bits(r.u8(), 4, 0)};
  r.skip(8);
  command.length = r.u32();
  return command;
}

ReceiveCopyResults receive_copy_results(Reader& r) {
  ReceiveCopyResults command{.service = bits(r.u8(), 4, 0)};
  command.list_id = r.u8();
  r.skip(7);
  command.length = r.u32();
  return command;
}

Result<Command> service_action_in_16(Reader& r) {
  const BlockFields fields = form_16(r);
  switch (fields.flags & service_action_mask) {
    case service_read_capacity_16:
      return ReadCapacity16{.length = fields.blocks};
    case service_get_lba_status:
      return GetLbaStatus{.lba = fields.lba, .length = fields.blocks};
  }
  return failure(WireErrc::bad_opcode);
}

Result<Command> maintenance_in(Reader& r) {
  const std::uint8_t flags = r.u8();
  const std::uint8_t options = r.u8();
  const std::uint8_t opcode = r.u8();
  const std::uint16_t service = r.u16();
  const std::uint32_t length = r.u32();
  switch (flags & service_action_mask) {
    case service_report_target_port_groups:
      return ReportTargetPortGroups{.extended = (flags & ~service_action_mask) == extended_header_format,
                                    .length = length};
    case service_report_supported_opcodes:
      return ReportSupportedOpcodes{.timeouts = bit(options, 7),
                                    .options = bits(options, 2, 0),
                                    .opcode = opcode,
                                    .service = service,
                                    .length = length};
    case service_report_supported_task_functions:
      return ReportSupportedTaskFunctions{.extended = bit(options, 7), .length = length};
  }
  return failure(WireErrc::bad_opcode);
}

Result<Command> maintenance_out(Reader& r) {
  if ((r.u8() & service_action_mask) != service_set_target_port_groups) return failure(WireErrc::bad_opcode);
  r.skip(4);
  return SetTargetPortGroups{.length = r.u32()};
}

}  // namespace

std::uint8_t cdb_length(std::uint8_t opcode) {
  switch (opcode >> 5) {
    case 0:
      return 6;
    case 1:
    case 2:
      return 10;
    case 4:
      return 16;
    case 5:
      return 12;
  }
  return 0;
}

Result<Command> parse_cdb(std::span<const std::byte> cdb) {
  if (cdb.empty()) return failure(WireErrc::truncated);
  Reader r(cdb);
  const std::uint8_t opcode = r.u8();
  const std::uint8_t length = cdb_length(opcode);
  if (length == 0) return failure(WireErrc::bad_opcode);
  if (cdb.size() < length) return failure(WireErrc::truncated);
  switch (static_cast<Opcode>(opcode)) {
    case Opcode::test_unit_ready:
      return TestUnitReady{};
    case Opcode::request_sense:
      return request_sense(r);
    case Opcode::inquiry:
      return Inquiry{.evpd = bit(r.u8(), 0), .page = r.u8(), .length = r.u16()};
    case Opcode::report_luns:
      return report_luns(r);
    case Opcode::mode_sense_6:
      return mode_sense(r, true);
    case Opcode::mode_sense_10:
      return mode_sense(r, false);
    case Opcode::mode_select_6:
      return mode_select(r, true);
    case Opcode::mode_select_10:
      return mode_select(r, false);
    case Opcode::log_sense:
      return log_sense(r);
    case Opcode::start_stop_unit:
      return start_stop_unit(r);
    case Opcode::prevent_allow:
      return prevent_allow(r);
    case Opcode::reserve_6:
      return reservation<Reserve>(r, true);
    case Opcode::reserve_10:
      return reservation<Reserve>(r, false);
    case Opcode::release_6:
      return reservation<Release>(r, true);
    case Opcode::release_10:
      return reservation<Release>(r, false);
    case Opcode::persistent_reserve_in:
      return persistent_reserve_in(r);
    case Opcode::persistent_reserve_out:
      return persistent_reserve_out(r);
    case Opcode::read_capacity_10:
      return ReadCapacity10{};
    case Opcode::service_action_in_16:
      return service_action_in_16(r);
    case Opcode::maintenance_in:
      return maintenance_in(r);
    case Opcode::maintenance_out:
      return maintenance_out(r);
    case Opcode::read_6:
      return transfer<Read>(form_6(r));
    case Opcode::read_10:
      return transfer<Read>(form_10(r));
    case Opcode::read_12:
      return transfer<Read>(form_12(r));
    case Opcode::read_16:
      return transfer<Read>(form_16(r));
    case Opcode::write_6:
      return transfer<Write>(form_6(r));
    case Opcode::write_10:
      return transfer<Write>(form_10(r));
    case Opcode::write_12:
      return transfer<Write>(form_12(r));
    case Opcode::write_16:
      return transfer<Write>(form_16(r));
    case Opcode::write_and_verify_10:
      return checked<WriteAndVerify>(form_10(r));
    case Opcode::write_and_verify_12:
      return checked<WriteAndVerify>(form_12(r));
    case Opcode::write_and_verify_16:
      return checked<WriteAndVerify>(form_16(r));
    case Opcode::verify_10:
      return checked<Verify>(form_10(r));
    case Opcode::verify_12:
      return checked<Verify>(form_12(r));
    case Opcode::verify_16:
      return checked<Verify>(form_16(r));
    case Opcode::compare_and_write:
      return compare_and_write(r);
    case Opcode::orwrite_16:
      return transfer<OrWrite>(form_16(r));
    case Opcode::write_atomic_16:
      return write_atomic(r);
    case Opcode::pre_fetch_10:
      return cache_command<PreFetch>(form_10(r));
    case Opcode::pre_fetch_16:
      return cache_command<PreFetch>(form_16(r));
    case Opcode::synchronize_cache_10:
      return cache_command<SynchronizeCache>(form_10(r));
    case Opcode::synchronize_cache_16:
      return cache_command<SynchronizeCache>(form_16(r));
    case Opcode::write_same_10:
      return write_same(form_10(r), false);
    case Opcode::write_same_16:
      return write_same(form_16(r), true);
    case Opcode::unmap:
      return unmap(r);
    case Opcode::sanitize:
      return sanitize(r);
    case Opcode::read_defect_data_10:
      return read_defect_data(r, true);
    case Opcode::read_defect_data_12:
      return read_defect_data(r, false);
    case Opcode::extended_copy:
      return extended_copy(r);
    case Opcode::receive_copy_results:
      return receive_copy_results(r);
  }
  return failure(WireErrc::bad_opcode);
}

}  // namespace mpath::scsi
