// Wildcards and tables: every letter has its word, every column its width.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "mpathd/table_format.hpp"
#include "mpathd/wildcards.hpp"
#include "tests/mpathd/command_support.hpp"

namespace mpath {
namespace {

using namespace shell_test;

struct SizeRow {
  const char* name;
  std::uint64_t bytes;
  const char* text;
};
class Size : public testing::TestWithParam<SizeRow> {};

TEST_P(Size, IsShortAsMultipathPrintsIt) { EXPECT_EQ(size_text(GetParam().bytes), GetParam().text); }

INSTANTIATE_TEST_SUITE_P(Rows, Size,
                         testing::Values(SizeRow{"nothing", 0, "0.0K"}, SizeRow{"sector", 512, "0.5K"},
                                         SizeRow{"nine_k", 9216, "9.0K"}, SizeRow{"ten_k", 10240, "10K"},
                                         SizeRow{"last_k", 1048064, "1024K"}, SizeRow{"mib", 1 << 20, "1.0M"},
                                         SizeRow{"demo", 256 << 20, "256M"},
                                         SizeRow{"one_and_a_half_g", std::uint64_t{3} << 29, "1.5G"},
                                         SizeRow{"ten_g", std::uint64_t{10} << 30, "10G"},
                                         SizeRow{"tera", std::uint64_t{1} << 40, "1.0T"},
                                         SizeRow{"peta", std::uint64_t{1} << 50, "1.0P"},
                                         SizeRow{"most", ~std::uint64_t{0}, "16384P"}),
                         [](const auto& row) { return row.param.name; });

template <typename Table>
std::string letters_of(const Table& table) {
  std::string letters;
  for (const auto& wildcard : table) letters += wildcard.letter;
  return letters;
}

TEST(Wildcards, AreThoseOfMultipathdAndOurs) {
  EXPECT_EQ(letters_of(map_wildcards()), "nwdFQNrtSfxhA01234svpeGgkqX");
  EXPECT_EQ(letters_of(path_wildcards()), "widDtoTscCpSzMmNnRraGg0PILAkufq");
  EXPECT_EQ(letters_of(group_wildcards()), "sptM");
}

TEST(Wildcards, NoLetterIsUsedTwice) {
  const auto distinct = [](const std::string& letters) { return std::set<char>(letters.begin(), letters.end()).size(); };
  EXPECT_EQ(distinct(letters_of(map_wildcards())), map_wildcards().size());
  EXPECT_EQ(distinct(letters_of(path_wildcards())), path_wildcards().size());
}

TEST(Wildcards, OfAGoodPath) {
  const Snapshot snapshot = one_map();
  const PathSnapshot& path = snapshot.maps[0].groups[0].paths[1];
  const std::pair<char, std::string> expected[] = {
      {'w', "360000000000000000e00000000010001"}, {'i', "2:0:0:1"}, {'d', "p1"}, {'D', "0:1"}, {'t', "active"},
      {'o', "running"}, {'T', "ready"}, {'s', "IET,VIRTUAL-DISK,0001"}, {'c', "tur"}, {'C', "XXXXXX.... 3/5"},
      {'p', "1"}, {'S', "256M"}, {'z', "beaf11"}, {'M', "normal"}, {'m', "mpatha"},
      {'N', "iqn.2026-11.org.example:client"}, {'n', "iqn.2026-11.org.example:disk"}, {'R', "[undef]"}, {'r', "[undef]"},
      {'a', "eth1"}, {'G', "--"}, {'g', "[undef]"}, {'0', "0"}, {'P', "scsi:iscsi"}, {'I', "ok"},
      {'L', "0x0001000000000000"}, {'A', "[undef]"}, {'k', "1024"}, {'u', "10.0.2.1:3260,1"}, {'f', "ieth1"}, {'q', "0"}};
  for (const auto& [letter, text] : expected) EXPECT_EQ(wildcard_text(path, letter), text) << letter;
  EXPECT_EQ(std::size(expected), path_wildcards().size());
}

TEST(Wildcards, OfAnOrphan) {
  const PathSnapshot orphan = three_maps().orphans[0];
  EXPECT_EQ(wildcard_text(orphan, 'C'), "orphan");
  EXPECT_EQ(wildcard_text(orphan, 'm'), "[orphan]");
  EXPECT_EQ(wildcard_text(orphan, 'o'), "unknown");
  EXPECT_EQ(wildcard_text(orphan, 'T'), "undef");
  EXPECT_EQ(wildcard_text(orphan, 's'), "##,VIRTUAL-DISK,0001");
  EXPECT_EQ(wildcard_text(orphan, 'L'), "0x4001000000000000");
  EXPECT_EQ(wildcard_text(orphan, 'n'), "[undef]");
}

TEST(Wildcards, OfMaps) {
  const Snapshot snapshot = three_maps();
  const MapSnapshot& lost = snapshot.maps[2];
  const std::pair<char, std::string> expected[] = {
      {'n', "1IET_00010001"}, {'w', "1IET_00010001"}, {'d', "nbd/1IET_00010001.sock"}, {'F', "immediate"}, {'Q', "25 sec"},
      {'N', "0"}, {'r', "ro"}, {'t', "active"}, {'S', "256M"}, {'f', "0"}, {'x', "2"}, {'h', "0"}, {'A', ""}, {'0', "0"},
      {'1', "0"}, {'2', "1"}, {'3', "31"}, {'4', "1"}, {'s', "##,##"}, {'v', "##"}, {'p', "##"}, {'e', "##"}, {'G', "--"},
      {'g', "[undef]"}, {'k', "1024"}, {'q', "32"}, {'X', "unix:/run/mpathd/nbd/1IET_00010001.sock"}};
  for (const auto& [letter, text] : expected) EXPECT_EQ(wildcard_text(lost, letter), text) << letter;
  EXPECT_EQ(std::size(expected), map_wildcards().size());
  EXPECT_EQ(wildcard_text(snapshot.maps[1], 'N'), "1") << "a failed path does not count";
}

TEST(Wildcards, SuspendIsSpelledAsMultipathdDoes) {
  MapSnapshot map = one_map().maps[0];
  map.dm_state = "suspended";
  EXPECT_EQ(wildcard_text(map, 't'), "suspend");
}

TEST(Wildcards, EveryCheckerStateHasItsWord) {
  PathSnapshot path = one_map().maps[0].groups[0].paths[0];
  const std::tuple<CheckerState, const char*, const char*> words[] = {
      {CheckerState::undef, "undef", "unchecked"},     {CheckerState::ready, "ready", "up"},
      {CheckerState::faulty, "faulty", "down"},        {CheckerState::shaky, "shaky", "shaky"},
      {CheckerState::ghost, "ghost", "ghost"},         {CheckerState::pending, "i/o pending", "pending"},
      {CheckerState::timeout, "i/o timeout", "timeout"}, {CheckerState::removed, "undef", "removed"},
      {CheckerState::disconnected, "disconnected", "disconnected"}};
  for (const auto& [state, shown, name] : words) {
    path.checker_state = state;
    EXPECT_EQ(wildcard_text(path, 'T'), shown);
    EXPECT_EQ(checker_state_name(state), name);
  }
}

TEST(Wildcards, ProgressNeverOverflowsItsBar) {
  PathSnapshot path = one_map().maps[0].groups[0].paths[0];
  path.next_check = 9;
  path.check_interval = 5;
  EXPECT_EQ(wildcard_text(path, 'C'), "XXXXXXXXXX 9/5");
  path.check_interval = 0;
  EXPECT_EQ(wildcard_text(path, 'C'), " 9/0");
}

TEST(Table, PadsToTheWidestValueOfEachColumn) {
  const Snapshot snapshot = three_maps();
  EXPECT_EQ(format_maps("%n|%N|%Q", snapshot.maps, TableStyle::padded),
            "name                                |paths|queueing\n"
            "mpatha                              |2    |on      \n"
            "archive-of-the-year-with-a-long-name|1    |12 chk  \n"
            "1IET_00010001                       |0    |25 sec  \n");
}

TEST(Table, RawHasNeitherHeaderNorPadding) {
  const Snapshot snapshot = three_maps();
  EXPECT_EQ(format_maps("%n %N", snapshot.maps, TableStyle::raw),
            "mpatha 2\narchive-of-the-year-with-a-long-name 1\n1IET_00010001 0\n");
  const auto paths = all_paths(snapshot);
  EXPECT_EQ(format_paths("%d", paths, TableStyle::raw), "p0\np1\np2\np103\np4\np5\np7\n");
}

TEST(Table, WithoutRowsHasNoHeader) {
  EXPECT_EQ(format_maps(maps_format, {}, TableStyle::padded), "");
  EXPECT_EQ(format_paths(paths_format, {}, TableStyle::raw), "");
}

TEST(Table, UnknownLettersAndALonePercentPrintNothing) {
  const Snapshot snapshot = one_map();
  EXPECT_EQ(format_maps("<%n%y%%>%", snapshot.maps, TableStyle::raw), "<mpatha>\n");
  EXPECT_EQ(format_maps("", snapshot.maps, TableStyle::raw), "\n");
  EXPECT_EQ(format_maps("plain", snapshot.maps, TableStyle::raw), "plain\n");
}

TEST(Table, ColumnsStopGrowingAt255) {
  Snapshot snapshot = three_maps();
  snapshot.maps[0].wwid = std::string(400, 'w');
  const std::string text = format_maps("%w|", snapshot.maps, TableStyle::padded);
  EXPECT_EQ(text.find('|'), 255U);
  EXPECT_NE(text.find(std::string(400, 'w') + "|\n"), text.npos) << "the value itself is never cut";
}

}  // namespace
}  // namespace mpath
