#include "wire/scsi_cdb.hpp"

#include <limits>
#include <utility>

#include "base/bytes.hpp"
#include "wire/error.hpp"

namespace mpath::scsi {
namespace {

constexpr std::uint8_t service_read_capacity_16 = 0x10;
constexpr std::uint8_t service_get_lba_status = 0x12;
constexpr std::uint8_t service_report_target_port_groups = 0x0a;

constexpr std::uint8_t bit_evpd = 0x01;
constexpr std::uint8_t bit_desc = 0x01;
constexpr std::uint8_t bit_dbd = 0x08;
constexpr std::uint8_t bit_fua = 0x08;
constexpr std::uint8_t bit_immed = 0x02;
constexpr std::uint8_t bit_ndob = 0x01;
constexpr std::uint8_t bit_same_unmap = 0x08;
constexpr std::uint8_t bit_same_anchor = 0x10;
constexpr std::uint8_t bit_unmap_anchor = 0x01;

bool fits_form_10(std::uint64_t lba, std::uint32_t blocks) {
  return lba <= std::numeric_limits<std::uint32_t>::max() && blocks <= std::numeric_limits<std::uint16_t>::max();
}

// The two layouts that most block commands share.
Cdb form_10(Opcode opcode, std::uint8_t flags, std::uint64_t lba, std::uint32_t blocks) {
  Cdb cdb{.length = 10};
  Writer w(cdb.bytes);
  w.u8(std::to_underlying(opcode));
  w.u8(flags);
  w.u32(static_cast<std::uint32_t>(lba));
  w.u8(0);  // group number
  w.u16(static_cast<std::uint16_t>(blocks));
  return cdb;
}

Cdb form_16(Opcode opcode, std::uint8_t flags, std::uint64_t lba, std::uint32_t count) {
  Cdb cdb{.length = 16};
  Writer w(cdb.bytes);
  w.u8(std::to_underlying(opcode));
  w.u8(flags);
  w.u64(lba);
  w.u32(count);
  return cdb;
}

Cdb form_10_or_16(Opcode form10, Opcode form16, std::uint8_t flags, std::uint64_t lba, std::uint32_t blocks) {
  return fits_form_10(lba, blocks) ? form_10(form10, flags, lba, blocks) : form_16(form16, flags, lba, blocks);
}

}  // namespace

Cdb test_unit_ready_cdb() {
  return Cdb{.length = 6};
}

Cdb request_sense_cdb(bool descriptor) {
  Cdb cdb{.length = 6};
  Writer w(cdb.bytes);
  w.u8(std::to_underlying(Opcode::request_sense));
  w.u8(descriptor ? bit_desc : 0);
  w.skip(2);
  w.u8(252);  // SPC-4 6.39: the most that sense data can be
  return cdb;
}

Cdb inquiry_cdb(std::uint16_t length) {
  Cdb cdb{.length = 6};
  Writer w(cdb.bytes);
  w.u8(std::to_underlying(Opcode::inquiry));
  w.skip(2);
  w.u16(length);
  return cdb;
}

Cdb inquiry_vpd_cdb(VpdPage page, std::uint16_t length) {
  Cdb cdb{.length = 6};
  Writer w(cdb.bytes);
  w.u8(std::to_underlying(Opcode::inquiry));
  w.u8(bit_evpd);
  w.u8(std::to_underlying(page));
  w.u16(length);
  return cdb;
}

Cdb read_capacity_10_cdb() {
  return form_10(Opcode::read_capacity_10, 0, 0, 0);
}

Cdb read_capacity_16_cdb() {
  return form_16(Opcode::service_action_in_16, service_read_capacity_16, 0, 32);
}

Cdb report_luns_cdb(std::uint32_t length) {
  Cdb cdb{.length = 12};
  Writer w(cdb.bytes);
  w.u8(std::to_underlying(Opcode::report_luns));
  w.skip(5);
  w.u32(length);
  return cdb;
}

Cdb mode_sense_6_cdb(std::uint8_t page, std::uint8_t length) {
  Cdb cdb{.length = 6};
  Writer w(cdb.bytes);
  w.u8(std::to_underlying(Opcode::mode_sense_6));
  w.u8(bit_dbd);
  w.u8(page & 0x3f);
  w.u8(0);
  w.u8(length);
  return cdb;
}

Cdb mode_sense_10_cdb(std::uint8_t page, std::uint16_t length) {
  Cdb cdb{.length = 10};
  Writer w(cdb.bytes);
  w.u8(std::to_underlying(Opcode::mode_sense_10));
  w.u8(bit_dbd);
  w.u8(page & 0x3f);
  w.skip(4);
  w.u16(length);
  return cdb;
}

Cdb read_cdb(std::uint64_t lba, std::uint32_t blocks, bool fua) {
  return form_10_or_16(Opcode::read_10, Opcode::read_16, fua ? bit_fua : 0, lba, blocks);
}

Cdb write_cdb(std::uint64_t lba, std::uint32_t blocks, bool fua) {
  return form_10_or_16(Opcode::write_10, Opcode::write_16, fua ? bit_fua : 0, lba, blocks);
}

Cdb verify_cdb(std::uint64_t lba, std::uint32_t blocks) {
  return form_10_or_16(Opcode::verify_10, Opcode::verify_16, 0, lba, blocks);
}

Cdb synchronize_cache_cdb(std::uint64_t lba, std::uint32_t blocks) {
  return form_10_or_16(Opcode::synchronize_cache_10, Opcode::synchronize_cache_16, 0, lba, blocks);
}

Cdb pre_fetch_cdb(std::uint64_t lba, std::uint32_t blocks) {
  return form_16(Opcode::pre_fetch_16, bit_immed, lba, blocks);
}

Cdb write_same_cdb(const WriteSame& command) {
  std::uint8_t flags = 0;
  if (command.unmap) flags |= bit_same_unmap;
  if (command.anchor) flags |= bit_same_anchor;
  if (command.no_data_out) flags |= bit_ndob;
  return form_16(Opcode::write_same_16, flags, command.lba, command.blocks);
}

Cdb unmap_cdb(std::uint16_t parameter_length, bool anchor) {
  return form_10(Opcode::unmap, anchor ? bit_unmap_anchor : 0, 0, parameter_length);
}

Cdb get_lba_status_cdb(std::uint64_t lba, std::uint32_t length) {
  return form_16(Opcode::service_action_in_16, service_get_lba_status, lba, length);
}

Cdb report_target_port_groups_cdb(std::uint32_t length, bool extended) {
  constexpr std::uint8_t extended_header_format = 0x20;
  Cdb cdb{.length = 12};
  Writer w(cdb.bytes);
  w.u8(std::to_underlying(Opcode::maintenance_in));
  w.u8(static_cast<std::uint8_t>(service_report_target_port_groups | (extended ? extended_header_format : 0)));
  w.skip(4);
  w.u32(length);
  return cdb;
}

std::size_t encode_unmap_list(std::span<const UnmapRange> ranges, std::span<std::byte> out) {
  constexpr std::size_t list_bytes_max = std::numeric_limits<std::uint16_t>::max();
  const std::size_t size = unmap_list_bytes(ranges.size());
  if (size > list_bytes_max || size > out.size()) return 0;
  Writer w(out);
  w.u16(static_cast<std::uint16_t>(size - 2));
  w.u16(static_cast<std::uint16_t>(size - unmap_header_bytes));
  w.skip(4);
  for (const UnmapRange& range : ranges) {
    w.u64(range.lba);
    w.u32(range.blocks);
    w.skip(4);
  }
  return w.ok() ? w.size() : 0;
}

Result<std::vector<UnmapRange>> decode_unmap_list(std::span<const std::byte> list) {
  Reader r(list);
  const std::size_t data_length = r.u16();
  const std::size_t descriptor_bytes = r.u16();
  r.skip(4);
  if (!r.ok()) return failure(WireErrc::truncated);
  if (descriptor_bytes + unmap_header_bytes > data_length + 2) return failure(WireErrc::bad_length);
  if (descriptor_bytes > r.remaining()) return failure(WireErrc::truncated);
  std::vector<UnmapRange> ranges(descriptor_bytes / unmap_range_bytes);
  for (UnmapRange& range : ranges) {
    range = {.lba = r.u64(), .blocks = r.u32()};
    r.skip(4);
  }
  return ranges;
}

namespace {

constexpr std::uint64_t peripheral_lun_max = 0xff;
constexpr std::uint64_t flat_lun_max = 0x3fff;
constexpr std::uint64_t extended_flat_lun_max = 0xffffff;
constexpr std::uint16_t flat_method = 0x4000;
constexpr std::uint8_t extended_flat_method = 0xd2;  // extended addressing, 3 bytes of flat LUN follow

}  // namespace

std::array<std::byte, 8> lun_field(Lun lun) {
  std::array<std::byte, 8> field{};
  Writer w(field);
  if (lun.value <= peripheral_lun_max) {
    w.u16(static_cast<std::uint16_t>(lun.value));
  } else if (lun.value <= flat_lun_max) {
    w.u16(static_cast<std::uint16_t>(flat_method | lun.value));
  } else if (lun.value <= extended_flat_lun_max) {
    w.u8(extended_flat_method);
    w.u24(static_cast<std::uint32_t>(lun.value));
  } else {
    field.fill(std::byte{0xff});
  }
  return field;
}

Result<Lun> parse_lun_field(std::span<const std::byte, 8> field) {
  Reader r(field);
  const std::uint16_t first = r.u16();
  switch (first >> 14) {
    case 0: {  // peripheral: bus 0 only, and nothing in the levels below
      const std::uint64_t below = r.u48();
      if (first > peripheral_lun_max || below != 0) return failure(WireErrc::bad_field);
      return Lun{first};
    }
    case 1: {
      const std::uint64_t below = r.u48();
      if (below != 0) return failure(WireErrc::bad_field);
      return Lun{static_cast<std::uint64_t>(first & flat_lun_max)};
    }
    case 3: {
      if (first >> 8 != extended_flat_method) return failure(WireErrc::bad_field);
      const std::uint64_t high = first & 0xff;
      return Lun{high << 16 | r.u16()};
    }
  }
  return failure(WireErrc::bad_field);
}

std::uint16_t lun_for_libiscsi(Lun lun) {
  if (lun.value <= peripheral_lun_max) return static_cast<std::uint16_t>(lun.value);
  if (lun.value <= flat_lun_max) return static_cast<std::uint16_t>(flat_method | lun.value);
  return 0xffff;
}

}  // namespace mpath::scsi
