// Taking over a directory tree of open-iscsi and writing one.
#include "db/open_iscsi_files.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "db/settings.hpp"
#include "support.hpp"

namespace mpath::db {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* target = "iqn.2026-01.example:disk";

class FilesTest : public StoreTest {
 protected:
  [[nodiscard]] fs::path tree() const { return directory_.path() / "iscsi"; }
  FilesReport import() {
    auto report = import_open_iscsi(*store_, tree());
    EXPECT_TRUE(report) << report.error().message();
    return report.value_or(FilesReport{});
  }
  static NodeKey key(const char* address, int tpgt, const char* iface) {
    return {.target_name = target, .address = address, .port = 3260, .tpgt = tpgt, .iface = iface};
  }
};

TEST_F(FilesTest, BothFormsOfNodesAreTaken) {
  write_file(tree() / "ifaces/ieth0",
             "# BEGIN RECORD 2.1.9\niface.iscsi_ifacename = ieth0\niface.net_ifacename = eth0\n# END RECORD\n");
  write_file(tree() / "nodes" / target / "10.0.0.1,3260,1/ieth0",
             "# BEGIN RECORD 2.1.9\nnode.name = iqn.2026-01.example:disk\nnode.tpgt = 1\nnode.startup = automatic\n"
             "iface.iscsi_ifacename = ieth0\niface.net_ifacename = eth0\nnode.conn[0].address = 10.0.0.1\n"
             "node.conn[0].port = 3260\nnode.session.auth.password = hush\nnode.session.auth.password_length = 4\n# "
             "END RECORD\n");
  write_file(tree() / "nodes" / target / "10.0.0.2,3260", "node.startup = onboot\nnode.tpgt = 2\n");
  open();
  const FilesReport report = import();
  EXPECT_THAT(report.problems, IsEmpty());
  EXPECT_EQ(report.nodes, 2u);
  EXPECT_EQ(report.ifaces, 1u);
  const auto first = store_->node(key("10.0.0.1", 1, "ieth0"));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->settings.at("node.startup"), "automatic");
  EXPECT_EQ(first->settings.at("node.session.auth.password"), "hush");
  EXPECT_EQ(first->settings.at("iface.net_ifacename"), "eth0");
  const auto second = store_->node(key("10.0.0.2", 2, "default"));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->settings.at("node.startup"), "onboot");
}

TEST_F(FilesTest, WhatIsBrokenIsReportedAndSkipped) {
  write_file(tree() / "nodes" / target / "10.0.0.1,3260,1/default", "");
  write_file(tree() / "nodes" / target / "10.0.0.2,3260,1/default", "node.startup = sometimes\nnode.odd = 1\n");
  open();
  const FilesReport report = import();
  EXPECT_THAT(report.problems, ElementsAre(HasSubstr("no record in it"), HasSubstr("unknown setting node.odd"),
                                           HasSubstr("node.startup is not one of manual")));
  EXPECT_EQ(report.nodes, 1u);
  EXPECT_EQ(store_->node(key("10.0.0.2", 1, "default"))->settings.at("node.startup"), "manual");
}

TEST_F(FilesTest, KnownRecordsKeepTheirValues) {
  write_file(tree() / "nodes" / target / "10.0.0.1,3260,1/default", "node.startup = automatic\n");
  ASSERT_FALSE(open().add_node(key("10.0.0.1", 1, "default"), {{"node.startup", "onboot"}}));
  EXPECT_EQ(import().known, 1u);
  EXPECT_EQ(store_->node(key("10.0.0.1", 1, "default"))->settings.at("node.startup"), "onboot");
}

TEST_F(FilesTest, IfaceThatOnlyANodeKnowsIsMade) {
  write_file(tree() / "nodes" / target / "10.0.0.1,3260,1/ieth7",
             "node.startup = manual\niface.net_ifacename = eth7\n");
  open();
  EXPECT_EQ(import().ifaces, 1u);
  EXPECT_EQ(store_->iface("ieth7")->settings.at("iface.net_ifacename"), "eth7");
}

TEST_F(FilesTest, MissingTreeIsAnError) {
  open();
  EXPECT_FALSE(import_open_iscsi(*store_, tree()));
  fs::create_directories(tree());
  EXPECT_EQ(import().nodes, 0u);
}

TEST_F(FilesTest, WhatIsWrittenIsReadBackTheSame) {
  open();
  ASSERT_FALSE(store_->add_iface("ieth0", {{"iface.hwaddress", "02:00:00:00:00:01"}}));
  ASSERT_FALSE(store_->add_node(key("2001:db8::1", -1, "default"), {{"node.session.auth.password", "hush"}}));
  const DiscoveryKey portal{.type = "sendtargets", .address = "10.0.0.1", .port = 3260};
  Store::Merge merge;
  merge.found = {{.target_name = target, .address = "10.0.0.1", .port = 3260, .tpgt = 1}};
  merge.ifaces = {"ieth0", "default"};
  ASSERT_TRUE(store_->merge_discovery(portal, merge));
  ASSERT_FALSE(store_->update_node(key("10.0.0.1", 1, "ieth0"), {{"node.startup", "automatic"}}));
  ASSERT_FALSE(store_->update_discovery(portal, {{"discovery.sendtargets.reopen_max", "7"}}));
  const auto written = export_open_iscsi(*store_, tree(), "2.1.9");
  ASSERT_TRUE(written) << written.error().message();
  EXPECT_EQ(written->nodes, 3u);

  const test::TemporaryDirectory scratch;
  auto copy = Store::open(scratch.path() / "copy.sqlite");
  ASSERT_TRUE(copy);
  const auto read = import_open_iscsi(**copy, tree());
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_THAT(read->problems, IsEmpty());
  const auto before = store_->nodes({});
  const auto after = (*copy)->nodes({});
  ASSERT_TRUE(before && after);
  ASSERT_EQ(before->size(), after->size());
  for (std::size_t i = 0; i < before->size(); ++i) {
    EXPECT_EQ((*before)[i].key, (*after)[i].key);
    EXPECT_EQ((*before)[i].settings, (*after)[i].settings);
  }
  EXPECT_EQ((*copy)->discovery(portal)->found, store_->discovery(portal)->found);
  EXPECT_EQ((*copy)->discovery(portal)->settings, store_->discovery(portal)->settings);
  merge.found.clear();
  ASSERT_TRUE((*copy)->merge_discovery(portal, merge));
  EXPECT_EQ((*copy)->nodes({})->size(), 1u) << "what a discovery found it may remove, in the copy too";

  struct stat status {};
  ASSERT_EQ(::stat((tree() / "nodes" / target / "2001:db8::1,3260,-1/default").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

}  // namespace
}  // namespace mpath::db
