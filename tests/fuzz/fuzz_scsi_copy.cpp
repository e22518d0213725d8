// EXTENDED COPY parameter lists, which say where data goes, and log pages.
#include "tests/fuzz/fuzz_input.hpp"
#include "wire/scsi_copy.hpp"
#include "wire/scsi_log.hpp"

namespace mpath::scsi {
namespace {

void try_parameters(std::span<const std::byte> bytes) {
  const CopyLimits limits{.targets_max = 16, .segments_max = 64, .list_bytes_max = 2304, .segment_bytes_max = 1 << 24};
  const auto parameters = decode_copy_parameters(bytes, limits);
  if (!parameters) return;
  CHECK(parameters->targets.size() <= limits.targets_max && parameters->segments.size() <= limits.segments_max);
  const auto again = decode_copy_parameters(encode_copy_parameters(*parameters), limits);
  CHECK(again.has_value() && *again == *parameters);
}

void try_log_page(std::span<const std::byte> bytes) {
  const auto page = decode_log_page(bytes);
  if (!page) return;
  const auto again = decode_log_page(encode_log_page(*page));
  CHECK(again.has_value() && *again == *page);
}

void try_all(fuzz::Input input) {
  const unsigned choice = input.choice();
  if (choice % 2 == 0) {
    try_parameters(input.bytes);
  } else {
    try_log_page(input.bytes);
  }
}

}  // namespace
}  // namespace mpath::scsi

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::scsi::try_all({data, size});
  return 0;
}
