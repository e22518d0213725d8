// Login and discovery text: pairs read are written back the same, and both sides of a negotiation survive any of them.
#include <array>

#include "tests/fuzz/fuzz_input.hpp"
#include "wire/chap.hpp"
#include "wire/iscsi_keys.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::iscsi {
namespace {

void negotiate(Side side, bool discovery, const KeyValues& pairs) {
  Negotiation negotiation(side, {.discovery = discovery, .header_digests = "CRC32C,None"});
  if (side == Side::initiator) static_cast<void>(negotiation.offers());
  const auto taken = negotiation.take(pairs);
  if (!taken) return;
  for (const KeyValue& reply : taken->replies) {
    CHECK(!reply.value.empty());
  }
  static_cast<void>(negotiation.offers());
  const Parameters parameters = negotiation.finish();
  CHECK(parameters.send_segment_max >= limits::data_segment_min);
  CHECK(parameters.first_burst <= parameters.max_burst);
  CHECK(parameters.max_burst >= 512 && parameters.max_outstanding_r2t >= 1 && parameters.max_connections >= 1);
}

void try_chap(std::string_view value) {
  constexpr std::array allowed = {ChapAlgorithm::sha256, ChapAlgorithm::md5};
  const auto algorithm = choose_chap_algorithm(value, allowed);
  if (algorithm) {
    CHECK(*algorithm == ChapAlgorithm::sha256 || *algorithm == ChapAlgorithm::md5);
  }
  const auto challenge = parse_binary(value, chap_challenge_bytes_max);
  if (!challenge) return;
  const auto response = chap_response(ChapAlgorithm::md5, 1, value, *challenge);
  CHECK(response.size() == chap_response_bytes(ChapAlgorithm::md5));
  CHECK(equal_in_constant_time(response, response) && !equal_in_constant_time(response, {}));
}

void try_all(std::span<const std::byte> bytes) {
  const auto pairs = decode_text(bytes);
  if (!pairs) return;
  const auto again = decode_text(encode_text(*pairs));
  CHECK(again.has_value() && *again == *pairs);
  for (const KeyValue& pair : *pairs) {
    static_cast<void>(parse_number(pair.value));
    if (const auto binary = parse_binary(pair.value, 1024)) {
      CHECK(binary->size() <= 1024);
      const auto same = parse_binary(hex_constant(*binary), 1024);
      CHECK(same.has_value() && *same == *binary);
    }
    try_chap(pair.value);
    if (const auto address = parse_target_address(pair.value)) {
      const auto same = parse_target_address(format_target_address(*address));
      CHECK(same.has_value() && *same == *address);
    }
  }
  static_cast<void>(parse_send_targets(*pairs));
  for (const bool discovery : {false, true}) {
    negotiate(Side::initiator, discovery, *pairs);
    negotiate(Side::target, discovery, *pairs);
  }
}

}  // namespace
}  // namespace mpath::iscsi

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::iscsi::try_all(mpath::fuzz::Input(data, size).bytes);
  return 0;
}
