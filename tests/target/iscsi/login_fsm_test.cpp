#include "target/iscsi/login_fsm.hpp"

#include <gtest/gtest.h>

#include "tests/target/iscsi/login_script.hpp"

namespace mpath::target {
namespace {

using namespace test;

// ---- logins that succeed -------------------------------------------------------------------------------------------

TEST(Login, TakesOneRequestWhenNothingNeedsToBeAsked) {
  auto target = plain_target();
  target->alias = "the disk";
  target->window = 32;
  target->wishes = {.header_digests = "CRC32C,None", .receive_segment_max = 65536, .max_outstanding_r2t = 4};
  Conversation login(target);
  const Heard heard = login.say(
      last(std::string(names) + "InitiatorAlias=host\nSessionType=Normal\nHeaderDigest=CRC32C,None\nDataDigest=None\n"
                                "MaxRecvDataSegmentLength=131072\nMaxOutstandingR2T=2\nImmediateData=Yes\n"));
  ASSERT_TRUE(heard.admission);
  const Admission& admission = *heard.admission;
  EXPECT_EQ(admission.target, target);
  EXPECT_FALSE(admission.discovery);
  EXPECT_EQ(admission.portal_group, 7);
  EXPECT_EQ(admission.initiator_name, initiator_iqn);
  EXPECT_EQ(admission.initiator_alias, "host");
  EXPECT_EQ(admission.isid, (iscsi::Isid{0x80, 1, 2, 3, 4, 5}));
  EXPECT_EQ(admission.tsih, 0);
  EXPECT_EQ(admission.cid, 1);
  EXPECT_EQ(admission.user, "");
  EXPECT_EQ(admission.remote, "10.0.0.9:1234");
  EXPECT_EQ(admission.local, "10.0.0.1:3260");
  EXPECT_TRUE(admission.parameters.header_digest);
  EXPECT_FALSE(admission.parameters.data_digest);
  EXPECT_EQ(admission.parameters.send_segment_max, 131072U);
  EXPECT_EQ(admission.parameters.receive_segment_max, 65536U);
  EXPECT_EQ(admission.parameters.max_outstanding_r2t, 2U);

  const Heard answer = hear(login.fsm().admitted(5, std::nullopt));
  EXPECT_TRUE(answer.pdu.transit);
  EXPECT_EQ(answer.pdu.current, Stage::operational);
  EXPECT_EQ(answer.pdu.next, Stage::full_feature);
  EXPECT_EQ(answer.pdu.tsih, 5);
  EXPECT_EQ(answer.pdu.itt, 77U);
  EXPECT_EQ(answer.pdu.stat_sn, 1U);
  EXPECT_EQ(answer.pdu.exp_cmd_sn, 1000U);
  EXPECT_EQ(answer.pdu.max_cmd_sn, 1031U);
  EXPECT_EQ(answer.pdu.status, LoginStatus::success);
  EXPECT_EQ(answer.keys,
            "TargetPortalGroupTag=7\nTargetAlias=the disk\nHeaderDigest=CRC32C\nDataDigest=None\nMaxOutstandingR2T=2\n"
            "ImmediateData=Yes\nMaxRecvDataSegmentLength=65536\n");
  EXPECT_EQ(login.fsm().stat_sn(), 2U);
  EXPECT_EQ(login.fsm().cmd_sn(), 1000U);
}

TEST(Login, GoesThroughBothStages) {
  Conversation login;
  Heard heard = login.say(security_to(Stage::operational, std::string(names) + "AuthMethod=CHAP,None\n"));
  EXPECT_TRUE(heard.going_on());
  EXPECT_TRUE(heard.pdu.transit);
  EXPECT_EQ(heard.pdu.current, Stage::security);
  EXPECT_EQ(heard.pdu.next, Stage::operational);
  EXPECT_EQ(heard.keys, "TargetPortalGroupTag=7\nAuthMethod=None\n");
  EXPECT_EQ(heard.pdu.stat_sn, 1U);
  EXPECT_EQ(heard.pdu.tsih, 0);

  heard = login.say(operational("MaxBurstLength=65536\n"));
  EXPECT_TRUE(heard.going_on());
  EXPECT_FALSE(heard.pdu.transit);
  EXPECT_EQ(heard.keys, "MaxBurstLength=65536\nMaxRecvDataSegmentLength=262144\n");
  EXPECT_EQ(heard.pdu.stat_sn, 2U);

  heard = login.say(last(""));
  ASSERT_TRUE(heard.admission);
  EXPECT_EQ(heard.admission->parameters.max_burst, 65536U);
  EXPECT_EQ(heard.admission->parameters.first_burst, 65536U);
  heard = hear(login.fsm().admitted(9, std::nullopt));
  EXPECT_EQ(heard.keys, "");  // all was said
  EXPECT_EQ(heard.pdu.stat_sn, 3U);
}

TEST(Login, MayGoStraightFromSecurityToFullFeaturePhase) {
  Conversation login;
  const Heard heard = login.say(security_to(Stage::full_feature, std::string(names) + "AuthMethod=None\n"));
  ASSERT_TRUE(heard.admission);
  EXPECT_EQ(heard.admission->parameters.receive_segment_max, 262144U);
  EXPECT_EQ(heard.admission->parameters.send_segment_max, 8192U);
  EXPECT_EQ(hear(login.fsm().admitted(1, std::nullopt)).keys,
            "TargetPortalGroupTag=7\nAuthMethod=None\nMaxRecvDataSegmentLength=262144\n");
}

TEST(Login, MayLeaveTheSecurityStageWithoutAWordAboutIt) {
  Conversation login;
  EXPECT_TRUE(login.say(security_to(Stage::operational, names)).pdu.transit);
  EXPECT_TRUE(login.say(last("")).admission);
}

TEST(Login, OfADiscoverySessionNeedsNoTarget) {
  Conversation login;
  Heard heard = login.say(last(std::string(discovery) + "MaxConnections=4\nHeaderDigest=None\nErrorRecoveryLevel=2\n"));
  ASSERT_TRUE(heard.admission);
  EXPECT_TRUE(heard.admission->discovery);
  EXPECT_EQ(heard.admission->target, nullptr);
  heard = hear(login.fsm().admitted(3, std::nullopt));
  EXPECT_TRUE(heard.has("MaxConnections=Irrelevant"));
  EXPECT_TRUE(heard.has("HeaderDigest=None"));
  EXPECT_TRUE(heard.has("ErrorRecoveryLevel=0"));
  EXPECT_EQ(heard.value("TargetPortalGroupTag"), "");
  EXPECT_EQ(heard.pdu.max_cmd_sn, 1000 + discovery_window - 1);
}

TEST(Login, AnswersKeysThatItDoesNotKnow) {
  Conversation login;
  const Heard heard =
      login.say(operational(std::string(names) + "X-org.example.colour=red\nColour=blue\nIFMarker=Yes\n"));
  EXPECT_TRUE(heard.has("X-org.example.colour=NotUnderstood"));
  EXPECT_TRUE(heard.has("Colour=NotUnderstood"));
  EXPECT_TRUE(heard.has("IFMarker=No"));
  EXPECT_TRUE(login.say(last("")).admission);
}

TEST(Login, AnswersRejectToValuesThatAKeyCannotHave) {
  Conversation login;
  EXPECT_TRUE(login.say(operational(std::string(names) + "MaxConnections=0\n")).has("MaxConnections=Reject"));
}

TEST(Login, BothSidesAgreeOnTheSame) {
  auto target = plain_target();
  target->wishes = {.header_digests = "CRC32C,None",
                    .max_connections = 8,
                    .initial_r2t = true,
                    .max_burst = 1 << 20,
                    .first_burst = 1 << 18,
                    .time2wait = 5,
                    .max_outstanding_r2t = 8,
                    .error_recovery_level = 1};
  iscsi::Negotiation initiator(iscsi::Side::initiator, {.header_digests = "CRC32C",
                                                        .data_digests = "CRC32C,None",
                                                        .receive_segment_max = 4096,
                                                        .max_connections = 2,
                                                        .error_recovery_level = 2});
  iscsi::KeyValues pairs = initiator.offers();
  pairs.insert(pairs.begin(), {{"InitiatorName", initiator_iqn}, {"TargetName", target_iqn}});
  std::string lines;
  for (const auto& [key, value] : pairs) lines += key + "=" + value + "\n";
  Conversation login(target);
  const Heard heard = login.say(last(lines));
  ASSERT_TRUE(heard.admission);
  const Heard answer = hear(login.fsm().admitted(1, std::nullopt));
  const auto replies = iscsi::decode_text(text(answer.keys));
  ASSERT_TRUE(replies && initiator.take(*replies));
  iscsi::Parameters mirrored = heard.admission->parameters;
  std::swap(mirrored.receive_segment_max, mirrored.send_segment_max);
  EXPECT_TRUE(mirrored == initiator.finish());
  EXPECT_EQ(mirrored.error_recovery_level, 1U);
  EXPECT_EQ(mirrored.max_connections, 2U);
}

// ---- connections that join -----------------------------------------------------------------------------------------

TEST(Login, OfAConnectionThatJoinsNegotiatesNothingOfTheSession) {
  Conversation login;
  login.tsih = 42;
  Heard heard = login.say(operational(std::string(names) + "InitialR2T=No\nMaxConnections=4\nDataDigest=None\n"));
  EXPECT_TRUE(heard.has("InitialR2T=Irrelevant"));
  EXPECT_TRUE(heard.has("MaxConnections=Irrelevant"));
  EXPECT_TRUE(heard.has("DataDigest=None"));
  EXPECT_EQ(heard.pdu.tsih, 42);
  // The numbers of the session are not known yet: an initiator ignores such a pair.
  EXPECT_TRUE(iscsi::sn_before(heard.pdu.max_cmd_sn, heard.pdu.exp_cmd_sn - 1));
  heard = login.say(last(""));
  ASSERT_TRUE(heard.admission);
  EXPECT_EQ(heard.admission->tsih, 42);
  heard = hear(login.fsm().admitted(42, CommandNumbers{.expected = 990, .max = 1050}));
  EXPECT_EQ(heard.pdu.tsih, 42);
  EXPECT_EQ(heard.pdu.exp_cmd_sn, 990U);
  EXPECT_EQ(heard.pdu.max_cmd_sn, 1050U);
}

TEST(Login, TheRegistryMayRefuse) {
  for (const LoginStatus status : {LoginStatus::too_many_connections, LoginStatus::session_does_not_exist,
                                   LoginStatus::cannot_include_in_session, LoginStatus::out_of_resources}) {
    Conversation login;
    ASSERT_TRUE(login.say(last(names)).admission);
    const Heard heard = hear(login.fsm().refused(status, "said the registry"));
    EXPECT_TRUE(heard.refused);
    EXPECT_EQ(heard.pdu.status, status);
    EXPECT_FALSE(heard.pdu.transit);
    EXPECT_EQ(heard.keys, "");
  }
}

// ---- first requests that end it ------------------------------------------------------------------------------------

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

std::string with_names(const char* keys) {
  return std::string(names) + keys;
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
  target->redirect_to = {.host = "2001:db8::7", .port = 3261};
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

INSTANTIATE_TEST_SUITE_P(
    All, BadHeader,
    testing::Values(
        HeaderRow{"reserved_stage", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0x08}; }},
        HeaderRow{"full_feature_stage", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0x0c}; }},
        HeaderRow{"transit_and_continue", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0xc1}; }},
        HeaderRow{"transit_to_the_same", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0x80}; }},
        HeaderRow{"transit_to_reserved", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0x82}; }},
        HeaderRow{"another_stage", LoginStatus::initiator_error, [](auto bhs) { bhs[1] = std::byte{0x04}; }},
        HeaderRow{"another_version", LoginStatus::unsupported_version, [](auto bhs) { bhs[3] = std::byte{1}; }},
        HeaderRow{"a_wider_version", LoginStatus::initiator_error, [](auto bhs) { bhs[2] = std::byte{1}; }},
        HeaderRow{"additional_header", LoginStatus::initiator_error, [](auto bhs) { bhs[4] = std::byte{1}; }},
        HeaderRow{"one_byte_too_long", LoginStatus::initiator_error,
                  [](auto bhs) {
                    bhs[6] = std::byte{0x20};
                    bhs[7] = std::byte{0x01};
                  }},
        HeaderRow{"longest", LoginStatus::initiator_error,
                  [](auto bhs) { bhs[5] = bhs[6] = bhs[7] = std::byte{0xff}; }},
        HeaderRow{"another_isid", LoginStatus::initiator_error, [](auto bhs) { bhs[13] = std::byte{9}; }},
        HeaderRow{"another_tsih", LoginStatus::initiator_error, [](auto bhs) { bhs[15] = std::byte{9}; }},
        HeaderRow{"another_cid", LoginStatus::initiator_error, [](auto bhs) { bhs[21] = std::byte{9}; }},
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

// ---- requests and answers in parts ---------------------------------------------------------------------------------

TEST(Login, JoinsTheParts) {
  Conversation login;
  const std::string all = std::string(names) + "InitialR2T=No\n";
  for (std::size_t cut = 1; cut < all.size(); cut += 7) {
    Conversation parts;
    Heard heard = parts.say({.keys = all.substr(0, cut), .continued = true});
    EXPECT_TRUE(heard.going_on());
    EXPECT_EQ(heard.keys, "");
    EXPECT_FALSE(heard.pdu.transit || heard.pdu.continued);
    heard = parts.say(last(all.substr(cut)));
    ASSERT_TRUE(heard.admission) << cut;
    EXPECT_FALSE(heard.admission->parameters.initial_r2t);
  }
}

TEST(Login, AnEmptyPartIsRefused) {
  EXPECT_EQ(Conversation().say({.keys = "", .continued = true}).pdu.status, LoginStatus::initiator_error);
}

TEST(Login, PartsAreBoundedAltogether) {
  Conversation login;
  const std::string part(8192, 'x');
  Heard heard;
  unsigned parts = 0;
  do {
    heard = login.say({.keys = part, .continued = true});
    ++parts;
  } while (heard.going_on() && parts < 100);
  EXPECT_EQ(heard.pdu.status, LoginStatus::initiator_error);
  EXPECT_EQ(parts, iscsi::limits::login_text_bytes_max / part.size() + 1);
}

TEST(Login, LargeAnswersComeInParts) {
  Conversation login;
  std::string keys = names;
  std::string expected = "TargetPortalGroupTag=7\n";
  for (int i = 0; i < 100; ++i) {
    const std::string key = "X-org.example." + std::to_string(i);
    keys += key + "=1\n";
    expected += key + "=NotUnderstood\n";
  }
  ASSERT_TRUE(login.say(security_to(Stage::operational, std::string(names))).pdu.transit);
  Heard heard = login.say(last("MaxRecvDataSegmentLength=512\n" + keys.substr(std::string(names).size())));
  expected = expected.substr(expected.find('\n') + 1) + "MaxRecvDataSegmentLength=262144\n";
  std::string got;
  unsigned parts = 0;
  while (heard.going_on() && heard.pdu.continued) {
    ++parts;
    EXPECT_FALSE(heard.pdu.transit);
    EXPECT_EQ(heard.pdu.data_length, 512U);
    got += heard.keys;
    heard = login.say(last(""));
  }
  ASSERT_TRUE(heard.admission);
  got += hear(login.fsm().admitted(1, std::nullopt)).keys;
  EXPECT_EQ(got, expected);
  EXPECT_GE(parts, 5U);
}

TEST(Login, TextWhileAnAnswerIsFetchedIsRefused) {
  for (const bool continued : {false, true}) {
    Conversation login;
    std::string keys = std::string(names) + "MaxRecvDataSegmentLength=512\n";
    for (int i = 0; i < 50; ++i) keys += "X-org.example." + std::to_string(i) + "=1\n";
    ASSERT_TRUE(login.say(operational(keys)).pdu.continued);
    const Heard heard = login.say({.keys = continued ? "" : "InitialR2T=No\n", .continued = continued});
    EXPECT_EQ(heard.pdu.status, LoginStatus::initiator_error);
  }
}

TEST(Login, AnAnswerThatWouldGrowWithoutEndIsRefused) {
  Conversation login;
  std::string part;
  for (int i = 0; part.size() < 8000; ++i) part += std::string(1, static_cast<char>('a' + i % 26)) + "=\n";
  ASSERT_TRUE(login.say({.keys = names, .continued = true}).going_on());
  Heard heard;
  for (int i = 0; i < 6; ++i) heard = login.say({.keys = part, .continued = i < 5});
  EXPECT_EQ(heard.pdu.status, LoginStatus::initiator_error);
}

TEST(Login, EndsAfterTooManyRounds) {
  Conversation login;
  ASSERT_TRUE(login.say(operational(names)).going_on());
  unsigned rounds = 1;
  Heard heard;
  do {
    heard = login.say(operational(""));
    ++rounds;
  } while (heard.going_on() && rounds < 1000);
  EXPECT_EQ(heard.pdu.status, LoginStatus::initiator_error);
  EXPECT_EQ(rounds, iscsi::limits::login_rounds_max + 1);
}

TEST(Login, WhatWasAgreedIsNotNegotiatedAgain) {
  for (const char* again : {"InitialR2T=Yes\n", "MaxRecvDataSegmentLength=8192\n", "InitiatorName=iqn.x:other\n",
                            "TargetName=iqn.x:other\n", "SessionType=Discovery\n"}) {
    Conversation login;
    ASSERT_TRUE(login.say(operational(with_names("InitialR2T=No\nMaxRecvDataSegmentLength=4096\n"))).going_on());
    EXPECT_EQ(login.say(last(again)).pdu.status, LoginStatus::initiator_error) << again;
  }
}

}  // namespace
}  // namespace mpath::target
