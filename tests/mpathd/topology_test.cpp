// The tree of multipath -ll.
#include <gtest/gtest.h>

#include "mpathd/topology.hpp"
#include "tests/mpathd/command_support.hpp"

namespace mpath {
namespace {

using namespace shell_test;

TEST(Topology, OfOneMap) {
  EXPECT_EQ(topology_text(one_map().maps, {}),
            "mpatha (360000000000000000e00000000010001) nbd/mpatha.sock IET,VIRTUAL-DISK\n"
            "size=256M features='0' hwhandler='0' wp=rw\n"
            "`-+- policy='service-time 0' prio=1 status=active\n"
            "  |- 1:0:0:1 p0 0:0 active ready running\n"
            "  `- 2:0:0:1 p1 0:1 active ready running\n");
}

TEST(Topology, OfNothingIsNothing) { EXPECT_EQ(topology_text({}, {}), ""); }

TEST(Topology, WithoutAnAliasTheWwidStandsOnce) {
  const Snapshot snapshot = three_maps();
  const std::string text = topology_text(std::span(snapshot.maps).subspan(2), {});
  EXPECT_TRUE(text.starts_with("1IET_00010001 nbd/1IET_00010001.sock ##,##\n")) << text;
}

TEST(Topology, BriefDoesNotTellWhatCheckersFound) {
  const TopologyStyle style{.detail = TopologyStyle::Detail::brief};
  const std::string text = topology_text(one_map().maps, style);
  EXPECT_NE(text.find("prio=0 status=active\n"), text.npos) << text;
  EXPECT_NE(text.find("p0 0:0 active undef running\n"), text.npos) << text;
}

TEST(Topology, GroupsAndPathsAreJoinedByTheirTree) {
  const Snapshot snapshot = three_maps();
  EXPECT_EQ(topology_text(std::span(snapshot.maps).subspan(1, 1), {}),
            "archive-of-the-year-with-a-long-name (36589cfc000000d2f4a9c1e6b7d80a1b2c) "
            "nbd/archive-of-the-year-with-a-long-name.sock TrueNAS,iSCSI Disk\n"
            "size=1.5T features='0' hwhandler='0' wp=rw\n"
            "|-+- policy='service-time 0' prio=1 status=active\n"
            "| `- 3:0:0:1  p2   0:2   active ready  running\n"
            "`-+- policy='service-time 0' prio=1 status=enabled\n"
            "  `- 12:0:0:1 p103 0:103 failed faulty offline\n");
}

TEST(Topology, CommonColumnsReachOverMaps) {
  const Snapshot snapshot = three_maps();
  const TopologyStyle style{.columns = TopologyStyle::Columns::common};
  const std::string text = topology_text(snapshot.maps, style);
  EXPECT_NE(text.find("|- 1:0:0:1  p0   0:0   active ready       running\n"), text.npos) << text;
}

TEST(Topology, BoldOnlyWhenAsked) {
  EXPECT_EQ(topology_text(one_map().maps, {}).find('\x1b'), std::string::npos);
  const TopologyStyle style{.bold = true};
  const std::string text = topology_text(one_map().maps, style);
  EXPECT_TRUE(text.starts_with("\x1b[1mmpatha (")) << text;
  EXPECT_NE(text.find("VIRTUAL-DISK\x1b[0m\n"), text.npos) << text;
}

TEST(Topology, AnActionStandsInFront) {
  Snapshot snapshot = one_map();
  snapshot.maps[0].action = "reload";
  EXPECT_TRUE(topology_text(snapshot.maps, {}).starts_with("reload: mpatha ("));
}

TEST(Topology, AMapWithoutGroupsStillHasItsTwoLines) {
  Snapshot snapshot = one_map();
  snapshot.maps[0].groups.clear();
  EXPECT_EQ(topology_text(snapshot.maps, {}),
            "mpatha (360000000000000000e00000000010001) nbd/mpatha.sock IET,VIRTUAL-DISK\n"
            "size=256M features='0' hwhandler='0' wp=rw\n");
}

// os-brick: the first word of line 1, the WWID in parentheses, and H:C:I:L with its device from line 4 on.
TEST(Topology, HasWhatOsBrickTakesApart) {
  const std::string text = topology_text(one_map().maps, {});
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_EQ(lines[0].substr(0, lines[0].find(' ')), "mpatha");
  EXPECT_EQ(lines[0].substr(lines[0].find('(') + 1, 33), "360000000000000000e00000000010001");
  EXPECT_EQ(lines[3].substr(5, 10), "1:0:0:1 p0");
}

}  // namespace
}  // namespace mpath
