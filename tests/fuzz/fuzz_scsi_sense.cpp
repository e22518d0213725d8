// Sense data: what was understood can be said again in either format.
#include "tests/fuzz/fuzz_input.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::scsi {
namespace {

void try_all(std::span<const std::byte> bytes) {
  const auto data = decode_sense(bytes);
  if (!data) return;
  CHECK(!describe(data->sense).empty());
  const auto again = decode_sense(encode_sense(*data).view());
  CHECK(again.has_value() && again->sense == data->sense && again->deferred == data->deferred);
  CHECK(again->information == data->information);
}

}  // namespace
}  // namespace mpath::scsi

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::scsi::try_all(mpath::fuzz::Input(data, size).bytes);
  return 0;
}
