// Commands from line to reply, over a daemon that only writes down what it is asked.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/mpathd/command_support.hpp"

namespace mpath {
namespace {

using namespace shell_test;
using Json = nlohmann::json;

const std::vector<std::string> shows = {
    "show paths", "show paths raw format %d", "show paths format \"%d %T %m %u %f\"", "show paths json", "show maps",
    "show maps raw format \"%n %Q\"", "show maps status", "show maps stats", "show maps topology", "show topology",
    "show maps json", "show maps status json", "show status", "show status json", "show daemon", "show daemon json",
    "show devices", "show blacklist",
};

struct Scene {
  const char* name;
  Snapshot (*maps)();
};
class Transcript : public testing::TestWithParam<Scene> {};

TEST_P(Transcript, IsTheGoldenOne) {
  RecordingControl control;
  control.maps = GetParam().maps();
  expect_golden(std::string("command_show_") + GetParam().name + ".txt", transcript(control, shows));
}

INSTANTIATE_TEST_SUITE_P(Scenes, Transcript,
                         testing::Values(Scene{"no_maps", no_maps}, Scene{"one_map", one_map}, Scene{"three_maps", three_maps}),
                         [](const auto& row) { return row.param.name; });

TEST(Commands, AboutOneMapOrPathAreTheGoldenOnes) {
  RecordingControl control;
  control.maps = three_maps();
  const std::string long_name = "archive-of-the-year-with-a-long-name";
  expect_golden("command_show_one.txt",
                transcript(control, {"show map mpatha topology", "show map mpatha json", "show map mpatha format \"%n %N\"",
                                     "show map 36589cfc000000d2f4a9c1e6b7d80a1b2c raw format %n", "show map " + long_name,
                                     "show map nbd/mpatha.sock topology", "show map /dev/mapper/mpatha raw format %n",
                                     "show path p0", "show path p103", "show path p7", "show path 0:2",
                                     "show path 12:0:0:1 raw format %d", "show path p0 json", "show map nowhere topology",
                                     "show path p99", "show map nowhere json"}));
}

TEST(Commands, HelpAndWildcardsAreTheGoldenOnes) {
  RecordingControl control;
  expect_golden("command_help.txt", transcript(control, {"help", "show wildcards", "show wildcards json"}));
}

struct ChangeRow {
  const char* name;
  const char* line;
  const char* call;
};
class Change : public testing::TestWithParam<ChangeRow> {};

TEST_P(Change, ReachesTheDaemonAndSaysOk) {
  RecordingControl control;
  control.maps = three_maps();
  const CommandReply reply = run_line(control, GetParam().line);
  EXPECT_EQ(reply.text, "ok\n");
  EXPECT_EQ(reply.code, 0);
  EXPECT_EQ(control.calls, std::vector<std::string>{GetParam().call});
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Change,
    testing::Values(ChangeRow{"fail", "fail path p1", "fail_path p1"}, ChangeRow{"fail_by_hcil", "fail path 2:0:0:1", "fail_path p1"},
                    ChangeRow{"fail_by_dev", "fail path /dev/p1", "fail_path p1"},
                    ChangeRow{"reinstate", "reinstate path p103", "reinstate_path p103"},
                    ChangeRow{"short", "reins path p103", "reinstate_path p103"},
                    ChangeRow{"resize", "resize map mpatha", "resize_map mpatha"},
                    ChangeRow{"resize_by_wwid", "resize map 360000000000000000e00000000010001", "resize_map mpatha"},
                    ChangeRow{"resize_by_export", "resize multipath /dev/nbd/mpatha.sock", "resize_map mpatha"},
                    ChangeRow{"switch_group", "switch map archive-of-the-year-with-a-long-name group 2",
                              "switch_group archive-of-the-year-with-a-long-name 2"},
                    ChangeRow{"export", "export map mpatha as ublk", "export_map mpatha ublk"},
                    ChangeRow{"unexport", "unexport map mpatha as nbd-socket", "unexport_map mpatha nbd-socket"},
                    ChangeRow{"disable_one", "disablequeueing map mpatha", "disable_queueing mpatha"},
                    ChangeRow{"disable_all", "disablequeueing maps", "disable_queueing all"},
                    ChangeRow{"restore_one", "restorequeueing map mpatha", "restore_queueing mpatha"},
                    ChangeRow{"restore_all", "restoreq maps", "restore_queueing all"},
                    ChangeRow{"del_path", "del path p7", "remove_path p7"}, ChangeRow{"remove_map", "remove map mpatha", "remove_map mpatha"},
                    ChangeRow{"add_path", "add path p0", "add_path p0"}, ChangeRow{"add_new_path", "add path sdq", "add_path sdq"},
                    ChangeRow{"add_map", "add map 36001405bbbb", "add_map 36001405bbbb"},
                    ChangeRow{"reset_one", "reset map mpatha stats", "reset_stats mpatha"},
                    ChangeRow{"reset_all", "reset maps stats", "reset_stats all"},
                    ChangeRow{"reconfigure", "reconfigure", "reconfigure"},
                    ChangeRow{"reconfigure_all", "reconfigure all", "reconfigure"}, ChangeRow{"shutdown", "shutdown", "shutdown"}),
    [](const auto& row) { return row.param.name; });

TEST(Commands, AnExportIsOneOfFourWords) {
  RecordingControl control;
  control.maps = three_maps();
  const CommandReply reply = run_line(control, "export map mpatha as iser");
  EXPECT_EQ(reply.code, 1);
  EXPECT_NE(reply.text.find("unknown export 'iser': nbd-socket, nbd, tcmu or ublk"), std::string::npos) << reply.text;
  EXPECT_TRUE(control.calls.empty());
}

TEST(Commands, EveryChangeNeedsTheRightToAdminister) {
  for (const char* line : {"fail path p1", "shutdown", "del maps", "export map mpatha as nbd", "reconfigure json", "suspend map mpatha"}) {
    RecordingControl control;
    control.maps = one_map();
    const CommandReply reply = run_line(control, CommandRequest{.line = line, .privileged = false});
    EXPECT_EQ(reply.code, 1) << line;
    EXPECT_NE(reply.text.find("permission deny: need to be root"), std::string::npos) << reply.text;
    EXPECT_TRUE(control.calls.empty()) << line;
  }
  RecordingControl control;
  EXPECT_EQ(run_line(control, CommandRequest{.line = "show status", .privileged = false}).code, 0);
}

struct FailureRow {
  const char* name;
  CommandOutcome outcome;
  const char* text;
};
class Failure : public testing::TestWithParam<FailureRow> {};

TEST_P(Failure, BeginsWithFailAndSaysWhy) {
  RecordingControl control;
  control.maps = one_map();
  control.outcome = GetParam().outcome;
  const CommandReply reply = run_line(control, "del map mpatha");
  EXPECT_EQ(reply.text, GetParam().text);
  EXPECT_EQ(reply.code, 1);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Failure,
    testing::Values(FailureRow{"in_use", {CommandStatus::in_use, ""}, "fail\nmap or partition in use\n"},
                    FailureRow{"timeout", {CommandStatus::timeout, "p1"}, "fail\ntimeout: p1\n"},
                    FailureRow{"not_found", {CommandStatus::not_found, ""}, "fail\ndevice not found\n"},
                    FailureRow{"why", {CommandStatus::failed, "paths disagree"}, "fail\npaths disagree\n"},
                    FailureRow{"silent", {CommandStatus::failed, ""}, "fail\n"},
                    FailureRow{"not_supported", {CommandStatus::not_supported, ""}, "fail\nnot supported\n"}),
    [](const auto& row) { return row.param.name; });

struct MistakeRow {
  const char* name;
  const char* line;
  const char* says;
};
class Mistake : public testing::TestWithParam<MistakeRow> {};

TEST_P(Mistake, FailsWithoutReachingTheDaemon) {
  RecordingControl control;
  control.maps = three_maps();
  const CommandReply reply = run_line(control, GetParam().line);
  EXPECT_TRUE(reply.text.starts_with("fail\n")) << reply.text;
  EXPECT_NE(reply.text.find(GetParam().says), std::string::npos) << reply.text;
  EXPECT_EQ(reply.code, 1);
  EXPECT_TRUE(control.calls.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Mistake,
    testing::Values(MistakeRow{"empty", "", "no command"}, MistakeRow{"blank", "  \t ", "no command"},
                    MistakeRow{"unknown", "frobnicate", "unknown word 'frobnicate'"},
                    MistakeRow{"ambiguous", "re path p1", "'re' can mean remove, "},
                    MistakeRow{"unfinished", "show", "incomplete command; next may come paths, maps"},
                    MistakeRow{"no_argument", "fail path", "missing argument of 'path'"},
                    MistakeRow{"no_format", "show paths format", "missing argument of 'format'"},
                    MistakeRow{"raw_alone", "show paths raw", "next may come format"},
                    MistakeRow{"wrong_place", "fail map mpatha", "unknown word 'map'"},
                    MistakeRow{"too_much", "show status now", "unknown word 'now'"},
                    MistakeRow{"after_json", "show status json json", "unknown word 'json'"},
                    MistakeRow{"group_zero", "switch map mpatha group 0", "has 1 groups, none is number '0'"},
                    MistakeRow{"group_two", "switch map mpatha group 2", "none is number '2'"},
                    MistakeRow{"group_word", "switch map mpatha group 1x", "none is number '1x'"},
                    MistakeRow{"group_huge", "switch map mpatha group 99999999999", "none is number"},
                    MistakeRow{"no_such_map", "resize map mpathz", "device not found: map 'mpathz'"},
                    MistakeRow{"no_such_path", "fail path p99", "device not found: path 'p99'"},
                    MistakeRow{"not_supported", "suspend map mpatha", "not supported"}),
    [](const auto& row) { return row.param.name; });

TEST(Commands, RemovingAllMapsGoesOnAfterAFailure) {
  RecordingControl control;
  control.maps = three_maps();
  control.outcome = {CommandStatus::in_use, ""};
  EXPECT_EQ(run_line(control, "del maps").text, "fail\nmap or partition in use: mpatha\n");
  EXPECT_EQ(control.calls.size(), 3U);
}

TEST(Commands, ChangesAnswerInJsonToo) {
  RecordingControl control;
  control.maps = one_map();
  const Json ok = Json::parse(run_line(control, "fail path p1 json").text);
  EXPECT_EQ(ok.at("ok"), true);
  control.outcome = {CommandStatus::in_use, ""};
  const CommandReply reply = run_line(control, "del map mpatha json");
  EXPECT_EQ(reply.code, 1);
  EXPECT_EQ(Json::parse(reply.text).at("text"), "map or partition in use");
}

TEST(Commands, QuitSaysNothing) {
  RecordingControl control;
  EXPECT_EQ(run_line(control, "quit").text, "");
  EXPECT_EQ(run_line(control, "exit").code, 0);
}

TEST(Commands, BoldOnlyForATerminal) {
  RecordingControl control;
  control.maps = one_map();
  EXPECT_EQ(run_line(control, "show topology").text.find('\x1b'), std::string::npos);
  EXPECT_NE(run_line(control, CommandRequest{.line = "show topology", .tty = true}).text.find('\x1b'), std::string::npos);
}

TEST(Commands, AnAnswerSurvivesTextThatIsNotUtf8) {
  RecordingControl control;
  control.maps = one_map();
  control.maps.maps[0].groups[0].paths[0].vendor = "\xff\xfe";
  control.maps.maps[0].vendor = "\xc3";
  for (const char* line : {"show paths json", "show maps json", "show maps format %v json", "show maps format \"%v\" json"})
    EXPECT_EQ(run_line(control, line).code, 0) << line;
  EXPECT_TRUE(Json::accept(run_line(control, "show maps json").text));
}

// The parser of os-brick's test `multipathd show status`, and of its path count.
TEST(Commands, StatusIsWhatOsBrickTakesApart) {
  RecordingControl control;
  control.maps = three_maps();
  control.state.busy = true;
  const std::string text = run_line(control, "show status").text;
  EXPECT_EQ(text,
            "path checker states:\n"
            "up                  4\n"
            "down                1\n"
            "pending             1\n"
            "timeout             1\n"
            "\n"
            "paths: 7\n"
            "busy: True\n");
  EXPECT_FALSE(text.starts_with("error receiving packet"));
}

TEST(Commands, MapsJsonHasExactlyMultipathdsFields) {
  RecordingControl control;
  control.maps = one_map();
  const auto json = nlohmann::ordered_json::parse(run_line(control, "show maps json").text);
  const auto keys = [](const nlohmann::ordered_json& object) {
    std::vector<std::string> names;
    for (const auto& item : object.items()) names.push_back(item.key());
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(keys(json), (Names{"major_version", "minor_version", "maps"}));
  EXPECT_EQ(json["major_version"], 0);
  EXPECT_EQ(json["minor_version"], 1);
  const auto& map = json["maps"][0];
  EXPECT_EQ(keys(map), (Names{"name", "uuid", "sysfs", "failback", "queueing", "paths", "write_prot", "dm_st", "features",
                              "hwhandler", "action", "path_faults", "vend", "prod", "rev", "switch_grp", "map_loads",
                              "total_q_time", "q_timeouts", "path_groups"}));
  const auto& group = map["path_groups"][0];
  EXPECT_EQ(keys(group), (Names{"selector", "pri", "dm_st", "marginal_st", "group", "paths"}));
  EXPECT_EQ(keys(group["paths"][0]),
            (Names{"dev", "dev_t", "dm_st", "dev_st", "chk_st", "checker", "pri", "host_wwnn", "target_wwnn", "host_wwpn",
                   "target_wwpn", "host_adapter", "lun_hex", "marginal_st"}));
  EXPECT_TRUE(map["paths"].is_number());
  EXPECT_TRUE(group["paths"][0]["pri"].is_number());
}

TEST(Commands, EveryShowAnswersInJson) {
  RecordingControl control;
  control.maps = three_maps();
  for (const char* line : {"show paths", "show path p0", "show maps", "show maps status", "show maps stats", "show maps topology",
                           "show topology", "show map mpatha", "show map mpatha topology", "show status", "show daemon",
                           "show config", "show config local", "show config origin", "show wildcards", "show devices",
                           "show blacklist", "show paths format \"%d\"", "show map nowhere"}) {
    const CommandReply reply = run_line(control, std::string(line) + " json");
    EXPECT_TRUE(Json::accept(reply.text)) << line << "\n" << reply.text;
  }
}

TEST(Levels, BriefAndFull) {
  RecordingControl control;
  control.maps = three_maps();
  TopologyRequest brief{.level = TopologyRequest::Level::brief};
  brief.map = "mpatha";
  TopologyRequest wrong;
  wrong.map = "mpathz";
  expect_golden("topology_levels.txt", "$ mpathctl -ll\n" + run_level(control, {}).text + "$ mpathctl -l mpatha\n" +
                                           run_level(control, brief).text + "$ mpathctl -ll mpathz\n" +
                                           run_level(control, wrong).text);
  EXPECT_EQ(run_level(control, wrong).code, 1);
}

}  // namespace
}  // namespace mpath
