// Frames that members of a pair send each other, and their vote records: what is taken is what a member could have
// written.
#include <vector>

#include "base/bytes.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "wire/crc32c.hpp"
#include "wire/replication.hpp"

namespace mpath::replication {
namespace {

void try_frame(std::span<const std::byte> bytes) {
  const auto frame = decode(bytes, nullptr);
  if (!frame) return;
  const auto again = decode(encode(*frame, nullptr), nullptr);
  CHECK(again.has_value() && *again == *frame);
}

void try_record(std::span<const std::byte> bytes) {
  const auto record = decode_record(bytes);
  if (!record) return;
  const auto again = decode_record(encode(*record));
  CHECK(again.has_value() && *again == *record);
}

// With checksums that are right, as somebody who means ill would make them: what lies behind them is read.
std::vector<std::byte> sealed_frame(std::span<const std::byte> bytes) {
  std::vector<std::byte> frame(bytes.begin(), bytes.end());
  if (frame.size() < head_bytes) return frame;
  const std::span<std::byte> all(frame);
  Writer length(all.subspan(4, 4));
  length.u32(static_cast<std::uint32_t>(frame.size() - head_bytes));
  Writer body(all.subspan(12, 4));
  body.u32(crc32c(all.subspan(head_bytes)));
  Crc32c crc;
  crc.add(all.first(8));
  crc.add(all.subspan(12, head_bytes - 12));
  Writer head(all.subspan(8, 4));
  head.u32(crc.value());
  return frame;
}

std::vector<std::byte> sealed_record(std::span<const std::byte> bytes) {
  std::vector<std::byte> record(bytes.begin(), bytes.end());
  if (record.size() != record_bytes) return record;
  const std::span<std::byte> all(record);
  Writer checksum(all.last(4));
  checksum.u32(crc32c(all.first(record_bytes - 4)));
  return record;
}

void try_all(fuzz::Input input) {
  switch (input.choice() % 4) {
    case 0:
      try_frame(input.bytes);
      break;
    case 1:
      try_record(input.bytes);
      break;
    case 2:
      try_frame(sealed_frame(input.bytes));
      break;
    default:
      try_record(sealed_record(input.bytes));
      break;
  }
}

}  // namespace
}  // namespace mpath::replication

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::replication::try_all({data, size});
  return 0;
}
