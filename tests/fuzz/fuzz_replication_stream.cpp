// What arrives on the stream between two copies of a unit, before and after the handshake: what is taken is what a copy
// could have sent.
#include <vector>

#include "base/bytes.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "wire/crc32c.hpp"
#include "wire/replication_stream.hpp"

namespace mpath::replication {
namespace {

void try_head(std::span<const std::byte> bytes) {
  for (std::uint16_t version = stream_version_min; version <= stream_version; ++version) {
    const auto decoded = decode_stream_head(bytes, version);
    if (!decoded) continue;
    CHECK(decoded->head.body_bytes <= stream_body_bytes_max);
    std::vector<std::byte> encoded(stream_head_bytes(version));
    encode_stream_head(decoded->head, decoded->body_checksum, version, encoded);
    const auto again = decode_stream_head(encoded, version);
    CHECK(again && again->head == decoded->head && again->body_checksum == decoded->body_checksum);
  }
}

// With a checksum that is right, as somebody who means ill would make it: what lies behind it is read.
std::vector<std::byte> sealed_head(std::span<const std::byte> bytes) {
  std::vector<std::byte> head(bytes.begin(), bytes.end());
  const bool numbered = head.size() >= 2 && head[1] >= std::byte{2};
  const std::size_t whole = stream_head_bytes(numbered ? 2 : 1);
  if (head.size() < whole) return head;
  const std::span<std::byte> all(head);
  Crc32c crc;
  crc.add(all.first(8));
  crc.add(all.subspan(12, whole - 12));
  Writer checksum(all.subspan(8, 4));
  checksum.u32(crc.value());
  return head;
}

template <typename Value>
void check_same(const Result<Value>& value, Result<Value> (*decode)(std::span<const std::byte>)) {
  if (!value) return;
  const auto bytes = encode(*value);
  CHECK(bytes.size() <= handshake_bytes_max);
  const auto again = decode(bytes);
  CHECK(again && *again == *value);
}

void try_handshake(std::span<const std::byte> bytes) {
  check_same(decode_hello(bytes), decode_hello);
  check_same(decode_welcome(bytes), decode_welcome);
  check_same(decode_proof(bytes), decode_proof);
  check_same(decode_ready(bytes), decode_ready);
  Transcript transcript;
  const std::array keys{Key(), Key()};
  CHECK(!transcript.check(bytes, keys, Transcript::Label::proof));
}

// With the length that it has.
std::vector<std::byte> measured(std::span<const std::byte> bytes) {
  std::vector<std::byte> message(bytes.begin(), bytes.end());
  if (message.size() < handshake_prefix_bytes || message.size() > handshake_bytes_max) return message;
  Writer length{std::span(message).subspan(6, 2)};
  length.u16(static_cast<std::uint16_t>(message.size() - handshake_prefix_bytes));
  return message;
}

void try_all(fuzz::Input input) {
  switch (input.choice() % 4) {
    case 0:
      try_head(input.bytes);
      break;
    case 1:
      try_handshake(input.bytes);
      break;
    case 2:
      try_head(sealed_head(input.bytes));
      break;
    default:
      try_handshake(measured(input.bytes));
      break;
  }
}

}  // namespace
}  // namespace mpath::replication

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::replication::try_all({data, size});
  return 0;
}
