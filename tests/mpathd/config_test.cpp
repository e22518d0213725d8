// multipath.conf: what each keyword decides, who wins, what is refused, and that show config can be read back.
#include <gtest/gtest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>

#include "mpathd/multipath_config.hpp"
#include "tests/mpathd/command_support.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath {
namespace {

using namespace std::chrono_literals;
using namespace shell_test;

ConfigResult parse(std::string text) {
  const std::vector<ConfigSource> one{{.name = "multipath.conf", .text = std::move(text)}};
  return parse_multipath_config(one);
}

std::shared_ptr<const MultipathConfig> config(std::string text) {
  auto result = parse(std::move(text));
  if (!result) {
    for (const ConfigProblem& problem : result.error()) ADD_FAILURE() << problem.text();
    return std::make_shared<const MultipathConfig>();
  }
  return *result;
}

std::string lines(const ConfigProblems& problems) {
  std::string text;
  for (const ConfigProblem& problem : problems) text += problem.text() + "\n";
  return text;
}

MapSettings settings(std::string text, const char* wwid = "3600") { return config(std::move(text))->settings_for(wwid, "IET", "DISK"); }

MapPolicy policy_of_default(std::string line) { return settings("defaults {\n" + line + "\n}\n").policy; }

TEST(Config, WithoutAFileTheBuiltInSettingsAreThoseOfMapPolicy) {
  const MapSettings built_in = MultipathConfig().settings_for("3600", "IET", "DISK");
  EXPECT_EQ(built_in.policy, MapPolicy{});
  EXPECT_EQ(built_in.exports, ExportSettings{});
  EXPECT_FALSE(built_in.alias);
  EXPECT_FALSE(built_in.blacklisted);
  EXPECT_EQ(MultipathConfig().verbosity(), 2);
}

TEST(Config, TheTableSaysWhatIsBuiltIn) {
  MapSettings from_table;
  for (const MapSetting& setting : map_setting_table()) {
    if (!setting.has_effect() || setting.built_in.empty()) continue;
    EXPECT_EQ(setting.apply(setting.built_in, from_table).verdict, Applied::Verdict::ok) << setting.key;
  }
  const MapSettings built_in;
  EXPECT_EQ(from_table.policy, built_in.policy);
  EXPECT_EQ(from_table.exports, built_in.exports);
  EXPECT_EQ(from_table.alias_prefix, built_in.alias_prefix);
  EXPECT_EQ(from_table.drill, built_in.drill);
  EXPECT_EQ(from_table.verbosity, built_in.verbosity);
}

TEST(Config, ExportsAreAListOfWords) {
  const auto kinds = [](const std::string& value) { return settings("defaults {\n export " + value + "\n}\n").exports.kinds; };
  EXPECT_FALSE(settings("").exports.kinds) << "nothing written is something else than none";
  EXPECT_EQ(kinds("nbd-socket"), ExportKinds{ExportKind::nbd_socket});
  EXPECT_EQ(kinds("\"ublk nbd-socket\""), (ExportKinds{ExportKind::nbd_socket, ExportKind::ublk}));
  EXPECT_EQ(kinds("\"nbd, tcmu\""), (ExportKinds{ExportKind::nbd, ExportKind::tcmu}));
  for (const std::string wrong : {"iser", "\"none nbd\"", "\" \"", "\"nbd nbdx\""}) {
    const auto parsed = parse_export_kinds(wrong.substr(wrong.starts_with('"') ? 1 : 0, wrong.find_last_not_of('"')));
    EXPECT_FALSE(parsed) << wrong;
  }
}

TEST(Config, EachKeywordDecidesItsPart) {
  EXPECT_EQ(policy_of_default("path_grouping_policy failover").grouping, GroupingPolicy::failover);
  EXPECT_EQ(policy_of_default("path_selector \"round-robin 0\"").selector, SelectorKind::round_robin);
  EXPECT_EQ(policy_of_default("path_selector queue-length").selector, SelectorKind::queue_length);
  EXPECT_EQ(policy_of_default("rr_min_io_rq 16").rr_min_io, 16U);
  EXPECT_EQ(policy_of_default("path_checker directio").checker, CheckerKind::directio);
  EXPECT_EQ(policy_of_default("checker directio").checker, CheckerKind::directio);
  EXPECT_EQ(policy_of_default("polling_interval 10").polling_interval, 10s);
  EXPECT_EQ(policy_of_default("polling_interval 250ms").polling_interval, 250ms);
  EXPECT_EQ(policy_of_default("checker_timeout 2s").checker_timeout, 2s);
  EXPECT_EQ(policy_of_default("failback manual").failback, Failback::manual);
  EXPECT_EQ(policy_of_default("no_path_retry fail").no_path_retry.mode, NoPathRetry::Mode::fail);
  EXPECT_EQ(policy_of_default("no_path_retry 0").no_path_retry.mode, NoPathRetry::Mode::fail);
  EXPECT_EQ(policy_of_default("no_path_retry 12").no_path_retry, (NoPathRetry{NoPathRetry::Mode::count, 12}));
  EXPECT_EQ(policy_of_default("no_path_retry queue").no_path_retry.mode, NoPathRetry::Mode::queue);
  EXPECT_EQ(policy_of_default("write_fence lu_reset").write_fence, WriteFence::lu_reset);
  EXPECT_EQ(policy_of_default("write_fence lu_reset").write_fence_wait, 5s);
  EXPECT_EQ(policy_of_default("write_fence \"wait 750\"").write_fence_wait, 750ms);
  EXPECT_EQ(policy_of_default("write_fence \"reinstate 3s\"").write_fence_wait, 3s);
  const MapSettings others = settings(
      "defaults {\n user_friendly_names yes\n alias_prefix disk\n export none\n nbd_socket_mode 0660\n drill \"delay:all=5ms\"\n}\n");
  EXPECT_TRUE(others.user_friendly_names);
  EXPECT_EQ(others.alias_prefix, "disk");
  EXPECT_EQ(others.exports.kinds, ExportKinds{});
  EXPECT_EQ(others.exports.nbd_socket_mode, 0660U);
  EXPECT_EQ(others.drill, "delay:all=5ms");
  EXPECT_EQ(config("defaults {\n verbosity 3\n}\n")->verbosity(), 3);
}

constexpr const char* layers = R"(
defaults {
  polling_interval 1
  no_path_retry 1
  failback manual
  rr_min_io_rq 1
}
devices {
  device {
    vendor "IET|LIO"
    product ".*"
    polling_interval 2
    no_path_retry 2
    rr_min_io_rq 2
  }
  device {
    vendor "^NETAPP"
    product "LUN"
    no_path_retry 9
  }
}
overrides {
  no_path_retry 3
  rr_min_io_rq 3
}
multipaths {
  multipath {
    wwid "3600"
    alias data
    rr_min_io_rq 4
  }
}
)";

TEST(Config, TheMoreParticularSectionWins) {
  const MapSettings mine = settings(layers);
  EXPECT_EQ(mine.policy.failback, Failback::manual);      // defaults
  EXPECT_EQ(mine.policy.polling_interval, 2s);            // devices
  EXPECT_EQ(mine.policy.no_path_retry.checks, 3U);        // overrides
  EXPECT_EQ(mine.policy.rr_min_io, 4U);                   // multipaths
  EXPECT_EQ(mine.alias, "data");
  const MapSettings other = config(layers)->settings_for("3601", "HP", "P2000");
  EXPECT_EQ(other.policy.polling_interval, 1s);
  EXPECT_EQ(other.policy.rr_min_io, 3U);
  EXPECT_FALSE(other.alias);
}

TEST(Config, LaterFilesAndLaterDevicesWin) {
  const std::vector<ConfigSource> sources{
      {.name = "multipath.conf", .text = "defaults {\n polling_interval 1\n}\ndevices {\n device {\n vendor IET\n failback manual\n }\n}\n"},
      {.name = "conf.d/10.conf", .text = "defaults {\n polling_interval 2\n}\ndevices {\n device {\n vendor IET\n failback immediate\n }\n}\n"}};
  const auto result = parse_multipath_config(sources);
  ASSERT_TRUE(result) << lines(result.error());
  const MapSettings mine = (*result)->settings_for("3600", "IET", "DISK");
  EXPECT_EQ(mine.policy.polling_interval, 2s);
  EXPECT_EQ(mine.policy.failback, Failback::immediate);
}

TEST(Config, ADeviceMatchesAnywhereAndByRevision) {
  const auto mine = config("devices {\n device {\n vendor ET\n revision \"^2\"\n no_path_retry fail\n }\n}\n");
  EXPECT_EQ(mine->settings_for("3", "IET", "DISK", "2.1").policy.no_path_retry.mode, NoPathRetry::Mode::fail);
  EXPECT_EQ(mine->settings_for("3", "IET", "DISK", "1.2").policy.no_path_retry.mode, NoPathRetry::Mode::queue);
}

struct ErrorRow {
  const char* name;
  const char* text;
  const char* says;
};
class Errors : public testing::TestWithParam<ErrorRow> {};

TEST_P(Errors, NameTheFileAndTheLine) {
  const auto result = parse(GetParam().text);
  ASSERT_FALSE(result);
  EXPECT_NE(lines(result.error()).find(GetParam().says), std::string::npos) << lines(result.error());
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Errors,
    testing::Values(
        ErrorRow{"keyword", "defaults {\n colour blue\n}\n", "multipath.conf:2: unknown keyword 'colour' in defaults"},
        ErrorRow{"section", "default {\n}\n", "multipath.conf:1: unknown section 'default'"},
        ErrorRow{"outside", "verbosity 2\n", "multipath.conf:1: 'verbosity' stands outside"},
        ErrorRow{"place", "defaults {\n alias x\n}\n", "multipath.conf:2: 'alias' has no place in defaults"},
        ErrorRow{"place_2", "overrides {\n verbosity 3\n}\n", "'verbosity' has no place in overrides"},
        ErrorRow{"grouping", "defaults {\n path_grouping_policy all\n}\n", "2: path_grouping_policy: 'all' is not"},
        ErrorRow{"selector", "defaults {\n path_selector \"round-robin 1\"\n}\n", "path_selector: 'round-robin 1' is not"},
        ErrorRow{"checker", "defaults {\n path_checker ping\n}\n", "path_checker: 'ping' is not"},
        ErrorRow{"failback", "defaults {\n failback soon\n}\n", "failback: 'soon' is not"},
        ErrorRow{"retry", "defaults {\n no_path_retry -1\n}\n", "no_path_retry: '-1' is not"},
        ErrorRow{"retry_2", "defaults {\n no_path_retry 12x\n}\n", "'12x' is not"},
        ErrorRow{"interval", "defaults {\n polling_interval 0\n}\n", "polling_interval: '0' is not"},
        ErrorRow{"interval_2", "defaults {\n polling_interval 5parsecs\n}\n", "'5parsecs' is not"},
        ErrorRow{"interval_3", "defaults {\n polling_interval 99999999999999999999\n}\n", "is not a time"},
        ErrorRow{"rr", "defaults {\n rr_min_io_rq 0\n}\n", "rr_min_io_rq: '0' is not"},
        ErrorRow{"fence", "defaults {\n write_fence hope\n}\n", "write_fence: 'hope' is not"},
        ErrorRow{"fence_wait", "defaults {\n write_fence wait\n}\n", "write_fence: wait needs a time"},
        ErrorRow{"fence_time", "defaults {\n write_fence \"wait soon\"\n}\n", "'wait soon' is not"},
        ErrorRow{"mode", "defaults {\n nbd_socket_mode 0999\n}\n", "nbd_socket_mode: '0999' is not"},
        ErrorRow{"export", "defaults {\n export iser\n}\n", "export: 'iser' is not"},
        ErrorRow{"flag", "defaults {\n user_friendly_names maybe\n}\n", "user_friendly_names: 'maybe' is not"},
        ErrorRow{"verbosity", "defaults {\n verbosity 9\n}\n", "verbosity: '9' is not"},
        ErrorRow{"drill", "defaults {\n drill \"explode:now\"\n}\n", "multipath.conf:2: drill: "},
        ErrorRow{"alias", "multipaths {\n multipath {\n wwid a\n alias a/b\n }\n}\n", "4: alias: 'a/b' is not a name"},
        ErrorRow{"alias_dot", "multipaths {\n multipath {\n wwid a\n alias ..\n }\n}\n", "alias: '..' is not a name"},
        ErrorRow{"alias_twice", "multipaths {\n multipath {\n wwid a\n alias x\n }\n multipath {\n wwid b\n alias x\n }\n}\n",
                 "8: alias 'x' is taken by a (multipath.conf:4)"},
        ErrorRow{"no_wwid", "multipaths {\n multipath {\n alias x\n }\n}\n", "2: a multipath needs a wwid"},
        ErrorRow{"no_vendor", "devices {\n device {\n failback manual\n }\n}\n", "2: a device needs a vendor or a product"},
        ErrorRow{"list", "devices {\n vendor x\n}\n", "2: 'vendor' in devices must stand in a section device"},
        ErrorRow{"regex", "blacklist {\n wwid \"(\"\n}\n", "2: wwid: bad regular expression '('"},
        ErrorRow{"regex_2", "devices {\n device {\n vendor \"a[\"\n }\n}\n", "3: vendor: bad regular expression 'a['"},
        ErrorRow{"regex_3", "blacklist {\n devnode \"*(\"\n}\n", "2: devnode: bad regular expression"},
        ErrorRow{"blacklist", "blacklist {\n name x\n}\n", "2: unknown keyword 'name' in blacklist"},
        ErrorRow{"nested", "defaults {\n device {\n }\n}\n", "2: unknown section 'device' in defaults"},
        ErrorRow{"open", "defaults {\n verbosity 2\n", "\"defaults\" is not closed"},
        ErrorRow{"quote", "defaults {\n alias_prefix \"x\n}\n", "a quote is not closed"}),
    [](const auto& row) { return row.param.name; });

TEST(Config, AllErrorsAreToldAtOnce) {
  const auto result = parse("defaults {\n colour blue\n verbosity 9\n}\nfoo {\n}\n");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().size(), 3U) << lines(result.error());
}

TEST(Config, WhatActsDifferentlyWarnsAndWhatHasNoEffectIsListedOnce) {
  const auto mine = config(
      "defaults {\n path_grouping_policy group_by_tpg\n find_multipaths yes\n prio sysfs\n failback followover\n}\n"
      "overrides {\n prio const\n protocol {\n type \"scsi:fcp\"\n }\n}\nblacklist {\n devnode \"^sd\"\n}\n");
  EXPECT_EQ(mine->settings_for("3600", "", "").policy.grouping, GroupingPolicy::failover);
  EXPECT_EQ(lines(mine->warnings()),
            "multipath.conf:2: path_grouping_policy: group_by_tpg is not there yet and acts as failover\n"
            "multipath.conf:4: prio: sysfs acts as alua\n"
            "multipath.conf:5: failback: followover is not there yet and acts as manual\n"
            "multipath.conf: accepted, without effect (line): blacklist.devnode (14), find_multipaths (3), "
            "overrides.protocol (9)\n");
}

TEST(Config, AlignsWithWhatTheUnitIsUnlessWrittenOtherwise) {
  const auto policy = [](const std::string& text, bool alua) {
    return detected(config("defaults {\n" + text + "}\n")->settings_for("3600", "", "").policy, alua);
  };
  EXPECT_EQ(policy("", false).prioritizer, Prioritizer::constant);
  EXPECT_EQ(policy("", false).grouping, GroupingPolicy::multibus);
  EXPECT_EQ(policy("", true).prioritizer, Prioritizer::alua);
  EXPECT_EQ(policy("", true).grouping, GroupingPolicy::group_by_prio);
  EXPECT_EQ(policy("prio const\n", true).prioritizer, Prioritizer::alua);
  EXPECT_EQ(policy("detect_prio no\n", true).prioritizer, Prioritizer::constant);
  EXPECT_EQ(policy("detect_prio no\n", true).grouping, GroupingPolicy::multibus);
  EXPECT_EQ(policy("detect_pgpolicy no\n", true).grouping, GroupingPolicy::multibus);
  EXPECT_EQ(policy("path_grouping_policy multibus\n", true).grouping, GroupingPolicy::multibus);
  EXPECT_EQ(policy("path_grouping_policy failover\n", true).grouping, GroupingPolicy::failover);
  EXPECT_EQ(policy("path_grouping_policy group_by_prio\n", false).grouping, GroupingPolicy::group_by_prio);
  EXPECT_FALSE(policy("", true).exclusive_pref_bit);
  EXPECT_TRUE(policy("prio_args exclusive_pref_bit\n", true).exclusive_pref_bit);
}

TEST(Config, AFamiliarFileIsTakenAsItIs) {
  const auto mine = config(R"(# from a tutorial
defaults {
	user_friendly_names yes
	find_multipaths yes
	polling_interval 10
	path_selector "round-robin 0"
	path_grouping_policy failover
	uid_attribute ID_SERIAL
	prio alua
	path_checker tur
	rr_min_io 100
	max_fds 8192
	rr_weight priorities
	failback immediate
	no_path_retry fail
}
blacklist {
	wwid 26353900f02796769
	devnode "^(ram|raw|loop|fd|md|dm-|sr|scd|st)[0-9]*"
	device {
		vendor "COMPAQ  "
		product "HSV110 (C)COMPAQ"
	}
}
multipaths {
	multipath {
		wwid 3600508b4000156d700012000000b0000
		alias yellow
		path_grouping_policy multibus
		path_selector "round-robin 0"
		failback manual
		rr_weight priorities
		no_path_retry 5
	}
}
devices {
	device {
		vendor "COMPAQ  "
		product "MSA1000         "
		path_grouping_policy multibus
	}
}
)");
  const MapSettings yellow = mine->settings_for("3600508b4000156d700012000000b0000", "LIO-ORG", "disk");
  EXPECT_EQ(yellow.alias, "yellow");
  EXPECT_EQ(yellow.policy.no_path_retry.checks, 5U);
  EXPECT_EQ(yellow.policy.rr_min_io, 1U) << "rr_min_io is for kernels before 2.6.31";
  EXPECT_TRUE(mine->settings_for("26353900f02796769", "", "").blacklisted);
}

struct BlacklistRow {
  const char* name;
  const char* rules;
  const char* wwid;
  bool blacklisted;
};
class Blacklisting : public testing::TestWithParam<BlacklistRow> {};

TEST_P(Blacklisting, Decides) {
  const MapSettings mine = config(GetParam().rules)->settings_for(GetParam().wwid, "LIO-ORG", "block1");
  EXPECT_EQ(mine.blacklisted, GetParam().blacklisted) << mine.blacklist_reason;
  EXPECT_EQ(mine.blacklist_reason.empty(), !GetParam().blacklisted);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Blacklisting,
    testing::Values(
        BlacklistRow{"nothing", "", "3600a", false}, BlacklistRow{"wwid", "blacklist {\n wwid 3600a\n}\n", "3600a", true},
        BlacklistRow{"anywhere", "blacklist {\n wwid 00a\n}\n", "3600ab", true},
        BlacklistRow{"anchored", "blacklist {\n wwid \"^3600a$\"\n}\n", "3600ab", false},
        BlacklistRow{"inverted", "blacklist {\n wwid \"!^3600\"\n}\n", "3600a", false},
        BlacklistRow{"inverted_other", "blacklist {\n wwid \"!^3600\"\n}\n", "3500a", true},
        BlacklistRow{"all_but", "blacklist {\n wwid \".*\"\n}\nblacklist_exceptions {\n wwid 3600a\n}\n", "3600a", false},
        BlacklistRow{"all_but_other", "blacklist {\n wwid \".*\"\n}\nblacklist_exceptions {\n wwid 3600a\n}\n", "3600b", true},
        BlacklistRow{"device", "blacklist {\n device {\n vendor LIO\n product \"block.*\"\n }\n}\n", "3", true},
        BlacklistRow{"device_other", "blacklist {\n device {\n vendor LIO\n product \"^file\"\n }\n}\n", "3", false},
        BlacklistRow{"device_vendor", "blacklist {\n device {\n vendor \"LIO-ORG\"\n }\n}\n", "3", true},
        BlacklistRow{"device_excepted",
                     "blacklist {\n device {\n vendor LIO\n }\n}\nblacklist_exceptions {\n device {\n product block1\n }\n}\n", "3",
                     false},
        BlacklistRow{"kinds_apart", "blacklist {\n device {\n vendor LIO\n }\n}\nblacklist_exceptions {\n wwid 3\n}\n", "3", true},
        BlacklistRow{"protocol", "blacklist {\n protocol \"scsi:.*\"\n}\n", "3", true},
        BlacklistRow{"protocol_excepted",
                     "blacklist {\n protocol \".*\"\n}\nblacklist_exceptions {\n protocol \"scsi:iscsi\"\n}\n", "3", false},
        BlacklistRow{"product_blacklist", "devices {\n device {\n vendor LIO\n product_blacklist \"block1\"\n }\n}\n", "3", true},
        BlacklistRow{"devnode_has_no_meaning", "blacklist {\n devnode \".*\"\n property \".*\"\n}\n", "3", false}),
    [](const auto& row) { return row.param.name; });

constexpr const char* rich = R"(defaults {
  polling_interval 10
  no_path_retry 12
  prio alua
  max_fds 8192
}
blacklist {
  wwid "!^3600"
  device {
    vendor "a ""quoted"" name"
  }
  devnode "^ram"
}
blacklist_exceptions {
  protocol "scsi:iscsi"
}
devices {
  device {
    vendor "IET"
    product "DISK"
    write_fence "wait 250"
  }
}
overrides {
  checker_timeout 7
}
multipaths {
  multipath {
    wwid "3600"
    alias "data"
    path_selector "round-robin 0"
  }
}
)";

TEST(Dump, IsTheGoldenOne) {
  RecordingControl control;
  control.maps = three_maps();
  const auto mine = config(rich);
  expect_golden("config_show.txt", transcript(control, {"show config", "show config origin", "show config local", "show config json",
                                                        "show blacklist", "show devices"},
                                              mine));
}

TEST(Dump, ReadBackGivesTheSameSettings) {
  const auto first = config(rich);
  const std::string dump = first->dump(DumpStyle::values);
  const auto second = config(dump);
  EXPECT_EQ(second->dump(DumpStyle::values), dump);
  for (const char* wwid : {"3600", "3700"}) {
    const MapSettings before = first->settings_for(wwid, "IET", "DISK");
    const MapSettings after = second->settings_for(wwid, "IET", "DISK");
    EXPECT_EQ(before.policy, after.policy);
    EXPECT_EQ(before.alias, after.alias);
    EXPECT_EQ(before.blacklisted, after.blacklisted);
  }
  EXPECT_TRUE(parse(first->dump(DumpStyle::origins))) << "origins are comments";
}

class Files : public testing::Test {
 protected:
  Files() { std::filesystem::create_directories(layout_.etc() / "conf.d"); }
  void write(const std::string& name, const std::string& text) { std::ofstream(layout_.etc() / name) << text; }
  const test::TemporaryDirectory root_;
  const Layout layout_{root_.path()};
};

TEST_F(Files, MissingOnesAreEmpty) {
  std::filesystem::remove_all(layout_.etc());
  const auto result = load_multipath_config(layout_);
  ASSERT_TRUE(result);
  EXPECT_TRUE((*result)->warnings().empty());
}

TEST_F(Files, OfTheDirectoryComeInOrderOfTheirNames) {
  write("multipath.conf", "defaults {\n polling_interval 1\n}\n");
  write("conf.d/20.conf", "defaults {\n polling_interval 20\n}\n");
  write("conf.d/10.conf", "defaults {\n polling_interval 10\n failback manual\n}\n");
  write("conf.d/30.conf.bak", "this is not read");
  const auto result = load_multipath_config(layout_);
  ASSERT_TRUE(result) << lines(result.error());
  EXPECT_EQ((*result)->settings_for("3", "", "").policy.polling_interval, 20s);
  EXPECT_EQ((*result)->settings_for("3", "", "").policy.failback, Failback::manual);
}

TEST_F(Files, AnErrorNamesItsFile) {
  write("multipath.conf", "defaults {\n}\n");
  write("conf.d/10.conf", "\ndefaults {\n bad 1\n}\n");
  std::filesystem::create_directories(layout_.etc() / "conf.d" / "20.conf");
  const auto result = load_multipath_config(layout_);
  ASSERT_FALSE(result);
  const std::string text = lines(result.error());
  EXPECT_NE(text.find("conf.d/10.conf:3: unknown keyword 'bad'"), text.npos) << text;
  EXPECT_NE(text.find("conf.d/20.conf: Is a directory"), text.npos) << text;
}

TEST(Manual, HasEveryKeywordAndNoOther) {
  const std::string text = page("multipath.conf.5");
  ASSERT_FALSE(text.empty());
  for (const MapSetting& setting : map_setting_table()) {
    const std::string entry = setting.has_effect() ? fmt::format("\n.BI {} ", setting.key) : fmt::format("\n.B {}\n", setting.key);
    EXPECT_NE(text.find(entry), text.npos) << "man/multipath.conf.5 lacks" << entry;
  }
  for (const std::string_view keyword : structural_keywords())
    EXPECT_NE(text.find(fmt::format("\n.BI {} ", keyword)), text.npos) << "man/multipath.conf.5 lacks " << keyword;
  const std::size_t begin = text.find(".SH KEYWORDS");
  const std::string keywords = text.substr(begin, text.find(".SS Blacklist") - begin);
  const std::regex tagged("\n\\.TP\n\\.(?:BI|B) ([a-z_]+)(?: |\n)");
  for (std::sregex_iterator at(keywords.begin(), keywords.end(), tagged), end; at != end; ++at) {
    const std::string keyword = (*at)[1];
    const auto structural = structural_keywords();
    EXPECT_TRUE(find_map_setting(keyword) != nullptr || std::ranges::find(structural, keyword) != structural.end())
        << "man/multipath.conf.5 has " << keyword << ", and the table does not";
  }
}

TEST(Manual, SaysTheBuiltInValueOfEachKeyword) {
  const std::string text = page("multipath.conf.5");
  for (const MapSetting& setting : map_setting_table()) {
    if (!setting.has_effect() || setting.built_in.empty()) continue;
    const std::size_t at = text.find(fmt::format("\n.BI {} ", setting.key));
    ASSERT_NE(at, text.npos) << setting.key;
    const std::string entry = text.substr(at, text.find("\n.TP", at + 1) - at);
    std::string value(setting.built_in);
    for (std::size_t dash = 0; (dash = value.find('-', dash)) != value.npos; dash += 2) value.replace(dash, 1, "\\-");
    EXPECT_NE(entry.find(fmt::format("Default: {}.", value)), entry.npos) << entry;
  }
}

}  // namespace
}  // namespace mpath
