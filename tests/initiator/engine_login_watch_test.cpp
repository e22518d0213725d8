// What the login watch lets pass and what it stops before the library sees it.
#include <gtest/gtest.h>

#include "initiator/login_watch.hpp"

namespace mpath::test {
namespace {

using namespace std::string_view_literals;

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

struct Pdu {
  std::array<std::byte, bhs::size> raw{};
  Pdu(bhs::Opcode opcode, std::uint8_t flags, std::uint16_t status = 0) {
    raw[0] = static_cast<std::byte>(opcode);
    raw[1] = static_cast<std::byte>(flags);
    raw[36] = static_cast<std::byte>(status >> 8);
    raw[37] = static_cast<std::byte>(status & 0xff);
  }
  [[nodiscard]] bhs::View view() const { return raw; }
};

constexpr std::uint8_t security = 0x00, security_to_operational = 0x81, operational_to_full = 0x87, operational = 0x04;

class LoginWatchTest : public testing::Test {
 protected:
  LoginStep step(LoginWatch& watch, std::uint8_t asked, std::string_view sent, std::uint8_t answered, std::string_view keys,
                 std::uint16_t status = 0) {
    watch.on_request(Pdu(bhs::Opcode::login_request, asked).view(), bytes(sent));
    return watch.on_response(Pdu(bhs::Opcode::login_response, answered, status).view(), bytes(keys));
  }
  static SessionEnd end_of(const LoginStep& step) {
    const auto* const failure = std::get_if<SessionFailure>(&step);
    return failure != nullptr ? failure->end : SessionEnd::logged_out;
  }
};

TEST_F(LoginWatchTest, PlainLoginIsDone) {
  LoginWatch watch({});
  const LoginStep done = step(watch, operational_to_full, "InitiatorName=a\0"sv, operational_to_full,
                              "TargetPortalGroupTag=7\0HeaderDigest=None\0MaxRecvDataSegmentLength=65536\0"sv);
  ASSERT_TRUE(std::holds_alternative<LoginDone>(done));
  EXPECT_FALSE(std::get<LoginDone>(done).header_digest);
  EXPECT_EQ(watch.info().portal_group, 7);
  EXPECT_EQ(watch.info().max_xmit_data_segment_length, 65536U);
}

TEST_F(LoginWatchTest, ValuesThatWouldHurtTheLibraryAreRefused) {
  for (const std::string_view keys :
       {"MaxRecvDataSegmentLength=0\0"sv, "MaxRecvDataSegmentLength=511\0"sv, "MaxRecvDataSegmentLength=0x1000\0"sv,
        "MaxRecvDataSegmentLength=-1\0"sv, "MaxRecvDataSegmentLength=99999999\0"sv, "MaxBurstLength=1\0"sv,
        "FirstBurstLength=524288\0"sv, "MaxOutstandingR2T=8\0"sv, "InitialR2T=Maybe\0"sv, "HeaderDigest=CRC32C\0"sv,
        "DataDigest=CRC32C\0"sv, "ErrorRecoveryLevel=2\0"sv, "OFMarker=Yes\0"sv, "TargetPortalGroupTag=70000\0"sv, "no value\0"sv,
        "Unterminated=1"sv, "=1\0"sv}) {
    LoginWatch watch({});
    EXPECT_EQ(end_of(step(watch, operational_to_full, {}, operational_to_full, keys)), SessionEnd::protocol_error) << keys;
  }
}

// istgt answers so; in a session for commands it would be nonsense.
TEST_F(LoginWatchTest, KeysOfCommandsMayBeIrrelevantToADiscovery) {
  constexpr auto keys = "InitialR2T=Irrelevant\0ImmediateData=Irrelevant\0MaxBurstLength=Irrelevant\0FirstBurstLength=Irrelevant\0"
                        "MaxOutstandingR2T=Irrelevant\0MaxConnections=Irrelevant\0DataPDUInOrder=Irrelevant\0"sv;
  LoginWatch discovery({.discovery = true});
  EXPECT_TRUE(std::holds_alternative<LoginDone>(step(discovery, operational_to_full, {}, operational_to_full, keys)));
  LoginWatch normal({});
  EXPECT_EQ(end_of(step(normal, operational_to_full, {}, operational_to_full, keys)), SessionEnd::protocol_error);
  LoginWatch digest({.discovery = true});
  EXPECT_EQ(end_of(step(digest, operational_to_full, {}, operational_to_full, "HeaderDigest=Irrelevant\0"sv)),
            SessionEnd::protocol_error);
}

TEST_F(LoginWatchTest, StagesMustFollowTheRequest) {
  for (const std::uint8_t answer : {std::uint8_t{0x83}, std::uint8_t{0x85}, std::uint8_t{0x86}, std::uint8_t{0x44}}) {
    LoginWatch watch({});
    EXPECT_EQ(end_of(step(watch, operational_to_full, {}, answer, {})), SessionEnd::protocol_error) << int{answer};
  }
  LoginWatch watch({});
  EXPECT_EQ(end_of(step(watch, operational, {}, operational_to_full, {})), SessionEnd::protocol_error);
}

TEST_F(LoginWatchTest, StatusBecomesAReason) {
  struct Row {
    std::uint16_t status;
    SessionEnd end;
  };
  for (const Row& row : {Row{0x0201, SessionEnd::auth_failed}, {0x0202, SessionEnd::auth_failed},
                         {0x0203, SessionEnd::login_rejected}, {0x0206, SessionEnd::login_rejected},
                         {0x0301, SessionEnd::target_unavailable}, {0x0400, SessionEnd::protocol_error},
                         {0x0101, SessionEnd::redirect_failed}}) {
    LoginWatch watch({});
    EXPECT_EQ(end_of(step(watch, operational_to_full, {}, operational_to_full, {}, row.status)), row.end) << row.status;
  }
}

TEST_F(LoginWatchTest, RedirectNamesWhereTo) {
  LoginWatch watch({});
  const LoginStep to = step(watch, operational_to_full, {}, operational_to_full, "TargetAddress=[fe80::1]:3261,2\0"sv, 0x0101);
  ASSERT_TRUE(std::holds_alternative<LoginRedirect>(to));
  EXPECT_EQ(std::get<LoginRedirect>(to).address, "fe80::1");
  EXPECT_EQ(std::get<LoginRedirect>(to).port, 3261);
}

// One-way and mutual CHAP as they should go, then everything that skips a part of it.
TEST_F(LoginWatchTest, ChapCannotBeSkipped) {
  const LoginPolicy required{.chap_required = true};
  const LoginPolicy mutual{.mutual = true};
  constexpr auto ours = "CHAP_N=a\0CHAP_R=0x00\0CHAP_I=1\0CHAP_C=0x00\0"sv;
  {
    LoginWatch watch(mutual);
    EXPECT_EQ(end_of(step(watch, security, "AuthMethod=CHAP,None\0"sv, security, "AuthMethod=CHAP\0"sv)), SessionEnd::logged_out);
    EXPECT_EQ(end_of(step(watch, security, "CHAP_A=5\0"sv, security, "CHAP_A=5\0CHAP_I=7\0CHAP_C=0x0102\0"sv)), SessionEnd::logged_out);
    EXPECT_EQ(end_of(step(watch, security_to_operational, ours, security_to_operational, "CHAP_N=t\0CHAP_R=0x00\0"sv)), SessionEnd::logged_out);
    EXPECT_TRUE(std::holds_alternative<LoginDone>(step(watch, operational_to_full, {}, operational_to_full, {})));
  }
  for (const LoginPolicy& policy : {required, mutual}) {
    LoginWatch none(policy);
    EXPECT_EQ(end_of(step(none, security_to_operational, {}, security_to_operational, "AuthMethod=None\0"sv)), SessionEnd::auth_failed);
    LoginWatch silent(policy);
    EXPECT_EQ(end_of(step(silent, security_to_operational, {}, security_to_operational, {})), SessionEnd::auth_failed);
    // A proof before anything was asked proves nothing, whatever is in it.
    LoginWatch early(policy);
    EXPECT_EQ(end_of(step(early, security_to_operational, {}, security_to_operational, "AuthMethod=CHAP\0CHAP_N=t\0CHAP_R=0x00\0"sv)),
              SessionEnd::auth_failed);
    LoginWatch straight(policy);
    EXPECT_EQ(end_of(step(straight, operational_to_full, {}, operational_to_full, {})), SessionEnd::auth_failed);
  }
  LoginWatch one_way(mutual);
  EXPECT_EQ(end_of(step(one_way, security_to_operational, ours, security_to_operational, {})), SessionEnd::auth_failed);
}

TEST_F(LoginWatchTest, DigestsThatWereNotAgreedOn) {
  LoginWatch required({.header_digest = Digest::crc32c});
  EXPECT_EQ(end_of(step(required, operational_to_full, {}, operational_to_full, {})), SessionEnd::protocol_error);
  LoginWatch preferred({.header_digest = Digest::crc32c_preferred});
  const LoginStep quiet = step(preferred, operational_to_full, {}, operational_to_full, {});
  ASSERT_TRUE(std::holds_alternative<LoginDone>(quiet));
  EXPECT_TRUE(std::get<LoginDone>(quiet).digest_key_missing);
  EXPECT_FALSE(std::get<LoginDone>(quiet).header_digest);
}

TEST(PortalText, AllForms) {
  struct Row {
    std::string_view text;
    const char* address;
    int port;
    int tpgt;
  };
  for (const Row& row : {Row{"1.2.3.4", "1.2.3.4", 3260, -1}, {"1.2.3.4:99", "1.2.3.4", 99, -1}, {"1.2.3.4:99,5", "1.2.3.4", 99, 5},
                         {"[fe80::1%eth0]:99,5", "fe80::1%eth0", 99, 5}, {"[::1]", "::1", 3260, -1}, {"host.example,2", "host.example", 3260, 2}}) {
    const auto portal = parse_portal(row.text);
    ASSERT_TRUE(portal) << row.text;
    EXPECT_EQ(portal->address, row.address);
    EXPECT_EQ(portal->port, row.port);
    EXPECT_EQ(portal->tpgt, row.tpgt);
  }
  for (const std::string_view bad : {""sv, ":99"sv, "a:"sv, "a:0"sv, "a:70000"sv, "[::1"sv, "[::1]x"sv, "[]:1"sv, "a,b"sv, "a:1x"sv}) {
    EXPECT_FALSE(parse_portal(bad)) << bad;
  }
}

}  // namespace
}  // namespace mpath::test
