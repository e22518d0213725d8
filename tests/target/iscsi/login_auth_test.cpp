#include "target/iscsi/login_auth.hpp"

#include <gtest/gtest.h>

#include <utility>

#include "target/iscsi/login_lockout.hpp"
#include "tests/target/iscsi/login_script.hpp"

namespace mpath::target {
namespace {

using namespace test;
using iscsi::ChapAlgorithm;
using namespace std::chrono_literals;

Authentication one_way() {
  return {.incoming = {{.user = "ann", .secret = "the secret of ann"}, account}};
}
Authentication both_ways() {
  Authentication accounts = one_way();
  accounts.outgoing = own_account;
  return accounts;
}
std::shared_ptr<TargetView> guarded(Authentication accounts) {
  auto target = plain_target();
  target->authentication = std::move(accounts);
  return target;
}

// Up to the challenge.
Heard challenged(Conversation& login, const char* algorithms = "5", const char* who = names) {
  Heard heard = login.say(security(std::string(who) + "AuthMethod=CHAP,None\n"));
  EXPECT_TRUE(heard.has("AuthMethod=CHAP")) << heard.keys;
  heard = login.say(security("CHAP_A=" + std::string(algorithms) + "\n"));
  EXPECT_TRUE(heard.going_on());
  return heard;
}

std::string challenge_keys(std::string_view id, std::string_view challenge) {
  return "CHAP_I=" + std::string(id) + "\nCHAP_C=" + std::string(challenge) + "\n";
}

class EveryAlgorithm : public testing::TestWithParam<ChapAlgorithm> {};

TEST_P(EveryAlgorithm, LetsInWhoKnowsTheSecret) {
  Conversation login(guarded(one_way()));
  const auto number = std::to_string(std::to_underlying(GetParam()));
  const Heard challenge = challenged(login, number.c_str());
  EXPECT_EQ(challenge.value("CHAP_A"), number);
  Heard heard = login.say(security_to(Stage::operational, proof(GetParam(), challenge, account)));
  EXPECT_TRUE(heard.pdu.transit);
  EXPECT_EQ(heard.keys, "");
  EXPECT_TRUE(login.fsm().authenticated());
  heard = login.say(last(""));
  ASSERT_TRUE(heard.admission);
  EXPECT_EQ(heard.admission->user, "joe");
}

TEST_P(EveryAlgorithm, ProvesWhoWeAreWhenAsked) {
  Conversation login(guarded(both_ways()));
  const Heard challenge = challenged(login, std::to_string(std::to_underlying(GetParam())).c_str());
  const auto own = std::vector<std::byte>(20, std::byte{0x33});
  const Heard heard = login.say(security_to(
      Stage::full_feature, proof(GetParam(), challenge, account) + challenge_keys("200", iscsi::hex_constant(own))));
  ASSERT_TRUE(heard.admission);
  const Heard answer = hear(login.fsm().admitted(1, std::nullopt));
  EXPECT_EQ(answer.value("CHAP_N"), "disk");
  EXPECT_EQ(answer.value("CHAP_R"),
            iscsi::hex_constant(iscsi::chap_response(GetParam(), 200, own_account.secret, own)));
}

INSTANTIATE_TEST_SUITE_P(All, EveryAlgorithm,
                         testing::Values(ChapAlgorithm::md5, ChapAlgorithm::sha1, ChapAlgorithm::sha256,
                                         ChapAlgorithm::sha3_256));

TEST(LoginAuth, GuardsDiscoveryWithAccountsOfItsOwn) {
  Conversation login(plain_target(), one_way());
  const Heard challenge = challenged(login, "7", discovery);
  const Heard heard = login.say(security_to(Stage::full_feature, proof(ChapAlgorithm::sha256, challenge, account)));
  ASSERT_TRUE(heard.admission);
  EXPECT_TRUE(heard.admission->discovery);
  EXPECT_EQ(heard.admission->user, "joe");
  EXPECT_EQ(Conversation(plain_target(), one_way()).say(last(discovery)).pdu.status,
            LoginStatus::authentication_failure);
}

TEST(LoginAuth, AccountsOfDiscoveryAreNotThoseOfTargets) {
  EXPECT_TRUE(Conversation(plain_target(), one_way()).say(last(names)).admission);
  EXPECT_TRUE(Conversation(guarded(one_way())).say(last(discovery)).admission);
}

TEST(LoginAuth, TakesTheInitiatorsFirstAlgorithmThatIsAllowed) {
  Authentication accounts = one_way();
  accounts.algorithms = {ChapAlgorithm::sha3_256, ChapAlgorithm::sha1};
  Conversation login(guarded(accounts));
  EXPECT_EQ(challenged(login, "5,7,6,8").value("CHAP_A"), "6");
}

TEST(LoginAuth, TakesTheResponseInBase64) {
  Conversation login(guarded(one_way()));
  const Heard challenge = challenged(login);
  const auto bytes = iscsi::parse_binary(challenge.value("CHAP_C"), 1024);
  const auto id = iscsi::parse_number(challenge.value("CHAP_I"));
  const auto response =
      iscsi::chap_response(ChapAlgorithm::md5, static_cast<std::uint8_t>(*id), account.secret, *bytes);
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string base64;
  for (std::size_t i = 0; i < response.size(); i += 3) {
    unsigned bits = 0;
    for (std::size_t k = i; k < i + 3; ++k)
      bits = bits << 8 | (k < response.size() ? std::to_integer<unsigned>(response[k]) : 0);
    for (int shift = 18; shift >= 0; shift -= 6) base64 += digits[bits >> shift & 63];
  }
  base64.replace(base64.size() - 2, 2, "==");  // 16 bytes end in two digits of padding
  EXPECT_TRUE(login.say(security_to(Stage::full_feature, "CHAP_N=joe\nCHAP_R=0b" + base64 + "\n")).admission);
}

TEST(LoginAuth, DoesNotLeaveTheSecurityStageBeforeTheProof) {
  Conversation login(guarded(one_way()));
  Heard heard = login.say(security_to(Stage::full_feature, std::string(names) + "AuthMethod=CHAP\n"));
  EXPECT_TRUE(heard.going_on());
  EXPECT_FALSE(heard.pdu.transit);
  heard = login.say(security_to(Stage::operational, "CHAP_A=5\n"));
  EXPECT_TRUE(heard.going_on());
  EXPECT_FALSE(heard.pdu.transit);
  heard = login.say(security_to(Stage::full_feature, ""));
  EXPECT_TRUE(heard.going_on());
  EXPECT_FALSE(heard.pdu.transit);
  EXPECT_EQ(login.say(last("")).pdu.status, LoginStatus::initiator_error);  // of another stage
}

// Ends with a proof that is right but for what the row says.
struct WrongRow {
  const char* name;
  LoginStatus status;
  std::vector<std::string> says;  // after the names; "proof" stands for a right one
};
class WrongChap : public testing::TestWithParam<WrongRow> {};

TEST_P(WrongChap, IsRefused) {
  Conversation login(guarded(both_ways()));
  Heard heard;
  std::string keys = names;
  Heard challenge;
  for (const std::string& part : GetParam().says) {
    ASSERT_FALSE(heard.refused) << part << heard.keys;
    std::string words = part;
    if (const auto at = words.find("proof"); at != std::string::npos) {
      words.replace(at, 5, proof(ChapAlgorithm::md5, challenge, account));
    }
    if (const auto at = words.find("reflected"); at != std::string::npos) {
      words.replace(at, 9, challenge.value("CHAP_C"));
    }
    heard = login.say(security(keys + words));
    if (!heard.value("CHAP_C").empty()) challenge = heard;
    keys.clear();
  }
  EXPECT_TRUE(heard.refused);
  EXPECT_EQ(heard.pdu.status, GetParam().status);
  EXPECT_EQ(heard.keys, "");
}

constexpr auto no_entry = LoginStatus::authentication_failure;
constexpr auto bad = LoginStatus::initiator_error;

INSTANTIATE_TEST_SUITE_P(
    All, WrongChap,
    testing::Values(
        WrongRow{"only_none", no_entry, {"AuthMethod=None\n"}}, WrongRow{"kerberos", no_entry, {"AuthMethod=KRB5\n"}},
        WrongRow{"empty_list", bad, {"AuthMethod=\n"}},
        WrongRow{"method_twice", bad, {"AuthMethod=CHAP\nAuthMethod=CHAP\n"}},
        WrongRow{"method_again", bad, {"AuthMethod=CHAP\n", "AuthMethod=CHAP\n"}},
        WrongRow{"method_again_later", bad, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "AuthMethod=None\n"}},
        WrongRow{"algorithm_with_the_method", no_entry, {"AuthMethod=CHAP\nCHAP_A=5\n"}},
        WrongRow{"algorithm_before_the_method", no_entry, {"CHAP_A=5\n"}},
        WrongRow{"no_common_algorithm", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=4,9\n"}},
        WrongRow{"algorithm_that_is_no_number", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=MD5\n"}},
        WrongRow{"algorithm_twice", bad, {"AuthMethod=CHAP\n", "CHAP_A=5\nCHAP_A=6\n"}},
        WrongRow{"algorithm_again", bad, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "CHAP_A=5\n"}},
        WrongRow{"response_before_the_challenge", no_entry, {"AuthMethod=CHAP\n", "CHAP_N=joe\nCHAP_R=0x00\n"}},
        WrongRow{"response_with_the_algorithm", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=5\nCHAP_N=joe\nCHAP_R=0x00\n"}},
        WrongRow{"challenge_with_the_algorithm", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=5\nCHAP_I=1\nCHAP_C=0x33\n"}},
        WrongRow{"name_alone", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "CHAP_N=joe\n"}},
        WrongRow{"response_alone", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "CHAP_R=0x00\n"}},
        WrongRow{"wrong_response",
                 no_entry,
                 {"AuthMethod=CHAP\n", "CHAP_A=5\n", "CHAP_N=joe\nCHAP_R=0x00112233445566778899aabbccddeeff\n"}},
        WrongRow{"short_response", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "CHAP_N=joe\nCHAP_R=0x00\n"}},
        WrongRow{"oversized_response",
                 no_entry,
                 {"AuthMethod=CHAP\n", "CHAP_A=5\n", "CHAP_N=joe\nCHAP_R=0x" + std::string(4096, 'a') + "\n"}},
        WrongRow{
            "response_that_is_no_binary", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "CHAP_N=joe\nCHAP_R=hello\n"}},
        WrongRow{"empty_response", bad, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "CHAP_N=joe\nCHAP_R=\n"}},
        WrongRow{"proof_twice", bad, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "proofproof"}},
        WrongRow{"proof_again", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "proof", "CHAP_N=joe\nCHAP_R=0x00\n"}},
        WrongRow{"method_after_the_proof", bad, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "proof", "AuthMethod=CHAP\n"}},
        WrongRow{
            "reflected_challenge", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "proofCHAP_I=1\nCHAP_C=reflected\n"}},
        WrongRow{"challenge_without_id", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "proofCHAP_C=0x33\n"}},
        WrongRow{"id_without_challenge", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "proofCHAP_I=1\n"}},
        WrongRow{"id_too_large", no_entry, {"AuthMethod=CHAP\n", "CHAP_A=5\n", "proofCHAP_I=256\nCHAP_C=0x33\n"}},
        WrongRow{"challenge_too_long",
                 no_entry,
                 {"AuthMethod=CHAP\n", "CHAP_A=5\n", "proofCHAP_I=1\nCHAP_C=0x" + std::string(2050, '3') + "\n"}},
        WrongRow{"challenge_that_is_no_binary",
                 no_entry,
                 {"AuthMethod=CHAP\n", "CHAP_A=5\n", "proofCHAP_I=1\nCHAP_C=xyz\n"}}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(LoginAuth, MutualOnlyWhenConfigured) {
  Conversation login(guarded(one_way()));
  const Heard challenge = challenged(login);
  const Heard heard =
      login.say(security(proof(ChapAlgorithm::md5, challenge, account) + challenge_keys("1", "0x3333333333333333")));
  EXPECT_EQ(heard.pdu.status, LoginStatus::authentication_failure);
  EXPECT_EQ(heard.keys, "");
}

TEST(LoginAuth, AChallengeOfAnotherLoginIsRefusedToo) {
  IssuedChallenges issued;
  Conversation victim(guarded(both_ways()), {}, &issued);
  Conversation attacker(guarded(both_ways()), {}, &issued);
  const Heard wanted = challenged(victim);
  const Heard challenge = challenged(attacker);
  const Heard heard = attacker.say(security(proof(ChapAlgorithm::md5, challenge, account) +
                                            challenge_keys(wanted.value("CHAP_I"), wanted.value("CHAP_C"))));
  EXPECT_EQ(heard.pdu.status, LoginStatus::authentication_failure);
}

TEST(LoginAuth, DoesNotTellWhetherNameOrSecretWasWrong) {
  std::vector<std::vector<std::byte>> answers;
  for (const Account& who : {Account{"joe", "a wrong secret"}, Account{"nobody", account.secret},
                             Account{"ann", account.secret}, Account{"nobody", "nobody has this secret"}}) {
    Conversation login(guarded(one_way()));
    const Heard challenge = challenged(login);
    const auto pdu = login_pdu(request_of(security("")), text(proof(ChapAlgorithm::md5, challenge, who)));
    ASSERT_TRUE(
        std::holds_alternative<LoginFsm::NeedData>(login.fsm().begin(std::span(pdu).first<iscsi::bhs_bytes>())));
    const auto step = login.fsm().take(
        std::span(pdu).subspan(iscsi::bhs_bytes, text(proof(ChapAlgorithm::md5, challenge, who)).size()));
    const auto* refused = std::get_if<LoginFsm::Refuse>(&step);
    ASSERT_NE(refused, nullptr);
    EXPECT_EQ(refused->status, LoginStatus::authentication_failure);
    EXPECT_TRUE(login.fsm().proof_failed());
    answers.push_back(refused->pdu);
  }
  for (const auto& answer : answers) EXPECT_EQ(answer, answers[0]);
}

TEST(LoginAuth, LeavingTheSecurityStageOutIsNoWayIn) {
  EXPECT_EQ(Conversation(guarded(one_way())).say(last(names)).pdu.status, LoginStatus::authentication_failure);
  EXPECT_EQ(Conversation(guarded(one_way())).say(operational(names)).pdu.status, LoginStatus::authentication_failure);
  EXPECT_EQ(Conversation(guarded(one_way())).say(security_to(Stage::operational, names)).pdu.status,
            LoginStatus::authentication_failure);
}

TEST(LoginAuth, MayWaitWithItsOffer) {
  Conversation login(guarded(one_way()));
  EXPECT_TRUE(login.say(security(names)).going_on());
  EXPECT_TRUE(login.say(security("AuthMethod=CHAP\n")).has("AuthMethod=CHAP"));
}

// The whole conversation, with each of its requests replaced by each thing that can go wrong: it never ends in an
// admission, and it always ends.
TEST(LoginAuth, NoStepCanBeLeftOutOrReplaced) {
  using Damage = Heard (*)(Conversation&, const Say&);
  constexpr Damage damages[] = {
      [](Conversation& c, const Say& say) {  // not said: the next one comes in its place
        static_cast<void>(c);
        static_cast<void>(say);
        return Heard{};
      },
      [](Conversation& c, const Say& say) { return c.say({.stage = say.stage, .next = say.next}); },  // empty
      [](Conversation& c, const Say& say) {                                                           // twice
        const Heard heard = c.say(say);
        return heard.going_on() ? c.say(say) : heard;
      },
      [](Conversation& c, const Say& say) {  // cut off
        return c.say({.stage = say.stage, .next = say.next, .keys = say.keys.substr(0, say.keys.size() / 2)});
      },
      [](Conversation& c, const Say& say) {  // in the other stage
        const Stage other = say.stage == Stage::security ? Stage::operational : Stage::security;
        return c.say({.stage = other, .next = Stage::full_feature, .keys = say.keys});
      },
      [](Conversation& c, const Say&) {  // another PDU
        auto pdu = login_pdu(request_of(last("")), {});
        pdu[0] = std::byte{0x01};
        return c.say_bytes(pdu);
      },
  };
  constexpr std::size_t steps = 4;
  for (std::size_t d = 0; d < std::size(damages); ++d) {
    for (std::size_t failing = 0; failing <= steps; ++failing) {
      Conversation login(guarded(both_ways()));
      Heard heard;
      Heard challenge;
      bool ended = false;
      for (std::size_t step = 0; step < steps && !ended; ++step) {
        Say say;
        if (step == 0) say = security(std::string(names) + "AuthMethod=CHAP\n");
        if (step == 1) say = security("CHAP_A=5\n");
        if (step == 2) {
          say = security_to(Stage::operational, challenge.keys.empty() ? "CHAP_N=joe\nCHAP_R=0x00\n"
                                                                       : proof(ChapAlgorithm::md5, challenge, account));
        }
        if (step == 3) say = last("InitialR2T=No\n");
        heard = step == failing ? damages[d](login, say) : login.say(say);
        if (!heard.value("CHAP_C").empty()) challenge = heard;
        ended = heard.refused || heard.hung_up || heard.admission;
      }
      const bool untouched = failing == steps;
      const bool harmless = failing == 3 && (d == 1 || d == 2);  // nothing left to ask, and nothing comes after it
      EXPECT_EQ(heard.admission.has_value(), untouched || harmless) << "damage " << d << " at step " << failing;
      if (heard.admission) {
        EXPECT_TRUE(login.fsm().authenticated());
      }
    }
  }
}

TEST(IssuedChallenges, AreForgottenOldestFirst) {
  IssuedChallenges issued;
  std::vector<std::byte> first(4, std::byte{1});
  issued.remember(first);
  EXPECT_TRUE(issued.holds(first));
  for (std::size_t i = 0; i < IssuedChallenges::kept_max; ++i) {
    issued.remember(std::vector<std::byte>{std::byte{9}, static_cast<std::byte>(i), static_cast<std::byte>(i >> 8)});
  }
  EXPECT_FALSE(issued.holds(first));
}

class Lockout : public testing::Test {
 protected:
  LoginLockout lockout_{3, 30s};
  TimePoint now_{1h};
};

TEST_F(Lockout, ComesAfterSoManyFailuresInARow) {
  EXPECT_FALSE(lockout_.failed("a", "1", now_));
  EXPECT_FALSE(lockout_.failed("a", "1", now_));
  EXPECT_FALSE(lockout_.locked("a", "1", now_));
  EXPECT_TRUE(lockout_.failed("a", "1", now_));
  EXPECT_TRUE(lockout_.locked("a", "1", now_));
  EXPECT_FALSE(lockout_.locked("a", "2", now_));  // nobody locks out another machine
  EXPECT_FALSE(lockout_.locked("b", "1", now_));
  EXPECT_TRUE(lockout_.locked("a", "1", now_ + 29s));
  EXPECT_FALSE(lockout_.locked("a", "1", now_ + 30s));
}

TEST_F(Lockout, StartsAfreshAfterASuccessOrAPause) {
  static_cast<void>(lockout_.failed("a", "1", now_));
  static_cast<void>(lockout_.failed("a", "1", now_));
  lockout_.succeeded("a", "1");
  EXPECT_FALSE(lockout_.failed("a", "1", now_));
  EXPECT_FALSE(lockout_.failed("a", "1", now_));
  EXPECT_FALSE(lockout_.failed("a", "1", now_ + 31s));
  EXPECT_FALSE(lockout_.locked("a", "1", now_ + 31s));
}

TEST_F(Lockout, AnAddressThatTriesNamesIsLockedOutAsAWhole) {
  for (unsigned i = 0; i < 3 * LoginLockout::address_factor; ++i) {
    EXPECT_FALSE(lockout_.locked("x" + std::to_string(i), "1", now_)) << i;
    static_cast<void>(lockout_.failed("x" + std::to_string(i), "1", now_));
  }
  EXPECT_TRUE(lockout_.locked("never seen", "1", now_));
  EXPECT_FALSE(lockout_.locked("never seen", "2", now_));
}

TEST_F(Lockout, IsBoundedAndForgetsTheOldestFirst) {
  for (int i = 0; i < 3; ++i) static_cast<void>(lockout_.failed("a", "first", now_));
  for (unsigned i = 0; i < LoginLockout::entries_max / 2 - 1; ++i) {
    static_cast<void>(lockout_.failed("a", std::to_string(i), now_));
  }
  EXPECT_TRUE(lockout_.locked("a", "first", now_));
  EXPECT_EQ(lockout_.entries(), LoginLockout::entries_max);
  static_cast<void>(lockout_.failed("a", "one more", now_));
  EXPECT_FALSE(lockout_.locked("a", "first", now_));
  for (unsigned i = 0; i < 2 * LoginLockout::entries_max; ++i) {
    static_cast<void>(lockout_.failed(std::to_string(i), "1", now_));
    EXPECT_LE(lockout_.entries(), LoginLockout::entries_max);
  }
}

TEST(LoginLockout, CanBeTurnedOff) {
  LoginLockout lockout(0, 30s);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(lockout.failed("a", "1", TimePoint{1h}));
  EXPECT_FALSE(lockout.locked("a", "1", TimePoint{1h}));
}

}  // namespace
}  // namespace mpath::target
