// What people and scripts see of the pair, as reviewed texts.
#include "target/cluster/status_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "target/cluster/status_json.hpp"
#include "tests/target/cluster/sample_status.hpp"

namespace mpath::target::cluster {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(ClusterStatusText, OfAPairInGoodOrder) {
  EXPECT_EQ(status_text(good_status()), R"(cluster store, node a
  serves      this node, a
  view        7: primary a, in sync a and b
  node b      heard
  witness     heard
  lease       380ms left
  virtual IP  10.0.0.10/24 here
  LINK TO  FROM           AT             SILENT FOR  SENT  RECEIVED  REFUSED
  b        10.1.0.1:7788  10.1.0.2:7788  42ms        1200  1180      0
  witness  10.1.0.1:7788  10.1.0.3:7788  17ms        1200  1199      0
  LU    CONNECTION  PROTOCOL  ROLES              HERE      THERE     SIZE    DIFFERS
  disk  Connected   C         Primary/Secondary  UpToDate  UpToDate  64 MiB  0 B
    over 10.1.0.2:7788 (9 MiB sent, 2 KiB received), 10.2.0.2:7788 LOST, stream_auth tls
)");
}

TEST(ClusterStatusText, HasABarWhileACopyIsFilled) {
  const std::string text = status_text(filling_status());
  EXPECT_THAT(text, StartsWith("ALARM: node b is not in sync"));
  EXPECT_THAT(text, HasSubstr("in sync a\n"));
  EXPECT_THAT(text, HasSubstr("lease       not needed: no other node can serve\n"));
  EXPECT_THAT(text,
              HasSubstr("  disk  Connected   C         Primary/Secondary  UpToDate  Inconsistent  64 MiB  48.5 MiB\n"
                        "    [===>................] 24.2%, 48.5 MiB of 64 MiB left, 98.6 MiB/s, ready in 0:00:21\n"));
}

TEST(ClusterStatusText, ShowsTheProtocolInForce) {
  ClusterStatus status = good_status();
  CopyStatus& copy = status.copies[0];
  copy.protocol = copy.protocol_here = Protocol::a;
  copy.protocol_there = Protocol::a;
  copy.unconfirmed_bytes = 12 * 1024;
  EXPECT_THAT(status_text(status), HasSubstr("  disk  Connected   A         Primary/Secondary"));
  EXPECT_THAT(status_text(status), HasSubstr("    12 KiB answered and not yet confirmed by the other node\n"));
  EXPECT_THAT(status_text(status), Not(HasSubstr("the stricter")));
  EXPECT_THAT(brief_text(status), StartsWith(" 0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate A r-----\n"));
  const CopyStatus come_back = status_from_json(to_json(status)).copies[0];
  EXPECT_EQ(come_back.protocol, Protocol::a);
  EXPECT_EQ(come_back.protocol_here, Protocol::a);
  EXPECT_EQ(come_back.protocol_there, Protocol::a);
  EXPECT_EQ(come_back.unconfirmed_bytes, 12 * 1024U);
  copy.protocol = Protocol::b;
  copy.protocol_there = Protocol::b;
  EXPECT_THAT(status_text(status), HasSubstr("    protocol A is said here, B there: the stricter counts\n"));
  // Who says nothing may be older.
  copy.protocol = Protocol::c;
  copy.protocol_there = Protocol::c;
  EXPECT_THAT(status_text(status), HasSubstr("    protocol A is said here, C (or an older version) there"));
}

TEST(ClusterStatusText, SaysWhenAFillingStandsStill) {
  ClusterStatus status = filling_status();
  status.copies[0].fill_bytes_per_second = 0;
  status.copies[0].fill_eta.reset();
  status.copies[0].trouble = "the peer's medium fails: Input/output error";
  EXPECT_THAT(status_text(status), HasSubstr("left, stalled\n    the peer's medium fails: Input/output error\n"));
  status.copies[0].connection = "Connecting";
  EXPECT_THAT(status_text(status), Not(HasSubstr("stalled")));
}

TEST(ClusterStatusText, NamesTheNodeThatStandsBy) {
  ClusterStatus status = good_status();
  status.held_back = {Member::b};
  EXPECT_THAT(status_text(status), HasSubstr(", node b stands by: it does not take over by itself\n"));
  EXPECT_EQ(status_from_json(to_json(status)).held_back, status.held_back);
}

TEST(ClusterStatusText, SaysWhatIsWrong) {
  ClusterStatus status = good_status();
  status.self = Member::b;
  status.serving = status.peer_heard = status.witness_heard = status.virtual_address_here = false;
  status.suspect = true;
  status.held_back = {Member::a, Member::b};
  status.lease_left.reset();
  status.waits_for = "the word of node a or of the witness";
  status.links = {{Member::a, "[fd00::2]:7788", "[fd00::1]:7788", false, std::chrono::milliseconds(12'300), 9, 1, 7},
                  {Member::a, "10.1.0.2:7788", "10.1.0.1:7788", false, {}, 9, 0, 0}};
  const std::string text = status_text(status);
  EXPECT_THAT(text, StartsWith("cluster store, node b, in maintenance: no takeover by itself, suspect: it may lack "
                               "writes until it is filled\n"));
  EXPECT_THAT(text,
              HasSubstr("serves      node a served last, and is not heard; this node waits for the word of node a"));
  EXPECT_THAT(text, HasSubstr("node a      NOT HEARD\n"));
  EXPECT_THAT(text, HasSubstr("witness     NOT HEARD\n"));
  EXPECT_THAT(text, HasSubstr("10.0.0.10/24 not here\n"));
  EXPECT_THAT(text, HasSubstr("12300ms DEAD"));
  EXPECT_THAT(text, HasSubstr("never heard"));
  EXPECT_THAT(text, HasSubstr("Secondary/Unknown"));
}

TEST(ClusterStatusText, KnowsAPairThatWasNotBegun) {
  ClusterStatus status{.name = "store"};
  const std::string text = status_text(status);
  EXPECT_THAT(text, HasSubstr("serves      nobody: neither `cluster init` nor `cluster join` was said"));
  EXPECT_THAT(text, HasSubstr("view        none decided yet\n"));
  EXPECT_THAT(text, HasSubstr("witness     none configured\n"));
  EXPECT_EQ(brief_text(status), "");
}

TEST(ClusterStatusText, IsBriefAsProcDrbd) {
  EXPECT_EQ(brief_text(good_status()),
            " 0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n"
            "    ns:10240 nr:0 dw:9216 dr:5120 al:0 bm:0 lo:0 pe:3 ua:0 ap:3 ep:1 wo:f oos:0\n");
  EXPECT_EQ(brief_text(filling_status()),
            " 0: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----\n"
            "    ns:10240 nr:0 dw:9216 dr:5120 al:0 bm:0 lo:0 pe:3 ua:0 ap:3 ep:1 wo:f oos:49664\n"
            "\t[===>................] sync'ed: 24.2% (49664/65536)K\n"
            "\tfinish: 0:00:21 speed: 101,000 K/sec\n");
}

struct Brief {
  const char* name;
  const char* connection;
  const char* here;
  bool fills;
  const char* shown;
};
class BriefConnection : public testing::TestWithParam<Brief> {};
TEST_P(BriefConnection, HasDrbdsWord) {
  ClusterStatus status = GetParam().fills ? filling_status() : good_status();
  status.copies[0].connection = GetParam().connection;
  status.copies[0].local_disk = GetParam().here;
  EXPECT_THAT(brief_text(status), HasSubstr(std::string(" cs:") + GetParam().shown + " ro:"));
}
INSTANTIATE_TEST_SUITE_P(ClusterStatusText, BriefConnection,
                         testing::Values(Brief{"connected", "Connected", "UpToDate", false, "Connected"},
                                         Brief{"source", "Connected", "UpToDate", true, "SyncSource"},
                                         Brief{"target", "Connected", "Inconsistent", true, "SyncTarget"},
                                         Brief{"connecting", "Connecting", "UpToDate", true, "WFConnection"},
                                         Brief{"disconnected", "Disconnected", "UpToDate", false, "StandAlone"},
                                         Brief{"alone", "StandAlone", "UpToDate", false, "StandAlone"}),
                         [](const auto& row) { return row.param.name; });

TEST(ClusterStatusText, IsSuspendedWithoutALease) {
  ClusterStatus status = good_status();
  status.serving = false;
  EXPECT_THAT(brief_text(status), HasSubstr(" C s-----\n"));
}

TEST(ClusterStatusText, HasALineToFollow) {
  EXPECT_EQ(state_line(good_status()),
            "store view=7 primary=a in_sync=ab node=a serving=yes peer=heard witness=heard vip=here "
            "disk=Connected:UpToDate/UpToDate");
  EXPECT_EQ(
      state_line(filling_status()),
      "store view=8 primary=a in_sync=a node=a serving=yes peer=heard witness=heard vip=here "
      "disk=Connected:UpToDate/Inconsistent:24% alarm=\"node b is not in sync: a failure of node a stops the pair "
      "until it is back\"");
  EXPECT_EQ(state_line({.name = "store"}), "store view=0 primary=none in_sync=none node=a serving=no peer=silent");
}

TEST(ClusterStatusText, SaysWhatForceLoses) {
  ClusterStatus status = filling_status();
  EXPECT_THAT(force_warning(status), HasSubstr("the only one in sync"));
  EXPECT_THAT(force_warning(good_status()), HasSubstr("If node b went on alone since"));
  status.self = Member::b;
  EXPECT_THAT(force_warning(status), HasSubstr("NOT in sync: node a served alone since view 8"));
  EXPECT_THAT(force_warning(status), HasSubstr("(48.5 MiB were still to be filled"));
  EXPECT_THAT(force_warning({}), HasSubstr("knows of nothing"));
}

struct Amount {
  const char* name;
  std::uint64_t bytes;
  const char* text;
};
class Amounts : public testing::TestWithParam<Amount> {};
TEST_P(Amounts, AreShort) {
  EXPECT_EQ(format_amount(GetParam().bytes), GetParam().text);
}
INSTANTIATE_TEST_SUITE_P(ClusterStatusText, Amounts,
                         testing::Values(Amount{"none", 0, "0 B"}, Amount{"bytes", 1023, "1023 B"},
                                         Amount{"one", 1024, "1 KiB"}, Amount{"part", 1536, "1.5 KiB"},
                                         Amount{"nearly", mib - 1, "1.0 MiB"}, Amount{"tebi", mib* mib, "1 TiB"},
                                         Amount{"most", ~std::uint64_t{0}, "16384 PiB"}),
                         [](const auto& row) { return row.param.name; });

TEST(ClusterStatusJson, ComesBackTheSame) {
  for (const ClusterStatus& status : {good_status(), filling_status(), ClusterStatus{}}) {
    const nlohmann::json json = to_json(status);
    const ClusterStatus back = status_from_json(nlohmann::json::parse(json.dump()));
    EXPECT_EQ(to_json(back), json);
    EXPECT_EQ(status_text(back), status_text(status));
    EXPECT_EQ(brief_text(back), brief_text(status));
  }
}

// A newer or older daemon's answer.
TEST(ClusterStatusJson, TakesWhatIsThere) {
  const ClusterStatus status = status_from_json(nlohmann::json::parse(R"({"name":"x","surprise":[1,2]})"));
  EXPECT_EQ(status.name, "x");
  EXPECT_EQ(status.view.number, 0U);
}

TEST(ClusterStatusJson, KeepsTimes) {
  using namespace std::chrono;
  const auto at = sys_days(year(2026) / November / 21) + 11h + 30min + 4s + 251ms;
  EXPECT_EQ(format_utc(at), "2026-11-21T11:30:04.251Z");
  EXPECT_EQ(parse_utc("2026-11-21T11:30:04.251Z"), at);
  EXPECT_EQ(format_utc(system_clock::time_point(-1ms)), "1969-12-31T23:59:59.999Z");
  for (const char* wrong : {"", "2026-11-21", "2026-11-21T11:30:04.251", "2026-11-21T11:30:04.251Zx"})
    EXPECT_FALSE(parse_utc(wrong)) << wrong;
}

}  // namespace
}  // namespace mpath::target::cluster
