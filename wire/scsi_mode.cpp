#include "wire/scsi_mode.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "wire/error.hpp"

namespace mpath::scsi {
namespace {

constexpr std::uint8_t bit_write_protected = 0x80;
constexpr std::uint8_t bit_dpo_fua = 0x10;
constexpr std::uint8_t bit_long_lba = 0x01;
constexpr std::uint8_t bit_savable = 0x80;
constexpr std::uint8_t bit_subpage_format = 0x40;
constexpr std::size_t short_descriptor_bytes = 8;
constexpr std::size_t long_descriptor_bytes = 16;

std::size_t page_bytes(const ModePage& page) {
  return (page.subpage != 0 ? 4 : 2) + page.body.size();
}

void write_descriptor(Writer& w, const ModeBlockDescriptor& descriptor, bool long_lba) {
  if (long_lba) {
    w.u64(descriptor.blocks);
    w.skip(4);
    w.u32(descriptor.block_bytes);
    return;
  }
  w.u32(static_cast<std::uint32_t>(std::min<std::uint64_t>(descriptor.blocks, 0xffffffff)));
  w.skip(1);
  w.u24(descriptor.block_bytes);
}

ModeBlockDescriptor read_descriptor(Reader& r, bool long_lba) {
  ModeBlockDescriptor descriptor;
  if (long_lba) {
    descriptor.blocks = r.u64();
    r.skip(4);
    descriptor.block_bytes = r.u32();
    return descriptor;
  }
  descriptor.blocks = r.u32();
  r.skip(1);
  descriptor.block_bytes = r.u24();
  return descriptor;
}

void write_page(Writer& w, const ModePage& page) {
  const auto first = static_cast<std::uint8_t>((page.savable ? bit_savable : 0) | (page.page & 0x3f));
  if (page.subpage != 0) {
    w.u8(first | bit_subpage_format);
    w.u8(page.subpage);
    w.u16(static_cast<std::uint16_t>(page.body.size()));
  } else {
    w.u8(first);
    w.u8(static_cast<std::uint8_t>(page.body.size()));
  }
  w.bytes(page.body);
}

ModePage read_page(Reader& r) {
  ModePage page{.at = r.position()};
  const std::uint8_t first = r.u8();
  page.page = first & 0x3f;
  page.savable = (first & bit_savable) != 0;
  std::size_t length = 0;
  if ((first & bit_subpage_format) != 0) {
    page.subpage = r.u8();
    length = r.u16();
  } else {
    length = r.u8();
  }
  const auto body = r.bytes(length);
  page.body.assign(body.begin(), body.end());
  return page;
}

}  // namespace

Bytes encode_mode_parameters(const ModeParameters& parameters, bool short_form) {
  const bool long_lba = parameters.long_lba && !short_form;
  const std::size_t descriptors =
      parameters.blocks.size() * (long_lba ? long_descriptor_bytes : short_descriptor_bytes);
  std::size_t size = (short_form ? 4 : 8) + descriptors;
  for (const ModePage& page : parameters.pages) size += page_bytes(page);
  Bytes bytes(size);
  Writer w(bytes);
  const auto device_specific = static_cast<std::uint8_t>((parameters.write_protected ? bit_write_protected : 0) |
                                                         (parameters.dpo_fua ? bit_dpo_fua : 0));
  if (short_form) {
    w.u8(static_cast<std::uint8_t>(size - 1));
    w.u8(0);
    w.u8(device_specific);
    w.u8(static_cast<std::uint8_t>(descriptors));
  } else {
    w.u16(static_cast<std::uint16_t>(size - 2));
    w.u8(0);
    w.u8(device_specific);
    w.u8(long_lba ? bit_long_lba : 0);
    w.skip(1);
    w.u16(static_cast<std::uint16_t>(descriptors));
  }
  for (const ModeBlockDescriptor& descriptor : parameters.blocks) write_descriptor(w, descriptor, long_lba);
  for (const ModePage& page : parameters.pages) write_page(w, page);
  return bytes;
}

Result<ModeParameters> decode_mode_parameters(std::span<const std::byte> list, bool short_form) {
  Reader r(list);
  ModeParameters parameters;
  std::size_t descriptors = 0;
  r.skip(short_form ? 2 : 3);
  const std::uint8_t device_specific = r.u8();
  if (short_form) {
    descriptors = r.u8();
  } else {
    parameters.long_lba = (r.u8() & bit_long_lba) != 0;
    r.skip(1);
    descriptors = r.u16();
  }
  if (!r.ok() || descriptors > r.remaining()) return failure(WireErrc::truncated);
  parameters.write_protected = (device_specific & bit_write_protected) != 0;
  parameters.dpo_fua = (device_specific & bit_dpo_fua) != 0;
  const std::size_t each = parameters.long_lba ? long_descriptor_bytes : short_descriptor_bytes;
  if (descriptors % each != 0) return failure(WireErrc::bad_length);
  for (std::size_t i = 0; i < descriptors / each; ++i)
    parameters.blocks.push_back(read_descriptor(r, parameters.long_lba));
  while (r.remaining() > 0) {
    ModePage page = read_page(r);
    if (!r.ok()) return failure(WireErrc::truncated);
    parameters.pages.push_back(std::move(page));
  }
  return parameters;
}

}  // namespace mpath::scsi
