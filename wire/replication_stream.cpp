#include "wire/replication_stream.hpp"

#include <algorithm>
#include <limits>
#include <string_view>

#include "base/bytes.hpp"
#include "base/check.hpp"
#include "wire/crc32c.hpp"
#include "wire/error.hpp"
#include "wire/hmac.hpp"
#include "wire/replication_fields.hpp"

namespace mpath::replication {
namespace {

// ---- heads ---------------------------------------------------------------------------------------------------------

// On the wire: never renumber.
enum HeadFlag : std::uint8_t {
  flag_fua = 0x01,
  flag_atomic = 0x02,
  flag_fill = 0x04,
  flag_may_unmap = 0x08,
  flag_last = 0x10,
  flag_receipt = 0x20,
};

std::uint8_t flags_of(const StreamHead& head) {
  return static_cast<std::uint8_t>((head.fua ? flag_fua : 0) | (head.atomic ? flag_atomic : 0) |
                                   (head.fill ? flag_fill : 0) | (head.may_unmap ? flag_may_unmap : 0) |
                                   (head.last ? flag_last : 0) | (head.receipt ? flag_receipt : 0));
}

std::uint8_t flags_allowed(StreamOp op, std::uint16_t version) {
  const std::uint8_t receipt = version < 3 ? 0 : flag_receipt;
  switch (op) {
    case StreamOp::write:
      return flag_fua | flag_atomic | flag_fill | receipt;
    case StreamOp::zero:
      return flag_fua | flag_fill | flag_may_unmap | receipt;
    case StreamOp::map:
    case StreamOp::link:
      return flag_last;
    case StreamOp::flush:
    case StreamOp::state:
    case StreamOp::sums:
    case StreamOp::fill_end:
    case StreamOp::map_taken:
    case StreamOp::ack:
    case StreamOp::sums_answer:
    case StreamOp::protocol:
    case StreamOp::received:
      return 0;
  }
  return 0;
}

bool known(std::uint8_t op, std::uint16_t version) {
  const StreamOp last = version == 1 ? StreamOp::map : version == 2 ? StreamOp::link : StreamOp::received;
  return op >= static_cast<std::uint8_t>(StreamOp::write) && op <= static_cast<std::uint8_t>(last);
}

// BlockStatus on the wire: never renumber.
std::uint8_t status_code(BlockStatus status) {
  switch (status) {
    case BlockStatus::ok:
      return 0;
    case BlockStatus::io_error:
      return 1;
    case BlockStatus::invalid:
      return 2;
    case BlockStatus::no_space:
      return 3;
    case BlockStatus::read_only:
      return 4;
    case BlockStatus::not_supported:
      return 5;
    case BlockStatus::conflict:
      return 6;
    case BlockStatus::shutdown:
      return 7;
  }
  return 1;
}

constexpr std::array statuses{BlockStatus::ok,       BlockStatus::io_error,  BlockStatus::invalid,
                              BlockStatus::no_space, BlockStatus::read_only, BlockStatus::not_supported,
                              BlockStatus::conflict, BlockStatus::shutdown};

constexpr std::uint64_t units_of(std::uint64_t count, std::uint64_t size) {
  return count / size + (count % size != 0 ? 1 : 0);
}

// Whether an op has a body of this length.
bool has_its_body(const StreamHead& head) {
  if (head.body_bytes > stream_body_bytes_max) return false;
  switch (head.op) {
    case StreamOp::write:
      return head.length > 0 && head.body_bytes == head.length;
    case StreamOp::sums:
      return head.length > 0 && head.length <= std::uint64_t{stream_body_bytes_max} * sum_block_bytes &&
             head.body_bytes == units_of(head.length, sum_block_bytes) * sizeof(Sum);
    case StreamOp::map:
      return head.body_bytes == units_of(head.length, 8);
    case StreamOp::sums_answer:
      return head.body_bytes > 0;
    case StreamOp::state:
      return true;
    case StreamOp::zero:
    case StreamOp::flush:
    case StreamOp::fill_end:
    case StreamOp::map_taken:
    case StreamOp::ack:
    case StreamOp::link:
    case StreamOp::protocol:
    case StreamOp::received:
      return head.body_bytes == 0;
  }
  return false;
}

bool makes_sense(const StreamHead& head) {
  if (head.status != BlockStatus::ok && head.op != StreamOp::ack) return false;
  const bool is_protocol = head.sequence >= static_cast<std::uint64_t>(Protocol::a) &&
                           head.sequence <= static_cast<std::uint64_t>(Protocol::c);
  if (head.op == StreamOp::protocol && !is_protocol) return false;
  return head.length <= std::numeric_limits<std::uint64_t>::max() - head.offset;
}

bool is_numbered_right(const StreamHead& head, std::uint16_t version) {
  if (version == 1) return head.number == 0 && head.seen == 0;
  return (head.number == 0) == (head.op == StreamOp::link);
}

// The head up to its own checksum, and the rest.
constexpr std::size_t head_checksum_at = 8;
std::uint32_t head_checksum(std::span<const std::byte> head) {
  Crc32c crc;
  crc.add(head.first(head_checksum_at));
  crc.add(head.subspan(head_checksum_at + 4));
  return crc.value();
}

}  // namespace

void encode_stream_head(const StreamHead& head, std::uint32_t body_checksum, std::uint16_t version,
                        std::span<std::byte> place) {
  const std::uint8_t flags = flags_of(head);
  const auto op = static_cast<std::uint8_t>(head.op);
  CHECK(place.size() == stream_head_bytes(version) && known(op, version) && is_numbered_right(head, version));
  CHECK((flags & ~flags_allowed(head.op, version)) == 0 && makes_sense(head) && has_its_body(head));
  CHECK(head.body_bytes > 0 || body_checksum == 0);
  Writer writer{place};
  writer.u16(version);
  writer.u8(op);
  writer.u8(flags);
  writer.u32(head.body_bytes);
  writer.u32(0);
  writer.u32(body_checksum);
  writer.u64(head.sequence);
  writer.u64(head.offset);
  writer.u64(head.length);
  writer.u64(std::uint64_t{status_code(head.status)} << 56);  // and seven bytes that are free
  if (version > 1) {
    writer.u64(head.number);
    writer.u64(head.seen);
  }
  CHECK(writer.ok() && writer.remaining() == 0);
  Writer checksum{place.subspan(head_checksum_at, 4)};
  checksum.u32(head_checksum(place));
}

Result<DecodedStreamHead> decode_stream_head(std::span<const std::byte> bytes, std::uint16_t version) {
  if (bytes.size() < stream_head_bytes(version)) return failure(WireErrc::truncated);
  bytes = bytes.first(stream_head_bytes(version));
  Reader reader(bytes);
  const std::uint16_t spoken = reader.u16();
  const std::uint8_t op = reader.u8();
  const std::uint8_t flags = reader.u8();
  DecodedStreamHead decoded;
  StreamHead& head = decoded.head;
  head.body_bytes = reader.u32();
  const std::uint32_t checksum = reader.u32();
  decoded.body_checksum = reader.u32();
  head.sequence = reader.u64();
  head.offset = reader.u64();
  head.length = reader.u64();
  const std::uint64_t tail = reader.u64();
  if (version > 1) {
    head.number = reader.u64();
    head.seen = reader.u64();
  }
  if (checksum != head_checksum(bytes)) return failure(WireErrc::bad_digest);
  if (spoken != version) return failure(WireErrc::bad_version);
  if (!known(op, version)) return failure(WireErrc::bad_opcode);
  head.op = static_cast<StreamOp>(op);
  const std::uint64_t status = tail >> 56;
  const bool clean = tail << 8 == 0;
  if ((flags & ~flags_allowed(head.op, version)) != 0 || status >= statuses.size() || !clean) {
    return failure(WireErrc::bad_field);
  }
  head.fua = (flags & flag_fua) != 0;
  head.atomic = (flags & flag_atomic) != 0;
  head.fill = (flags & flag_fill) != 0;
  head.may_unmap = (flags & flag_may_unmap) != 0;
  head.last = (flags & flag_last) != 0;
  head.receipt = (flags & flag_receipt) != 0;
  head.status = statuses[status];
  if (!makes_sense(head) || !is_numbered_right(head, version)) return failure(WireErrc::bad_field);
  if (!has_its_body(head)) return failure(WireErrc::bad_length);
  if (head.body_bytes == 0 && decoded.body_checksum != 0) return failure(WireErrc::bad_field);
  return decoded;
}

// ---- the handshake -------------------------------------------------------------------------------------------------

namespace {

// On the wire: never renumber.
enum class Kind : std::uint8_t { hello = 1, welcome = 2, proof = 3, ready = 4 };

constexpr std::uint32_t handshake_magic = 0x4d505253;  // "MPRS"
constexpr std::size_t name_bytes_max = 255;

std::size_t proof_bytes(Kind kind) {
  return kind == Kind::hello ? 0 : sizeof(Proof);
}

// Builds one message: prefix, fields, proof.
class MessageWriter {
 public:
  explicit MessageWriter(Kind kind) : kind_(kind) {}
  Writer& fields() { return fields_; }
  std::vector<std::byte> end(const Proof& proof = {}) {
    fields_.bytes(std::span(proof).first(proof_bytes(kind_)));
    CHECK(fields_.ok());
    Writer prefix{std::span(bytes_).first(handshake_prefix_bytes)};
    prefix.u32(handshake_magic);
    prefix.u8(static_cast<std::uint8_t>(kind_));
    prefix.u8(0);
    prefix.u16(static_cast<std::uint16_t>(fields_.size()));
    return {bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(handshake_prefix_bytes + fields_.size())};
  }

 private:
  Kind kind_;
  std::array<std::byte, handshake_bytes_max> bytes_{};
  Writer fields_{std::span(bytes_).subspan(handshake_prefix_bytes)};
};

struct Parts {
  std::span<const std::byte> fields;
  Proof proof{};
};

Result<Parts> parts_of(std::span<const std::byte> bytes, Kind kind) {
  const auto length = handshake_length(bytes);
  if (!length) return failure(length.error());
  if (bytes.size() < *length) return failure(WireErrc::truncated);
  if (bytes.size() > *length) return failure(WireErrc::trailing);
  if (bytes[4] != static_cast<std::byte>(kind)) return failure(WireErrc::bad_opcode);
  const std::size_t prefix_and_proof = handshake_prefix_bytes + proof_bytes(kind);
  if (bytes.size() < prefix_and_proof) return failure(WireErrc::bad_length);
  Parts parts{.fields = bytes.subspan(handshake_prefix_bytes, bytes.size() - prefix_and_proof)};
  std::ranges::copy(bytes.last(proof_bytes(kind)), parts.proof.begin());
  return parts;
}

// Fields that are missing are a length that is wrong: the message itself is whole. Those of a later version pass.
template <typename Value>
Result<Value> ended(const Reader& reader, bool later_version, Value value, bool short_of_bytes) {
  if (short_of_bytes) return failure(WireErrc::bad_length);
  if (!reader.ok()) return failure(WireErrc::bad_field);
  if (!reader.at_end() && !later_version) return failure(WireErrc::bad_length);
  return value;
}

// The strongest that we know, of a later version.
StreamAuth read_auth(Reader& reader, std::uint16_t version) {
  const std::uint8_t value = reader.u8();
  const StreamAuth most = version < stream_version_tls ? StreamAuth::hmac : StreamAuth::tls;
  if (value <= static_cast<std::uint8_t>(most)) return static_cast<StreamAuth>(value);
  if (version <= stream_version) reader.fail();
  return most;
}

constexpr std::size_t hello_fixed_bytes = 2 + 2 + 16 + 16 + 1 + 8 + 10 + 8 + 4 + 8 + 1 + nonce_bytes;
constexpr std::size_t hello_links_bytes = 8 + 1 + 1;  // behind the name
constexpr std::size_t welcome_fixed_bytes = 2 + 1 + 8 + 1 + nonce_bytes;

}  // namespace

Result<std::size_t> handshake_length(std::span<const std::byte> prefix) {
  if (prefix.size() < handshake_prefix_bytes) return failure(WireErrc::truncated);
  Reader reader(prefix.first(handshake_prefix_bytes));
  if (reader.u32() != handshake_magic) return failure(WireErrc::bad_opcode);
  const std::uint8_t kind = reader.u8();
  if (kind < static_cast<std::uint8_t>(Kind::hello) || kind > static_cast<std::uint8_t>(Kind::ready)) {
    return failure(WireErrc::bad_opcode);
  }
  reader.skip(1);
  const std::size_t length = handshake_prefix_bytes + reader.u16();
  if (length > handshake_bytes_max) return failure(WireErrc::bad_length);
  return length;
}

std::vector<std::byte> encode(const Hello& hello) {
  MessageWriter message(Kind::hello);
  Writer& fields = message.fields();
  fields.u16(hello.version_min);
  fields.u16(hello.version_max);
  fields.bytes(hello.cluster);
  fields.bytes(hello.unit);
  put(fields, hello.from);
  fields.u64(hello.incarnation);
  put(fields, hello.view);
  fields.u64(hello.size_bytes);
  fields.u32(hello.block_bytes);
  fields.u64(hello.extent_bytes);
  fields.u8(static_cast<std::uint8_t>(hello.auth));
  fields.bytes(hello.nonce);
  CHECK(fields.size() == hello_fixed_bytes);
  const auto unit_name = std::string_view(hello.unit_name).substr(0, name_bytes_max);
  fields.u8(static_cast<std::uint8_t>(unit_name.size()));
  fields.text(unit_name);
  if (hello.version_max > 1) {
    fields.u64(hello.stream);
    fields.u8(hello.link);
    fields.u8(hello.joins ? 1 : 0);
  }
  return message.end();
}

Result<Hello> decode_hello(std::span<const std::byte> bytes) {
  const auto parts = parts_of(bytes, Kind::hello);
  if (!parts) return failure(parts.error());
  if (parts->fields.size() < hello_fixed_bytes + 1) return failure(WireErrc::bad_length);
  Reader reader(parts->fields);
  Hello hello;
  hello.version_min = reader.u16();
  hello.version_max = reader.u16();
  const bool later = hello.version_max > stream_version;
  reader.copy_to(hello.cluster);
  reader.copy_to(hello.unit);
  hello.from = read_member(reader, Member::b);
  hello.incarnation = reader.u64();
  hello.view = read_view(reader);
  hello.size_bytes = reader.u64();
  hello.block_bytes = reader.u32();
  hello.extent_bytes = reader.u64();
  hello.auth = read_auth(reader, hello.version_max);
  reader.copy_to(hello.nonce);
  const std::size_t name_bytes = reader.u8();
  const bool cut = reader.ok() && name_bytes > reader.remaining();
  if (!cut) hello.unit_name = reader.text(name_bytes);
  const bool short_of_links = !cut && reader.ok() && hello.version_max > 1 && reader.remaining() < hello_links_bytes;
  if (!cut && !short_of_links && hello.version_max > 1) {
    hello.stream = reader.u64();
    hello.link = reader.u8();
    const std::uint8_t joins = reader.u8();
    hello.joins = joins == 1;
    if (hello.link >= stream_links_max || joins > 1) reader.fail();
  }
  if (hello.version_min == 0 || hello.version_min > hello.version_max) reader.fail();
  return ended(reader, later, std::move(hello), cut || short_of_links);
}

std::vector<std::byte> encode(const Welcome& welcome) {
  MessageWriter message(Kind::welcome);
  Writer& fields = message.fields();
  fields.u16(welcome.version);
  put(fields, welcome.from);
  fields.u64(welcome.incarnation);
  fields.u8(static_cast<std::uint8_t>(welcome.auth));
  fields.bytes(welcome.nonce);
  CHECK(fields.size() == welcome_fixed_bytes);
  return message.end(welcome.proof);
}

Result<Welcome> decode_welcome(std::span<const std::byte> bytes) {
  const auto parts = parts_of(bytes, Kind::welcome);
  if (!parts) return failure(parts.error());
  if (parts->fields.size() < welcome_fixed_bytes) return failure(WireErrc::bad_length);
  Reader reader(parts->fields);
  Welcome welcome;
  welcome.version = reader.u16();
  const bool later = welcome.version > stream_version;
  welcome.from = read_member(reader, Member::b);
  welcome.incarnation = reader.u64();
  welcome.auth = read_auth(reader, welcome.version);
  reader.copy_to(welcome.nonce);
  if (welcome.version == 0) reader.fail();
  welcome.proof = parts->proof;
  return ended(reader, later, welcome, false);
}

std::vector<std::byte> encode(const Proof& proof) {
  return MessageWriter(Kind::proof).end(proof);
}

Result<Proof> decode_proof(std::span<const std::byte> bytes) {
  const auto parts = parts_of(bytes, Kind::proof);
  if (!parts) return failure(parts.error());
  if (!parts->fields.empty()) return failure(WireErrc::bad_length);
  return parts->proof;
}

std::vector<std::byte> encode(const Ready& ready) {
  MessageWriter message(Kind::ready);
  Writer& fields = message.fields();
  fields.u8(static_cast<std::uint8_t>(ready.refusal));
  const auto text = std::string_view(ready.text).substr(0, handshake_text_max);
  fields.u16(static_cast<std::uint16_t>(text.size()));
  fields.text(text);
  return message.end(ready.proof);
}

Result<Ready> decode_ready(std::span<const std::byte> bytes) {
  const auto parts = parts_of(bytes, Kind::ready);
  if (!parts) return failure(parts.error());
  if (parts->fields.size() < 3) return failure(WireErrc::bad_length);
  Reader reader(parts->fields);
  Ready ready;
  const std::uint8_t refusal = reader.u8();
  if (refusal > static_cast<std::uint8_t>(StreamRefusal::unprepared)) return failure(WireErrc::bad_field);
  ready.refusal = static_cast<StreamRefusal>(refusal);
  const std::size_t text_bytes = reader.u16();
  const bool wrong = text_bytes > reader.remaining() || text_bytes > handshake_text_max;
  if (!wrong) ready.text = reader.text(text_bytes);
  ready.proof = parts->proof;
  return ended(reader, false, std::move(ready), wrong);
}

// ---- proofs --------------------------------------------------------------------------------------------------------

namespace {

// In every proof. Never change.
std::string_view text_of(Transcript::Label label) {
  switch (label) {
    case Transcript::Label::welcome:
      return "mpath replication stream: welcome of the follower";
    case Transcript::Label::proof:
      return "mpath replication stream: proof of the leader";
    case Transcript::Label::ready:
      return "mpath replication stream: ready of the follower";
    case Transcript::Label::leader_messages:
      return "mpath replication stream: messages of the leader";
    case Transcript::Label::follower_messages:
      return "mpath replication stream: messages of the follower";
  }
  return "";
}

}  // namespace

std::string tls_key_name(std::string_view cluster, Member leader, const Key& key) {
  constexpr std::string_view label = "mpath replication stream: name of the key";  // never change
  constexpr std::size_t cluster_bytes_max = 64, shown_bytes = 4;
  std::string name = "mptarget ";
  name += cluster.substr(0, cluster_bytes_max);
  name += leader == Member::a ? " node-a key-" : " node-b key-";
  const HmacTag tag = hmac_sha256(key, {std::as_bytes(std::span(label))});
  for (const std::byte byte : std::span(tag).first(shown_bytes)) {
    constexpr std::string_view digits = "0123456789abcdef";
    name += digits[std::to_integer<unsigned>(byte) >> 4];
    name += digits[std::to_integer<unsigned>(byte) & 15];
  }
  return name;
}

void Transcript::add_hello(std::span<const std::byte> hello) {
  add(hello);
}

void Transcript::prove(std::span<std::byte> message, const Key& key, Label label) {
  CHECK(message.size() >= sizeof(Proof));
  add(message.first(message.size() - sizeof(Proof)));
  std::ranges::copy(derive(key, label), message.last(sizeof(Proof)).begin());
}

std::optional<Key> Transcript::check(std::span<const std::byte> message, std::span<const Key> keys, Label label) {
  if (message.size() < sizeof(Proof)) return std::nullopt;
  add(message.first(message.size() - sizeof(Proof)));
  std::optional<Key> right;
  for (const Key& key : keys) {
    const bool same = same_secret(derive(key, label), message.last(sizeof(Proof)));
    if (same && !right) right = key;
  }
  return right;
}

Key Transcript::derive(const Key& key, Label label) const {
  return hmac_sha256(key, {std::as_bytes(std::span(text_of(label))), said_});
}

Key Transcript::derive_tls(const Key& key, std::string_view key_name) const {
  constexpr std::string_view label = "mpath replication stream: key of TLS 1.3";  // never change
  constexpr std::array end_of_name{std::byte{0}};
  return hkdf_sha256(std::as_bytes(std::span(label)), key, {std::as_bytes(std::span(key_name)), end_of_name, said_});
}

void Transcript::add(std::span<const std::byte> bytes) {
  said_.insert(said_.end(), bytes.begin(), bytes.end());
}

}  // namespace mpath::replication
