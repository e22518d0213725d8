#include "wire/iscsi_pdu.hpp"

#include <algorithm>
#include <utility>

#include "base/bytes.hpp"
#include "wire/error.hpp"

namespace mpath::iscsi {
namespace {

constexpr std::uint8_t opcode_mask = 0x3f;
constexpr std::uint8_t immediate_bit = 0x40;
constexpr std::uint8_t final_bit = 0x80;  // also transit in login
constexpr std::uint8_t continue_bit = 0x40;

// SCSI command
constexpr std::uint8_t read_bit = 0x40;
constexpr std::uint8_t write_bit = 0x20;
constexpr std::uint8_t attribute_mask = 0x07;
// SCSI response and Data-In
constexpr std::uint8_t bidi_overflow_bit = 0x10;
constexpr std::uint8_t bidi_underflow_bit = 0x08;
constexpr std::uint8_t overflow_bit = 0x04;
constexpr std::uint8_t underflow_bit = 0x02;
constexpr std::uint8_t acknowledge_bit = 0x40;
constexpr std::uint8_t status_bit = 0x01;
constexpr std::uint8_t low7_mask = 0x7f;
constexpr std::uint8_t snack_type_mask = 0x0f;

constexpr std::uint8_t flag(bool set, std::uint8_t bit) {
  return set ? bit : std::uint8_t{0};
}

// The first 16 bytes, which all PDUs share but for what is in flags, byte 2, byte 3 and the LUN.
struct Front {
  std::uint8_t first = 0;
  std::uint8_t flags = 0;
  std::uint8_t byte2 = 0;
  std::uint8_t byte3 = 0;
  std::uint8_t ahs_words = 0;
  std::uint32_t data_length = 0;
  LunField lun{};

  [[nodiscard]] bool is(Opcode opcode) const { return (first & opcode_mask) == std::to_underlying(opcode); }
  [[nodiscard]] bool immediate() const { return (first & immediate_bit) != 0; }
  [[nodiscard]] bool has(std::uint8_t bit) const { return (flags & bit) != 0; }
};

Front read_front(Reader& r) {
  Front front{
      .first = r.u8(), .flags = r.u8(), .byte2 = r.u8(), .byte3 = r.u8(), .ahs_words = r.u8(), .data_length = r.u24()};
  r.copy_to(front.lun);
  return front;
}

void write_front(Writer& w, Opcode opcode, bool immediate, const Front& front) {
  w.u8(static_cast<std::uint8_t>(std::to_underlying(opcode) | flag(immediate, immediate_bit)));
  w.u8(front.flags);
  w.u8(front.byte2);
  w.u8(front.byte3);
  w.u8(front.ahs_words);
  w.u24(front.data_length);
  w.bytes(front.lun);
}

// Reserved bytes up to the end of the header.
void finish(Writer& w) {
  w.skip(w.remaining());
}

Stage current_stage(std::uint8_t flags) {
  return static_cast<Stage>(flags >> 2 & 3);
}
Stage next_stage(std::uint8_t flags) {
  return static_cast<Stage>(flags & 3);
}
bool is_stage(Stage stage) {
  switch (stage) {
    case Stage::security:
    case Stage::operational:
    case Stage::full_feature:
      return true;
  }
  return false;
}
std::uint8_t login_flags(bool transit, bool continued, Stage current, Stage next) {
  return static_cast<std::uint8_t>(flag(transit, final_bit) | flag(continued, continue_bit) |
                                   std::to_underlying(current) << 2 | (transit ? std::to_underlying(next) : 0));
}
// Fills the four members that login requests and responses share; false when the RFC forbids the combination.
template <typename Login>
bool read_login_flags(std::uint8_t flags, Login& pdu) {
  pdu.transit = (flags & final_bit) != 0;
  pdu.continued = (flags & continue_bit) != 0;
  pdu.current = current_stage(flags);
  if (pdu.transit) pdu.next = next_stage(flags);
  if (pdu.transit && pdu.continued) return false;
  if (!is_stage(pdu.current) || pdu.current == Stage::full_feature) return false;
  return !pdu.transit || (is_stage(pdu.next) && pdu.next > pdu.current);
}

// ISID and TSIH stand where other PDUs have the LUN.
LunField isid_field(const Isid& isid, std::uint16_t tsih) {
  LunField field{};
  Writer w(field);
  w.bytes(std::as_bytes(std::span(isid)));
  w.u16(tsih);
  return field;
}
template <typename Login>
void read_isid_field(const LunField& field, Login& pdu) {
  Reader r(field);
  for (std::uint8_t& byte : pdu.isid) byte = r.u8();
  pdu.tsih = r.u16();
}

}  // namespace

Result<Head> decode_head(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  const auto opcode = static_cast<Opcode>(front.first & opcode_mask);
  switch (opcode) {
    case Opcode::nop_out:
    case Opcode::scsi_command:
    case Opcode::task_request:
    case Opcode::login_request:
    case Opcode::text_request:
    case Opcode::data_out:
    case Opcode::logout_request:
    case Opcode::snack_request:
    case Opcode::nop_in:
    case Opcode::scsi_response:
    case Opcode::task_response:
    case Opcode::login_response:
    case Opcode::text_response:
    case Opcode::data_in:
    case Opcode::logout_response:
    case Opcode::ready_to_transfer:
    case Opcode::async_message:
    case Opcode::reject:
      return Head{.opcode = opcode,
                  .immediate = front.immediate(),
                  .ahs_length = static_cast<std::uint16_t>(front.ahs_words * 4),
                  .data_length = front.data_length,
                  .itt = r.u32()};
  }
  return failure(WireErrc::bad_opcode);
}

void encode(const ScsiCommand& pdu, BhsOut out) {
  Writer w(out);
  const auto flags = flag(pdu.final, final_bit) | flag(pdu.read, read_bit) | flag(pdu.write, write_bit) |
                     (std::to_underlying(pdu.attribute) & attribute_mask);
  write_front(w, Opcode::scsi_command, pdu.immediate,
              {.flags = static_cast<std::uint8_t>(flags),
               .ahs_words = static_cast<std::uint8_t>(pdu.ahs_length / 4),
               .data_length = pdu.data_length,
               .lun = pdu.lun});
  w.u32(pdu.itt);
  w.u32(pdu.expected_length);
  w.u32(pdu.cmd_sn);
  w.u32(pdu.exp_stat_sn);
  w.bytes(pdu.cdb);
}

Result<ScsiCommand> decode_scsi_command(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::scsi_command)) return failure(WireErrc::bad_opcode);
  ScsiCommand pdu{.immediate = front.immediate(),
                  .final = front.has(final_bit),
                  .read = front.has(read_bit),
                  .write = front.has(write_bit),
                  .attribute = static_cast<TaskAttribute>(front.flags & attribute_mask),
                  .ahs_length = static_cast<std::uint16_t>(front.ahs_words * 4),
                  .data_length = front.data_length,
                  .lun = front.lun,
                  .itt = r.u32(),
                  .expected_length = r.u32(),
                  .cmd_sn = r.u32(),
                  .exp_stat_sn = r.u32()};
  r.copy_to(pdu.cdb);
  return pdu;
}

void encode(const ScsiResponse& pdu, BhsOut out) {
  Writer w(out);
  const auto flags = final_bit | flag(pdu.bidi_overflow, bidi_overflow_bit) |
                     flag(pdu.bidi_underflow, bidi_underflow_bit) | flag(pdu.residual_overflow, overflow_bit) |
                     flag(pdu.residual_underflow, underflow_bit);
  write_front(w, Opcode::scsi_response, false,
              {.flags = static_cast<std::uint8_t>(flags),
               .byte2 = std::to_underlying(pdu.response),
               .byte3 = std::to_underlying(pdu.status),
               .data_length = pdu.data_length});
  w.u32(pdu.itt);
  w.u32(pdu.snack_tag);
  w.u32(pdu.stat_sn);
  w.u32(pdu.exp_cmd_sn);
  w.u32(pdu.max_cmd_sn);
  w.u32(pdu.exp_data_sn);
  w.u32(pdu.bidi_residual);
  w.u32(pdu.residual);
}

Result<ScsiResponse> decode_scsi_response(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::scsi_response)) return failure(WireErrc::bad_opcode);
  if (front.has(overflow_bit) && front.has(underflow_bit)) return failure(WireErrc::bad_field);
  if (front.has(bidi_overflow_bit) && front.has(bidi_underflow_bit)) return failure(WireErrc::bad_field);
  return ScsiResponse{.residual_underflow = front.has(underflow_bit),
                      .residual_overflow = front.has(overflow_bit),
                      .bidi_underflow = front.has(bidi_underflow_bit),
                      .bidi_overflow = front.has(bidi_overflow_bit),
                      .response = static_cast<ResponseCode>(front.byte2),
                      .status = static_cast<scsi::Status>(front.byte3),
                      .data_length = front.data_length,
                      .itt = r.u32(),
                      .snack_tag = r.u32(),
                      .stat_sn = r.u32(),
                      .exp_cmd_sn = r.u32(),
                      .max_cmd_sn = r.u32(),
                      .exp_data_sn = r.u32(),
                      .bidi_residual = r.u32(),
                      .residual = r.u32()};
}

void encode(const TaskRequest& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::task_request, pdu.immediate,
              {.flags = static_cast<std::uint8_t>(final_bit | std::to_underlying(pdu.function)),
               .data_length = pdu.data_length,
               .lun = pdu.lun});
  w.u32(pdu.itt);
  w.u32(pdu.referenced_tag);
  w.u32(pdu.cmd_sn);
  w.u32(pdu.exp_stat_sn);
  w.u32(pdu.ref_cmd_sn);
  w.u32(pdu.exp_data_sn);
  finish(w);
}

Result<TaskRequest> decode_task_request(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::task_request)) return failure(WireErrc::bad_opcode);
  return TaskRequest{.immediate = front.immediate(),
                     .function = static_cast<TaskFunction>(front.flags & low7_mask),
                     .data_length = front.data_length,
                     .lun = front.lun,
                     .itt = r.u32(),
                     .referenced_tag = r.u32(),
                     .cmd_sn = r.u32(),
                     .exp_stat_sn = r.u32(),
                     .ref_cmd_sn = r.u32(),
                     .exp_data_sn = r.u32()};
}

void encode(const TaskResponse& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::task_response, false,
              {.flags = final_bit, .byte2 = std::to_underlying(pdu.result), .data_length = pdu.data_length});
  w.u32(pdu.itt);
  w.skip(4);
  w.u32(pdu.stat_sn);
  w.u32(pdu.exp_cmd_sn);
  w.u32(pdu.max_cmd_sn);
  finish(w);
}

Result<TaskResponse> decode_task_response(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::task_response)) return failure(WireErrc::bad_opcode);
  TaskResponse pdu{.result = static_cast<TaskResult>(front.byte2), .data_length = front.data_length, .itt = r.u32()};
  r.skip(4);
  pdu.stat_sn = r.u32();
  pdu.exp_cmd_sn = r.u32();
  pdu.max_cmd_sn = r.u32();
  return pdu;
}

void encode(const DataOut& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::data_out, false,
              {.flags = flag(pdu.final, final_bit), .data_length = pdu.data_length, .lun = pdu.lun});
  w.u32(pdu.itt);
  w.u32(pdu.ttt);
  w.skip(4);
  w.u32(pdu.exp_stat_sn);
  w.skip(4);
  w.u32(pdu.data_sn);
  w.u32(pdu.buffer_offset);
  finish(w);
}

Result<DataOut> decode_data_out(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::data_out)) return failure(WireErrc::bad_opcode);
  DataOut pdu{.final = front.has(final_bit),
              .data_length = front.data_length,
              .lun = front.lun,
              .itt = r.u32(),
              .ttt = r.u32()};
  r.skip(4);
  pdu.exp_stat_sn = r.u32();
  r.skip(4);
  pdu.data_sn = r.u32();
  pdu.buffer_offset = r.u32();
  return pdu;
}

void encode(const DataIn& pdu, BhsOut out) {
  Writer w(out);
  const auto flags = flag(pdu.final, final_bit) | flag(pdu.acknowledge, acknowledge_bit) |
                     flag(pdu.residual_overflow, overflow_bit) | flag(pdu.residual_underflow, underflow_bit) |
                     flag(pdu.has_status, status_bit);
  write_front(w, Opcode::data_in, false,
              {.flags = static_cast<std::uint8_t>(flags),
               .byte3 = std::to_underlying(pdu.status),
               .data_length = pdu.data_length,
               .lun = pdu.lun});
  w.u32(pdu.itt);
  w.u32(pdu.ttt);
  w.u32(pdu.stat_sn);
  w.u32(pdu.exp_cmd_sn);
  w.u32(pdu.max_cmd_sn);
  w.u32(pdu.data_sn);
  w.u32(pdu.buffer_offset);
  w.u32(pdu.residual);
}

Result<DataIn> decode_data_in(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::data_in)) return failure(WireErrc::bad_opcode);
  if (front.has(status_bit) && !front.has(final_bit)) return failure(WireErrc::bad_field);
  if (front.has(overflow_bit) && front.has(underflow_bit)) return failure(WireErrc::bad_field);
  return DataIn{.final = front.has(final_bit),
                .acknowledge = front.has(acknowledge_bit),
                .residual_overflow = front.has(overflow_bit),
                .residual_underflow = front.has(underflow_bit),
                .has_status = front.has(status_bit),
                .status = static_cast<scsi::Status>(front.byte3),
                .data_length = front.data_length,
                .lun = front.lun,
                .itt = r.u32(),
                .ttt = r.u32(),
                .stat_sn = r.u32(),
                .exp_cmd_sn = r.u32(),
                .max_cmd_sn = r.u32(),
                .data_sn = r.u32(),
                .buffer_offset = r.u32(),
                .residual = r.u32()};
}

void encode(const ReadyToTransfer& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::ready_to_transfer, false, {.flags = final_bit, .lun = pdu.lun});
  w.u32(pdu.itt);
  w.u32(pdu.ttt);
  w.u32(pdu.stat_sn);
  w.u32(pdu.exp_cmd_sn);
  w.u32(pdu.max_cmd_sn);
  w.u32(pdu.r2t_sn);
  w.u32(pdu.buffer_offset);
  w.u32(pdu.desired_length);
}

Result<ReadyToTransfer> decode_ready_to_transfer(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::ready_to_transfer)) return failure(WireErrc::bad_opcode);
  return ReadyToTransfer{.lun = front.lun,
                         .itt = r.u32(),
                         .ttt = r.u32(),
                         .stat_sn = r.u32(),
                         .exp_cmd_sn = r.u32(),
                         .max_cmd_sn = r.u32(),
                         .r2t_sn = r.u32(),
                         .buffer_offset = r.u32(),
                         .desired_length = r.u32()};
}

void encode(const AsyncMessage& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::async_message, false, {.flags = final_bit, .data_length = pdu.data_length, .lun = pdu.lun});
  w.u32(reserved_tag);
  w.skip(4);
  w.u32(pdu.stat_sn);
  w.u32(pdu.exp_cmd_sn);
  w.u32(pdu.max_cmd_sn);
  w.u8(std::to_underlying(pdu.event));
  w.u8(pdu.vendor_code);
  w.u16(pdu.parameter1);
  w.u16(pdu.parameter2);
  w.u16(pdu.parameter3);
  finish(w);
}

Result<AsyncMessage> decode_async_message(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::async_message)) return failure(WireErrc::bad_opcode);
  AsyncMessage pdu{.data_length = front.data_length, .lun = front.lun};
  r.skip(8);
  pdu.stat_sn = r.u32();
  pdu.exp_cmd_sn = r.u32();
  pdu.max_cmd_sn = r.u32();
  pdu.event = static_cast<AsyncEvent>(r.u8());
  pdu.vendor_code = r.u8();
  pdu.parameter1 = r.u16();
  pdu.parameter2 = r.u16();
  pdu.parameter3 = r.u16();
  return pdu;
}

void encode(const TextRequest& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::text_request, pdu.immediate,
              {.flags = static_cast<std::uint8_t>(flag(pdu.final, final_bit) | flag(pdu.continued, continue_bit)),
               .data_length = pdu.data_length,
               .lun = pdu.lun});
  w.u32(pdu.itt);
  w.u32(pdu.ttt);
  w.u32(pdu.cmd_sn);
  w.u32(pdu.exp_stat_sn);
  finish(w);
}

Result<TextRequest> decode_text_request(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::text_request)) return failure(WireErrc::bad_opcode);
  if (front.has(final_bit) && front.has(continue_bit)) return failure(WireErrc::bad_field);
  return TextRequest{.immediate = front.immediate(),
                     .final = front.has(final_bit),
                     .continued = front.has(continue_bit),
                     .data_length = front.data_length,
                     .lun = front.lun,
                     .itt = r.u32(),
                     .ttt = r.u32(),
                     .cmd_sn = r.u32(),
                     .exp_stat_sn = r.u32()};
}

void encode(const TextResponse& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::text_response, false,
              {.flags = static_cast<std::uint8_t>(flag(pdu.final, final_bit) | flag(pdu.continued, continue_bit)),
               .data_length = pdu.data_length,
               .lun = pdu.lun});
  w.u32(pdu.itt);
  w.u32(pdu.ttt);
  w.u32(pdu.stat_sn);
  w.u32(pdu.exp_cmd_sn);
  w.u32(pdu.max_cmd_sn);
  finish(w);
}

Result<TextResponse> decode_text_response(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::text_response)) return failure(WireErrc::bad_opcode);
  if (front.has(final_bit) && front.has(continue_bit)) return failure(WireErrc::bad_field);
  return TextResponse{.final = front.has(final_bit),
                      .continued = front.has(continue_bit),
                      .data_length = front.data_length,
                      .lun = front.lun,
                      .itt = r.u32(),
                      .ttt = r.u32(),
                      .stat_sn = r.u32(),
                      .exp_cmd_sn = r.u32(),
                      .max_cmd_sn = r.u32()};
}

void encode(const LoginRequest& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::login_request, true,
              {.flags = login_flags(pdu.transit, pdu.continued, pdu.current, pdu.next),
               .byte2 = pdu.version_max,
               .byte3 = pdu.version_min,
               .data_length = pdu.data_length,
               .lun = isid_field(pdu.isid, pdu.tsih)});
  w.u32(pdu.itt);
  w.u16(pdu.cid);
  w.skip(2);
  w.u32(pdu.cmd_sn);
  w.u32(pdu.exp_stat_sn);
  finish(w);
}

Result<LoginRequest> decode_login_request(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::login_request)) return failure(WireErrc::bad_opcode);
  LoginRequest pdu{.version_max = front.byte2, .version_min = front.byte3, .data_length = front.data_length};
  if (!read_login_flags(front.flags, pdu)) return failure(WireErrc::bad_field);
  read_isid_field(front.lun, pdu);
  pdu.itt = r.u32();
  pdu.cid = r.u16();
  r.skip(2);
  pdu.cmd_sn = r.u32();
  pdu.exp_stat_sn = r.u32();
  return pdu;
}

void encode(const LoginResponse& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::login_response, false,
              {.flags = login_flags(pdu.transit, pdu.continued, pdu.current, pdu.next),
               .byte2 = pdu.version_max,
               .byte3 = pdu.version_active,
               .data_length = pdu.data_length,
               .lun = isid_field(pdu.isid, pdu.tsih)});
  w.u32(pdu.itt);
  w.skip(4);
  w.u32(pdu.stat_sn);
  w.u32(pdu.exp_cmd_sn);
  w.u32(pdu.max_cmd_sn);
  w.u16(std::to_underlying(pdu.status));
  finish(w);
}

Result<LoginResponse> decode_login_response(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::login_response)) return failure(WireErrc::bad_opcode);
  LoginResponse pdu{.version_max = front.byte2, .version_active = front.byte3, .data_length = front.data_length};
  const bool sound = read_login_flags(front.flags, pdu);
  read_isid_field(front.lun, pdu);
  pdu.itt = r.u32();
  r.skip(4);
  pdu.stat_sn = r.u32();
  pdu.exp_cmd_sn = r.u32();
  pdu.max_cmd_sn = r.u32();
  pdu.status = static_cast<LoginStatus>(r.u16());
  // A refusal is understood whatever its flags say.
  if (!sound && status_class(pdu.status) == 0) return failure(WireErrc::bad_field);
  return pdu;
}

void encode(const LogoutRequest& pdu, BhsOut out) {
  Writer w(out);
  write_front(
      w, Opcode::logout_request, pdu.immediate,
      {.flags = static_cast<std::uint8_t>(final_bit | std::to_underlying(pdu.reason)), .data_length = pdu.data_length});
  w.u32(pdu.itt);
  w.u16(pdu.cid);
  w.skip(2);
  w.u32(pdu.cmd_sn);
  w.u32(pdu.exp_stat_sn);
  finish(w);
}

Result<LogoutRequest> decode_logout_request(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::logout_request)) return failure(WireErrc::bad_opcode);
  LogoutRequest pdu{.immediate = front.immediate(),
                    .reason = static_cast<LogoutReason>(front.flags & low7_mask),
                    .data_length = front.data_length,
                    .itt = r.u32(),
                    .cid = r.u16()};
  r.skip(2);
  pdu.cmd_sn = r.u32();
  pdu.exp_stat_sn = r.u32();
  return pdu;
}

void encode(const LogoutResponse& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::logout_response, false,
              {.flags = final_bit, .byte2 = std::to_underlying(pdu.result), .data_length = pdu.data_length});
  w.u32(pdu.itt);
  w.skip(4);
  w.u32(pdu.stat_sn);
  w.u32(pdu.exp_cmd_sn);
  w.u32(pdu.max_cmd_sn);
  w.skip(4);
  w.u16(pdu.time_to_wait);
  w.u16(pdu.time_to_retain);
  finish(w);
}

Result<LogoutResponse> decode_logout_response(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::logout_response)) return failure(WireErrc::bad_opcode);
  LogoutResponse pdu{
      .result = static_cast<LogoutResult>(front.byte2), .data_length = front.data_length, .itt = r.u32()};
  r.skip(4);
  pdu.stat_sn = r.u32();
  pdu.exp_cmd_sn = r.u32();
  pdu.max_cmd_sn = r.u32();
  r.skip(4);
  pdu.time_to_wait = r.u16();
  pdu.time_to_retain = r.u16();
  return pdu;
}

void encode(const SnackRequest& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::snack_request, false,
              {.flags = static_cast<std::uint8_t>(final_bit | (std::to_underlying(pdu.type) & snack_type_mask)),
               .data_length = pdu.data_length,
               .lun = pdu.lun});
  w.u32(pdu.itt);
  w.u32(pdu.ttt);
  w.skip(4);
  w.u32(pdu.exp_stat_sn);
  w.skip(8);
  w.u32(pdu.begin_run);
  w.u32(pdu.run_length);
}

Result<SnackRequest> decode_snack_request(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::snack_request)) return failure(WireErrc::bad_opcode);
  SnackRequest pdu{.type = static_cast<SnackType>(front.flags & snack_type_mask),
                   .data_length = front.data_length,
                   .lun = front.lun,
                   .itt = r.u32(),
                   .ttt = r.u32()};
  r.skip(4);
  pdu.exp_stat_sn = r.u32();
  r.skip(8);
  pdu.begin_run = r.u32();
  pdu.run_length = r.u32();
  return pdu;
}

void encode(const Reject& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::reject, false,
              {.flags = final_bit, .byte2 = std::to_underlying(pdu.reason), .data_length = pdu.data_length});
  w.u32(reserved_tag);
  w.skip(4);
  w.u32(pdu.stat_sn);
  w.u32(pdu.exp_cmd_sn);
  w.u32(pdu.max_cmd_sn);
  w.u32(pdu.data_sn);
  finish(w);
}

Result<Reject> decode_reject(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::reject)) return failure(WireErrc::bad_opcode);
  Reject pdu{.reason = static_cast<RejectReason>(front.byte2), .data_length = front.data_length};
  r.skip(8);
  pdu.stat_sn = r.u32();
  pdu.exp_cmd_sn = r.u32();
  pdu.max_cmd_sn = r.u32();
  pdu.data_sn = r.u32();
  return pdu;
}

void encode(const NopOut& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::nop_out, pdu.immediate, {.flags = final_bit, .data_length = pdu.data_length, .lun = pdu.lun});
  w.u32(pdu.itt);
  w.u32(pdu.ttt);
  w.u32(pdu.cmd_sn);
  w.u32(pdu.exp_stat_sn);
  finish(w);
}

Result<NopOut> decode_nop_out(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::nop_out)) return failure(WireErrc::bad_opcode);
  return NopOut{.immediate = front.immediate(),
                .data_length = front.data_length,
                .lun = front.lun,
                .itt = r.u32(),
                .ttt = r.u32(),
                .cmd_sn = r.u32(),
                .exp_stat_sn = r.u32()};
}

void encode(const NopIn& pdu, BhsOut out) {
  Writer w(out);
  write_front(w, Opcode::nop_in, false, {.flags = final_bit, .data_length = pdu.data_length, .lun = pdu.lun});
  w.u32(pdu.itt);
  w.u32(pdu.ttt);
  w.u32(pdu.stat_sn);
  w.u32(pdu.exp_cmd_sn);
  w.u32(pdu.max_cmd_sn);
  finish(w);
}

Result<NopIn> decode_nop_in(Bhs bhs) {
  Reader r(bhs);
  const Front front = read_front(r);
  if (!front.is(Opcode::nop_in)) return failure(WireErrc::bad_opcode);
  return NopIn{.data_length = front.data_length,
               .lun = front.lun,
               .itt = r.u32(),
               .ttt = r.u32(),
               .stat_sn = r.u32(),
               .exp_cmd_sn = r.u32(),
               .max_cmd_sn = r.u32()};
}

std::span<const std::byte> response_sense(std::span<const std::byte> data_segment) {
  Reader r(data_segment);
  const std::size_t length = r.u16();
  return r.bytes(std::min(length, r.remaining()));
}

const char* name(Opcode opcode) {
  switch (opcode) {
    case Opcode::nop_out:
      return "NOP-Out";
    case Opcode::scsi_command:
      return "SCSI Command";
    case Opcode::task_request:
      return "Task Management Request";
    case Opcode::login_request:
      return "Login Request";
    case Opcode::text_request:
      return "Text Request";
    case Opcode::data_out:
      return "Data-Out";
    case Opcode::logout_request:
      return "Logout Request";
    case Opcode::snack_request:
      return "SNACK Request";
    case Opcode::nop_in:
      return "NOP-In";
    case Opcode::scsi_response:
      return "SCSI Response";
    case Opcode::task_response:
      return "Task Management Response";
    case Opcode::login_response:
      return "Login Response";
    case Opcode::text_response:
      return "Text Response";
    case Opcode::data_in:
      return "Data-In";
    case Opcode::logout_response:
      return "Logout Response";
    case Opcode::ready_to_transfer:
      return "R2T";
    case Opcode::async_message:
      return "Asynchronous Message";
    case Opcode::reject:
      return "Reject";
  }
  return "unknown PDU";
}

const char* name(LoginStatus status) {
  switch (status) {
    case LoginStatus::success:
      return "success";
    case LoginStatus::target_moved_temporarily:
      return "target moved temporarily";
    case LoginStatus::target_moved_permanently:
      return "target moved permanently";
    case LoginStatus::initiator_error:
      return "initiator error";
    case LoginStatus::authentication_failure:
      return "authentication failure";
    case LoginStatus::authorization_failure:
      return "authorization failure";
    case LoginStatus::not_found:
      return "target not found";
    case LoginStatus::target_removed:
      return "target removed";
    case LoginStatus::unsupported_version:
      return "unsupported version";
    case LoginStatus::too_many_connections:
      return "too many connections";
    case LoginStatus::missing_parameter:
      return "missing parameter";
    case LoginStatus::cannot_include_in_session:
      return "cannot include in session";
    case LoginStatus::session_type_not_supported:
      return "session type not supported";
    case LoginStatus::session_does_not_exist:
      return "session does not exist";
    case LoginStatus::invalid_during_login:
      return "invalid during login";
    case LoginStatus::target_error:
      return "target error";
    case LoginStatus::service_unavailable:
      return "service unavailable";
    case LoginStatus::out_of_resources:
      return "out of resources";
  }
  switch (status_class(status)) {
    case 1:
      return "redirection";
    case 2:
      return "initiator error";
    case 3:
      return "target error";
  }
  return "unknown status";
}

const char* name(RejectReason reason) {
  switch (reason) {
    case RejectReason::data_digest:
      return "data digest error";
    case RejectReason::snack:
      return "SNACK reject";
    case RejectReason::protocol_error:
      return "protocol error";
    case RejectReason::command_not_supported:
      return "command not supported";
    case RejectReason::too_many_immediate:
      return "too many immediate commands";
    case RejectReason::task_in_progress:
      return "task in progress";
    case RejectReason::invalid_data_ack:
      return "invalid data ACK";
    case RejectReason::invalid_field:
      return "invalid PDU field";
    case RejectReason::out_of_resources:
      return "out of resources";
    case RejectReason::negotiation_reset:
      return "negotiation reset";
    case RejectReason::waiting_for_logout:
      return "waiting for logout";
  }
  return "unknown reason";
}

}  // namespace mpath::iscsi
