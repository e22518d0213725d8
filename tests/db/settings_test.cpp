// The tables of settings: they are consistent, and values are judged by them.
#include "db/settings.hpp"

#include <gmock/gmock.h>

#include <set>

#include "db/iscsid_conf.hpp"
#include "db/store.hpp"
#include "support.hpp"

namespace mpath::db {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

const std::vector<std::span<const Setting>> tables = {node_table(), iface_table(), sendtargets_table(), isns_table(),
                                                      daemon_table()};

TEST(Settings, EveryDefaultPassesItsOwnRow) {
  for (const auto table : tables) {
    for (const Setting& row : table) {
      const auto value = normalise(row, row.fallback);
      ASSERT_TRUE(value) << row.key;
      EXPECT_EQ(*value, row.fallback) << row.key;
      EXPECT_FALSE(row.doc.empty()) << row.key;
      EXPECT_FALSE(expectation(row).empty()) << row.key;
    }
  }
}

TEST(Settings, KeysAreUniqueInATable) {
  for (const auto table : tables) {
    std::set<std::string_view> keys;
    for (const Setting& row : table) EXPECT_TRUE(keys.insert(row.key).second) << row.key;
  }
}

struct Row {
  const char* name;
  const char* key;
  const char* value;
  const char* stored;  // nullptr: refused
};

class Validate : public ::testing::TestWithParam<Row> {};

TEST_P(Validate, JudgesTheValue) {
  const auto value = validate(GetParam().key, GetParam().value);
  if (GetParam().stored == nullptr) {
    ASSERT_FALSE(value) << *value;
    EXPECT_EQ(value.error(), StoreErrc::bad_value);
  } else {
    ASSERT_TRUE(value);
    EXPECT_EQ(*value, GetParam().stored);
  }
}

constexpr const char* cmds_max = "node.session.cmds_max";
constexpr const char* burst = "node.session.iscsi.MaxBurstLength";
constexpr const char* timeout = "node.session.timeo.replacement_timeout";
constexpr const char* immediate = "node.session.iscsi.ImmediateData";
constexpr const char* digest = "node.conn[0].iscsi.HeaderDigest";
constexpr const char* algs = "node.session.auth.chap_algs";
constexpr const char* password = "node.session.auth.password";

INSTANTIATE_TEST_SUITE_P(
    Values, Validate,
    ::testing::Values(
        Row{"PowerOfTwo", cmds_max, "2048", "2048"}, Row{"NoPowerOfTwo", cmds_max, "100", nullptr},
        Row{"BelowRange", cmds_max, "1", nullptr}, Row{"AboveRange", cmds_max, "4096", nullptr},
        Row{"NotANumber", cmds_max, "many", nullptr}, Row{"Trailing", cmds_max, "64x", nullptr},
        Row{"Empty", cmds_max, "", nullptr}, Row{"Blanks", cmds_max, " 64 ", "64"}, Row{"Bytes", burst, "64k", "65536"},
        Row{"BytesTooMany", burst, "16m", nullptr}, Row{"BytesHuge", burst, "99999999999999999999", nullptr},
        Row{"BytesMin", burst, "512", "512"}, Row{"BytesBelow", burst, "511", nullptr},
        Row{"Seconds", timeout, "15s", "15"}, Row{"Minutes", timeout, "2m", "120"}, Row{"ForEver", timeout, "-1", "-1"},
        Row{"BelowForEver", timeout, "-2", nullptr}, Row{"Milliseconds", timeout, "1500ms", nullptr},
        Row{"Yes", immediate, "YES", "Yes"}, Row{"No", immediate, "no", "No"},
        Row{"NeitherYesNorNo", immediate, "maybe", nullptr}, Row{"Word", "node.startup", "Automatic", "automatic"},
        Row{"UnknownWord", "node.startup", "sometimes", nullptr}, Row{"List", digest, "crc32c, none", "CRC32C,None"},
        Row{"ListTwice", digest, "None,None", nullptr}, Row{"ListHole", digest, "None,,CRC32C", nullptr},
        Row{"ListUnknown", digest, "CRC64", nullptr},
        Row{"Algorithms", algs, "SHA3-256,SHA256,MD5", "SHA3-256,SHA256,MD5"},
        Row{"SecretKeepsBlanks", password, " a b ", " a b "}, Row{"SecretEmpty", password, "", ""},
        Row{"SecretTwoLines", password, "a\nb", nullptr},
        Row{"Mac", "iface.hwaddress", "AA:BB:CC:DD:EE:0F", "aa:bb:cc:dd:ee:0f"},
        Row{"MacShort", "iface.hwaddress", "aa:bb:cc:dd:ee", nullptr},
        Row{"MacDashes", "iface.hwaddress", "aa-bb-cc-dd-ee-0f", nullptr},
        Row{"Ip", "iface.ipaddress", "2001:DB8:0::1", "2001:db8::1"}, Row{"IpName", "iface.ipaddress", "host", nullptr},
        Row{"Device", "iface.net_ifacename", "eth0.100", "eth0.100"},
        Row{"DeviceLong", "iface.net_ifacename", "a234567890123456", nullptr},
        Row{"DeviceSlash", "iface.net_ifacename", "../eth0", nullptr}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Settings, TextIsBounded) {
  EXPECT_TRUE(validate(password, std::string(255, 'x')));
  EXPECT_FALSE(validate(password, std::string(256, 'x')));
}

TEST(Settings, UnknownAndIdentityKeysAreNotSettable) {
  EXPECT_EQ(validate("node.nonsense", "1").error(), StoreErrc::unknown_key);
  EXPECT_EQ(validate("node.name", "iqn.x:y").error(), StoreErrc::unknown_key);
  EXPECT_EQ(validate("node.conn[0].port", "3261").error(), StoreErrc::unknown_key);
}

TEST(Settings, SecretsAreKnown) {
  for (const char* key : {"node.session.auth.password", "node.session.auth.password_in",
                          "discovery.sendtargets.auth.password", "discovery.sendtargets.auth.password_in"}) {
    EXPECT_TRUE(is_secret(key)) << key;
  }
  EXPECT_FALSE(is_secret("node.session.auth.username"));
  EXPECT_FALSE(is_secret("nonsense"));
}

TEST(Settings, DumpHasTheFamiliarForm) {
  NodeRecord record{.key = {}, .settings = compiled_defaults(node_table())};
  record.settings["node.name"] = "iqn.x:y";
  record.settings[password] = "hush";
  const std::string masked = dump(record, {.version = "0.1.0"});
  EXPECT_TRUE(masked.starts_with("# BEGIN RECORD 0.1.0\nnode.name = iqn.x:y\nnode.tpgt = -1\nnode.startup = manual\n"));
  EXPECT_TRUE(masked.ends_with("node.conn[0].iscsi.OFMarker = No\n# END RECORD\n"));
  EXPECT_THAT(masked, HasSubstr("\nnode.session.auth.password = ********\n"));
  EXPECT_THAT(masked, HasSubstr("\nnode.session.auth.password_in = <empty>\n"));
  EXPECT_THAT(masked, HasSubstr("\niface.net_ifacename = <empty>\n"));
  EXPECT_THAT(masked, Not(HasSubstr("hush")));
  EXPECT_THAT(dump(record, {.version = "0.1.0", .show_secrets = true}), HasSubstr("password = hush\n"));
}

TEST(Settings, DumpOfADiscoveryAndAnIface) {
  const DiscoveryRecord discovery{.key = {.type = "sendtargets", .address = "10.0.0.1"}, .settings = {}, .found = {}};
  EXPECT_THAT(dump(discovery, {.version = "1"}), HasSubstr("discovery.sendtargets.timeo.login_timeout = 15\n"));
  const IfaceRecord iface{.name = "ieth0", .settings = {{"iface.iscsi_ifacename", "ieth0"}}};
  EXPECT_THAT(dump(iface, {.version = "1"}), HasSubstr("iface.iscsi_ifacename = ieth0\n"));
  EXPECT_THAT(dump(iface, {.version = "1"}), HasSubstr("iface.transport_name = tcp\n"));
}

TEST(Settings, FirstBurstIsAtMostTheMaximum) {
  Settings node = compiled_defaults(node_table());
  EXPECT_THAT(make_consistent(node), IsEmpty());
  node[burst] = "65536";
  EXPECT_THAT(make_consistent(node), ElementsAre(HasSubstr("FirstBurstLength lowered from 262144 to 65536")));
  EXPECT_EQ(node["node.session.iscsi.FirstBurstLength"], "65536");
}

TEST(Settings, OneZeroDoesNotTurnPingsOff) {
  Settings node = compiled_defaults(node_table());
  node["node.conn[0].timeo.noop_out_interval"] = "0";
  EXPECT_THAT(make_consistent(node), SizeIs(1));
  EXPECT_EQ(node["node.conn[0].timeo.noop_out_interval"], "5");
  node["node.conn[0].timeo.noop_out_interval"] = "0";
  node["node.conn[0].timeo.noop_out_timeout"] = "0";
  EXPECT_THAT(make_consistent(node), IsEmpty());
}

TEST(Settings, AddressesHaveOneForm) {
  EXPECT_EQ(canonical_address("[FE80:0:0::1]"), "fe80::1");
  EXPECT_EQ(canonical_address("10.0.0.1"), "10.0.0.1");
  EXPECT_EQ(canonical_address("Storage.Example"), "storage.example");
}

TEST(IscsidConf, ValuesBecomeDefaultsOfNewRecords) {
  const IscsidConf conf = parse_iscsid_conf(
      "# a comment\n\nnode.startup = automatic\nnode.session.auth.username = a = b\n"
      "iscsid.safe_logout = Yes\ndiscovery.sendtargets.reopen_max = 2\n",
      "iscsid.conf");
  EXPECT_THAT(conf.problems, IsEmpty());
  EXPECT_EQ(conf.record_defaults.at("node.startup"), "automatic");
  EXPECT_EQ(conf.record_defaults.at("node.session.auth.username"), "a = b");
  EXPECT_EQ(conf.record_defaults.at("discovery.sendtargets.reopen_max"), "2");
  EXPECT_EQ(conf.daemon.at("iscsid.safe_logout"), "Yes");
  EXPECT_EQ(conf.daemon.at("iscsid.ipc_auth_uid"), "Yes");
  const Settings node = defaults(node_table(), conf.record_defaults);
  EXPECT_EQ(node.at("node.startup"), "automatic");
  EXPECT_EQ(node.size(), node_table().size());
}

TEST(IscsidConf, ProblemsNameFileAndLine) {
  const IscsidConf conf = parse_iscsid_conf(
      "node.session.cmds_max = 100\nnode.nonsense = 1\nnode.session.auth.password = \x01hush\nnode.name = iqn.x:y\n"
      "iface.mtu = 9000\n",
      "f.conf");
  std::vector<std::string> lines;
  for (const ConfigProblem& problem : conf.problems) lines.push_back(problem.text());
  EXPECT_THAT(lines, ElementsAre(HasSubstr("f.conf:1: node.session.cmds_max: '100' is not a number from 2 to 2048"),
                                 HasSubstr("f.conf:2: unknown setting node.nonsense"),
                                 testing::AllOf(HasSubstr("f.conf:3: "), Not(HasSubstr("hush"))),
                                 HasSubstr("f.conf:4: "), HasSubstr("f.conf:5: unknown setting iface.mtu")));
  EXPECT_THAT(conf.record_defaults, IsEmpty());
}

TEST(IscsidConf, MissingFileIsAnEmptyOne) {
  const test::TemporaryDirectory scratch;
  const auto conf = read_iscsid_conf(scratch.path() / "iscsid.conf");
  ASSERT_TRUE(conf);
  EXPECT_THAT(conf->problems, IsEmpty());
  EXPECT_THAT(conf->record_defaults, IsEmpty());
  EXPECT_FALSE(read_iscsid_conf(scratch.path()));
}

TEST(IscsidConf, EverySettableKeyIsDocumented) {
  const std::string page = read_file("man/iscsid.conf.5");
  ASSERT_FALSE(page.empty()) << "run from the top of the source tree";
  for (const auto table : {node_table(), sendtargets_table(), isns_table(), daemon_table()}) {
    for (const Setting& row : table) {
      if (row.use == SettingUse::identity || row.key.starts_with("iface.")) continue;
      EXPECT_THAT(page, HasSubstr("\n.B \"" + std::string(row.key) + "\"")) << row.key;
    }
  }
}

}  // namespace
}  // namespace mpath::db
