#include "wire/scsi_copy.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/bytes.hpp"

namespace mpath::scsi {
namespace {

constexpr std::size_t list_header_bytes = 16;
constexpr std::size_t target_bytes = 32;
constexpr std::size_t designator_room = 20;
constexpr std::size_t segment_header_bytes = 4;
constexpr std::size_t block_segment_bytes = 0x18;  // after its header
constexpr std::uint8_t identification_target = 0xe4;
constexpr std::uint8_t block_to_block_segment = 0x02;
constexpr std::uint8_t destination_count_bit = 0x02;
constexpr std::uint8_t device_type_mask = 0x1f;
constexpr std::uint8_t page_code = 0x8f;
constexpr std::uint8_t granularity_exponent = 9;  // bytes, 2^n
constexpr std::uint16_t concurrent_copies = 64;
constexpr std::uint8_t implemented[] = {block_to_block_segment, identification_target};

std::expected<CopyTarget, CopyFault> decode_target(std::span<const std::byte> bytes) {
  Reader r(bytes);
  if (r.u8() != identification_target) return std::unexpected(CopyFault::unsupported_target);
  CopyTarget target;
  target.device_type = r.u8() & device_type_mask;  // LU ID TYPE and NUL went out with SPC-4
  r.skip(2);
  const std::uint8_t code_set = r.u8();
  const std::uint8_t type = r.u8();
  r.skip(1);
  const std::size_t length = r.u8();
  const auto room = r.bytes(designator_room);
  if (length == 0 || length > room.size()) return std::unexpected(CopyFault::bad_field);
  const auto name = room.first(length);
  target.designator = {.association = static_cast<Association>(type >> 4 & 3),
                       .type = static_cast<DesignatorType>(type & 0x0f),
                       .code_set = static_cast<CodeSet>(code_set & 0x0f),
                       .bytes = Bytes(name.begin(), name.end())};
  r.skip(1);
  target.block_bytes = r.u24();
  return target;
}

CopySegment decode_segment(std::uint8_t flags, Reader& r) {
  CopySegment segment{.count_of_destination = (flags & destination_count_bit) != 0};
  segment.source = r.u16();
  segment.destination = r.u16();
  r.skip(2);
  segment.blocks = r.u16();
  segment.source_lba = r.u64();
  segment.destination_lba = r.u64();
  return segment;
}

}  // namespace

std::expected<CopyParameters, CopyFault> decode_copy_parameters(std::span<const std::byte> list,
                                                                const CopyLimits& limits) {
  Reader r(list);
  CopyParameters parameters{.list_id = r.u8()};
  parameters.use = static_cast<CopyListUse>(r.u8() >> 3 & 3);
  const std::size_t targets_length = r.u16();
  r.skip(4);
  const std::size_t segments_length = r.u32();
  const std::size_t inline_length = r.u32();
  if (!r.ok() || targets_length + segments_length > limits.list_bytes_max) {
    return std::unexpected(CopyFault::list_length);
  }
  if (targets_length + segments_length + inline_length > r.remaining()) return std::unexpected(CopyFault::list_length);
  if (inline_length > 0) return std::unexpected(CopyFault::inline_data);
  if (targets_length % target_bytes != 0) return std::unexpected(CopyFault::list_length);
  if (targets_length / target_bytes > limits.targets_max) return std::unexpected(CopyFault::too_many_targets);
  for (std::size_t i = 0; i < targets_length / target_bytes; ++i) {
    auto target = decode_target(r.bytes(target_bytes));
    if (!target) return std::unexpected(target.error());
    parameters.targets.push_back(std::move(*target));
  }
  Reader segments(r.bytes(segments_length));
  while (segments.remaining() > 0) {
    if (parameters.segments.size() == limits.segments_max) return std::unexpected(CopyFault::too_many_segments);
    const std::uint8_t type = segments.u8();
    const std::uint8_t flags = segments.u8();
    Reader body(segments.bytes(segments.u16()));
    if (!segments.ok()) return std::unexpected(CopyFault::list_length);
    if (type != block_to_block_segment) return std::unexpected(CopyFault::unsupported_segment);
    if (body.remaining() != block_segment_bytes) return std::unexpected(CopyFault::bad_field);
    parameters.segments.push_back(decode_segment(flags, body));
  }
  if (parameters.use == CopyListUse::reserved) return std::unexpected(CopyFault::bad_field);
  return parameters;
}

Bytes encode_copy_parameters(const CopyParameters& parameters) {
  const std::size_t targets_length = parameters.targets.size() * target_bytes;
  const std::size_t segments_length = parameters.segments.size() * (segment_header_bytes + block_segment_bytes);
  Bytes bytes(list_header_bytes + targets_length + segments_length);
  Writer w(bytes);
  w.u8(parameters.list_id);
  w.u8(static_cast<std::uint8_t>(std::to_underlying(parameters.use) << 3));
  w.u16(static_cast<std::uint16_t>(targets_length));
  w.skip(4);
  w.u32(static_cast<std::uint32_t>(segments_length));
  w.skip(4);
  for (const CopyTarget& target : parameters.targets) {
    const std::size_t length = std::min(target.designator.bytes.size(), designator_room);
    w.u8(identification_target);
    w.u8(target.device_type);
    w.skip(2);
    w.u8(std::to_underlying(target.designator.code_set));
    w.u8(static_cast<std::uint8_t>(std::to_underlying(target.designator.association) << 4 |
                                   std::to_underlying(target.designator.type)));
    w.skip(1);
    w.u8(static_cast<std::uint8_t>(length));
    w.bytes(std::span<const std::byte>(target.designator.bytes).first(length));
    w.skip(designator_room - length + 1);
    w.u24(target.block_bytes);
  }
  for (const CopySegment& segment : parameters.segments) {
    w.u8(block_to_block_segment);
    w.u8(segment.count_of_destination ? destination_count_bit : 0);
    w.u16(block_segment_bytes);
    w.u16(segment.source);
    w.u16(segment.destination);
    w.skip(2);
    w.u16(segment.blocks);
    w.u64(segment.source_lba);
    w.u64(segment.destination_lba);
  }
  return bytes;
}

Bytes encode_copy_status(const CopyStatus& status) {
  Bytes bytes(12);
  Writer w(bytes);
  const bool fits = status.bytes <= std::numeric_limits<std::uint32_t>::max();
  w.u32(static_cast<std::uint32_t>(bytes.size() - 4));
  w.u8(std::to_underlying(status.state));  // HDD 0: no data is held
  w.u16(status.segments);
  w.u8(fits ? 0 : 1);  // bytes or KiB
  w.u32(static_cast<std::uint32_t>(fits ? status.bytes : status.bytes >> 10));
  return bytes;
}

Bytes encode_failed_segment_details(Status status, std::span<const std::byte> sense) {
  Bytes bytes(60 + sense.size());
  Writer w(bytes);
  w.u32(static_cast<std::uint32_t>(bytes.size() - 4));
  w.skip(52);
  w.u8(std::to_underlying(status));
  w.skip(1);
  w.u16(static_cast<std::uint16_t>(sense.size()));
  w.bytes(sense);
  return bytes;
}

Bytes encode_copy_operating_parameters(const CopyLimits& limits) {
  Bytes bytes(44 + std::size(implemented));
  Writer w(bytes);
  w.u32(static_cast<std::uint32_t>(bytes.size() - 4));
  w.u8(1);  // SNLID: a copy without a list identifier is possible
  w.skip(3);
  w.u16(limits.targets_max);
  w.u16(limits.segments_max);
  w.u32(limits.list_bytes_max);
  w.u32(limits.segment_bytes_max);
  w.u32(0);  // inline data
  w.u32(0);  // held data
  w.u32(0);  // streams
  w.skip(2);
  w.u16(concurrent_copies);
  w.u8(concurrent_copies);
  w.u8(granularity_exponent);
  w.u8(0);
  w.u8(0);
  w.skip(3);
  w.u8(std::size(implemented));
  for (const std::uint8_t type : implemented) w.u8(type);
  return bytes;
}

Bytes encode_vpd_third_party_copy(const CopyLimits& limits) {
  Bytes bytes(128);
  Writer w(bytes);
  w.u8(0);
  w.u8(page_code);
  w.u16(0);  // filled in below
  // Supported commands: EXTENDED COPY(LID1); RECEIVE COPY STATUS, OPERATING PARAMETERS, FAILED SEGMENT DETAILS.
  w.u16(0x0001);
  w.u16(12);
  w.u8(8);
  for (const unsigned code : {0x83u, 1u, 0x00u, 0x84u, 3u, 0x00u, 0x03u, 0x04u}) w.u8(static_cast<std::uint8_t>(code));
  w.skip(3);
  // Parameter data.
  w.u16(0x0004);
  w.u16(28);
  w.skip(4);
  w.u16(limits.targets_max);
  w.u16(limits.segments_max);
  w.u32(limits.list_bytes_max);
  w.u32(0);
  w.skip(12);
  // Supported descriptors.
  w.u16(0x0008);
  w.u16(4);
  w.u8(std::size(implemented));
  for (const std::uint8_t type : implemented) w.u8(type);
  w.skip(1);
  // General copy operations.
  w.u16(0x8001);
  w.u16(32);
  w.u32(concurrent_copies);
  w.u32(concurrent_copies);
  w.u32(limits.segment_bytes_max);
  w.u8(granularity_exponent);
  w.u8(0);
  w.skip(18);
  const std::size_t size = w.size();
  bytes.resize(size);
  Writer(std::span<std::byte>(bytes).subspan(2, 2)).u16(static_cast<std::uint16_t>(size - 4));
  return bytes;
}

}  // namespace mpath::scsi
