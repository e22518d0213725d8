#include "wire/scsi_reservation.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "wire/error.hpp"

namespace mpath::scsi {
namespace {

constexpr std::uint8_t protocol_iscsi = 5;
constexpr std::uint8_t format_device = 0;
constexpr std::uint8_t format_port = 1;
constexpr std::string_view separator = ",i,0x";
constexpr std::size_t isid_digits = 12;
constexpr std::size_t name_bytes_min = 20;
constexpr std::size_t name_bytes_max = 244;  // 223 of the name, the separator, the ISID, the zero, padding

constexpr std::uint8_t bit_spec_i_pt = 0x08;
constexpr std::uint8_t bit_all_tg_pt = 0x04;
constexpr std::uint8_t bit_aptpl = 0x01;
constexpr std::uint8_t bit_unreg = 0x02;

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::array<std::uint8_t, 6>> parse_isid(std::string_view text) {
  if (text.size() != isid_digits) return std::nullopt;
  std::array<std::uint8_t, 6> isid{};
  for (std::size_t i = 0; i < isid.size(); ++i) {
    const int high = digit(text[2 * i]);
    const int low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    isid[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return isid;
}

std::string text_of(const TransportId& id) {
  std::string text = id.name;
  if (!id.isid) return text;
  text += separator;
  constexpr char digits[] = "0123456789abcdef";
  for (const std::uint8_t byte : *id.isid) {
    text += digits[byte >> 4];
    text += digits[byte & 0x0f];
  }
  return text;
}

}  // namespace

Bytes encode_transport_id(const TransportId& id) {
  const std::string text = text_of(id);
  const std::size_t length = std::max(name_bytes_min, (text.size() + 1 + 3) / 4 * 4);
  Bytes bytes(4 + length);
  Writer w(bytes);
  w.u8(static_cast<std::uint8_t>((id.isid ? format_port : format_device) << 6 | protocol_iscsi));
  w.skip(1);
  w.u16(static_cast<std::uint16_t>(length));
  w.text(text);
  return bytes;
}

Result<TransportId> decode_transport_id(std::span<const std::byte> bytes, std::size_t& used) {
  Reader r(bytes);
  const std::uint8_t first = r.u8();
  r.skip(1);
  const std::size_t length = r.u16();
  std::string_view text = r.text(length);
  if (!r.ok()) return failure(WireErrc::truncated);
  const unsigned format = first >> 6;
  if ((first & 0x0f) != protocol_iscsi || format > format_port) return failure(WireErrc::bad_field);
  if (length > name_bytes_max || length % 4 != 0) return failure(WireErrc::bad_field);
  const auto end = text.find('\0');
  if (end == std::string_view::npos || end == 0) return failure(WireErrc::bad_field);
  text = text.substr(0, end);
  used = 4 + length;
  if (format == format_device) return TransportId{.name = std::string(text), .isid = std::nullopt};
  const auto at = text.rfind(separator);
  if (at == std::string_view::npos || at == 0) return failure(WireErrc::bad_field);
  const auto isid = parse_isid(text.substr(at + separator.size()));
  if (!isid) return failure(WireErrc::bad_field);
  return TransportId{.name = std::string(text.substr(0, at)), .isid = isid};
}

Result<PersistentOutList> decode_persistent_out(std::span<const std::byte> list, bool registers) {
  Reader r(list);
  PersistentOutList out{.key = r.u64(), .service_key = r.u64()};
  r.skip(4);
  const std::uint8_t flags = r.u8();
  r.skip(3);
  if (!r.ok()) return failure(WireErrc::bad_length);
  out.spec_i_pt = registers && (flags & bit_spec_i_pt) != 0;
  out.all_tg_pt = (flags & bit_all_tg_pt) != 0;
  out.aptpl = (flags & bit_aptpl) != 0;
  if (!out.spec_i_pt) {
    if (r.remaining() != 0) return failure(WireErrc::bad_length);
    return out;
  }
  const std::size_t length = r.u32();
  if (!r.ok() || length != r.remaining()) return failure(WireErrc::bad_length);
  std::span<const std::byte> ids = r.rest();
  while (!ids.empty()) {
    std::size_t used = 0;
    auto id = decode_transport_id(ids, used);
    if (!id) return std::unexpected(id.error());
    out.initiators.push_back(*std::move(id));
    ids = ids.subspan(used);
  }
  return out;
}

Bytes encode_persistent_out(const PersistentOutList& list) {
  Bytes ids;
  for (const TransportId& id : list.initiators) {
    const Bytes one = encode_transport_id(id);
    ids.insert(ids.end(), one.begin(), one.end());
  }
  Bytes bytes(persistent_out_list_bytes + (list.spec_i_pt ? 4 + ids.size() : 0));
  Writer w(bytes);
  w.u64(list.key);
  w.u64(list.service_key);
  w.skip(4);
  w.u8(static_cast<std::uint8_t>((list.spec_i_pt ? bit_spec_i_pt : 0) | (list.all_tg_pt ? bit_all_tg_pt : 0) |
                                 (list.aptpl ? bit_aptpl : 0)));
  w.skip(3);
  if (list.spec_i_pt) {
    w.u32(static_cast<std::uint32_t>(ids.size()));
    w.bytes(ids);
  }
  return bytes;
}

Result<RegisterAndMoveList> decode_register_and_move(std::span<const std::byte> list) {
  Reader r(list);
  RegisterAndMoveList move{.key = r.u64(), .service_key = r.u64()};
  r.skip(1);
  const std::uint8_t flags = r.u8();
  move.relative_port = r.u16();
  const std::size_t length = r.u32();
  if (!r.ok() || length != r.remaining()) return failure(WireErrc::bad_length);
  move.unregister = (flags & bit_unreg) != 0;
  move.aptpl = (flags & bit_aptpl) != 0;
  std::size_t used = 0;
  auto id = decode_transport_id(r.rest(), used);
  if (!id) return std::unexpected(id.error());
  if (used != length) return failure(WireErrc::bad_length);
  move.initiator = *std::move(id);
  return move;
}

Bytes encode_register_and_move(const RegisterAndMoveList& list) {
  const Bytes id = encode_transport_id(list.initiator);
  Bytes bytes(persistent_out_list_bytes + id.size());
  Writer w(bytes);
  w.u64(list.key);
  w.u64(list.service_key);
  w.skip(1);
  w.u8(static_cast<std::uint8_t>((list.unregister ? bit_unreg : 0) | (list.aptpl ? bit_aptpl : 0)));
  w.u16(list.relative_port);
  w.u32(static_cast<std::uint32_t>(id.size()));
  w.bytes(id);
  return bytes;
}

Bytes encode_reservation_keys(const ReservationKeys& keys) {
  Bytes bytes(8 + 8 * keys.keys.size());
  Writer w(bytes);
  w.u32(keys.generation);
  w.u32(static_cast<std::uint32_t>(8 * keys.keys.size()));
  for (const std::uint64_t key : keys.keys) w.u64(key);
  return bytes;
}

Result<ReservationKeys> decode_reservation_keys(std::span<const std::byte> data) {
  Reader r(data);
  ReservationKeys keys{.generation = r.u32()};
  const std::size_t length = r.u32();
  if (!r.ok() || length > r.remaining()) return failure(WireErrc::truncated);
  for (std::size_t i = 0; i < length / 8; ++i) keys.keys.push_back(r.u64());
  return keys;
}

Bytes encode_reservation(const ReservationAnswer& answer) {
  Bytes bytes(answer.held ? 24 : 8);
  Writer w(bytes);
  w.u32(answer.generation);
  w.u32(answer.held ? 16 : 0);
  if (!answer.held) return bytes;
  w.u64(answer.held->key);
  w.skip(5);
  w.u8(answer.held->type & 0x0f);  // scope 0: the logical unit
  return bytes;
}

Result<ReservationAnswer> decode_reservation(std::span<const std::byte> data) {
  Reader r(data);
  ReservationAnswer answer{.generation = r.u32()};
  const std::size_t length = r.u32();
  if (!r.ok() || length > r.remaining()) return failure(WireErrc::truncated);
  if (length == 0) return answer;
  ReservationHeld held{.key = r.u64()};
  r.skip(5);
  held.type = r.u8() & 0x0f;
  if (!r.ok()) return failure(WireErrc::truncated);
  answer.held = held;
  return answer;
}

Bytes encode_reservation_capabilities(const ReservationCapabilities& capabilities) {
  Bytes bytes(8);
  Writer w(bytes);
  w.u16(8);
  w.u8(static_cast<std::uint8_t>((capabilities.compatible_reserve ? 0x10 : 0) | (capabilities.spec_i_pt ? 0x08 : 0) |
                                 (capabilities.all_tg_pt ? 0x04 : 0) | (capabilities.persist_capable ? 0x01 : 0)));
  w.u8(static_cast<std::uint8_t>((capabilities.types != 0 ? 0x80 : 0) | (capabilities.allow_commands & 7) << 4 |
                                 (capabilities.persist_active ? 0x01 : 0)));
  w.u16(capabilities.types);
  return bytes;
}

Result<ReservationCapabilities> decode_reservation_capabilities(std::span<const std::byte> data) {
  Reader r(data);
  r.skip(2);
  const std::uint8_t can = r.u8();
  const std::uint8_t does = r.u8();
  const std::uint16_t types = r.u16();
  if (!r.ok()) return failure(WireErrc::truncated);
  return ReservationCapabilities{.compatible_reserve = (can & 0x10) != 0,
                                 .spec_i_pt = (can & 0x08) != 0,
                                 .all_tg_pt = (can & 0x04) != 0,
                                 .persist_capable = (can & 0x01) != 0,
                                 .persist_active = (does & 0x01) != 0,
                                 .allow_commands = static_cast<std::uint8_t>(does >> 4 & 7),
                                 .types = (does & 0x80) != 0 ? types : std::uint16_t{0}};
}

Bytes encode_full_status(const FullStatusAnswer& answer) {
  Bytes bytes(8);
  for (const FullStatus& entry : answer.entries) {
    const Bytes id = encode_transport_id(entry.initiator);
    Bytes one(24 + id.size());
    Writer w(one);
    w.u64(entry.key);
    w.skip(4);
    w.u8(static_cast<std::uint8_t>((entry.all_tg_pt ? 0x02 : 0) | (entry.holder ? 0x01 : 0)));
    w.u8(entry.type & 0x0f);
    w.skip(4);
    w.u16(entry.relative_port);
    w.u32(static_cast<std::uint32_t>(id.size()));
    w.bytes(id);
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  Writer w(bytes);
  w.u32(answer.generation);
  w.u32(static_cast<std::uint32_t>(bytes.size() - 8));
  return bytes;
}

Result<FullStatusAnswer> decode_full_status(std::span<const std::byte> data) {
  Reader r(data);
  FullStatusAnswer answer{.generation = r.u32()};
  const std::size_t length = r.u32();
  if (!r.ok() || length > r.remaining()) return failure(WireErrc::truncated);
  Reader list(r.bytes(length));
  while (list.remaining() > 0) {
    FullStatus entry{.key = list.u64()};
    list.skip(4);
    const std::uint8_t flags = list.u8();
    entry.all_tg_pt = (flags & 0x02) != 0;
    entry.holder = (flags & 0x01) != 0;
    entry.type = list.u8() & 0x0f;
    list.skip(4);
    entry.relative_port = list.u16();
    const auto id_bytes = list.bytes(list.u32());
    if (!list.ok()) return failure(WireErrc::bad_length);
    std::size_t used = 0;
    auto id = decode_transport_id(id_bytes, used);
    if (!id) return std::unexpected(id.error());
    entry.initiator = *std::move(id);
    answer.entries.push_back(std::move(entry));
  }
  return answer;
}

}  // namespace mpath::scsi
