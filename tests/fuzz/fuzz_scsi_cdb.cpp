// Command blocks, UNMAP lists and LUN fields.
#include <algorithm>
#include <array>

#include "tests/fuzz/fuzz_input.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::scsi {
namespace {

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
      static_cast<void>(parse_cdb(input.bytes));
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
