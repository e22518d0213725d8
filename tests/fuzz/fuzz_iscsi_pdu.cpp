// Every header decoder on any 48 bytes: what it takes, it must be able to write and read back the same.
#include <algorithm>
#include <array>

#include "tests/fuzz/fuzz_input.hpp"
#include "wire/iscsi_pdu.hpp"

namespace mpath::iscsi {
namespace {

template <typename Pdu>
void round_trip(Bhs bhs, Result<Pdu> (*decode)(Bhs)) {
  const auto first = decode(bhs);
  if (!first) return;
  std::array<std::byte, bhs_bytes> again{};
  encode(*first, again);
  const auto second = decode(again);
  // A refusal is taken with any flags, which cannot all be written back.
  if constexpr (std::is_same_v<Pdu, LoginResponse>) {
    if (first->status != LoginStatus::success) return;
  }
  CHECK(second.has_value());
  CHECK(*second == *first);
}

void try_all(std::span<const std::byte> bytes) {
  if (bytes.size() < bhs_bytes) return;
  const auto bhs = bytes.first<bhs_bytes>();
  const auto head = decode_head(bhs);
  if (!head) return;
  const Layout layout = pdu_layout(*head, true, true);
  CHECK(layout.data_at >= layout.header_bytes && layout.total >= layout.data_at);
  round_trip<ScsiCommand>(bhs, decode_scsi_command);
  round_trip<ScsiResponse>(bhs, decode_scsi_response);
  round_trip<TaskRequest>(bhs, decode_task_request);
  round_trip<TaskResponse>(bhs, decode_task_response);
  round_trip<DataOut>(bhs, decode_data_out);
  round_trip<DataIn>(bhs, decode_data_in);
  round_trip<ReadyToTransfer>(bhs, decode_ready_to_transfer);
  round_trip<AsyncMessage>(bhs, decode_async_message);
  round_trip<TextRequest>(bhs, decode_text_request);
  round_trip<TextResponse>(bhs, decode_text_response);
  round_trip<LoginRequest>(bhs, decode_login_request);
  round_trip<LoginResponse>(bhs, decode_login_response);
  round_trip<LogoutRequest>(bhs, decode_logout_request);
  round_trip<LogoutResponse>(bhs, decode_logout_response);
  round_trip<SnackRequest>(bhs, decode_snack_request);
  round_trip<Reject>(bhs, decode_reject);
  round_trip<NopOut>(bhs, decode_nop_out);
  round_trip<NopIn>(bhs, decode_nop_in);
  CHECK(response_sense(bytes.subspan(bhs_bytes)).size() <= bytes.size());
}

}  // namespace
}  // namespace mpath::iscsi

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::iscsi::try_all(mpath::fuzz::Input(data, size).bytes);
  return 0;
}
