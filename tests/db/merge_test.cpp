// What a discovery may and may not do to the records.
#include "support.hpp"

namespace mpath::db {
namespace {

const DiscoveryKey first{.type = "sendtargets", .address = "10.0.0.1", .port = 3260};
const DiscoveryKey second{.type = "sendtargets", .address = "10.0.0.2", .port = 3260};
constexpr const char* target = "iqn.2026-01.example:disk";
constexpr const char* startup = "node.startup";

NodeAddress at(const char* address, int tpgt = 1) {
  return {.target_name = target, .address = address, .port = 3260, .tpgt = tpgt};
}
NodeKey key(const char* address, int tpgt = 1, const char* iface = "default") {
  return {.target_name = target, .address = address, .port = 3260, .tpgt = tpgt, .iface = iface};
}

class MergeTest : public StoreTest {
 protected:
  void SetUp() override {
    open();
    ASSERT_FALSE(store_->add_iface("i0", {{"iface.net_ifacename", "eth0"}}));
    ASSERT_FALSE(store_->add_iface("i1", {{"iface.net_ifacename", "eth1"}}));
  }
  std::vector<NodeKey> merge(const DiscoveryKey& discovery, const Store::Merge& what) {
    auto result = store_->merge_discovery(discovery, what);
    EXPECT_TRUE(result) << result.error().message();
    return result.value_or(std::vector<NodeKey>{});
  }
  std::vector<NodeKey> known() {
    std::vector<NodeKey> keys;
    const auto records = store_->nodes({});
    for (const NodeRecord& record : records.value()) keys.push_back(record.key);
    return keys;
  }
  std::string value(const NodeKey& node, const char* setting) {
    return store_->node(node).value().settings.at(setting);
  }
};

using Keys = std::vector<NodeKey>;

TEST_F(MergeTest, EveryPortalGetsARecordForEveryIface) {
  const auto keys = merge(first, {.found = {at("10.0.0.1"), at("10.0.1.1", 2)}, .ifaces = {"i0", "i1"}});
  const Keys expected = {key("10.0.0.1", 1, "i0"), key("10.0.0.1", 1, "i1"), key("10.0.1.1", 2, "i0"),
                         key("10.0.1.1", 2, "i1")};
  EXPECT_EQ(keys, expected);
  EXPECT_EQ(known(), expected);
  EXPECT_EQ(store_->discovery(first)->found, expected);
  EXPECT_EQ(value(expected[0], "node.discovery_address"), "10.0.0.1");
  EXPECT_EQ(value(expected[0], "node.discovery_type"), "send_targets");
  EXPECT_EQ(value(expected[1], "iface.net_ifacename"), "eth1");
}

struct Row {
  const char* name;
  const char* setting;
  const char* value;
};
class KeepsValue : public MergeTest, public ::testing::WithParamInterface<Row> {};

TEST_P(KeepsValue, ThroughTheSameDiscoveryAndAnother) {
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}});
  ASSERT_FALSE(store_->update_node(key("10.0.0.1"), {{GetParam().setting, GetParam().value}}));
  open({{GetParam().setting, store_->nodes({})->front().settings.at(GetParam().setting)}, {startup, "onboot"}});
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}});
  merge(second, {.found = {at("10.0.0.1")}, .ifaces = {"default"}});
  EXPECT_EQ(value(key("10.0.0.1"), GetParam().setting), GetParam().value);
  EXPECT_EQ(value(key("10.0.0.1"), "node.discovery_address"), "10.0.0.1");
  EXPECT_EQ(known().size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Settings, KeepsValue,
                         ::testing::Values(Row{"Startup", startup, "automatic"},
                                           Row{"Username", "node.session.auth.username", "joe"},
                                           Row{"Password", "node.session.auth.password", "a secret value"},
                                           Row{"BackToTheDefault", "node.session.cmds_max", "128"},
                                           Row{"Scan", "node.session.scan", "manual"},
                                           Row{"Timeout", "node.session.timeo.replacement_timeout", "5"},
                                           Row{"Emptied", "node.session.auth.username_in", ""},
                                           Row{"Burst", "node.session.iscsi.MaxBurstLength", "65536"}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_F(MergeTest, RecordsMadeByHandKeepTheirValuesAndAreNeverRemoved) {
  ASSERT_FALSE(store_->add_node(key("10.0.0.1"), {{startup, "automatic"}}));
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}});
  EXPECT_EQ(value(key("10.0.0.1"), startup), "automatic");
  EXPECT_EQ(value(key("10.0.0.1"), "node.discovery_type"), "static");
  merge(first, {.found = {}, .ifaces = {"default"}});
  EXPECT_EQ(known(), (Keys{key("10.0.0.1")}));
  EXPECT_TRUE(store_->discovery(first)->found.empty());
}

TEST_F(MergeTest, UpdateKnownRewritesFromTheDefaults) {
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}});
  ASSERT_FALSE(store_->update_node(key("10.0.0.1"), {{startup, "automatic"}, {"node.session.cmds_max", "64"}}));
  open({{"node.session.cmds_max", "256"}});
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}, .update_known = true});
  EXPECT_EQ(value(key("10.0.0.1"), startup), "manual");
  EXPECT_EQ(value(key("10.0.0.1"), "node.session.cmds_max"), "256");
}

TEST_F(MergeTest, NothingIsAddedWhenNotAsked) {
  const auto keys = merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}, .add_new = false});
  EXPECT_EQ(keys, (Keys{key("10.0.0.1")})) << "found all the same";
  EXPECT_TRUE(known().empty());
}

TEST_F(MergeTest, VanishedRecordsGo) {
  merge(first, {.found = {at("10.0.0.1"), at("10.0.0.9")}, .ifaces = {"default"}});
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}});
  EXPECT_EQ(known(), (Keys{key("10.0.0.1")}));
}

TEST_F(MergeTest, VanishedRecordsStayWhenTold) {
  merge(first, {.found = {at("10.0.0.1"), at("10.0.0.9")}, .ifaces = {"default"}});
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}, .remove_stale = false});
  EXPECT_EQ(known().size(), 2u);
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}});
  EXPECT_EQ(known().size(), 1u) << "still remembered as this discovery's";
}

TEST_F(MergeTest, VanishedRecordInUseStaysUntilItIsNot) {
  merge(first, {.found = {at("10.0.0.1"), at("10.0.0.9")}, .ifaces = {"default"}});
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}, .in_use = {key("10.0.0.9")}});
  EXPECT_EQ(known().size(), 2u);
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}});
  EXPECT_EQ(known().size(), 1u);
}

TEST_F(MergeTest, RecordAnotherDiscoveryFoundStays) {
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}});
  merge(second, {.found = {at("10.0.0.1")}, .ifaces = {"default"}});
  merge(first, {.found = {}, .ifaces = {"default"}});
  EXPECT_EQ(known().size(), 1u);
  merge(second, {.found = {}, .ifaces = {"default"}});
  EXPECT_EQ(known().size(), 0u);
}

TEST_F(MergeTest, DiscoveryThroughOneIfaceLeavesTheOthersAlone) {
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"i0"}});
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"i1"}});
  EXPECT_EQ(known(), (Keys{key("10.0.0.1", 1, "i0"), key("10.0.0.1", 1, "i1")}));
}

TEST_F(MergeTest, TagThatWasUnknownIsFilledIn) {
  ASSERT_FALSE(store_->add_node(key("10.0.0.1", -1), {{startup, "automatic"}}));
  EXPECT_EQ(merge(first, {.found = {at("10.0.0.1", 3)}, .ifaces = {"default"}}), (Keys{key("10.0.0.1", 3)}));
  EXPECT_EQ(known(), (Keys{key("10.0.0.1", 3)}));
  EXPECT_EQ(value(key("10.0.0.1", 3), startup), "automatic");
}

TEST_F(MergeTest, TagThatChangedKeepsTheRecord) {
  merge(first, {.found = {at("10.0.0.1", 1)}, .ifaces = {"default"}});
  ASSERT_FALSE(store_->update_node(key("10.0.0.1", 1), {{startup, "automatic"}}));
  merge(first, {.found = {at("10.0.0.1", 2)}, .ifaces = {"default"}});
  EXPECT_EQ(known(), (Keys{key("10.0.0.1", 2)}));
  EXPECT_EQ(value(key("10.0.0.1", 2), startup), "automatic");
}

TEST_F(MergeTest, TagOfARecordInUseIsNotTouched) {
  ASSERT_FALSE(store_->add_node(key("10.0.0.1", -1), {}));
  const Store::Merge what{.found = {at("10.0.0.1", 3)}, .ifaces = {"default"}, .in_use = {key("10.0.0.1", -1)}};
  EXPECT_EQ(merge(first, what), (Keys{key("10.0.0.1", -1)}));
  EXPECT_EQ(known(), (Keys{key("10.0.0.1", -1)}));
}

TEST_F(MergeTest, OnePortalInTwoGroupsIsTwoRecords) {
  merge(first, {.found = {at("10.0.0.1", 1), at("10.0.0.1", 2)}, .ifaces = {"default"}});
  EXPECT_EQ(known().size(), 2u);
  merge(first, {.found = {at("10.0.0.1", 1), at("10.0.0.1", 2)}, .ifaces = {"default"}});
  EXPECT_EQ(known().size(), 2u);
}

TEST_F(MergeTest, BadInputChangesNothing) {
  const Store::Merge no_iface{.found = {at("10.0.0.1")}, .ifaces = {"i0", "missing"}};
  EXPECT_EQ(store_->merge_discovery(first, no_iface).error(), StoreErrc::not_found);
  Store::Merge bad_name{.found = {at("10.0.0.1"), at("10.0.0.2")}, .ifaces = {"i0"}};
  bad_name.found[1].target_name = "iqn with blanks";
  EXPECT_EQ(store_->merge_discovery(first, bad_name).error(), StoreErrc::bad_value);
  EXPECT_TRUE(known().empty());
  EXPECT_TRUE(store_->discoveries()->empty());
}

TEST_F(MergeTest, ForgettingADiscoveryKeepsItsNodes) {
  merge(first, {.found = {at("10.0.0.1")}, .ifaces = {"default"}});
  ASSERT_FALSE(store_->remove_discovery(first));
  EXPECT_EQ(known().size(), 1u);
}

}  // namespace
}  // namespace mpath::db
