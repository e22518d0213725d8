// The basic header segments of RFC 7143, section 11, both directions.
//
// Pure and without allocation: a PDU is a struct in host order; encode() fills 48 bytes, decode_*() reads them. AHS,
// data segment and digests are the framer's business: pdu_layout() says where they are. Reserved fields are written as
// zero and ignored when read; the fields of the data segment length are bounded by their 24 bits only, so check them
// against what was negotiated before receiving.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.hpp"
#include "wire/iscsi_limits.hpp"
#include "wire/scsi.hpp"

namespace mpath::iscsi {

inline constexpr std::size_t bhs_bytes = 48;
inline constexpr std::size_t digest_bytes = 4;
inline constexpr std::uint32_t reserved_tag = 0xffffffff;

using Bhs = std::span<const std::byte, bhs_bytes>;
using BhsOut = std::span<std::byte, bhs_bytes>;
using LunField = std::array<std::byte, 8>;  // scsi::lun_field() and scsi::parse_lun_field()
using Isid = std::array<std::uint8_t, 6>;

// All numbers of this header are on the wire: never renumber.

enum class Opcode : std::uint8_t {
  nop_out = 0x00,
  scsi_command = 0x01,
  task_request = 0x02,
  login_request = 0x03,
  text_request = 0x04,
  data_out = 0x05,
  logout_request = 0x06,
  snack_request = 0x10,
  nop_in = 0x20,
  scsi_response = 0x21,
  task_response = 0x22,
  login_response = 0x23,
  text_response = 0x24,
  data_in = 0x25,
  logout_response = 0x26,
  ready_to_transfer = 0x31,
  async_message = 0x32,
  reject = 0x3f,
};
[[nodiscard]] const char* name(Opcode opcode);

// What a framer needs of any PDU before it knows more.
struct Head {
  Opcode opcode{};
  bool immediate = false;
  std::uint16_t ahs_length = 0;   // bytes, a multiple of 4
  std::uint32_t data_length = 0;  // bytes, without padding
  std::uint32_t itt = 0;
  friend bool operator==(const Head&, const Head&) = default;
};
// Fails with bad_opcode for codes outside the table above.
[[nodiscard]] Result<Head> decode_head(Bhs bhs);

[[nodiscard]] constexpr std::size_t padded(std::size_t bytes) {
  return (bytes + 3) / 4 * 4;
}

// Where the parts of a PDU start, counted from its first byte.
struct Layout {
  std::size_t header_bytes = bhs_bytes;  // BHS and AHS, what the header digest covers
  std::size_t data_at = bhs_bytes;
  std::size_t total = bhs_bytes;
  friend bool operator==(const Layout&, const Layout&) = default;
};
[[nodiscard]] constexpr Layout pdu_layout(const Head& head, bool header_digest, bool data_digest) {
  Layout layout{.header_bytes = bhs_bytes + head.ahs_length};
  layout.data_at = layout.header_bytes + (header_digest ? digest_bytes : 0);
  layout.total = layout.data_at + padded(head.data_length) + (data_digest && head.data_length > 0 ? digest_bytes : 0);
  return layout;
}

// RFC 7143, 4.2.2.1 (RFC 1982): sequence numbers wrap.
[[nodiscard]] constexpr bool sn_before(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::int32_t>(a - b) < 0;
}

enum class TaskAttribute : std::uint8_t { untagged = 0, simple = 1, ordered = 2, head_of_queue = 3, aca = 4 };

struct ScsiCommand {  // 11.3
  bool immediate = false;
  bool final = true;  // no unsolicited Data-Out follows
  bool read = false;
  bool write = false;
  TaskAttribute attribute = TaskAttribute::simple;
  std::uint16_t ahs_length = 0;
  std::uint32_t data_length = 0;
  LunField lun{};
  std::uint32_t itt = 0;
  std::uint32_t expected_length = 0;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;
  std::array<std::byte, 16> cdb{};
  friend bool operator==(const ScsiCommand&, const ScsiCommand&) = default;
};

enum class ResponseCode : std::uint8_t { completed = 0, target_failure = 1 };

struct ScsiResponse {  // 11.4
  bool residual_underflow = false;
  bool residual_overflow = false;
  bool bidi_underflow = false;
  bool bidi_overflow = false;
  ResponseCode response = ResponseCode::completed;
  scsi::Status status = scsi::Status::good;
  std::uint32_t data_length = 0;  // 2 bytes of sense length, then the sense
  std::uint32_t itt = 0;
  std::uint32_t snack_tag = 0;
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  std::uint32_t exp_data_sn = 0;
  std::uint32_t bidi_residual = 0;
  std::uint32_t residual = 0;
  friend bool operator==(const ScsiResponse&, const ScsiResponse&) = default;
};

enum class TaskFunction : std::uint8_t {
  abort_task = 1,
  abort_task_set = 2,
  clear_aca = 3,
  clear_task_set = 4,
  logical_unit_reset = 5,
  target_warm_reset = 6,
  target_cold_reset = 7,
  task_reassign = 8,
};

struct TaskRequest {  // 11.5
  bool immediate = true;
  TaskFunction function = TaskFunction::abort_task;
  std::uint32_t data_length = 0;
  LunField lun{};
  std::uint32_t itt = 0;
  std::uint32_t referenced_tag = reserved_tag;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;
  std::uint32_t ref_cmd_sn = 0;
  std::uint32_t exp_data_sn = 0;
  friend bool operator==(const TaskRequest&, const TaskRequest&) = default;
};

enum class TaskResult : std::uint8_t {
  complete = 0,
  no_such_task = 1,
  no_such_lun = 2,
  still_allegiant = 3,
  reassign_not_supported = 4,
  not_supported = 5,
  authorization_failed = 6,
  rejected = 255,
};

struct TaskResponse {  // 11.6
  TaskResult result = TaskResult::complete;
  std::uint32_t data_length = 0;
  std::uint32_t itt = 0;
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  friend bool operator==(const TaskResponse&, const TaskResponse&) = default;
};

struct DataOut {  // 11.7
  bool final = false;
  std::uint32_t data_length = 0;
  LunField lun{};
  std::uint32_t itt = 0;
  std::uint32_t ttt = reserved_tag;
  std::uint32_t exp_stat_sn = 0;
  std::uint32_t data_sn = 0;
  std::uint32_t buffer_offset = 0;
  friend bool operator==(const DataOut&, const DataOut&) = default;
};

struct DataIn {  // 11.7
  bool final = false;
  bool acknowledge = false;
  bool residual_overflow = false;
  bool residual_underflow = false;
  bool has_status = false;  // status and stat_sn mean something; needs `final`
  scsi::Status status = scsi::Status::good;
  std::uint32_t data_length = 0;
  LunField lun{};
  std::uint32_t itt = 0;
  std::uint32_t ttt = reserved_tag;
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  std::uint32_t data_sn = 0;
  std::uint32_t buffer_offset = 0;
  std::uint32_t residual = 0;
  friend bool operator==(const DataIn&, const DataIn&) = default;
};

struct ReadyToTransfer {  // 11.8
  LunField lun{};
  std::uint32_t itt = 0;
  std::uint32_t ttt = 0;
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  std::uint32_t r2t_sn = 0;
  std::uint32_t buffer_offset = 0;
  std::uint32_t desired_length = 0;
  friend bool operator==(const ReadyToTransfer&, const ReadyToTransfer&) = default;
};

enum class AsyncEvent : std::uint8_t {
  scsi_event = 0,       // sense data in the data segment
  logout_request = 1,   // within parameter3 seconds
  connection_drop = 2,  // the target drops or will drop this connection
  session_drop = 3,
  negotiation_request = 4,
  task_termination = 5,
  vendor = 255,
};

struct AsyncMessage {  // 11.9
  AsyncEvent event = AsyncEvent::scsi_event;
  std::uint8_t vendor_code = 0;
  std::uint16_t parameter1 = 0;
  std::uint16_t parameter2 = 0;
  std::uint16_t parameter3 = 0;
  std::uint32_t data_length = 0;
  LunField lun{};
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  friend bool operator==(const AsyncMessage&, const AsyncMessage&) = default;
};

struct TextRequest {  // 11.10
  bool immediate = false;
  bool final = true;
  bool continued = false;
  std::uint32_t data_length = 0;
  LunField lun{};
  std::uint32_t itt = 0;
  std::uint32_t ttt = reserved_tag;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;
  friend bool operator==(const TextRequest&, const TextRequest&) = default;
};

struct TextResponse {  // 11.11
  bool final = true;
  bool continued = false;
  std::uint32_t data_length = 0;
  LunField lun{};
  std::uint32_t itt = 0;
  std::uint32_t ttt = reserved_tag;
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  friend bool operator==(const TextResponse&, const TextResponse&) = default;
};

enum class Stage : std::uint8_t { security = 0, operational = 1, full_feature = 3 };

struct LoginRequest {  // 11.12
  bool transit = false;
  bool continued = false;
  Stage current = Stage::security;
  Stage next = Stage::security;  // means something when `transit`
  std::uint8_t version_max = 0;
  std::uint8_t version_min = 0;
  std::uint32_t data_length = 0;
  Isid isid{};
  std::uint16_t tsih = 0;
  std::uint32_t itt = 0;
  std::uint16_t cid = 0;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;
  friend bool operator==(const LoginRequest&, const LoginRequest&) = default;
};

// Status class in the high byte, detail in the low one (11.13.5).
enum class LoginStatus : std::uint16_t {
  success = 0x0000,
  target_moved_temporarily = 0x0101,
  target_moved_permanently = 0x0102,
  initiator_error = 0x0200,
  authentication_failure = 0x0201,
  authorization_failure = 0x0202,
  not_found = 0x0203,
  target_removed = 0x0204,
  unsupported_version = 0x0205,
  too_many_connections = 0x0206,
  missing_parameter = 0x0207,
  cannot_include_in_session = 0x0208,
  session_type_not_supported = 0x0209,
  session_does_not_exist = 0x020a,
  invalid_during_login = 0x020b,
  target_error = 0x0300,
  service_unavailable = 0x0301,
  out_of_resources = 0x0302,
};
[[nodiscard]] constexpr std::uint8_t status_class(LoginStatus status) {
  return static_cast<std::uint16_t>(status) >> 8;
}
[[nodiscard]] const char* name(LoginStatus status);

struct LoginResponse {  // 11.13
  bool transit = false;
  bool continued = false;
  Stage current = Stage::security;
  Stage next = Stage::security;
  std::uint8_t version_max = 0;
  std::uint8_t version_active = 0;
  std::uint32_t data_length = 0;
  Isid isid{};
  std::uint16_t tsih = 0;
  std::uint32_t itt = 0;
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  LoginStatus status = LoginStatus::success;
  friend bool operator==(const LoginResponse&, const LoginResponse&) = default;
};

enum class LogoutReason : std::uint8_t { close_session = 0, close_connection = 1, remove_for_recovery = 2 };

struct LogoutRequest {  // 11.14
  bool immediate = true;
  LogoutReason reason = LogoutReason::close_session;
  std::uint32_t data_length = 0;
  std::uint32_t itt = 0;
  std::uint16_t cid = 0;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;
  friend bool operator==(const LogoutRequest&, const LogoutRequest&) = default;
};

enum class LogoutResult : std::uint8_t { closed = 0, no_such_cid = 1, recovery_not_supported = 2, cleanup_failed = 3 };

struct LogoutResponse {  // 11.15
  LogoutResult result = LogoutResult::closed;
  std::uint32_t data_length = 0;
  std::uint32_t itt = 0;
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  std::uint16_t time_to_wait = 0;
  std::uint16_t time_to_retain = 0;
  friend bool operator==(const LogoutResponse&, const LogoutResponse&) = default;
};

enum class SnackType : std::uint8_t { data_or_r2t = 0, status = 1, data_ack = 2, r_data = 3 };

struct SnackRequest {  // 11.16
  SnackType type = SnackType::data_or_r2t;
  std::uint32_t data_length = 0;
  LunField lun{};
  std::uint32_t itt = 0;
  std::uint32_t ttt = reserved_tag;
  std::uint32_t exp_stat_sn = 0;
  std::uint32_t begin_run = 0;
  std::uint32_t run_length = 0;
  friend bool operator==(const SnackRequest&, const SnackRequest&) = default;
};

enum class RejectReason : std::uint8_t {
  data_digest = 0x02,
  snack = 0x03,
  protocol_error = 0x04,
  command_not_supported = 0x05,
  too_many_immediate = 0x06,
  task_in_progress = 0x07,
  invalid_data_ack = 0x08,
  invalid_field = 0x09,
  out_of_resources = 0x0a,
  negotiation_reset = 0x0b,
  waiting_for_logout = 0x0c,
};
[[nodiscard]] const char* name(RejectReason reason);

struct Reject {  // 11.17; the data segment is the header of the rejected PDU
  RejectReason reason = RejectReason::protocol_error;
  std::uint32_t data_length = 0;
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  std::uint32_t data_sn = 0;
  friend bool operator==(const Reject&, const Reject&) = default;
};

struct NopOut {  // 11.18
  bool immediate = false;
  std::uint32_t data_length = 0;
  LunField lun{};
  std::uint32_t itt = reserved_tag;
  std::uint32_t ttt = reserved_tag;
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_stat_sn = 0;
  friend bool operator==(const NopOut&, const NopOut&) = default;
};

struct NopIn {  // 11.19
  std::uint32_t data_length = 0;
  LunField lun{};
  std::uint32_t itt = reserved_tag;
  std::uint32_t ttt = reserved_tag;
  std::uint32_t stat_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  friend bool operator==(const NopIn&, const NopIn&) = default;
};

void encode(const ScsiCommand& pdu, BhsOut out);
void encode(const ScsiResponse& pdu, BhsOut out);
void encode(const TaskRequest& pdu, BhsOut out);
void encode(const TaskResponse& pdu, BhsOut out);
void encode(const DataOut& pdu, BhsOut out);
void encode(const DataIn& pdu, BhsOut out);
void encode(const ReadyToTransfer& pdu, BhsOut out);
void encode(const AsyncMessage& pdu, BhsOut out);
void encode(const TextRequest& pdu, BhsOut out);
void encode(const TextResponse& pdu, BhsOut out);
void encode(const LoginRequest& pdu, BhsOut out);
void encode(const LoginResponse& pdu, BhsOut out);
void encode(const LogoutRequest& pdu, BhsOut out);
void encode(const LogoutResponse& pdu, BhsOut out);
void encode(const SnackRequest& pdu, BhsOut out);
void encode(const Reject& pdu, BhsOut out);
void encode(const NopOut& pdu, BhsOut out);
void encode(const NopIn& pdu, BhsOut out);

// Each fails with bad_opcode for another kind of PDU, and with bad_field where the RFC forbids a combination that
// nobody could act upon (reserved login stages, transit with continuation, status without final, both residuals at
// once). Enumerations may hold numbers without a name.
[[nodiscard]] Result<ScsiCommand> decode_scsi_command(Bhs bhs);
[[nodiscard]] Result<ScsiResponse> decode_scsi_response(Bhs bhs);
[[nodiscard]] Result<TaskRequest> decode_task_request(Bhs bhs);
[[nodiscard]] Result<TaskResponse> decode_task_response(Bhs bhs);
[[nodiscard]] Result<DataOut> decode_data_out(Bhs bhs);
[[nodiscard]] Result<DataIn> decode_data_in(Bhs bhs);
[[nodiscard]] Result<ReadyToTransfer> decode_ready_to_transfer(Bhs bhs);
[[nodiscard]] Result<AsyncMessage> decode_async_message(Bhs bhs);
[[nodiscard]] Result<TextRequest> decode_text_request(Bhs bhs);
[[nodiscard]] Result<TextResponse> decode_text_response(Bhs bhs);
[[nodiscard]] Result<LoginRequest> decode_login_request(Bhs bhs);
[[nodiscard]] Result<LoginResponse> decode_login_response(Bhs bhs);
[[nodiscard]] Result<LogoutRequest> decode_logout_request(Bhs bhs);
[[nodiscard]] Result<LogoutResponse> decode_logout_response(Bhs bhs);
[[nodiscard]] Result<SnackRequest> decode_snack_request(Bhs bhs);
[[nodiscard]] Result<Reject> decode_reject(Bhs bhs);
[[nodiscard]] Result<NopOut> decode_nop_out(Bhs bhs);
[[nodiscard]] Result<NopIn> decode_nop_in(Bhs bhs);

// Data segment of a SCSI response: the sense between its length and what the target may add. Empty when there is none;
// cut to what is there when the length lies.
[[nodiscard]] std::span<const std::byte> response_sense(std::span<const std::byte> data_segment);

}  // namespace mpath::iscsi
