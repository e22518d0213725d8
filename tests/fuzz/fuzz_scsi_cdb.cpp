// Command blocks, UNMAP lists and LUN fields.
#include <algorithm>
#include <array>

#include "tests/fuzz/fuzz_input.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::scsi {
namespace {

// Parsing must not depend on bytes behind the command, nor on those that the group of its opcode does not have.
void try_cdb(std::span<const std::byte> bytes) {
  const auto command = parse_cdb(bytes);
  if (!command) return;
  const std::size_t length = cdb_length(std::to_integer<std::uint8_t>(bytes[0]));
  CHECK(length != 0 && length <= bytes.size());
  std::array<std::byte, 16> alone{};
  std::copy_n(bytes.begin(), length, alone.begin());
  CHECK(*parse_cdb(std::span(alone).first(length)) == *command);
  if (const auto* read = std::get_if<Read>(&*command); read != nullptr && length == 6) CHECK(read->blocks > 0);
}

void try_unmap(std::span<const std::byte> bytes) {
  const auto ranges = decode_unmap_list(bytes);
  if (!ranges) return;
  CHECK(ranges->size() * unmap_range_bytes <= bytes.size());
  std::vector<std::byte> list(unmap_list_bytes(ranges->size()));
  CHECK(encode_unmap_list(*ranges, list) == list.size());
  CHECK(*decode_unmap_list(list) == *ranges);
}

void try_lun(std::span<const std::byte> bytes) {
  if (bytes.size() < 8) return;
  const auto lun = parse_lun_field(bytes.first<8>());
  if (!lun) return;
  CHECK(parse_lun_field(lun_field(*lun))->value == lun->value);
}

void try_all(fuzz::Input input) {
  switch (input.choice() % 3) {
    case 0:
      try_cdb(input.bytes);
      break;
    case 1:
      try_unmap(input.bytes);
      break;
    case 2:
      try_lun(input.bytes);
      break;
  }
}

}  // namespace
}  // namespace mpath::scsi

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::scsi::try_all({data, size});
  return 0;
}
