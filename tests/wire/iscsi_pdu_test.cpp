#include "wire/iscsi_pdu.hpp"

#include <gtest/gtest.h>

#include <random>

#include "tests/wire/hex.hpp"
#include "wire/crc32c.hpp"
#include "wire/error.hpp"

namespace mpath::iscsi {
namespace {

using test::hex;
using test::to_hex;
using Header = std::array<std::byte, bhs_bytes>;

constexpr LunField lun{std::byte{0}, std::byte{7}};
constexpr Isid isid{0x40, 0x01, 0x02, 0x03, 0x04, 0x05};

template <typename Pdu>
std::string encoded(const Pdu& pdu) {
  Header header;
  header.fill(std::byte{0xee});  // every byte must be written
  encode(pdu, header);
  return to_hex(header);
}

// The PDU stands for exactly these bytes, and they for it; no other decoder takes them.
template <typename Pdu>
void expect_bytes(const Pdu& pdu, Result<Pdu> (*decode)(Bhs), const std::string& bytes) {
  const std::string wanted = to_hex(hex(bytes));
  EXPECT_EQ(encoded(pdu), wanted);
  Header header{};
  const auto raw = hex(bytes);
  ASSERT_EQ(raw.size(), bhs_bytes);
  std::ranges::copy(raw, header.begin());
  const auto decoded = decode(header);
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(*decoded == pdu);
  header[0] ^= std::byte{0x3f};
  EXPECT_EQ(decode(header).error(), WireErrc::bad_opcode);
}

TEST(IscsiPdu, ScsiCommand) {
  expect_bytes(
      ScsiCommand{.final = false,
                  .write = true,
                  .attribute = TaskAttribute::ordered,
                  .ahs_length = 8,
                  .data_length = 0x001000,
                  .lun = lun,
                  .itt = 0x11,
                  .expected_length = 0x2000,
                  .cmd_sn = 0x22,
                  .exp_stat_sn = 0x33,
                  .cdb = {std::byte{0x2a}, std::byte{0}, std::byte{1}}},
      decode_scsi_command,
      "01220000 02001000 0007000000000000 00000011 00002000 00000022 00000033 2a000100 00000000 00000000 00000000");
}

TEST(IscsiPdu, ScsiResponse) {
  expect_bytes(
      ScsiResponse{.residual_underflow = true,
                   .bidi_overflow = true,
                   .response = ResponseCode::target_failure,
                   .status = scsi::Status::check_condition,
                   .data_length = 20,
                   .itt = 1,
                   .snack_tag = 2,
                   .stat_sn = 3,
                   .exp_cmd_sn = 4,
                   .max_cmd_sn = 5,
                   .exp_data_sn = 6,
                   .bidi_residual = 7,
                   .residual = 8},
      decode_scsi_response,
      "21920102 00000014 0000000000000000 00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008");
}

TEST(IscsiPdu, TaskRequest) {
  expect_bytes(
      TaskRequest{.immediate = true,
                  .function = TaskFunction::logical_unit_reset,
                  .lun = lun,
                  .itt = 1,
                  .referenced_tag = 2,
                  .cmd_sn = 3,
                  .exp_stat_sn = 4,
                  .ref_cmd_sn = 5,
                  .exp_data_sn = 6},
      decode_task_request,
      "42850000 00000000 0007000000000000 00000001 00000002 00000003 00000004 00000005 00000006 00000000 00000000");
}

TEST(IscsiPdu, TaskResponse) {
  expect_bytes(
      TaskResponse{.result = TaskResult::no_such_lun, .itt = 1, .stat_sn = 2, .exp_cmd_sn = 3, .max_cmd_sn = 4},
      decode_task_response,
      "22800200 00000000 0000000000000000 00000001 00000000 00000002 00000003 00000004 00000000 00000000 00000000");
}

TEST(IscsiPdu, DataOut) {
  expect_bytes(
      DataOut{.final = true,
              .data_length = 512,
              .lun = lun,
              .itt = 1,
              .ttt = 2,
              .exp_stat_sn = 3,
              .data_sn = 4,
              .buffer_offset = 5},
      decode_data_out,
      "05800000 00000200 0007000000000000 00000001 00000002 00000000 00000003 00000000 00000004 00000005 00000000");
}

TEST(IscsiPdu, DataIn) {
  expect_bytes(
      DataIn{.final = true,
             .acknowledge = true,
             .residual_underflow = true,
             .has_status = true,
             .status = scsi::Status::good,
             .data_length = 512,
             .lun = lun,
             .itt = 1,
             .ttt = reserved_tag,
             .stat_sn = 2,
             .exp_cmd_sn = 3,
             .max_cmd_sn = 4,
             .data_sn = 5,
             .buffer_offset = 6,
             .residual = 7},
      decode_data_in,
      "25c30000 00000200 0007000000000000 00000001 ffffffff 00000002 00000003 00000004 00000005 00000006 00000007");
}

TEST(IscsiPdu, ReadyToTransfer) {
  expect_bytes(
      ReadyToTransfer{.lun = lun,
                      .itt = 1,
                      .ttt = 2,
                      .stat_sn = 3,
                      .exp_cmd_sn = 4,
                      .max_cmd_sn = 5,
                      .r2t_sn = 6,
                      .buffer_offset = 7,
                      .desired_length = 8},
      decode_ready_to_transfer,
      "31800000 00000000 0007000000000000 00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008");
}

TEST(IscsiPdu, AsyncMessage) {
  expect_bytes(
      AsyncMessage{.event = AsyncEvent::connection_drop,
                   .vendor_code = 9,
                   .parameter1 = 1,
                   .parameter2 = 2,
                   .parameter3 = 3,
                   .lun = lun,
                   .stat_sn = 4,
                   .exp_cmd_sn = 5,
                   .max_cmd_sn = 6},
      decode_async_message,
      "32800000 00000000 0007000000000000 ffffffff 00000000 00000004 00000005 00000006 02090001 00020003 00000000");
}

TEST(IscsiPdu, TextRequest) {
  expect_bytes(
      TextRequest{.immediate = true,
                  .final = false,
                  .continued = true,
                  .data_length = 16,
                  .lun = lun,
                  .itt = 1,
                  .ttt = 2,
                  .cmd_sn = 3,
                  .exp_stat_sn = 4},
      decode_text_request,
      "44400000 00000010 0007000000000000 00000001 00000002 00000003 00000004 00000000 00000000 00000000 00000000");
}

TEST(IscsiPdu, TextResponse) {
  expect_bytes(
      TextResponse{.data_length = 16, .itt = 1, .stat_sn = 2, .exp_cmd_sn = 3, .max_cmd_sn = 4}, decode_text_response,
      "24800000 00000010 0000000000000000 00000001 ffffffff 00000002 00000003 00000004 00000000 00000000 00000000");
}

TEST(IscsiPdu, LoginRequest) {
  expect_bytes(
      LoginRequest{.transit = true,
                   .current = Stage::operational,
                   .next = Stage::full_feature,
                   .version_max = 1,
                   .data_length = 0x123,
                   .isid = isid,
                   .tsih = 0x0607,
                   .itt = 1,
                   .cid = 2,
                   .cmd_sn = 3,
                   .exp_stat_sn = 4},
      decode_login_request,
      "43870100 00000123 4001020304050607 00000001 00020000 00000003 00000004 00000000 00000000 00000000 00000000");
}

TEST(IscsiPdu, LoginResponse) {
  expect_bytes(
      LoginResponse{.transit = true,
                    .current = Stage::security,
                    .next = Stage::operational,
                    .data_length = 8,
                    .isid = isid,
                    .tsih = 1,
                    .itt = 2,
                    .stat_sn = 3,
                    .exp_cmd_sn = 4,
                    .max_cmd_sn = 5,
                    .status = LoginStatus::success},
      decode_login_response,
      "23810000 00000008 4001020304050001 00000002 00000000 00000003 00000004 00000005 00000000 00000000 00000000");
}

TEST(IscsiPdu, LogoutRequest) {
  expect_bytes(
      LogoutRequest{.reason = LogoutReason::close_connection, .itt = 1, .cid = 2, .cmd_sn = 3, .exp_stat_sn = 4},
      decode_logout_request,
      "46810000 00000000 0000000000000000 00000001 00020000 00000003 00000004 00000000 00000000 00000000 00000000");
}

TEST(IscsiPdu, LogoutResponse) {
  expect_bytes(
      LogoutResponse{.result = LogoutResult::cleanup_failed,
                     .itt = 1,
                     .stat_sn = 2,
                     .exp_cmd_sn = 3,
                     .max_cmd_sn = 4,
                     .time_to_wait = 5,
                     .time_to_retain = 6},
      decode_logout_response,
      "26800300 00000000 0000000000000000 00000001 00000000 00000002 00000003 00000004 00000000 00050006 00000000");
}

TEST(IscsiPdu, SnackRequest) {
  expect_bytes(
      SnackRequest{
          .type = SnackType::status, .lun = lun, .itt = 1, .ttt = 2, .exp_stat_sn = 3, .begin_run = 4, .run_length = 5},
      decode_snack_request,
      "10810000 00000000 0007000000000000 00000001 00000002 00000000 00000003 00000000 00000000 00000004 00000005");
}

TEST(IscsiPdu, Reject) {
  expect_bytes(
      Reject{.reason = RejectReason::protocol_error,
             .data_length = 48,
             .stat_sn = 1,
             .exp_cmd_sn = 2,
             .max_cmd_sn = 3,
             .data_sn = 4},
      decode_reject,
      "3f800400 00000030 0000000000000000 ffffffff 00000000 00000001 00000002 00000003 00000004 00000000 00000000");
}

TEST(IscsiPdu, NopOut) {
  expect_bytes(
      NopOut{.immediate = true, .lun = lun, .itt = 1, .ttt = 2, .cmd_sn = 3, .exp_stat_sn = 4}, decode_nop_out,
      "40800000 00000000 0007000000000000 00000001 00000002 00000003 00000004 00000000 00000000 00000000 00000000");
}

TEST(IscsiPdu, NopIn) {
  expect_bytes(
      NopIn{.data_length = 4, .lun = lun, .itt = 1, .ttt = 2, .stat_sn = 3, .exp_cmd_sn = 4, .max_cmd_sn = 5},
      decode_nop_in,
      "20800000 00000004 0007000000000000 00000001 00000002 00000003 00000004 00000005 00000000 00000000 00000000");
}

TEST(IscsiPdu, EveryHeaderOfRandomBytesIsTakenOrRefused) {
  std::mt19937 random(7143);
  for (int round = 0; round < 20000; ++round) {
    Header header;
    for (std::byte& byte : header) byte = static_cast<std::byte>(random());
    const auto head = decode_head(header);
    if (!head) continue;
    EXPECT_LE(head->data_length, limits::data_segment_max);
    EXPECT_LE(head->ahs_length, limits::ahs_bytes_max);
    static_cast<void>(decode_login_request(header));
    static_cast<void>(decode_data_in(header));
  }
}

struct BadHeader {
  const char* name;
  const char* first;  // the first bytes of the header
  bool (*refused)(Bhs);
};
class BadHeaders : public testing::TestWithParam<BadHeader> {};

TEST_P(BadHeaders, AreRefused) {
  Header header{};
  std::ranges::copy(hex(GetParam().first), header.begin());
  EXPECT_TRUE(GetParam().refused(header));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadHeaders,
    testing::Values(BadHeader{"login_transit_and_continue", "43c7", [](Bhs b) { return !decode_login_request(b); }},
                    BadHeader{"login_reserved_stage", "4308", [](Bhs b) { return !decode_login_request(b); }},
                    BadHeader{"login_reserved_next_stage", "4386", [](Bhs b) { return !decode_login_request(b); }},
                    BadHeader{"login_backwards", "4384", [](Bhs b) { return !decode_login_request(b); }},
                    BadHeader{"login_from_full_feature", "430c", [](Bhs b) { return !decode_login_request(b); }},
                    BadHeader{"login_response_reserved_stage", "2308", [](Bhs b) { return !decode_login_response(b); }},
                    BadHeader{"data_in_status_without_final", "2501", [](Bhs b) { return !decode_data_in(b); }},
                    BadHeader{"data_in_both_residuals", "2587", [](Bhs b) { return !decode_data_in(b); }},
                    BadHeader{"response_both_residuals", "2186", [](Bhs b) { return !decode_scsi_response(b); }},
                    BadHeader{"text_final_and_continue", "04c0", [](Bhs b) { return !decode_text_request(b); }},
                    BadHeader{"unknown_opcode", "3e80", [](Bhs b) { return !decode_head(b); }}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(LoginResponse, RefusalsAreUnderstoodWhateverTheFlags) {
  Header header{};
  header[0] = std::byte{0x23};
  header[1] = std::byte{0x08};
  header[36] = std::byte{0x02};
  header[37] = std::byte{0x01};
  const auto decoded = decode_login_response(header);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->status, LoginStatus::authentication_failure);
  EXPECT_EQ(status_class(decoded->status), 2);
}

TEST(PduLayout, CountsAhsPaddingAndDigests) {
  const Head empty{};
  EXPECT_EQ(pdu_layout(empty, false, false), (Layout{48, 48, 48}));
  EXPECT_EQ(pdu_layout(empty, true, true), (Layout{48, 52, 52}));
  const Head full{.ahs_length = 8, .data_length = 5};
  EXPECT_EQ(pdu_layout(full, false, false), (Layout{56, 56, 64}));
  EXPECT_EQ(pdu_layout(full, true, true), (Layout{56, 60, 72}));
}

TEST(SerialNumbers, Wrap) {
  EXPECT_TRUE(sn_before(1, 2));
  EXPECT_TRUE(sn_before(0xffffffff, 0));
  EXPECT_FALSE(sn_before(0, 0xffffffff));
  EXPECT_FALSE(sn_before(5, 5));
}

TEST(ResponseSense, IsCutToWhatIsThere) {
  test::at_every_length(hex("0004 70000500"), [](std::span<const std::byte> part) {
    EXPECT_EQ(response_sense(part).size(), part.size() < 2 ? 0 : std::min<std::size_t>(part.size() - 2, 4));
  });
  EXPECT_EQ(response_sense(hex("ffff 7000")).size(), 2U);
}

struct CrcRow {
  const char* name;
  std::string bytes;
  std::uint32_t crc;
};
class Crc32cTable : public testing::TestWithParam<CrcRow> {};

// RFC 7143 has these in appendix A.4, in wire order.
TEST_P(Crc32cTable, MatchesTheStandard) {
  const auto bytes = hex(GetParam().bytes);
  EXPECT_EQ(crc32c(bytes), GetParam().crc);
  Crc32c parts;
  parts.add(std::span(bytes).first(7));
  parts.add({});
  parts.add(std::span(bytes).subspan(7));
  EXPECT_EQ(parts.value(), GetParam().crc);
}

std::string counted(int first, int step) {
  std::string text;
  for (int i = 0; i < 32; ++i) {
    const std::byte byte{static_cast<unsigned char>(first + i * step)};
    text += to_hex(std::span(&byte, 1));
  }
  return text;
}
INSTANTIATE_TEST_SUITE_P(All, Crc32cTable,
                         testing::Values(CrcRow{"zeroes", std::string(64, '0'), 0x8a9136aa},
                                         CrcRow{"ones", std::string(64, 'f'), 0x62a8ab43},
                                         CrcRow{"up", counted(0, 1), 0x46dd794e},
                                         CrcRow{"down", counted(31, -1), 0x113fdb5c}),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace mpath::iscsi
