#include "wire/replication.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "base/check.hpp"
#include "wire/crc32c.hpp"
#include "wire/error.hpp"
#include "wire/hmac.hpp"
#include "wire/replication_fields.hpp"

namespace mpath::replication {
namespace {

// On the wire: never renumber.
enum class Kind : std::uint8_t { beat = 1, grant, prepare, promise, propose, accepted, refused };

constexpr std::uint32_t record_magic = 0x4d505652;  // "MPVR"

void put(Writer& writer, const Ballot& ballot) {
  writer.u64(ballot.round);
  put(writer, ballot.proposer);
}
void put(Writer& writer, const std::optional<Vote>& vote) {
  writer.u8(vote ? 1 : 0);
  if (!vote) return;
  put(writer, vote->ballot);
  put(writer, vote->view);
  writer.u8(vote->stand_in ? 1 : 0);
}
void put(Writer& writer, std::chrono::microseconds duration) {
  writer.u32(static_cast<std::uint32_t>(std::clamp<std::int64_t>(duration.count(), 0, 0xffffffff)));
}

// Values that no sender of ours writes end the reading.
bool flag(Reader& reader) {
  const std::uint8_t value = reader.u8();
  if (value > 1) reader.fail();
  return value == 1;
}
Ballot ballot(Reader& reader) {
  const std::uint64_t round = reader.u64();
  return {.round = round, .proposer = read_member(reader, Member::b)};
}
Vote vote(Reader& reader) {
  Vote result;
  result.ballot = ballot(reader);
  result.view = read_view(reader);
  result.stand_in = flag(reader);
  return result;
}
std::optional<Vote> optional_vote(Reader& reader) {
  if (!flag(reader)) return std::nullopt;
  return vote(reader);
}

struct BodyWriter {
  Writer& writer;
  Kind operator()(const Beat& beat) const {
    writer.u64(beat.lease_id);
    writer.u64(beat.held_back.number);
    writer.u8(beat.held_back.members.bits());
    writer.u8(beat.asks_to_serve ? 1 : 0);
    return Kind::beat;
  }
  Kind operator()(const Grant& grant) const {
    writer.u64(grant.lease_id);
    put(writer, grant.lease);
    return Kind::grant;
  }
  Kind operator()(const Prepare& prepare) const {
    put(writer, prepare.ballot);
    return Kind::prepare;
  }
  Kind operator()(const Promise& promise) const {
    put(writer, promise.ballot);
    put(writer, promise.accepted);
    return Kind::promise;
  }
  Kind operator()(const Propose& propose) const {
    put(writer, std::optional<Vote>(propose.vote));
    return Kind::propose;
  }
  Kind operator()(const Accepted& accepted) const {
    put(writer, accepted.ballot);
    return Kind::accepted;
  }
  Kind operator()(const Refused& refused) const {
    put(writer, refused.ballot);
    put(writer, refused.promised);
    put(writer, refused.wait);
    return Kind::refused;
  }
};

std::optional<Body> read_body(Kind kind, Reader& reader) {
  switch (kind) {
    case Kind::beat: {
      Beat beat;
      beat.lease_id = reader.u64();
      beat.held_back.number = reader.u64();
      const std::uint8_t members = reader.u8();
      if (members > 3) reader.fail();
      beat.held_back.members = MemberSet::of_bits(members);
      beat.asks_to_serve = flag(reader);
      return beat;
    }
    case Kind::grant: {
      const std::uint64_t id = reader.u64();
      return Grant{.lease_id = id, .lease = std::chrono::microseconds(reader.u32())};
    }
    case Kind::prepare:
      return Prepare{.ballot = ballot(reader)};
    case Kind::promise: {
      const Ballot of = ballot(reader);
      return Promise{.ballot = of, .accepted = optional_vote(reader)};
    }
    case Kind::propose: {
      const auto wanted = optional_vote(reader);
      if (!wanted) reader.fail();
      return Propose{.vote = wanted.value_or(Vote())};
    }
    case Kind::accepted:
      return Accepted{.ballot = ballot(reader)};
    case Kind::refused: {
      const Ballot of = ballot(reader);
      const Ballot promised = ballot(reader);
      return Refused{.ballot = of, .promised = promised, .wait = std::chrono::microseconds(reader.u32())};
    }
  }
  return std::nullopt;
}

// The head up to its own checksum, the two checksums, and the rest.
constexpr std::size_t head_checksum_at = 8;
std::uint32_t head_checksum(std::span<const std::byte> head) {
  Crc32c crc;
  crc.add(head.first(head_checksum_at));
  crc.add(head.subspan(head_checksum_at + 4, head_bytes - head_checksum_at - 4));
  return crc.value();
}

}  // namespace

std::vector<std::byte> encode(const Frame& frame, const Key* key) {
  std::vector<std::byte> bytes(head_bytes + body_bytes_max);
  const Message& message = frame.message;
  Writer body{std::span(bytes).subspan(head_bytes)};
  body.u8(message.suspect ? 1 : 0);
  put(body, message.decided);
  const Kind kind = std::visit(BodyWriter{body}, message.body);
  const std::span<const std::byte> written = body.written();
  Writer head{std::span(bytes).first(head_bytes)};
  head.u16(frame_version);
  head.u8(static_cast<std::uint8_t>(kind));
  head.u8(static_cast<std::uint8_t>(message.from));
  head.u32(static_cast<std::uint32_t>(written.size()));
  head.u32(0);
  head.u32(crc32c(written));
  head.u64(message.incarnation);
  head.u64(frame.number);
  head.u32(0);
  CHECK(head.ok() && body.ok());
  Writer checksum{std::span(bytes).subspan(head_checksum_at, 4)};
  checksum.u32(head_checksum(bytes));
  bytes.resize(head_bytes + written.size());
  if (key != nullptr) {
    const HmacTag tag = hmac_sha256(*key, {bytes});
    bytes.insert(bytes.end(), tag.begin(), tag.end());
  }
  return bytes;
}

Result<Frame> decode(std::span<const std::byte> bytes, const Key* key) {
  if (bytes.size() < head_bytes) return failure(WireErrc::truncated);
  Reader head(bytes.first(head_bytes));
  const std::uint16_t spoken = head.u16();
  const std::uint8_t kind = head.u8();
  Frame frame;
  frame.message.from = read_member(head, Member::witness);
  const std::uint32_t length = head.u32();
  const std::uint32_t head_crc = head.u32();
  const std::uint32_t body_crc = head.u32();
  frame.message.incarnation = head.u64();
  frame.number = head.u64();
  // The length is believed only when the checksum says so.
  if (head_crc != head_checksum(bytes)) return failure(WireErrc::bad_digest);
  if (spoken != frame_version) return failure(WireErrc::bad_version);
  if (length > body_bytes_max) return failure(WireErrc::bad_length);
  const std::size_t total = head_bytes + length + (key != nullptr ? tag_bytes : 0);
  if (bytes.size() < total) return failure(WireErrc::truncated);
  if (bytes.size() > total) return failure(WireErrc::trailing);
  if (key != nullptr) {
    const HmacTag tag = hmac_sha256(*key, {bytes.first(head_bytes + length)});
    if (!same_secret(tag, bytes.last(tag_bytes))) return failure(WireErrc::bad_digest);
  }
  const auto body_bytes = bytes.subspan(head_bytes, length);
  if (body_crc != crc32c(body_bytes)) return failure(WireErrc::bad_digest);
  Reader body(body_bytes);
  frame.message.suspect = flag(body);
  frame.message.decided = read_view(body);
  auto read = read_body(static_cast<Kind>(kind), body);
  if (!read) return failure(WireErrc::bad_opcode);
  if (!head.ok() || !body.at_end()) return failure(WireErrc::bad_field);
  frame.message.body = *read;
  return frame;
}

std::array<std::byte, record_bytes> encode(const StoredRecord& stored) {
  std::array<std::byte, record_bytes> bytes{};
  Writer writer{std::span(bytes).first(record_bytes - 4)};
  writer.u32(record_magic);
  writer.u16(frame_version);
  writer.bytes(stored.cluster);
  writer.u64(stored.serial);
  put(writer, stored.record.decided);
  put(writer, stored.record.promised);
  put(writer, stored.record.accepted);
  CHECK(writer.ok());
  Writer checksum{std::span(bytes).last(4)};
  checksum.u32(crc32c(std::span(bytes).first(record_bytes - 4)));
  return bytes;
}

Result<StoredRecord> decode_record(std::span<const std::byte> bytes) {
  if (bytes.size() < record_bytes) return failure(WireErrc::truncated);
  if (bytes.size() > record_bytes) return failure(WireErrc::trailing);
  Reader reader(bytes.first(record_bytes - 4));
  Reader checksum(bytes.last(4));
  if (checksum.u32() != crc32c(bytes.first(record_bytes - 4))) return failure(WireErrc::bad_digest);
  if (reader.u32() != record_magic) return failure(WireErrc::bad_opcode);
  if (reader.u16() != frame_version) return failure(WireErrc::bad_version);
  StoredRecord stored;
  reader.copy_to(stored.cluster);
  stored.serial = reader.u64();
  stored.record.decided = read_view(reader);
  stored.record.promised = ballot(reader);
  stored.record.accepted = optional_vote(reader);
  if (!reader.ok()) return failure(WireErrc::bad_field);
  return stored;
}

}  // namespace mpath::replication
