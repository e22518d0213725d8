// What targets say about themselves, page 83h above all: identities decide where data goes.
#include "tests/fuzz/fuzz_input.hpp"
#include "wire/scsi_data.hpp"

namespace mpath::scsi {
namespace {

void try_device_id(std::span<const std::byte> bytes) {
  const auto id = decode_vpd_device_id(bytes);
  if (!id) return;
  const auto again = decode_vpd_device_id(encode_vpd_device_id(id->designators));
  CHECK(again.has_value() && !again->damaged);
  // The protocol nibble is only kept where it means something; everything else comes back.
  CHECK(again->designators == id->designators);
}

void try_capacity(std::span<const std::byte> bytes) {
  const auto capacity = decode_capacity_16(bytes);
  if (!capacity) return;
  CHECK((capacity->last_lba + 1) * capacity->block_bytes / capacity->block_bytes == capacity->last_lba + 1);
  static_cast<void>(decode_capacity_10(bytes));
}

void try_all(fuzz::Input input) {
  const auto bytes = input.bytes.subspan(input.bytes.empty() ? 0 : 1);
  switch (input.choice() % 13) {
    case 0:
      try_device_id(bytes);
      break;
    case 1:
      static_cast<void>(decode_inquiry(bytes));
      break;
    case 2:
      static_cast<void>(decode_vpd_supported(bytes));
      break;
    case 3:
      static_cast<void>(decode_vpd_serial(bytes));
      break;
    case 4:
      static_cast<void>(decode_vpd_block_limits(bytes));
      break;
    case 5:
      static_cast<void>(decode_vpd_provisioning(bytes));
      break;
    case 6:
      try_capacity(bytes);
      break;
    case 7:
      static_cast<void>(decode_luns(bytes));
      break;
    case 8:
      static_cast<void>(decode_lba_status(bytes));
      break;
    case 9:
      static_cast<void>(decode_port_groups(bytes));
      static_cast<void>(decode_port_group_report(bytes));
      break;
    case 10:
      static_cast<void>(decode_mode_sense(bytes, true));
      break;
    case 11:
      static_cast<void>(decode_mode_sense(bytes, false));
      break;
    case 12:
      static_cast<void>(decode_port_groups(bytes, true));
      break;
  }
}

}  // namespace
}  // namespace mpath::scsi

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::scsi::try_all({data, size});
  return 0;
}
