#include "exports/scsi_disk_answers.hpp"

#include <algorithm>
#include <bit>
#include <charconv>

#include "base/bytes.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath {
namespace {

constexpr std::uint8_t spc_4 = 0x06;
constexpr std::byte port_groups_bits{0x30};      // TPGS, in byte 5 of the standard INQUIRY data
constexpr std::byte several_ports_bit{0x10};     // MULTIP, in byte 6
constexpr std::byte write_protected_bit{0x80};   // WP, in the mode parameter header
constexpr std::uint32_t capacity_10_more = 0xffffffff;
constexpr std::size_t page_header_bytes = 4;
constexpr std::size_t opcode_bytes = 8;
constexpr std::size_t opcode_timeouts_bytes = 12;
constexpr std::uint8_t opcode_with_timeouts = 0x02;
constexpr std::uint8_t opcode_with_service = 0x01;

std::uint64_t last_lba(const BlockLimits& limits) {
  return limits.size_bytes / limits.block_size - 1;
}

scsi::Capacity capacity_of(const BlockLimits& limits) {
  const std::uint32_t blocks = std::max<std::uint32_t>(limits.preferred_block / limits.block_size, 1);
  return {.last_lba = last_lba(limits),
          .block_bytes = limits.block_size,
          .physical_exponent = static_cast<std::uint8_t>(std::bit_width(blocks) - 1),
          .thin = limits.can_trim};
}

// "3600..." is an NAA designator in hexadecimal digits; what is none becomes a name of ours.
scsi::Designator designator_of(const std::string& identity) {
  scsi::Bytes bytes;
  const bool naa = identity.size() % 2 == 1 && identity.starts_with('3');
  for (std::size_t i = 1; naa && i < identity.size(); i += 2) {
    unsigned value = 0;
    const char* const first = identity.data() + i;
    const auto [end, error] = std::from_chars(first, first + 2, value, 16);
    if (error != std::errc() || end != first + 2) break;
    bytes.push_back(static_cast<std::byte>(value));
  }
  if (naa && bytes.size() == identity.size() / 2 && (bytes.size() == 8 || bytes.size() == 16)) {
    return {.type = scsi::DesignatorType::naa, .bytes = bytes};
  }
  const std::string name = "MPATH   " + identity.substr(0, 200);
  const auto view = std::as_bytes(std::span(name));
  return {.type = scsi::DesignatorType::t10_vendor_id,
          .code_set = scsi::CodeSet::ascii,
          .bytes = scsi::Bytes(view.begin(), view.end())};
}

DiskAnswer refused(const scsi::Sense& sense) {
  return {.status = {scsi::Status::check_condition, sense}, .data = {}};
}

DiskAnswer emulate_inquiry(const scsi::Inquiry& inquiry, const BlockLimits& limits, const std::string& identity) {
  if (!inquiry.evpd) {
    if (inquiry.page != 0) return refused(scsi::sense::invalid_field_in_cdb);
    return {.status = {},
            .data = scsi::encode_inquiry({.version = spc_4,
                                          .command_queue = true,
                                          .vendor = "MPATH",
                                          .product = "BLOCK DEVICE",
                                          .revision = "1"})};
  }
  switch (static_cast<scsi::VpdPage>(inquiry.page)) {
    case scsi::VpdPage::supported: {
      constexpr std::array<std::uint8_t, 6> pages{0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2};
      return {.status = {}, .data = scsi::encode_vpd_supported(pages)};
    }
    case scsi::VpdPage::serial_number:
      return {.status = {}, .data = scsi::encode_vpd_serial(identity.substr(0, 250))};
    case scsi::VpdPage::device_id: {
      const scsi::Designator designator = designator_of(identity);
      return {.status = {}, .data = scsi::encode_vpd_device_id(std::span(&designator, 1))};
    }
    case scsi::VpdPage::block_limits: {
      scsi::BlockLimits page{.write_same_nonzero = false};
      page.transfer_max = static_cast<std::uint32_t>(limits.transfer_max / limits.block_size);
      page.unmap_blocks_max = limits.can_trim ? 0xffffffff : 0;
      page.unmap_ranges_max = limits.can_trim ? 256 : 0;
      page.write_same_max = limits.can_zero ? 0xffffffff : 0;
      return {.status = {}, .data = scsi::encode_vpd_block_limits(page)};
    }
    case scsi::VpdPage::block_characteristics:
      return {.status = {}, .data = scsi::encode_vpd_rotation(0)};
    case scsi::VpdPage::provisioning:
      return {.status = {},
              .data = scsi::encode_vpd_provisioning({.unmap = limits.can_trim,
                                                     .type = static_cast<std::uint8_t>(limits.can_trim ? 2 : 0)})};
    default:
      return refused(scsi::sense::invalid_field_in_cdb);
  }
}

DiskAnswer emulate(const scsi::Command& command, const BlockLimits& limits, const std::string& identity) {
  if (const auto* inquiry = std::get_if<scsi::Inquiry>(&command)) return emulate_inquiry(*inquiry, limits, identity);
  if (std::holds_alternative<scsi::ReadCapacity10>(command)) {
    return {.status = {}, .data = scsi::encode_capacity_10(capacity_of(limits))};
  }
  if (std::holds_alternative<scsi::ReadCapacity16>(command)) {
    return {.status = {}, .data = scsi::encode_capacity_16(capacity_of(limits))};
  }
  if (const auto* mode = std::get_if<scsi::ModeSense>(&command)) {
    const scsi::ModeData data{
        .write_protected = limits.read_only, .dpo_fua = true, .write_cache = limits.write_cache};
    return {.status = {}, .data = scsi::encode_mode_sense(data, mode->short_form)};
  }
  if (const auto* request = std::get_if<scsi::RequestSense>(&command)) {
    const auto sense = scsi::encode_sense({.descriptor_format = request->descriptor});
    return {.status = {}, .data = scsi::Bytes(sense.view().begin(), sense.view().end())};
  }
  if (std::holds_alternative<scsi::ReportSupportedOpcodes>(command)) {  // of one that is refused: not supported
    return {.status = {}, .data = {std::byte{0}, std::byte{1}, std::byte{0}, std::byte{0}}};
  }
  return refused(scsi::sense::invalid_opcode);
}

// Takes the place of the answer, as far as it fits there. It never does not: pages only become shorter.
std::size_t replace(std::span<std::byte> data, const scsi::Bytes& with) {
  const std::size_t size = std::min(data.size(), with.size());
  std::copy_n(with.begin(), size, data.begin());
  return size;
}

void put_u32(std::span<std::byte> data, std::size_t place, std::uint32_t value) {
  Writer(data.subspan(place, 4)).u32(value);
}

std::size_t without_refused_opcodes(std::span<std::byte> data) {
  Reader r(data);
  const std::uint32_t told = r.u32();
  if (!r.ok() || told > r.remaining()) return data.size();
  std::size_t from = page_header_bytes, to = page_header_bytes;
  const std::size_t end = page_header_bytes + told;
  while (end - from >= opcode_bytes) {
    Reader row(data.subspan(from, opcode_bytes));
    const std::uint8_t opcode = row.u8();
    row.skip(1);
    const std::uint16_t service = row.u16();
    row.skip(1);
    const std::uint8_t flags = row.u8();
    const std::size_t size = opcode_bytes + ((flags & opcode_with_timeouts) != 0 ? opcode_timeouts_bytes : 0);
    if (size > end - from) break;
    if (disk_command_known(opcode, (flags & opcode_with_service) != 0 ? service : std::uint16_t{0xffff})) {
      std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(from), size,
                  data.begin() + static_cast<std::ptrdiff_t>(to));
      to += size;
    }
    from += size;
  }
  put_u32(data, 0, static_cast<std::uint32_t>(to - page_header_bytes));
  return to;
}

}  // namespace

DiskAnswer emulate_disk_answer(const DiskPlan& plan, const BlockLimits& limits, const std::string& identity) {
  const auto command = scsi::parse_cdb(plan.cdb.view());
  if (!command) return refused(scsi::sense::invalid_opcode);
  DiskAnswer answer = emulate(*command, limits, identity);
  if (answer.data.size() > plan.allocation) answer.data.resize(plan.allocation);
  return answer;
}

std::size_t rewrite_disk_answer(DiskRewrite rewrite, std::span<std::byte> data, const BlockLimits& limits) {
  switch (rewrite) {
    case DiskRewrite::none:
      break;
    case DiskRewrite::inquiry:
      if (data.size() > 5) data[5] &= ~port_groups_bits;
      if (data.size() > 6) data[6] &= ~several_ports_bit;
      break;
    case DiskRewrite::vpd_supported: {
      auto pages = scsi::decode_vpd_supported(data);
      if (!pages) break;
      std::erase(*pages, static_cast<std::uint8_t>(scsi::VpdPage::scsi_ports));
      return replace(data, scsi::encode_vpd_supported(*pages));
    }
    case DiskRewrite::vpd_device_id: {
      auto id = scsi::decode_vpd_device_id(data);
      if (!id) break;
      std::erase_if(id->designators, [](const scsi::Designator& each) {
        return each.association != scsi::Association::logical_unit;
      });
      return replace(data, scsi::encode_vpd_device_id(id->designators));
    }
    case DiskRewrite::capacity_10:
      if (data.size() >= 8) {
        put_u32(data, 0, static_cast<std::uint32_t>(std::min<std::uint64_t>(last_lba(limits), capacity_10_more)));
      }
      break;
    case DiskRewrite::capacity_16:
      if (data.size() >= 8) Writer(data.first(8)).u64(last_lba(limits));
      break;
    case DiskRewrite::mode_6:
      if (data.size() > 2 && limits.read_only) data[2] |= write_protected_bit;
      break;
    case DiskRewrite::mode_10:
      if (data.size() > 3 && limits.read_only) data[3] |= write_protected_bit;
      break;
    case DiskRewrite::opcodes:
      return without_refused_opcodes(data);
  }
  return data.size();
}

}  // namespace mpath
