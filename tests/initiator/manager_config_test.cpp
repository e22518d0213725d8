// Node records become sessions: every setting that has an effect, and every one that cannot be met.
#include <gtest/gtest.h>

#include "db/settings.hpp"
#include "base/stable_hash.hpp"
#include "initiator/node_config.hpp"

namespace mpath {
namespace {

using namespace std::chrono_literals;

db::NodeRecord record(const db::Settings& changes = {}) {
  db::NodeRecord node;
  node.key = {.target_name = "iqn.x:disk", .address = "10.0.0.1", .port = 3261, .tpgt = 1, .iface = "ieth0"};
  node.settings = db::compiled_defaults(db::node_table());
  for (const auto& [name, value] : changes) node.settings[name] = value;
  return node;
}

NodeSurroundings around() {
  return {.initiator_name = "iqn.me", .address = "10.0.0.1", .binding = {.iface_name = "ieth0", .net_ifacename = "eth0"}, .index = 0};
}

NodeConfig config(const db::Settings& changes = {}) {
  auto made = node_config(record(changes), around());
  EXPECT_TRUE(made) << (made ? "" : made.error());
  return made.value_or(NodeConfig{});
}

TEST(NodeConfig, DefaultsNoticeSilenceInMilliseconds) {
  const NodeConfig made = config();
  EXPECT_EQ(made.session.target_name, "iqn.x:disk");
  EXPECT_EQ(made.session.initiator_name, "iqn.me");
  EXPECT_EQ(made.session.port, 3261);
  EXPECT_EQ(made.session.binding.net_ifacename, "eth0");
  EXPECT_EQ(made.session.silence_limit, 500ms);
  EXPECT_EQ(made.session.nop_timeout, 700ms);
  EXPECT_EQ(made.session.nop_interval, 5s);
  EXPECT_EQ(made.session.connect_timeout, 5s);
  EXPECT_EQ(made.session.tasks_max, 128u);
  EXPECT_FALSE(made.session.chap_required);
  EXPECT_TRUE(made.session.immediate_data);
  EXPECT_FALSE(made.session.initial_r2t);
  EXPECT_EQ(made.reconnect.attempts_max, 0u);
  EXPECT_EQ(made.timeouts.recovery, 120);
}

struct TimeRow {
  const char* name;
  const char* interval;
  const char* timeout;
  std::chrono::milliseconds silence, nop_timeout, nop_interval;
};
class NoopSettings : public testing::TestWithParam<TimeRow> {};
TEST_P(NoopSettings, Become) {
  const auto& row = GetParam();
  const NodeConfig made = config({{"node.conn[0].timeo.noop_out_interval", row.interval}, {"node.conn[0].timeo.noop_out_timeout", row.timeout}});
  EXPECT_EQ(made.session.silence_limit, row.silence);
  EXPECT_EQ(made.session.nop_timeout, row.nop_timeout);
  EXPECT_EQ(made.session.nop_interval, row.nop_interval);
}
const TimeRow noops[] = {
    {"Default", "5", "5", 500ms, 700ms, 5s},       {"Off", "0", "0", 0ms, 0ms, 0s},
    {"Patient", "10", "30", 500ms, 29500ms, 10s},  {"OneSecond", "2", "1", 500ms, 500ms, 2s},
    {"LoneZeroInterval", "0", "10", 500ms, 9500ms, 5s}, {"LoneZeroTimeout", "10", "0", 500ms, 700ms, 10s},
};
INSTANTIATE_TEST_SUITE_P(Rows, NoopSettings, testing::ValuesIn(noops), [](const auto& row) { return row.param.name; });

TEST(NodeConfig, TimesCountsAndLoginKeysAreTaken) {
  const NodeConfig made = config({{"node.conn[0].timeo.login_timeout", "2"},
                                  {"node.conn[0].timeo.logout_timeout", "3"},
                                  {"node.session.reopen_max", "7"},
                                  {"node.session.cmds_max", "64"},
                                  {"node.session.timeo.replacement_timeout", "-1"},
                                  {"node.session.iscsi.ImmediateData", "No"},
                                  {"node.session.iscsi.InitialR2T", "Yes"},
                                  {"node.conn[0].iscsi.HeaderDigest", "CRC32C,None"},
                                  {"iface.initiatorname", "iqn.other"}});
  EXPECT_EQ(made.session.login_timeout, 2s);
  EXPECT_EQ(made.session.connect_timeout, 2s);
  EXPECT_EQ(made.session.logout_timeout, 3s);
  EXPECT_EQ(made.reconnect.attempts_max, 7u);
  EXPECT_EQ(made.session.tasks_max, 64u);
  EXPECT_EQ(made.timeouts.recovery, -1);
  EXPECT_FALSE(made.session.immediate_data);
  EXPECT_TRUE(made.session.initial_r2t);
  EXPECT_EQ(made.session.header_digest, Digest::crc32c_preferred);
  EXPECT_EQ(made.session.initiator_name, "iqn.other");
}

TEST(NodeConfig, Accounts) {
  const NodeConfig made = config({{"node.session.auth.authmethod", "CHAP"},
                                  {"node.session.auth.username", "u"},
                                  {"node.session.auth.password", "p"},
                                  {"node.session.auth.username_in", "ui"},
                                  {"node.session.auth.password_in", "pi"}});
  EXPECT_TRUE(made.session.chap_required);
  EXPECT_EQ(made.session.chap.name, "u");
  EXPECT_EQ(made.session.chap_in.secret, "pi");
}

struct Unmet {
  const char* name;
  db::Settings settings;
  const char* part;  // of the complaint
};
class UnmetSetting : public testing::TestWithParam<Unmet> {};
TEST_P(UnmetSetting, IsNamed) {
  const auto made = node_config(record(GetParam().settings), around());
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().find(GetParam().part), std::string::npos) << made.error();
}
const Unmet unmet[] = {
    {"ChapWithoutName", {{"node.session.auth.authmethod", "CHAP"}}, "auth.username"},
    {"NameWithoutSecret", {{"node.session.auth.username", "u"}}, "password"},
    {"MutualWithoutOwn", {{"node.session.auth.username_in", "u"}, {"node.session.auth.password_in", "p"}}, "username_in without"},
    {"SecretInWithoutName", {{"node.session.auth.password_in", "p"}}, "username_in and password_in"},
    {"SameSecrets",
     {{"node.session.auth.username", "u"},
      {"node.session.auth.password", "p"},
      {"node.session.auth.username_in", "v"},
      {"node.session.auth.password_in", "p"}},
     "must differ"},
    {"NoMd5",
     {{"node.session.auth.username", "u"}, {"node.session.auth.password", "p"}, {"node.session.auth.chap_algs", "SHA256"}},
     "only MD5"},
    {"DataDigest", {{"node.conn[0].iscsi.DataDigest", "CRC32C"}}, "DataDigest"},
    {"Transport", {{"iface.transport_name", "iser"}}, "only tcp"},
};
INSTANTIATE_TEST_SUITE_P(Rows, UnmetSetting, testing::ValuesIn(unmet), [](const auto& row) { return row.param.name; });

TEST(NodeConfig, NoInitiatorNameIsNamed) {
  auto without = around();
  without.initiator_name.clear();
  EXPECT_FALSE(node_config(record(), without));
}

TEST(IsidOf, IsTheSameForThePathAndAnotherForEveryOther) {
  const db::NodeKey one = record().key;
  EXPECT_EQ(isid_of(one, 0), isid_of(one, 0));
  EXPECT_EQ(isid_of(one, 0)[0], 0x80);
  db::NodeKey learnt = one;
  learnt.tpgt = -1;
  EXPECT_EQ(isid_of(one, 0), isid_of(learnt, 0));  // the group may be learnt later
  std::set<Isid> all{isid_of(one, 0), isid_of(one, 1)};
  db::NodeKey other = one;
  other.iface = "ieth1";
  all.insert(isid_of(other, 0));
  other = one;
  other.address = "10.0.0.2";
  all.insert(isid_of(other, 0));
  other = one;
  other.port = 3260;
  all.insert(isid_of(other, 0));
  all.insert(isid_of(record().key, 0, "root"));  // another mpathd of this machine
  EXPECT_EQ(all.size(), 6u);
}

TEST(StableHash, NeverChanges) {
  EXPECT_EQ(stable_hash(""), 0xcbf29ce484222325u);
  EXPECT_EQ(stable_hash("a"), 0xaf63dc4c8601ec8cu);
}

TEST(SessionsWanted, AtLeastOne) {
  EXPECT_EQ(sessions_wanted(record()), 1u);
  EXPECT_EQ(sessions_wanted(record({{"node.session.nr_sessions", "0"}})), 1u);
  EXPECT_EQ(sessions_wanted(record({{"node.session.nr_sessions", "4"}})), 4u);
}

TEST(HasStartup, EitherSettingCounts) {
  EXPECT_TRUE(has_startup(record(), "manual"));
  EXPECT_FALSE(has_startup(record(), "automatic"));
  EXPECT_TRUE(has_startup(record({{"node.startup", "automatic"}}), "automatic"));
  EXPECT_TRUE(has_startup(record({{"node.conn[0].startup", "onboot"}}), "onboot"));
}

}  // namespace
}  // namespace mpath
