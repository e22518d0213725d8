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
