// What is told of the pair: alarms of a state, and lines of what became different.
#include "target/cluster/chronicle.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "target/cluster/alarms.hpp"
#include "tests/target/cluster/sample_status.hpp"

namespace mpath::target::cluster {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;

// The lines of the second of two looks.
std::vector<std::string> told(const ClusterStatus& before, const ClusterStatus& after, const std::string& reason = "") {
  Chronicle chronicle(sample_config());
  static_cast<void>(chronicle.look(before));
  if (!reason.empty()) chronicle.because(reason);
  std::vector<std::string> lines;
  for (const Told& each : chronicle.look(after)) lines.push_back(each.what);
  return lines;
}

ClusterStatus follower() {
  ClusterStatus status = good_status();
  status.self = Member::b;
  status.serving = status.virtual_address_here = false;
  status.lease_left.reset();
  status.links = {{Member::a, "10.1.0.2:7788", "10.1.0.1:7788", true, milliseconds(20), 9, 9, 0},
                  {Member::a, "10.2.0.2:7788", "10.2.0.1:7788", true, milliseconds(30), 9, 9, 0}};
  return status;
}

TEST(Chronicle, BeginsWithTheStart) {
  Chronicle chronicle(sample_config());
  ClusterStatus status = good_status();
  status.suspect = true;
  const auto lines = chronicle.look(status);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0].what, "node a started: view 7 primary=a in_sync=ab");
  EXPECT_EQ(lines[1].weight, Told::Weight::warning);
  EXPECT_THAT(told({.name = "x"}, {.name = "x"}), IsEmpty());
}

TEST(Chronicle, IsSilentWhenNothingChanges) {
  ClusterStatus later = good_status();
  later.links[0].silent = milliseconds(90);
  later.links[0].received = 2000;
  later.copies[0].written_bytes = 1 << 30;
  later.lease_left = milliseconds(100);
  EXPECT_THAT(told(good_status(), later), IsEmpty());
}

TEST(Chronicle, TellsWhoIsHeldBack) {
  ClusterStatus held = good_status();
  held.held_back = {Member::b};
  EXPECT_THAT(told(good_status(), held), testing::ElementsAre("node b stands by: it does not take over by itself"));
  EXPECT_THAT(told(held, good_status()), testing::ElementsAre("no node is held back from taking over"));
}

// A primary that dies, as its follower sees it.
TEST(Chronicle, TellsATakeover) {
  Chronicle chronicle(sample_config());
  ClusterStatus status = follower();
  static_cast<void>(chronicle.look(status));
  std::vector<std::string> lines;
  const auto look = [&] {
    for (const Told& each : chronicle.look(status)) lines.push_back(each.what);
  };
  status.links[0].silent = status.links[1].silent = milliseconds(310);
  look();
  status.links[0].heard = status.links[1].heard = status.peer_heard = false;
  status.links[0].silent = milliseconds(605);
  status.links[1].silent = milliseconds(602);
  status.copies[0].connection = "Connecting";
  status.copies[0].peer_disk = "DUnknown";
  look();
  status.view = {.number = 8, .primary = Member::b, .in_sync = {Member::b}};
  status.serving = status.virtual_address_here = true;
  look();
  EXPECT_THAT(lines, ElementsAre("link 10.1.0.2:7788 to node a at 10.1.0.1:7788: late, silent for 310ms",
                                 "link 10.2.0.2:7788 to node a at 10.2.0.1:7788: late, silent for 310ms",
                                 "link 10.1.0.2:7788 to node a at 10.1.0.1:7788: dead, silent for 605ms",
                                 "link 10.2.0.2:7788 to node a at 10.2.0.1:7788: dead, silent for 602ms",
                                 "node a is not heard on any link", "lu disk: connection Connecting, was Connected",
                                 "lu disk: the copy there DUnknown, was UpToDate",
                                 "view 8 primary=b in_sync=b: node a was silent for 602ms on all 2 links",
                                 "this node serves", "10.0.0.10/24 is here"));
}

TEST(Chronicle, TellsALinkThatComesBack) {
  ClusterStatus before = good_status();
  before.links[0].heard = false;
  EXPECT_THAT(told(before, good_status()), ElementsAre("link 10.1.0.1:7788 to node b at 10.1.0.2:7788: heard"));
  before.links[0].received = 0;
  EXPECT_THAT(told(before, good_status()), ElementsAre("link 10.1.0.1:7788 to node b at 10.1.0.2:7788: heard"));
  EXPECT_THAT(told(before, before), IsEmpty());
}

struct Change {
  const char* name;
  View before, after;
  bool peer_heard;
  Member self;
  const char* line;
};
class NewView : public testing::TestWithParam<Change> {};
TEST_P(NewView, HasItsReason) {
  ClusterStatus before = GetParam().self == Member::a ? good_status() : follower();
  before.view = GetParam().before;
  ClusterStatus after = before;
  after.view = GetParam().after;
  after.peer_heard = GetParam().peer_heard;
  const auto lines = told(before, after);
  EXPECT_THAT(lines, testing::Contains(testing::EndsWith(std::string(": ") + GetParam().line)));
}
const View both{.number = 7, .primary = Member::a, .in_sync = {Member::a, Member::b}};
const View alone{.number = 7, .primary = Member::a, .in_sync = {Member::a}};
View next(Member primary, MemberSet in_sync) {
  return {.number = 8, .primary = primary, .in_sync = in_sync};
}
INSTANTIATE_TEST_SUITE_P(
    Chronicle, NewView,
    testing::Values(
        Change{"first",
               {},
               {.number = 1, .primary = Member::a, .in_sync = {Member::a}},
               true,
               Member::a,
               "the first that serves"},
        Change{"joined",
               {},
               {.number = 4, .primary = Member::a, .in_sync = {Member::a}},
               true,
               Member::b,
               "learned when this node joined"},
        Change{"lost", both, next(Member::a, {Member::a}), false, Member::a, "node b was silent for 42ms on its link"},
        Change{"broken", both, next(Member::a, {Member::a}), true, Member::a,
               "node b is heard, but its copy cannot be written"},
        Change{"filled", alone, next(Member::a, {Member::a, Member::b}), true, Member::a, "node b is filled"},
        Change{"filled_here", alone, next(Member::a, {Member::a, Member::b}), true, Member::b, "this node is filled"},
        Change{"voted_out", both, next(Member::a, {Member::a}), true, Member::b, "this node was voted out by node a"},
        Change{"handed_over", both, next(Member::b, {Member::a, Member::b}), true, Member::b, "node a handed over"},
        Change{"restarted", both, next(Member::b, {Member::b}), true, Member::b,
               "node a is heard, but cannot go on: it restarted or lost its memory"},
        Change{"gave_over", both, next(Member::b, {Member::a, Member::b}), true, Member::a,
               "node b took over by agreement"},
        Change{"was_left", both, next(Member::b, {Member::b}), true, Member::a,
               "node b took over while this node was not heard or did not answer"},
        Change{"slept",
               both,
               {.number = 11, .primary = Member::b, .in_sync = {Member::b}},
               true,
               Member::a,
               "learned after views that were decided without this node"},
        Change{"goes_on", both, next(Member::a, {Member::a, Member::b}), true, Member::a, "node a goes on"}),
    [](const auto& row) { return row.param.name; });

TEST(Chronicle, TakesTheReasonOfWhoCommands) {
  ClusterStatus after = follower();
  after.view = next(Member::b, {Member::a, Member::b});
  after.serving = true;
  EXPECT_THAT(told(follower(), after, "switchover was commanded on node a"),
              ElementsAre("view 8 primary=b in_sync=ab: switchover was commanded on node a", "this node serves"));
}

TEST(Chronicle, TellsWhatHappensToCopies) {
  ClusterStatus after = good_status();
  after.copies[0].local_disk = "Failed";
  after.copies[0].trouble = "write: Input/output error";
  EXPECT_THAT(told(good_status(), after),
              ElementsAre("lu disk: the copy here Failed, was UpToDate", "lu disk: write: Input/output error"));
  ClusterStatus waiting = filling_status();
  waiting.copies[0].connection = "Connecting";
  EXPECT_THAT(told(waiting, filling_status()),
              ElementsAre("lu disk: connection Connected, was Connecting", "lu disk: 48.5 MiB to be filled"));
}

// It says what a takeover costs, and a switchover or a return does not.
TEST(Chronicle, TellsWhatATakeoverOfProtocolALoses) {
  ClusterStatus before = follower();
  before.copies[0].protocol = Protocol::a;
  ClusterStatus after = before;
  after.view = {.number = 8, .primary = Member::b, .in_sync = {Member::b}};
  const auto view_line = [&] {
    for (const std::string& line : told(before, after)) {
      if (line.starts_with("view 8")) return line;
    }
    return std::string();
  };
  EXPECT_THAT(view_line(),
              testing::EndsWith("; protocol A: writes that node a answered last and that did not come here are lost"));
  after.view.in_sync = {Member::a, Member::b};
  EXPECT_THAT(view_line(), testing::Not(testing::HasSubstr("protocol A")));
  after.view.in_sync = {Member::b};
  before.copies[0].protocol = Protocol::b;
  EXPECT_THAT(view_line(), testing::Not(testing::HasSubstr("protocol A")));
}

TEST(Chronicle, TellsWhichProtocolIsInForce) {
  ClusterStatus after = good_status();
  after.copies[0].protocol = Protocol::a;
  EXPECT_THAT(told(good_status(), after), ElementsAre("lu disk: protocol A, was C"));
}

TEST(Chronicle, TellsWhenTheServiceEnds) {
  Chronicle chronicle(sample_config());
  ClusterStatus status = good_status();
  static_cast<void>(chronicle.look(status));
  status.serving = false;
  status.waits_for = "the word of node b or of the witness";
  const auto lines = chronicle.look(status);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].weight, Told::Weight::error);
  EXPECT_EQ(lines[0].what, "this node does not serve any more: waits for the word of node b or of the witness");
}

TEST(Chronicle, TellsASplit) {
  ClusterStatus split = good_status();
  split.split = true;
  EXPECT_THAT(told(good_status(), split),
              ElementsAre("the pair was split: both nodes went on alone, and an administrator has to choose one"));
  EXPECT_THAT(told(split, good_status()), ElementsAre("the pair is split no longer"));
}

TEST(Alarms, AreNoneInGoodOrder) {
  EXPECT_THAT(alarms_of(good_status(), sample_config()), IsEmpty());
  EXPECT_THAT(alarms_of(follower(), sample_config()), IsEmpty());
  EXPECT_THAT(alarms_of({.name = "not begun"}, sample_config()), IsEmpty());
}

TEST(Alarms, SayWhatIsMissing) {
  EXPECT_THAT(alarms_of(filling_status(), sample_config()),
              ElementsAre("node b is not in sync (48.5 MiB left): if node a is lost now, nobody serves"));
  ClusterStatus status = filling_status();
  status.peer_heard = status.witness_heard = false;
  status.copies[0].connection = "StandAlone";
  EXPECT_THAT(alarms_of(status, sample_config()),
              ElementsAre("node b is not in sync (48.5 MiB left): if node a is lost now, nobody serves",
                          "node b is not heard", "the witness is not heard",
                          "lu disk: the copies are disconnected: mptargetctl cluster connect disk"));
  status = good_status();
  status.witness_heard = false;
  EXPECT_THAT(alarms_of(status, sample_config()),
              ElementsAre("the witness is not heard: the loss of one node would stop the other"));
  status = good_status();
  status.links[0].heard = false;
  EXPECT_THAT(alarms_of(status, sample_config()), ElementsAre("the link 10.1.0.1:7788 to 10.1.0.2:7788 (b) is silent"));
  status = good_status();
  status.copies[0].peer_disk = "Failed";
  EXPECT_THAT(alarms_of(status, sample_config()), ElementsAre("lu disk: the medium of node b failed"));
  status = filling_status();
  status.copies[0].fill_bytes_per_second = 0;
  EXPECT_THAT(alarms_of(status, sample_config()), testing::Contains("lu disk: the filling stands still"));
  status = good_status();
  status.copies[0].connection = "Connecting";
  EXPECT_THAT(alarms_of(status, sample_config()),
              ElementsAre("lu disk: node b is heard, and its copy cannot be reached"));
}

TEST(Alarms, AreLoudWhenThePairIsSplit) {
  ClusterStatus status = good_status();
  status.split = true;
  status.serving = false;
  EXPECT_THAT(
      alarms_of(status, sample_config()),
      ElementsAre("SPLIT: nodes a and b went on each without the other; neither serves before `mptargetctl cluster "
                  "connect --discard-my-data` is said on the one whose data does not count"));
}

TEST(Alarms, AreLoudWhenThePairIsFrozen) {
  ClusterConfig config = sample_config();
  config.witness.clear();
  for (ClusterStatus status : {good_status(), follower()}) {
    status.witness_configured = status.witness_heard = status.serving = status.peer_heard = false;
    EXPECT_THAT(alarms_of(status, config)[0], testing::StartsWith("FROZEN: node "));
  }
  ClusterStatus status = good_status();
  status.serving = false;
  status.waits_for = "a majority";
  EXPECT_THAT(alarms_of(status, sample_config()), ElementsAre("nobody is served: this node waits for a majority"));
}

}  // namespace
}  // namespace mpath::target::cluster
