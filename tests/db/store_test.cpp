// The record store from the outside: records, keys, aliases, who may open the file.
#include "db/store.hpp"

#include <sys/stat.h>

#include "db/settings.hpp"
#include "support.hpp"

namespace mpath::db {
namespace {

const NodeKey disk{
    .target_name = "iqn.2026-01.example:disk", .address = "10.0.0.1", .port = 3260, .tpgt = 1, .iface = "default"};
const DiscoveryKey portal{.type = "sendtargets", .address = "10.0.0.1", .port = 3260};
constexpr const char* startup = "node.startup";

mode_t mode_of(const std::filesystem::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

std::vector<NodeKey> keys_of(const std::vector<NodeRecord>& records) {
  std::vector<NodeKey> keys;
  for (const NodeRecord& record : records) keys.push_back(record.key);
  return keys;
}

TEST_F(StoreTest, AddedNodeIsThereAfterReopening) {
  ASSERT_FALSE(open().add_node(disk, {{startup, "automatic"}}));
  const auto node = open().node(disk);
  ASSERT_TRUE(node);
  EXPECT_EQ(node->key, disk);
  EXPECT_EQ(node->settings.at(startup), "automatic");
}

TEST_F(StoreTest, RecordHoldsEveryKeyOfItsTable) {
  ASSERT_FALSE(open().add_node(disk, {}));
  const auto node = store_->node(disk);
  ASSERT_TRUE(node);
  EXPECT_EQ(node->settings.size(), node_table().size());
  for (const Setting& row : node_table()) EXPECT_TRUE(node->settings.contains(std::string(row.key))) << row.key;
  EXPECT_EQ(node->settings.at("node.name"), disk.target_name);
  EXPECT_EQ(node->settings.at("node.tpgt"), "1");
  EXPECT_EQ(node->settings.at("node.conn[0].address"), "10.0.0.1");
  EXPECT_EQ(node->settings.at("node.discovery_type"), "static");
}

TEST_F(StoreTest, SecondAddIsRefused) {
  ASSERT_FALSE(open().add_node(disk, {}));
  EXPECT_EQ(store_->add_node(disk, {}), StoreErrc::exists);
}

TEST_F(StoreTest, MissingRecordsAreNotFound) {
  open();
  EXPECT_EQ(store_->node(disk).error(), StoreErrc::not_found);
  EXPECT_EQ(store_->update_node(disk, {{startup, "manual"}}), StoreErrc::not_found);
  EXPECT_EQ(store_->remove_node(disk), StoreErrc::not_found);
  EXPECT_EQ(store_->discovery(portal).error(), StoreErrc::not_found);
  EXPECT_EQ(store_->update_discovery(portal, {}), StoreErrc::not_found);
  EXPECT_EQ(store_->remove_discovery(portal), StoreErrc::not_found);
  EXPECT_EQ(store_->iface("ieth0").error(), StoreErrc::not_found);
  EXPECT_EQ(store_->update_iface("ieth0", {}), StoreErrc::not_found);
  EXPECT_EQ(store_->remove_iface("ieth0"), StoreErrc::not_found);
}

TEST_F(StoreTest, UpdateWithOneBadValueChangesNothing) {
  ASSERT_FALSE(open().add_node(disk, {}));
  EXPECT_EQ(store_->update_node(disk, {{startup, "automatic"}, {"node.session.cmds_max", "100"}}),
            StoreErrc::bad_value);
  EXPECT_EQ(store_->update_node(disk, {{startup, "automatic"}, {"node.session.nonsense", "1"}}),
            StoreErrc::unknown_key);
  EXPECT_EQ(store_->update_node(disk, {{startup, "automatic"}, {"node.name", "iqn.x:y"}}), StoreErrc::unknown_key);
  EXPECT_EQ(store_->update_node(disk, {{startup, "automatic"}, {"discovery.startup", "manual"}}),
            StoreErrc::unknown_key);
  EXPECT_EQ(store_->node(disk)->settings.at(startup), "manual");
}

TEST_F(StoreTest, ValuesAreStoredNormalised) {
  ASSERT_FALSE(open().add_node(disk, {{"node.session.iscsi.ImmediateData", "no"}}));
  ASSERT_FALSE(store_->update_node(disk, {{"node.session.iscsi.MaxBurstLength", "1m"}}));
  EXPECT_EQ(store_->node(disk)->settings.at("node.session.iscsi.ImmediateData"), "No");
  EXPECT_EQ(store_->node(disk)->settings.at("node.session.iscsi.MaxBurstLength"), "1048576");
}

TEST_F(StoreTest, FiltersSelectAndOrderNodes) {
  NodeKey second = disk;
  second.address = "10.0.1.1";
  NodeKey third = disk;
  third.target_name = "iqn.2026-01.example:aaa";
  third.tpgt = -1;
  open();
  for (const NodeKey& key : {second, disk, third}) ASSERT_FALSE(store_->add_node(key, {}));
  EXPECT_EQ(keys_of(*store_->nodes({})), (std::vector{third, disk, second}));
  EXPECT_EQ(keys_of(*store_->nodes({.target_name = disk.target_name})), (std::vector{disk, second}));
  EXPECT_EQ(keys_of(*store_->nodes({.address = "10.0.0.1"})), (std::vector{third, disk}));
  EXPECT_EQ(keys_of(*store_->nodes({.tpgt = -1})), (std::vector{third}));
  EXPECT_EQ(keys_of(*store_->nodes({.port = 3261})), (std::vector<NodeKey>{}));
  EXPECT_EQ(keys_of(*store_->nodes({.iface = "default"})).size(), 3u);
}

TEST_F(StoreTest, OneAddressInTwoSpellingsIsOneNode) {
  NodeKey v6 = disk;
  v6.address = "[2001:DB8:0::1]";
  ASSERT_FALSE(open().add_node(v6, {}));
  v6.address = "2001:db8::1";
  EXPECT_EQ(store_->add_node(v6, {}), StoreErrc::exists);
  EXPECT_EQ(store_->nodes({.address = "2001:DB8::1"})->size(), 1u);
}

TEST_F(StoreTest, SenselessKeysAreRefused) {
  open();
  for (auto spoil : {+[](NodeKey& key) { key.target_name = ""; }, +[](NodeKey& key) { key.target_name = "a b"; },
                     +[](NodeKey& key) { key.address = ""; }, +[](NodeKey& key) { key.address = "a\nb"; },
                     +[](NodeKey& key) { key.port = 0; }, +[](NodeKey& key) { key.tpgt = 70000; }}) {
    NodeKey key = disk;
    spoil(key);
    EXPECT_EQ(store_->add_node(key, {}), StoreErrc::bad_value);
  }
}

TEST_F(StoreTest, ConfigurationReachesNewRecordsOnly) {
  constexpr const char* timeout = "node.session.timeo.replacement_timeout";
  ASSERT_FALSE(open({{timeout, "10"}}).add_node(disk, {}));
  NodeKey second = disk;
  second.tpgt = 2;
  ASSERT_FALSE(open({{timeout, "20"}}).add_node(second, {}));
  EXPECT_EQ(store_->node(disk)->settings.at(timeout), "10");
  EXPECT_EQ(store_->node(second)->settings.at(timeout), "20");
}

TEST_F(StoreTest, DefaultsThatMakeNoSenseAreRefusedAtOpen) {
  EXPECT_EQ(Store::open(file(), {{"node.session.cmds_max", "3"}}).error(), StoreErrc::bad_value);
  EXPECT_EQ(Store::open(file(), {{"node.session.nonsense", "3"}}).error(), StoreErrc::unknown_key);
}

TEST_F(StoreTest, DefaultIfaceIsBuiltInAndNotEditable) {
  open();
  ASSERT_EQ(store_->ifaces()->size(), 1u);
  EXPECT_EQ(store_->iface("default")->settings.at("iface.transport_name"), "tcp");
  EXPECT_EQ(store_->add_iface("default", {}), StoreErrc::exists);
  EXPECT_EQ(store_->update_iface("default", {{"iface.net_ifacename", "eth0"}}), StoreErrc::unknown_key);
  EXPECT_EQ(store_->remove_iface("default"), StoreErrc::unknown_key);
}

TEST_F(StoreTest, IfaceTakesOneBindingNotTwo) {
  open();
  ASSERT_FALSE(store_->add_iface("ieth0", {{"iface.net_ifacename", "eth0"}}));
  EXPECT_EQ(store_->update_iface("ieth0", {{"iface.hwaddress", "aa:bb:cc:00:00:01"}}), StoreErrc::bad_value);
  EXPECT_EQ(store_->iface("ieth0")->settings.at("iface.hwaddress"), "");
  EXPECT_FALSE(store_->update_iface("ieth0", {{"iface.net_ifacename", ""}, {"iface.hwaddress", "AA:bb:cc:00:00:01"}}));
  EXPECT_EQ(store_->iface("ieth0")->settings.at("iface.hwaddress"), "aa:bb:cc:00:00:01");
  EXPECT_EQ(store_->add_iface("a/b", {}), StoreErrc::bad_value);
  EXPECT_EQ(store_->add_iface("two", {{"iface.net_ifacename", "eth0"}, {"iface.hwaddress", "aa:bb:cc:00:00:01"}}),
            StoreErrc::bad_value);
}

TEST_F(StoreTest, NodesShowTheirIfaceAsItIsNow) {
  open();
  ASSERT_FALSE(store_->add_iface("ieth0", {{"iface.net_ifacename", "eth0"}}));
  NodeKey bound = disk;
  bound.iface = "ieth0";
  ASSERT_FALSE(store_->add_node(bound, {}));
  ASSERT_FALSE(store_->update_iface("ieth0", {{"iface.net_ifacename", "eth7"}}));
  EXPECT_EQ(store_->node(bound)->settings.at("iface.net_ifacename"), "eth7");
  ASSERT_FALSE(store_->update_node(bound, {{"iface.net_ifacename", "eth9"}}));
  EXPECT_EQ(store_->node(bound)->settings.at("iface.net_ifacename"), "eth9");
}

TEST_F(StoreTest, NodesGoWithTheirIface) {
  open();
  NodeKey bound = disk;
  bound.iface = "ieth0";
  EXPECT_EQ(store_->add_node(bound, {}), StoreErrc::not_found) << "the iface must exist";
  ASSERT_FALSE(store_->add_iface("ieth0", {}));
  ASSERT_FALSE(store_->add_node(bound, {}));
  ASSERT_FALSE(store_->add_node(disk, {}));
  ASSERT_FALSE(store_->remove_iface("ieth0"));
  EXPECT_EQ(keys_of(*store_->nodes({})), (std::vector{disk}));
}

TEST_F(StoreTest, DiscoveryRecordsAreKept) {
  open();
  ASSERT_FALSE(store_->add_discovery(portal, {{"discovery.sendtargets.auth.username", "joe"}}));
  EXPECT_EQ(store_->add_discovery(portal, {}), StoreErrc::exists);
  ASSERT_FALSE(store_->update_discovery(portal, {{"discovery.sendtargets.reopen_max", "9"}}));
  EXPECT_EQ(store_->update_discovery(portal, {{"discovery.sendtargets.port", "1"}}), StoreErrc::unknown_key);
  const auto record = store_->discovery(portal);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->settings.at("discovery.sendtargets.auth.username"), "joe");
  EXPECT_EQ(record->settings.at("discovery.sendtargets.reopen_max"), "9");
  EXPECT_EQ(record->settings.at("discovery.sendtargets.address"), "10.0.0.1");
  EXPECT_EQ(record->settings.size(), sendtargets_table().size());
  EXPECT_EQ(store_->discoveries()->size(), 1u);
  ASSERT_FALSE(store_->remove_discovery(portal));
  EXPECT_EQ(store_->discoveries()->size(), 0u);
  EXPECT_EQ(store_->add_discovery({.type = "slp", .address = "10.0.0.1"}, {}), StoreErrc::bad_value);
}

TEST_F(StoreTest, AliasesCountInLettersAndStay) {
  open();
  std::string last;
  for (int i = 1; i <= 26 + 26 * 26 + 1; ++i) {
    last = store_->alias_for("3600" + std::to_string(i), "mpath").value();
    if (i == 1) {
      EXPECT_EQ(last, "mpatha");
    }
    if (i == 26) {
      EXPECT_EQ(last, "mpathz");
    }
    if (i == 27) {
      EXPECT_EQ(last, "mpathaa");
    }
    if (i == 26 + 26 * 26) {
      EXPECT_EQ(last, "mpathzz");
    }
    if (i == 60) {
      open();
    }
  }
  EXPECT_EQ(last, "mpathaaa");
  EXPECT_EQ(open().alias_for("36001", "mpath"), "mpatha");
}

TEST_F(StoreTest, AliasPrefixesDoNotCollide) {
  open();
  for (int i = 1; i <= 27; ++i) ASSERT_TRUE(store_->alias_for(std::to_string(i), "mpath"));
  EXPECT_EQ(store_->alias_for("x", "mpatha"), "mpathab") << "mpathaa is taken";
  EXPECT_EQ(store_->alias_for("1", "disk"), "diska");
  EXPECT_EQ(store_->alias_for("", "mpath").error(), StoreErrc::bad_value);
}

TEST_F(StoreTest, FilesAreForTheOwnerWhateverTheUmask) {
  for (const mode_t mask : {mode_t{0}, mode_t{0777}}) {
    const test::TemporaryDirectory scratch;
    const auto path = scratch.path() / "a/b/mpathd.sqlite";
    const mode_t before = ::umask(mask);
    auto store = Store::open(path);
    ASSERT_TRUE(store) << store.error().message();
    const error_code added = (*store)->add_node(disk, {});
    ::umask(before);
    ASSERT_FALSE(added) << added.message();
    for (const char* suffix : {"", "-wal", "-shm"}) EXPECT_EQ(mode_of(path.string() + suffix), 0600u) << suffix;
    EXPECT_EQ(mode_of(path.parent_path()), 0700u);
    EXPECT_EQ(mode_of(path.parent_path().parent_path()), 0700u);
  }
}

TEST_F(StoreTest, WriteProtectedFileIsReadButNotWritten) {
  ASSERT_FALSE(open().add_node(disk, {}));
  ASSERT_TRUE(store_->alias_for("1", "mpath"));
  close();
  ASSERT_EQ(::chmod(file().c_str(), 0400), 0);
  open();
  EXPECT_EQ(store_->nodes({})->size(), 1u);
  EXPECT_EQ(store_->ifaces()->size(), 1u);
  EXPECT_EQ(store_->alias_for("1", "mpath"), "mpatha");
  EXPECT_EQ(store_->alias_for("2", "mpath").error(), StoreErrc::read_only);
  EXPECT_EQ(store_->add_node(disk, {}), StoreErrc::read_only);
  EXPECT_EQ(store_->merge_discovery(portal, {}).error(), StoreErrc::read_only);
}

TEST_F(StoreTest, TenThousandNodesAreListed) {
  open();
  Store::Merge merge{.ifaces = {"default"}};
  for (int i = 0; i < 10000; ++i)
    merge.found.push_back({.target_name = "iqn.2026-01.example:" + std::to_string(i), .address = "10.0.0.1"});
  ASSERT_TRUE(store_->merge_discovery(portal, merge));
  EXPECT_EQ(store_->nodes({})->size(), 10000u);
  EXPECT_EQ(store_->discovery(portal)->found.size(), 10000u);
}

}  // namespace
}  // namespace mpath::db
