// Other targets' configurations as ours: reviewed transcripts, and proof that the result is a valid configuration.
#include "target/config/import.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "target/config/drbd_text.hpp"
#include "target/config/import_pair.hpp"
#include "target/config/parse.hpp"

namespace mpath::target {
namespace {

constexpr const char* folder = "tests/target/config/import/";

std::string content(const std::string& name) {
  std::stringstream text;
  text << std::ifstream(folder + name).rdbuf();
  return text.str();
}

// MPATH_UPDATE_GOLDEN=1 writes what comes out; review it as prose.
void expect_golden(const std::string& name, const std::string& text) {
  if (std::getenv("MPATH_UPDATE_GOLDEN") != nullptr) std::ofstream(folder + name) << text;
  EXPECT_EQ(text, content(name));
}

void expect_valid(const std::string& text) {
  const std::vector<ConfigFile> files{{.name = "imported", .text = text}};
  const auto parsed = parse_targetd_config(files, [](const std::string&) { return std::string(); });
  for (const ConfigProblem& problem : parsed.problems) ADD_FAILURE() << problem.text();
}

TEST(Import, Ietd) {
  const Imported imported = import_ietd(content("ietd.conf"), "ietd.conf");
  EXPECT_TRUE(imported.readable);
  EXPECT_EQ(imported.lost, 5U);
  expect_golden("ietd.golden", imported.text);
  expect_valid(imported.text);
}

TEST(Import, Tgt) {
  const Imported imported = import_tgt(content("targets.conf"), "targets.conf");
  EXPECT_TRUE(imported.readable);
  EXPECT_EQ(imported.lost, 6U);
  expect_golden("tgt.golden", imported.text);
  expect_valid(imported.text);
}

PairFile pair_file(const std::string& name) {
  return {name, content(name)};
}

// Identities that are the same each time, for what is compared.
std::function<std::string()> counted_uuids() {
  return [count = 0]() mutable { return fmt::format("00000000-0000-4000-8000-{:012}", ++count); };
}

// On both nodes, without an error; a link too few and units in no target are warned of.
void expect_pair(const std::string& text, const std::vector<std::string>& warnings) {
  for (const auto node : {mpath::replication::Member::a, mpath::replication::Member::b}) {
    const std::vector<ConfigFile> files{{.name = "imported", .text = text}};
    const auto parsed = parse_targetd_config(files, [](const std::string&) { return std::string(); }, {.node = node});
    std::vector<std::string> lines;
    for (const ConfigProblem& problem : parsed.problems) {
      EXPECT_EQ(problem.severity, ConfigProblem::Severity::warning) << problem.text();
      lines.push_back(problem.what);
    }
    EXPECT_EQ(lines, warnings);
    EXPECT_TRUE(parsed.config.cluster);
  }
}

TEST(Import, DrbdAndHeartbeat) {
  const PairFiles files{pair_file("drbd83.conf"), pair_file("ha.cf"), pair_file("haresources")};
  const Imported imported = import_pair(files, counted_uuids());
  EXPECT_TRUE(imported.readable);
  EXPECT_EQ(imported.lost, 14U);
  expect_golden("drbd83.golden", imported.text);
  EXPECT_EQ(imported.text.find("not for you"), std::string::npos) << "a secret is shown";
  expect_pair(imported.text, {"one link only: a pulled cable looks like a dead node; a second link makes it harmless",
                              "lu disk is in no target"});
}

TEST(Import, DrbdAlone) {
  const Imported imported = import_pair({pair_file("drbd84.conf")}, counted_uuids());
  EXPECT_TRUE(imported.readable);
  EXPECT_EQ(imported.lost, 5U);
  expect_golden("drbd84.golden", imported.text);
  expect_pair(imported.text,
              {"lu store-v0 is in no target", "lu store-v1 is in no target", "lu three is in no target"});
}

TEST(Import, GivesEveryUnitAnIdentityOfItsOwn) {
  const PairFiles files{pair_file("drbd83.conf")};
  EXPECT_NE(import_pair(files, [] { return format_uuid(make_uuid()); }).text,
            import_pair(files, [] { return format_uuid(make_uuid()); }).text);
}

// Where nothing else is wrong with the file.
struct PairRow {
  const char* name;
  const char* ha;
  const char* haresources;
  const char* has;
};
class ImportedPair : public testing::TestWithParam<PairRow> {};
TEST_P(ImportedPair, SaysIt) {
  PairFiles files{.drbd = {"drbd.conf",
                           "resource r { device /dev/drbd0; disk /dev/x;\n on n1 { address 10.0.0.1:7788; }\n on n2 { "
                           "address 10.0.0.2:7788; } }"}};
  files.ha = {"ha.cf", GetParam().ha};
  files.haresources = {"haresources", GetParam().haresources};
  const Imported imported = import_pair(files, counted_uuids());
  EXPECT_THAT(imported.text, testing::HasSubstr(GetParam().has));
  const std::vector<ConfigFile> text{{.name = "imported", .text = imported.text}};
  const auto parsed = parse_targetd_config(text, [](const std::string&) { return std::string(); },
                                           {.node = mpath::replication::Member::a});
  for (const ConfigProblem& problem : parsed.problems)
    EXPECT_EQ(problem.severity, ConfigProblem::Severity::warning) << problem.text() << "\n" << imported.text;
}
INSTANTIATE_TEST_SUITE_P(
    Import, ImportedPair,
    testing::Values(PairRow{"milliseconds", "keepalive 500ms\n", "",
                            "  keepalive 500ms\n  warntime 15s\n  deadtime 30s"},
                    PairRow{"only_deadtime", "deadtime 15\n", "",
                            "keepalive 2s\n  warntime 7500ms\n  deadtime 15s\n  "
                            "initdead 30s\n"},
                    PairRow{"disorder", "keepalive 30\nwarntime 10\ndeadtime 20\n", "", "left out"},
                    PairRow{"no_time", "keepalive soon\n", "", "# ha.cf:1: keepalive soon: "},
                    PairRow{"failback_to_nobody", "auto_failback on\n", "", "nobody is preferred: off is used"},
                    PairRow{"failback", "auto_failback on\n", "n2 10.0.1.9/24\n", "auto_failback on\n  preferred b\n"},
                    PairRow{"legacy", "auto_failback legacy\n", "", "only on and off are possible"},
                    PairRow{"nice", "nice_failback off\n", "n1\n", "auto_failback on\n  preferred a\n"},
                    PairRow{"bare_address", "", "n1 10.0.1.9/24/eth0\n", "virtual_ip 10.0.1.9/24 dev eth0\n"},
                    PairRow{"no_prefix", "", "n1 IPaddr::10.0.1.9\n", "virtual_ip 10.0.1.9/32\n"},
                    PairRow{"v6", "", "n1 IPv6addr::fd00::9/64\n", "virtual_ip fd00::9/64\n"},
                    PairRow{"two_preferred", "", "n1 10.0.1.9/24\nn2 10.0.1.8/24\n", "one node serves everything: a"},
                    PairRow{"strange_host", "", "n7 10.0.1.9/24\n", "n7: drbd.conf has no resource on this host"},
                    PairRow{"mounted", "", "n1 Filesystem::/dev/drbd0::/mnt\n", "#lu r {\n"},
                    PairRow{"ucast", "ucast eth0 10.0.0.2\n", "", "which node has this address is not said here"},
                    PairRow{"unknown", "mystery 1\n", "", "# ha.cf:1: mystery 1: is unknown here"}),
    [](const auto& row) { return row.param.name; });

TEST(Import, SaysWhereBracesDoNotFit) {
  EXPECT_EQ(parse_drbd("resource r {\n on a {\n }\n").broken_line, 4U);
  EXPECT_EQ(parse_drbd("a b;\n}\nc d;\n").broken_line, 2U);
  EXPECT_EQ(parse_drbd("a b;\n}\nc d;\n").statements.size(), 2U);
  EXPECT_EQ(parse_drbd("net { timeout 60 }").broken_line, 1U);
  EXPECT_EQ(parse_drbd("a \"b ; { c\" d; # }\n").statements[0].words.size(), 3U);
  EXPECT_EQ(parse_drbd("a b;").broken_line, 0U);
  EXPECT_NE(parse_drbd(std::string(100'000, '{')).broken_line, 0U);
}

TEST(Import, SaysWhenThereIsNothing) {
  EXPECT_FALSE(import_ietd("", "x").readable);
  EXPECT_FALSE(import_ietd("hello world\n", "x").readable);
  EXPECT_FALSE(import_tgt("hello world\n<x", "x").readable);
  EXPECT_FALSE(import_pair({{"x", ""}}, counted_uuids()).readable);
  EXPECT_FALSE(import_pair({{"x", "resource r { on a { } }"}}, counted_uuids()).readable);
}

// Every line of the file is in the result or in a comment of it: cut off anywhere, nothing crashes.
TEST(Import, TakesAnyPartOfAFile) {
  for (const char* name : {"ietd.conf", "targets.conf"}) {
    const std::string whole = content(name);
    ASSERT_FALSE(whole.empty());
    for (std::size_t size = 0; size < whole.size(); ++size) {
      static_cast<void>(import_ietd(whole.substr(0, size), name));
      static_cast<void>(import_tgt(whole.substr(0, size), name));
    }
  }
  for (const char* name : {"drbd83.conf", "drbd84.conf", "ha.cf", "haresources"}) {
    const std::string whole = content(name);
    ASSERT_FALSE(whole.empty());
    for (std::size_t size = 0; size < whole.size(); size += 3) {
      const PairFile cut{name, whole.substr(0, size)};
      static_cast<void>(import_pair({cut}, counted_uuids()));
      static_cast<void>(import_pair({pair_file("drbd83.conf"), cut, cut}, counted_uuids()));
    }
  }
}

}  // namespace
}  // namespace mpath::target
