#include "wire/scsi_data.hpp"

#include <algorithm>
#include <bit>
#include <cctype>
#include <limits>
#include <string_view>
#include <utility>

#include "base/bytes.hpp"
#include "wire/error.hpp"

namespace mpath::scsi {
namespace {

constexpr std::size_t inquiry_header_bytes = 36;
constexpr std::size_t inquiry_bytes = 96;
constexpr std::size_t inquiry_versions_at = 58;
constexpr std::size_t inquiry_versions_max = 8;
constexpr std::size_t vpd_header_bytes = 4;
constexpr std::size_t block_limits_bytes = 0x3c;
constexpr std::uint8_t response_data_format = 2;

// What people write for an access state besides its name: in short, and as the kernel's target has it.
struct AccessWord {
  std::string_view word;
  AccessState state;
};
constexpr AccessWord access_words[] = {
    {"optimized", AccessState::optimized},
    {"nonoptimized", AccessState::non_optimized},
    {"non-optimized", AccessState::non_optimized},
    {"active/nonoptimized", AccessState::non_optimized},
    {"standby", AccessState::standby},
    {"unavailable", AccessState::unavailable},
    {"lba dependent", AccessState::lba_dependent},
    {"offline", AccessState::offline},
    {"transitioning", AccessState::transitioning},
};

std::string_view trimmed(std::string_view text) {
  const auto last = text.find_last_not_of(std::string_view(" \0", 2));
  return last == std::string_view::npos ? std::string_view{} : text.substr(0, last + 1);
}

void padded(Writer& w, std::string_view text, std::size_t width) {
  text = text.substr(0, width);
  w.text(text);
  for (std::size_t i = text.size(); i < width; ++i) w.u8(' ');
}

// The body of a VPD page. Fails with bad_opcode when it is another page than was asked for.
Result<Reader> vpd_body(std::span<const std::byte> data, VpdPage page) {
  Reader r(data);
  r.skip(1);
  const std::uint8_t code = r.u8();
  const std::size_t length = r.u16();
  if (!r.ok()) return failure(WireErrc::truncated);
  if (code != std::to_underlying(page)) return failure(WireErrc::bad_opcode);
  if (length > r.remaining()) return failure(WireErrc::truncated);
  return Reader(r.bytes(length));
}

// A page of `length` body bytes, and a Writer that stands at its body.
struct Page {
  Bytes bytes;
  Writer body{{}};
};
Page vpd_page(VpdPage page, std::size_t length) {
  Page made{.bytes = Bytes(vpd_header_bytes + length)};
  Writer w(made.bytes);
  w.u8(0);
  w.u8(std::to_underlying(page));
  w.u16(static_cast<std::uint16_t>(length));
  made.body = Writer(std::span(made.bytes).subspan(vpd_header_bytes));
  return made;
}

bool valid_block_size(std::uint32_t bytes) {
  return std::has_single_bit(bytes) && bytes >= 256 && bytes <= 65536;
}

}  // namespace

Result<InquiryData> decode_inquiry(std::span<const std::byte> data) {
  Reader r(data);
  const std::uint8_t device = r.u8();
  InquiryData inquiry{.qualifier = static_cast<std::uint8_t>(device >> 5),
                      .type = static_cast<std::uint8_t>(device & 0x1f)};
  inquiry.removable = (r.u8() & 0x80) != 0;
  inquiry.version = r.u8();
  inquiry.has_response_data = (r.u8() & 0x0f) == response_data_format;
  r.skip(1);  // additional length: targets get it wrong, the data that came is what counts
  const std::uint8_t flags = r.u8();
  inquiry.tpgs = flags >> 4 & 3;
  inquiry.third_party_copy = (flags & 0x08) != 0;
  inquiry.protect = (flags & 0x01) != 0;
  r.skip(1);
  inquiry.command_queue = (r.u8() & 0x02) != 0;
  inquiry.vendor = trimmed(r.text(8));
  inquiry.product = trimmed(r.text(16));
  inquiry.revision = trimmed(r.text(4));
  if (!r.ok()) return failure(WireErrc::truncated);
  if (data.size() < inquiry_versions_at) return inquiry;
  r.skip(inquiry_versions_at - inquiry_header_bytes);
  for (std::size_t i = 0; i < inquiry_versions_max && r.remaining() >= 2; ++i) {
    if (const std::uint16_t version = r.u16(); version != 0) inquiry.versions.push_back(version);
  }
  return inquiry;
}

Bytes encode_inquiry(const InquiryData& inquiry) {
  Bytes bytes(inquiry_bytes);
  Writer w(bytes);
  w.u8(static_cast<std::uint8_t>(inquiry.qualifier << 5 | inquiry.type));
  w.u8(inquiry.removable ? 0x80 : 0);
  w.u8(inquiry.version);
  w.u8(0x10 | (inquiry.has_response_data ? response_data_format : 0));  // HISUP
  w.u8(inquiry_bytes - 5);
  w.u8(static_cast<std::uint8_t>(inquiry.tpgs << 4 | (inquiry.third_party_copy ? 0x08 : 0) |
                                 (inquiry.protect ? 0x01 : 0)));
  w.u8(0);
  w.u8(inquiry.command_queue ? 0x02 : 0);
  padded(w, inquiry.vendor, 8);
  padded(w, inquiry.product, 16);
  padded(w, inquiry.revision, 4);
  w.skip(inquiry_versions_at - inquiry_header_bytes);
  for (std::size_t i = 0; i < std::min(inquiry.versions.size(), inquiry_versions_max); ++i) w.u16(inquiry.versions[i]);
  return bytes;
}

Result<std::vector<std::uint8_t>> decode_vpd_supported(std::span<const std::byte> data) {
  auto body = vpd_body(data, VpdPage::supported);
  if (!body) return std::unexpected(body.error());
  std::vector<std::uint8_t> pages;
  while (body->remaining() > 0) pages.push_back(body->u8());
  return pages;
}

Bytes encode_vpd_supported(std::span<const std::uint8_t> pages) {
  Page page = vpd_page(VpdPage::supported, pages.size());
  for (const std::uint8_t code : pages) page.body.u8(code);
  return std::move(page.bytes);
}

Result<std::string> decode_vpd_serial(std::span<const std::byte> data) {
  auto body = vpd_body(data, VpdPage::serial_number);
  if (!body) return std::unexpected(body.error());
  std::string_view serial = trimmed(body->text(body->remaining()));
  while (serial.starts_with(' ')) serial.remove_prefix(1);
  return std::string(serial);
}

Bytes encode_vpd_serial(std::string_view serial) {
  Page page = vpd_page(VpdPage::serial_number, serial.size());
  page.body.text(serial);
  return std::move(page.bytes);
}

namespace {

DeviceId read_designators(Reader& r) {
  DeviceId id;
  while (r.remaining() > 0) {
    const std::uint8_t first = r.u8();
    const std::uint8_t second = r.u8();
    r.skip(1);
    const std::size_t length = r.u8();
    const auto bytes = r.bytes(length);
    if (!r.ok()) {
      id.damaged = true;
      break;
    }
    Designator designator{.association = static_cast<Association>(second >> 4 & 3),
                          .type = static_cast<DesignatorType>(second & 0x0f),
                          .code_set = static_cast<CodeSet>(first & 0x0f),
                          .bytes = Bytes(bytes.begin(), bytes.end())};
    const bool protocol_valid = (second & 0x80) != 0;
    if (protocol_valid) designator.protocol = first >> 4;
    id.designators.push_back(std::move(designator));
  }
  return id;
}

std::size_t designator_bytes(std::span<const Designator> designators) {
  std::size_t length = 0;
  for (const Designator& designator : designators) length += 4 + designator.bytes.size();
  return length;
}

void write_designators(Writer& w, std::span<const Designator> designators) {
  for (const Designator& designator : designators) {
    w.u8(static_cast<std::uint8_t>(designator.protocol.value_or(0) << 4 | std::to_underlying(designator.code_set)));
    w.u8(static_cast<std::uint8_t>((designator.protocol ? 0x80 : 0) | std::to_underlying(designator.association) << 4 |
                                   std::to_underlying(designator.type)));
    w.u8(0);
    w.u8(static_cast<std::uint8_t>(designator.bytes.size()));
    w.bytes(designator.bytes);
  }
}

}  // namespace

Result<DeviceId> decode_vpd_device_id(std::span<const std::byte> data) {
  auto body = vpd_body(data, VpdPage::device_id);
  if (!body) return std::unexpected(body.error());
  return read_designators(*body);
}

Bytes encode_vpd_device_id(std::span<const Designator> designators) {
  Page page = vpd_page(VpdPage::device_id, designator_bytes(designators));
  write_designators(page.body, designators);
  return std::move(page.bytes);
}

Result<ExtendedInquiry> decode_vpd_extended_inquiry(std::span<const std::byte> data) {
  auto body = vpd_body(data, VpdPage::extended_inquiry);
  if (!body) return std::unexpected(body.error());
  body->skip(1);  // microcode and protection: nothing of ours
  const std::uint8_t attributes = body->u8();
  const std::uint8_t caches = body->u8();
  if (!body->ok()) return failure(WireErrc::truncated);
  return ExtendedInquiry{.head_of_queue = (attributes & 0x04) != 0,
                         .ordered = (attributes & 0x02) != 0,
                         .simple = (attributes & 0x01) != 0,
                         .volatile_cache = (caches & 0x01) != 0,
                         .non_volatile_cache = (caches & 0x02) != 0,
                         .progress_in_sense = (attributes & 0x20) != 0};
}

Bytes encode_vpd_extended_inquiry(const ExtendedInquiry& extended) {
  Page page = vpd_page(VpdPage::extended_inquiry, block_limits_bytes);
  page.body.u8(0);
  page.body.u8(static_cast<std::uint8_t>((extended.progress_in_sense ? 0x20 : 0) | (extended.head_of_queue ? 0x04 : 0) |
                                         (extended.ordered ? 0x02 : 0) | (extended.simple ? 0x01 : 0)));
  page.body.u8(
      static_cast<std::uint8_t>((extended.non_volatile_cache ? 0x02 : 0) | (extended.volatile_cache ? 0x01 : 0)));
  return std::move(page.bytes);
}

Result<std::vector<ModePagePolicy>> decode_vpd_mode_page_policy(std::span<const std::byte> data) {
  auto body = vpd_body(data, VpdPage::mode_page_policy);
  if (!body) return std::unexpected(body.error());
  std::vector<ModePagePolicy> policies;
  while (body->remaining() > 0) {
    ModePagePolicy policy{.page = static_cast<std::uint8_t>(body->u8() & 0x3f), .subpage = body->u8()};
    const std::uint8_t flags = body->u8();
    policy.multiple_ports = (flags & 0x80) != 0;
    policy.policy = flags & 0x03;
    body->skip(1);
    if (!body->ok()) return failure(WireErrc::bad_length);
    policies.push_back(policy);
  }
  return policies;
}

Bytes encode_vpd_mode_page_policy(std::span<const ModePagePolicy> policies) {
  Page page = vpd_page(VpdPage::mode_page_policy, 4 * policies.size());
  for (const ModePagePolicy& policy : policies) {
    page.body.u8(policy.page & 0x3f);
    page.body.u8(policy.subpage);
    page.body.u8(static_cast<std::uint8_t>((policy.multiple_ports ? 0x80 : 0) | (policy.policy & 0x03)));
    page.body.u8(0);
  }
  return std::move(page.bytes);
}

Result<std::vector<ScsiPort>> decode_vpd_scsi_ports(std::span<const std::byte> data) {
  auto body = vpd_body(data, VpdPage::scsi_ports);
  if (!body) return std::unexpected(body.error());
  std::vector<ScsiPort> ports;
  while (body->remaining() > 0) {
    body->skip(2);
    ScsiPort port{.relative_id = body->u16()};
    body->skip(2);
    body->skip(body->u16());  // the initiator port's transport id
    body->skip(2);
    Reader designators(body->bytes(body->u16()));
    if (!body->ok()) return failure(WireErrc::bad_length);
    port.designators = read_designators(designators).designators;
    ports.push_back(std::move(port));
  }
  return ports;
}

Bytes encode_vpd_scsi_ports(std::span<const ScsiPort> ports) {
  std::size_t length = 0;
  for (const ScsiPort& port : ports) length += 12 + designator_bytes(port.designators);
  Page page = vpd_page(VpdPage::scsi_ports, length);
  Writer& w = page.body;
  for (const ScsiPort& port : ports) {
    w.skip(2);
    w.u16(port.relative_id);
    w.skip(2);
    w.u16(0);  // no initiator port
    w.skip(2);
    w.u16(static_cast<std::uint16_t>(designator_bytes(port.designators)));
    write_designators(w, port.designators);
  }
  return std::move(page.bytes);
}

Result<BlockLimits> decode_vpd_block_limits(std::span<const std::byte> data) {
  auto body = vpd_body(data, VpdPage::block_limits);
  if (!body) return std::unexpected(body.error());
  Reader& r = *body;
  BlockLimits limits;
  limits.write_same_nonzero = (r.u8() & 0x01) != 0;
  limits.compare_and_write_max = r.u8();
  limits.transfer_granularity = r.u16();
  limits.transfer_max = r.u32();
  limits.transfer_optimal = r.u32();
  if (!r.ok()) return failure(WireErrc::truncated);
  // The rest came with SBC-3; a sticky reader leaves what is missing at zero.
  limits.prefetch_max = r.u32();
  limits.unmap_blocks_max = r.u32();
  limits.unmap_ranges_max = r.u32();
  limits.unmap_granularity = r.u32();
  const std::uint32_t alignment = r.u32();
  if ((alignment & 0x80000000) != 0) limits.unmap_alignment = alignment & 0x7fffffff;
  limits.write_same_max = r.u64();
  limits.atomic_max = r.u32();
  limits.atomic_alignment = r.u32();
  limits.atomic_granularity = r.u32();
  limits.atomic_max_with_boundary = r.u32();
  limits.atomic_boundary_max = r.u32();
  return limits;
}

Bytes encode_vpd_block_limits(const BlockLimits& limits) {
  Page page = vpd_page(VpdPage::block_limits, block_limits_bytes);
  Writer& w = page.body;
  w.u8(limits.write_same_nonzero ? 1 : 0);
  w.u8(limits.compare_and_write_max);
  w.u16(limits.transfer_granularity);
  w.u32(limits.transfer_max);
  w.u32(limits.transfer_optimal);
  w.u32(limits.prefetch_max);
  w.u32(limits.unmap_blocks_max);
  w.u32(limits.unmap_ranges_max);
  w.u32(limits.unmap_granularity);
  w.u32(limits.unmap_alignment ? 0x80000000 | *limits.unmap_alignment : 0);
  w.u64(limits.write_same_max);
  w.u32(limits.atomic_max);
  w.u32(limits.atomic_alignment);
  w.u32(limits.atomic_granularity);
  w.u32(limits.atomic_max_with_boundary);
  w.u32(limits.atomic_boundary_max);
  return std::move(page.bytes);
}

Result<std::uint16_t> decode_vpd_rotation(std::span<const std::byte> data) {
  auto body = vpd_body(data, VpdPage::block_characteristics);
  if (!body) return std::unexpected(body.error());
  const std::uint16_t rotation = body->u16();
  if (!body->ok()) return failure(WireErrc::truncated);
  return rotation;
}

Bytes encode_vpd_rotation(std::uint16_t rotation, std::uint8_t reads_after_erase) {
  Page page = vpd_page(VpdPage::block_characteristics, block_limits_bytes);
  page.body.u16(rotation);
  page.body.skip(1);
  page.body.u8(static_cast<std::uint8_t>(reads_after_erase << 6));
  return std::move(page.bytes);
}

Result<Provisioning> decode_vpd_provisioning(std::span<const std::byte> data) {
  auto body = vpd_body(data, VpdPage::provisioning);
  if (!body) return std::unexpected(body.error());
  Reader& r = *body;
  Provisioning provisioning{.threshold_exponent = r.u8()};
  const std::uint8_t flags = r.u8();
  provisioning.unmap = (flags & 0x80) != 0;
  provisioning.write_same_16 = (flags & 0x40) != 0;
  provisioning.write_same_10 = (flags & 0x20) != 0;
  const unsigned reads_zeroes = flags >> 2 & 7;  // SBC-4: xx1b zeroes, 010b a vendor's pattern
  provisioning.reads_zeroes = (reads_zeroes & 1) != 0;
  provisioning.anchor = (flags & 0x02) != 0;
  provisioning.type = r.u8() & 7;
  if (!r.ok()) return failure(WireErrc::truncated);
  return provisioning;
}

Bytes encode_vpd_provisioning(const Provisioning& provisioning) {
  Page page = vpd_page(VpdPage::provisioning, 4);
  Writer& w = page.body;
  w.u8(provisioning.threshold_exponent);
  w.u8(static_cast<std::uint8_t>((provisioning.unmap ? 0x80 : 0) | (provisioning.write_same_16 ? 0x40 : 0) |
                                 (provisioning.write_same_10 ? 0x20 : 0) | (provisioning.reads_zeroes ? 0x04 : 0) |
                                 (provisioning.anchor ? 0x02 : 0)));
  w.u8(provisioning.type);
  return std::move(page.bytes);
}

Result<Capacity> decode_capacity_10(std::span<const std::byte> data) {
  Reader r(data);
  Capacity capacity{.last_lba = r.u32(), .block_bytes = r.u32()};
  if (!r.ok()) return failure(WireErrc::truncated);
  if (!valid_block_size(capacity.block_bytes)) return failure(WireErrc::bad_field);
  return capacity;
}

Result<Capacity> decode_capacity_16(std::span<const std::byte> data) {
  Reader r(data);
  Capacity capacity{.last_lba = r.u64(), .block_bytes = r.u32()};
  if (!r.ok()) return failure(WireErrc::truncated);
  if (!valid_block_size(capacity.block_bytes)) return failure(WireErrc::bad_field);
  // One past the last block must be a number too.
  if (capacity.last_lba > std::numeric_limits<std::uint64_t>::max() / capacity.block_bytes - 1)
    return failure(WireErrc::bad_field);
  const std::uint8_t protection = r.u8();  // old targets stop after 12 bytes: the rest is then zero
  if ((protection & 1) != 0) capacity.protection = static_cast<std::uint8_t>((protection >> 1 & 7) + 1);
  capacity.physical_exponent = r.u8() & 0x0f;
  const std::uint16_t provisioning = r.u16();
  capacity.thin = (provisioning & 0x8000) != 0;
  capacity.reads_zeroes = (provisioning & 0x4000) != 0;
  capacity.lowest_aligned = provisioning & 0x3fff;
  return capacity;
}

Bytes encode_capacity_10(const Capacity& capacity) {
  Bytes bytes(8);
  Writer w(bytes);
  w.u32(static_cast<std::uint32_t>(std::min(capacity.last_lba, capacity_10_overflow)));
  w.u32(capacity.block_bytes);
  return bytes;
}

Bytes encode_capacity_16(const Capacity& capacity) {
  Bytes bytes(32);
  Writer w(bytes);
  w.u64(capacity.last_lba);
  w.u32(capacity.block_bytes);
  w.u8(capacity.protection == 0 ? 0 : static_cast<std::uint8_t>((capacity.protection - 1) << 1 | 1));
  w.u8(capacity.physical_exponent & 0x0f);
  w.u16(static_cast<std::uint16_t>((capacity.thin ? 0x8000 : 0) | (capacity.reads_zeroes ? 0x4000 : 0) |
                                   (capacity.lowest_aligned & 0x3fff)));
  return bytes;
}

Result<LunList> decode_luns(std::span<const std::byte> data) {
  Reader r(data);
  const std::size_t length = r.u32();
  r.skip(4);
  if (!r.ok() || length > r.remaining()) return failure(WireErrc::truncated);
  LunList list;
  for (std::size_t i = 0; i < length / 8; ++i) {
    std::array<std::byte, 8> field;
    r.copy_to(field);
    if (const auto lun = parse_lun_field(field)) {
      list.luns.push_back(*lun);
    } else {
      ++list.foreign;
    }
  }
  return list;
}

Bytes encode_luns(std::span<const Lun> luns) {
  Bytes bytes(8 + 8 * luns.size());
  Writer w(bytes);
  w.u32(static_cast<std::uint32_t>(8 * luns.size()));
  w.skip(4);
  for (const Lun lun : luns) w.bytes(lun_field(lun));
  return bytes;
}

Result<std::vector<LbaRange>> decode_lba_status(std::span<const std::byte> data) {
  Reader r(data);
  const std::size_t length = r.u32();
  r.skip(4);
  if (!r.ok() || length < 4) return failure(WireErrc::truncated);
  const std::size_t count = std::min(length - 4, r.remaining()) / 16;
  std::vector<LbaRange> ranges(count);
  for (LbaRange& range : ranges) {
    range = {.lba = r.u64(), .blocks = r.u32(), .state = LbaState::unknown};
    const std::uint8_t state = r.u8() & 0x0f;
    if (state <= std::to_underlying(LbaState::anchored)) range.state = static_cast<LbaState>(state);
    r.skip(3);
  }
  return ranges;
}

Bytes encode_lba_status(std::span<const LbaRange> ranges) {
  Bytes bytes(8 + 16 * ranges.size());
  Writer w(bytes);
  w.u32(static_cast<std::uint32_t>(bytes.size() - 4));
  w.skip(4);
  for (const LbaRange& range : ranges) {
    w.u64(range.lba);
    w.u32(range.blocks);
    w.u8(std::to_underlying(range.state) & 0x0f);
    w.skip(3);
  }
  return bytes;
}

const char* name(AccessState state) {
  switch (state) {
    case AccessState::optimized:
      return "active/optimized";
    case AccessState::non_optimized:
      return "active/non-optimized";
    case AccessState::standby:
      return "standby";
    case AccessState::unavailable:
      return "unavailable";
    case AccessState::lba_dependent:
      return "logical block dependent";
    case AccessState::offline:
      return "offline";
    case AccessState::transitioning:
      return "transitioning";
  }
  return "reserved";
}

std::optional<AccessState> find_access_state(std::string_view word) {
  const auto is = [word](std::string_view known) {
    return std::ranges::equal(word, known, [](char x, char y) {
      return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
    });
  };
  for (const AccessWord& known : access_words) {
    if (is(known.word) || is(name(known.state))) return known.state;
  }
  return std::nullopt;
}

Result<std::vector<PortGroup>> decode_port_groups(std::span<const std::byte> data, bool extended) {
  Reader r(data);
  const std::size_t length = r.u32();
  if (!r.ok() || length > r.remaining()) return failure(WireErrc::truncated);
  Reader body(r.bytes(length));
  if (extended) body.skip(4);  // format and implicit transition time
  std::vector<PortGroup> groups;
  while (body.remaining() > 0) {
    const std::uint8_t first = body.u8();
    PortGroup group{.state = static_cast<AccessState>(first & 0x0f), .preferred = (first & 0x80) != 0};
    group.supported = body.u8();
    group.id = body.u16();
    body.skip(1);
    group.status = body.u8();
    body.skip(1);
    const std::size_t count = body.u8();
    for (std::size_t i = 0; i < count && body.ok(); ++i) {
      body.skip(2);
      group.ports.push_back(body.u16());
    }
    if (!body.ok()) return failure(WireErrc::bad_length);
    groups.push_back(std::move(group));
  }
  return groups;
}

Result<PortGroupReport> decode_port_group_report(std::span<const std::byte> data) {
  constexpr std::size_t format_at = 4;
  constexpr std::uint8_t format_mask = 0x70;
  constexpr std::uint8_t format_extended = 0x10;
  const bool extended =
      data.size() >= 8 && (std::to_integer<std::uint8_t>(data[format_at]) & format_mask) == format_extended;
  auto groups = decode_port_groups(data, extended);
  if (!groups) return failure(groups.error());
  return PortGroupReport{
      .groups = std::move(*groups),
      .transition_seconds = extended ? std::to_integer<std::uint8_t>(data[format_at + 1]) : std::uint8_t{0}};
}

namespace {

void write_port_groups(Writer& w, std::span<const PortGroup> groups) {
  for (const PortGroup& group : groups) {
    w.u8(static_cast<std::uint8_t>((group.preferred ? 0x80 : 0) | std::to_underlying(group.state)));
    w.u8(group.supported);
    w.u16(group.id);
    w.skip(1);
    w.u8(group.status);
    w.skip(1);
    w.u8(static_cast<std::uint8_t>(group.ports.size()));
    for (const std::uint16_t port : group.ports) {
      w.skip(2);
      w.u16(port);
    }
  }
}

std::size_t port_group_bytes(std::span<const PortGroup> groups) {
  std::size_t length = 0;
  for (const PortGroup& group : groups) length += 8 + 4 * group.ports.size();
  return length;
}

}  // namespace

Bytes encode_port_groups(std::span<const PortGroup> groups) {
  const std::size_t length = port_group_bytes(groups);
  Bytes bytes(4 + length);
  Writer w(bytes);
  w.u32(static_cast<std::uint32_t>(length));
  write_port_groups(w, groups);
  return bytes;
}

Bytes encode_port_groups_extended(std::span<const PortGroup> groups, std::uint8_t transition_seconds) {
  constexpr std::uint8_t extended_format = 0x10;
  const std::size_t length = 4 + port_group_bytes(groups);
  Bytes bytes(4 + length);
  Writer w(bytes);
  w.u32(static_cast<std::uint32_t>(length));
  w.u8(extended_format);
  w.u8(transition_seconds);
  w.skip(2);
  write_port_groups(w, groups);
  return bytes;
}

Result<std::vector<PortGroupChange>> decode_port_group_changes(std::span<const std::byte> list) {
  Reader r(list);
  r.skip(4);
  if (!r.ok()) return failure(WireErrc::truncated);
  std::vector<PortGroupChange> changes;
  while (r.remaining() > 0) {
    const std::uint8_t state = r.u8() & 0x0f;
    r.skip(1);
    changes.push_back({.id = r.u16(), .state = state});
    if (!r.ok()) return failure(WireErrc::bad_length);
  }
  return changes;
}

Bytes encode_port_group_changes(std::span<const PortGroupChange> changes) {
  Bytes bytes(4 + 4 * changes.size());
  Writer w(bytes);
  w.skip(4);
  for (const PortGroupChange& change : changes) {
    w.u8(change.state & 0x0f);
    w.skip(1);
    w.u16(change.id);
  }
  return bytes;
}

Result<ModeData> decode_mode_sense(std::span<const std::byte> data, bool short_form) {
  Reader r(data);
  const std::size_t length = short_form ? r.u8() : r.u16();
  // The length field does not count itself. Some targets send less than it says: what came is what counts.
  Reader body(r.bytes(std::min(length, r.remaining())));
  body.skip(1);  // medium type
  const std::uint8_t device_specific = body.u8();
  std::size_t block_descriptor_bytes = 0;
  if (short_form) {
    block_descriptor_bytes = body.u8();
  } else {
    body.skip(2);
    block_descriptor_bytes = body.u16();
  }
  if (!r.ok() || !body.ok()) return failure(WireErrc::truncated);
  ModeData mode{.write_protected = (device_specific & 0x80) != 0, .dpo_fua = (device_specific & 0x10) != 0};
  body.skip(block_descriptor_bytes);
  while (body.remaining() >= 2) {
    const std::uint8_t code = body.u8();
    const bool has_subpage = (code & 0x40) != 0;
    if (has_subpage) body.skip(1);
    const std::size_t page_bytes = has_subpage ? body.u16() : body.u8();
    Reader page(body.bytes(page_bytes));
    if ((code & 0x7f) != mode_page_caching || page.remaining() == 0) continue;
    const std::uint8_t flags = page.u8();
    mode.write_cache = (flags & 0x04) != 0;
    mode.read_cache_disabled = (flags & 0x01) != 0;
  }
  return mode;
}

Bytes encode_mode_sense(const ModeData& mode, bool short_form) {
  constexpr std::size_t caching_page_bytes = 20;
  const std::size_t header_bytes = short_form ? 4 : 8;
  Bytes bytes(header_bytes + (mode.write_cache ? caching_page_bytes : 0));
  Writer w(bytes);
  const auto device_specific = static_cast<std::uint8_t>((mode.write_protected ? 0x80 : 0) | (mode.dpo_fua ? 0x10 : 0));
  if (short_form) {
    w.u8(static_cast<std::uint8_t>(bytes.size() - 1));
    w.u8(0);
    w.u8(device_specific);
    w.u8(0);
  } else {
    w.u16(static_cast<std::uint16_t>(bytes.size() - 2));
    w.u8(0);
    w.u8(device_specific);
    w.skip(4);
  }
  if (!mode.write_cache) return bytes;
  w.u8(mode_page_caching);
  w.u8(caching_page_bytes - 2);
  w.u8(static_cast<std::uint8_t>((*mode.write_cache ? 0x04 : 0) | (mode.read_cache_disabled ? 0x01 : 0)));
  return bytes;
}

std::size_t wanted_bytes(LengthField kind, std::span<const std::byte> data) {
  Reader r(data);
  std::size_t wanted = 0;
  switch (kind) {
    case LengthField::vpd:
      r.skip(2);
      wanted = std::size_t{4} + r.u16();
      break;
    case LengthField::luns:
      wanted = std::size_t{8} + r.u32();
      break;
    case LengthField::port_groups:
    case LengthField::lba_status:
      wanted = std::size_t{4} + r.u32();
      break;
    case LengthField::mode_6:
      wanted = std::size_t{1} + r.u8();
      break;
    case LengthField::mode_10:
      wanted = std::size_t{2} + r.u16();
      break;
  }
  return r.ok() ? wanted : 0;
}

}  // namespace mpath::scsi
