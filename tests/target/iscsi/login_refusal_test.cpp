// Requests that end a login, each with the status that RFC 7143 names.
#include <gtest/gtest.h>

#include "target/iscsi/login_fsm.hpp"
#include "tests/target/iscsi/login_script.hpp"

namespace mpath::target {
namespace {

using namespace test;

struct FirstRow {
  const char* name;
  LoginStatus status;
  Say say;
  void (*change)(TargetView&) = nullptr;
};
class FirstRequest : public testing::TestWithParam<FirstRow> {};

TEST_P(FirstRequest, GetsTheStatusOfTheRfc) {
  auto target = plain_target();
  if (GetParam().change != nullptr) GetParam().change(*target);
  Conversation login(target);
  const Heard heard = login.say(GetParam().say);
  EXPECT_TRUE(heard.refused);
  EXPECT_EQ(heard.pdu.status, GetParam().status);
  EXPECT_EQ(heard.pdu.itt, 77U);
  EXPECT_EQ(heard.pdu.isid, (iscsi::Isid{0x80, 1, 2, 3, 4, 5}));
  EXPECT_FALSE(heard.pdu.transit);
}

INSTANTIATE_TEST_SUITE_P(
    All, FirstRequest,
    testing::Values(
        FirstRow{"nothing", LoginStatus::missing_parameter, last("")},
        FirstRow{"no_initiator", LoginStatus::missing_parameter, last("TargetName=iqn.2026-01.org.example:disk\n")},
        FirstRow{"no_target", LoginStatus::missing_parameter, last("InitiatorName=iqn.2026-01.org.example:host\n")},
        FirstRow{"no_initiator_in_discovery", LoginStatus::missing_parameter, last("SessionType=Discovery\n")},
        FirstRow{"initiator_that_is_no_name", LoginStatus::initiator_error,
                 last("InitiatorName=host\nTargetName=iqn.2026-01.org.example:disk\n")},
        FirstRow{"target_that_is_no_name", LoginStatus::not_found,
                 last("InitiatorName=iqn.2026-01.org.example:host\nTargetName=disk\n")},
        FirstRow{"another_target", LoginStatus::not_found,
                 last("InitiatorName=iqn.2026-01.org.example:host\nTargetName=iqn.2026-01.org.example:other\n")},
        FirstRow{"target_elsewhere", LoginStatus::not_found, last(names),
                 [](TargetView& view) { view.groups[0].portals[0].host = "10.0.0.2"; }},
        FirstRow{"target_at_another_port", LoginStatus::not_found, last(names),
                 [](TargetView& view) { view.groups[0].portals[0].port = 3261; }},
        FirstRow{"target_of_the_peer", LoginStatus::not_found, last(names),
                 [](TargetView& view) { view.groups[0].peer = true; }},
        FirstRow{"initiator_not_on_the_list", LoginStatus::authorization_failure, last(names),
                 [](TargetView& view) { view.access.initiators = {"iqn.2026-01.org.example:friend"}; }},
        FirstRow{"address_not_on_the_list", LoginStatus::authorization_failure, last(names),
                 [](TargetView& view) { view.access.addresses = {"10.1.0.0/16"}; }},
        FirstRow{"not_ready", LoginStatus::service_unavailable, last(names),
                 [](TargetView& view) { view.ready = false; }},
        FirstRow{"another_session_type", LoginStatus::session_type_not_supported,
                 last(with_names("SessionType=Boot\n"))},
        FirstRow{"name_twice", LoginStatus::initiator_error,
                 last(with_names("InitiatorName=iqn.2026-01.org.example:host\n"))},
        FirstRow{"key_twice", LoginStatus::initiator_error, last(with_names("InitialR2T=No\nInitialR2T=No\n"))},
        FirstRow{"declaration_of_the_target", LoginStatus::initiator_error, last(with_names("TargetAlias=disk\n"))},
        FirstRow{"impossible_declaration", LoginStatus::initiator_error,
                 last(with_names("MaxRecvDataSegmentLength=511\n"))},
        FirstRow{"key_of_full_feature_phase", LoginStatus::initiator_error, last(with_names("SendTargets=All\n"))},
        FirstRow{"operational_key_in_security", LoginStatus::initiator_error,
                 security(with_names("HeaderDigest=None\n"))},
        FirstRow{"security_key_in_operational", LoginStatus::initiator_error, last(with_names("AuthMethod=None\n"))},
        FirstRow{"no_text", LoginStatus::initiator_error, last("no key here\n")},
        FirstRow{"text_without_end", LoginStatus::initiator_error, last("InitiatorName=iqn.x")},
        FirstRow{"chap_only", LoginStatus::authentication_failure, security(with_names("AuthMethod=CHAP\n"))},
        FirstRow{"chap_out_of_the_blue", LoginStatus::authentication_failure, security(with_names("CHAP_A=5\n"))},
        FirstRow{"no_common_method", LoginStatus::authentication_failure,
                 security(with_names("AuthMethod=KRB5,SRP\n"))}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Login, IsRedirectedAsConfigured) {
  auto target = plain_target();
  target->redirect = Redirect::temporary;
  target->redirect_to = {.host = "2001:db8::7", .port = 3261, .portal_group = 2};
  Heard heard = Conversation(target).say(last(names));
  EXPECT_EQ(heard.pdu.status, LoginStatus::target_moved_temporarily);
  EXPECT_EQ(heard.keys, "TargetAddress=[2001:db8::7]:3261\n");
  target->redirect = Redirect::permanent;
  heard = Conversation(target).say(last(names));
  EXPECT_EQ(heard.pdu.status, LoginStatus::target_moved_permanently);
  EXPECT_EQ(heard.keys, "TargetAddress=[2001:db8::7]:3261\n");
}

TEST(Login, WhoIsNotAllowedIsNotToldWhereTheTargetWent) {
  auto target = plain_target();
  target->redirect = Redirect::permanent;
  target->access.addresses = {"10.1.0.0/16"};
  const Heard heard = Conversation(target).say(last(names));
  EXPECT_EQ(heard.pdu.status, LoginStatus::authorization_failure);
  EXPECT_EQ(heard.keys, "");
}

TEST(Login, OfAnotherVersionIsRefused) {
  iscsi::LoginRequest request = request_of(last(""));
  request.version_max = 3;
  request.version_min = 1;
  const Heard heard = Conversation().say(request, names);
  EXPECT_EQ(heard.pdu.status, LoginStatus::unsupported_version);
  EXPECT_EQ(heard.pdu.version_max, 0);
  EXPECT_EQ(heard.pdu.version_active, 0);
}

TEST(Login, TakesTheVersionItKnowsFromARange) {
  iscsi::LoginRequest request = request_of(last(""));
  request.version_max = 3;
  EXPECT_TRUE(Conversation().say(request, names).admission);
}

// ---- headers that are wrong, first or later ------------------------------------------------------------------------

struct HeaderRow {
  const char* name;
  LoginStatus status;
  void (*damage)(std::span<std::byte, iscsi::bhs_bytes>);
  bool alone = true;  // wrong whatever was before
};
class BadHeader : public testing::TestWithParam<HeaderRow> {};

std::vector<std::byte> damaged(const HeaderRow& row) {
  auto pdu = login_pdu(request_of(security("")), {});
  row.damage(std::span(pdu).first<iscsi::bhs_bytes>());
  return pdu;
}

TEST_P(BadHeader, EndsALoginThatHadBegun) {
  Conversation login;
  ASSERT_TRUE(login.say(security(names)).going_on());
  const Heard heard = login.say_bytes(damaged(GetParam()));
  EXPECT_TRUE(heard.refused);
  EXPECT_EQ(heard.pdu.status, GetParam().status);
  EXPECT_EQ(heard.pdu.itt, 77U);
}

TEST_P(BadHeader, EndsALoginThatHadNotBegun) {
  const Heard heard = Conversation().say_bytes(damaged(GetParam()));
  if (GetParam().status == LoginStatus::invalid_during_login) {
    EXPECT_TRUE(heard.hung_up);
  } else if (GetParam().alone) {
    EXPECT_TRUE(heard.refused);
    EXPECT_EQ(heard.pdu.status, GetParam().status);
  } else {  // wrong only by what was before
    EXPECT_EQ(heard.pdu.status, LoginStatus::missing_parameter);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, BadHeader,
    testing::Values(
        HeaderRow{"reserved_stage", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0x08}; }},
        HeaderRow{"full_feature_stage", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0x0c}; }},
        HeaderRow{"transit_and_continue", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0xc1}; }},
        HeaderRow{"transit_to_the_same", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0x80}; }},
        HeaderRow{"transit_to_reserved", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0x82}; }},
        HeaderRow{"another_stage", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0x04}; }, false},
        HeaderRow{"another_version", LoginStatus::unsupported_version, [](auto bhs) { bhs[3] = std::byte{1}; }},
        HeaderRow{"a_wider_version", LoginStatus::initiator_error, [](auto bhs) { bhs[2] = std::byte{1}; }, false},
        HeaderRow{"additional_header", LoginStatus::initiator_error, [](auto bhs) { bhs[4] = std::byte{1}; }},
        HeaderRow{"one_byte_too_long", LoginStatus::initiator_error,
                  [](auto bhs) {
                    bhs[6] = std::byte{0x20};
                    bhs[7] = std::byte{0x01};
                  }},
        HeaderRow{"longest", LoginStatus::initiator_error,
                  [](auto bhs) { bhs[5] = bhs[6] = bhs[7] = std::byte{0xff}; }},
        HeaderRow{"another_isid", LoginStatus::initiator_error, [](auto bhs) { bhs[13] = std::byte{9}; }, false},
        HeaderRow{"another_tsih", LoginStatus::initiator_error, [](auto bhs) { bhs[15] = std::byte{9}; }, false},
        HeaderRow{"another_cid", LoginStatus::initiator_error, [](auto bhs) { bhs[21] = std::byte{9}; }, false},
        HeaderRow{"nop_out", LoginStatus::invalid_during_login, [](auto bhs) { bhs[0] = std::byte{0x40}; }},
        HeaderRow{"scsi_command", LoginStatus::invalid_during_login, [](auto bhs) { bhs[0] = std::byte{0x01}; }},
        HeaderRow{"text_request", LoginStatus::invalid_during_login, [](auto bhs) { bhs[0] = std::byte{0x04}; }},
        HeaderRow{"logout", LoginStatus::invalid_during_login, [](auto bhs) { bhs[0] = std::byte{0x46}; }},
        HeaderRow{"login_response", LoginStatus::invalid_during_login, [](auto bhs) { bhs[0] = std::byte{0x23}; }},
        HeaderRow{"no_opcode_at_all", LoginStatus::invalid_during_login, [](auto bhs) { bhs[0] = std::byte{0x3e}; }}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Login, HangsUpOnWhatIsNoLoginFromTheStart) {
  for (const unsigned opcode : {0x00U, 0x40U, 0x01U, 0x41U, 0x04U, 0x46U, 0x23U, 0x3eU, 0x16U, 0x47U}) {
    auto pdu = login_pdu(request_of(last("")), {});
    pdu[0] = static_cast<std::byte>(opcode);
    EXPECT_TRUE(Conversation().say_bytes(pdu).hung_up) << opcode;
  }
}

}  // namespace
}  // namespace mpath::target
