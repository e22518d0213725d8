// What would happen: each mishap in each state of the pair, as reviewed texts.
#include "target/cluster/what_if.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/target/cluster/sample_status.hpp"

namespace mpath::target::cluster {
namespace {

using replication::PeerLoss;

std::string told(const ClusterStatus& status, Mishap mishap, const ClusterConfig& config = sample_config()) {
  std::string text;
  for (const std::string& line : what_if(status, mishap, config)) text += line + "\n";
  return text;
}

// The pair of two alone.
ClusterStatus without_witness(ClusterStatus status) {
  status.witness_configured = status.witness_heard = false;
  return status;
}
ClusterConfig alone(PeerLoss loss) {
  ClusterConfig config = sample_config();
  config.witness.clear();
  config.on_peer_loss = loss;
  if (loss == PeerLoss::fence) config.fence = {"/usr/sbin/off", "7"};
  return config;
}

TEST(WhatIf, ThePrimaryDies) {
  EXPECT_EQ(
      told(good_status(), Mishap::node_a_dies),
      "serves: node b, after 700ms at most\n"
      "waits:  commands under way, until then; initiators with ALUA change to the paths of node b, the others find it "
      "by the virtual IP\n"
      "lost:   nothing: every write that was answered is on node b\n"
      "then:   node b is alone: nothing may happen to it until the other is back and filled\n");
}

TEST(WhatIf, ThePrimaryDiesWithProtocolAOrB) {
  using testing::HasSubstr;
  ClusterStatus status = good_status();
  CopyStatus& copy = status.copies[0];
  copy.protocol = Protocol::b;
  EXPECT_THAT(told(status, Mishap::node_a_dies),
              HasSubstr("lost:   nothing: every write that was answered is on node b or in its memory; if mptargetd "
                        "ends on node b meanwhile, that node has to be filled first\n"));
  copy.protocol = Protocol::a;
  copy.unconfirmed_bytes = 12 * 1024;
  EXPECT_THAT(
      told(status, Mishap::node_a_dies),
      HasSubstr("lost:   the last answered writes that node b has not received: 12 KiB by now, 4 MiB of each lu "
                "at most; none that was flushed, or had FUA\n"));
  EXPECT_THAT(told(status, Mishap::node_b_dies), HasSubstr("lost:   nothing\n"));
  // The follower does not know how much it is.
  status.self = Member::b;
  EXPECT_THAT(told(status, Mishap::node_a_dies), HasSubstr("has not received: 4 MiB of each lu at most; none"));
}

TEST(WhatIf, ThePrimaryDiesWithoutASecondCopy) {
  EXPECT_EQ(
      told(filling_status(), Mishap::node_a_dies),
      "serves: nobody: node b is not in sync (48.5 MiB left)\n"
      "waits:  every command, until node a is back; or `cluster init --force` on node b, which loses what it lacks\n"
      "lost:   nothing: every write that was answered is on node a\n");
}

TEST(WhatIf, ThePrimaryDiesAndNobodyCanFollow) {
  ClusterStatus status = good_status();
  status.peer_heard = false;
  EXPECT_THAT(told(status, Mishap::node_a_dies), testing::StartsWith("serves: nobody: node b is not heard\n"));
  status = good_status();
  status.witness_heard = false;
  EXPECT_THAT(told(status, Mishap::node_a_dies),
              testing::StartsWith("serves: nobody: node b alone is no majority, and the witness is not heard\n"));
  status = good_status();
  status.held_back = {Member::a, Member::b};
  EXPECT_THAT(told(status, Mishap::node_a_dies), testing::StartsWith("serves: nobody: maintenance is on"));
  status.held_back = {Member::b};
  EXPECT_THAT(told(status, Mishap::node_a_dies), testing::StartsWith("serves: nobody: standby is on"));
  status.held_back = {Member::a};
  EXPECT_THAT(told(status, Mishap::node_a_dies), testing::StartsWith("serves: node b"));
  status = good_status();
  status.self = Member::b;
  status.suspect = true;
  EXPECT_THAT(told(status, Mishap::node_a_dies), testing::StartsWith("serves: nobody: node b has lost its memory"));
}

TEST(WhatIf, TheFollowerDies) {
  EXPECT_EQ(told(good_status(), Mishap::node_b_dies),
            "serves: node a, as now\n"
            "waits:  writes, for 700ms at most, until node b is voted out\n"
            "lost:   nothing\n"
            "then:   node a is alone: nothing may happen to it until node b is back and filled\n");
  EXPECT_EQ(told(filling_status(), Mishap::node_b_dies),
            "serves: node a, as now: node b is not in sync\n"
            "waits:  nothing\n"
            "lost:   nothing\n"
            "then:   node b goes on being filled when it is back\n");
  ClusterStatus status = filling_status();
  status.peer_heard = false;
  EXPECT_EQ(told(status, Mishap::node_b_dies), "serves: as now: node b is not heard already\n");
  status = good_status();
  status.witness_heard = false;
  EXPECT_EQ(told(status, Mishap::node_b_dies),
            "serves: nobody: node a alone is no majority, and the witness is not heard\n"
            "waits:  every command, until node b or the witness is back\n"
            "lost:   nothing\n");
}

// The same pair, seen from the other side.
TEST(WhatIf, IsTheSameFromBothNodes) {
  ClusterStatus other = good_status();
  other.self = Member::b;
  other.serving = false;
  for (const Mishap mishap : {Mishap::node_a_dies, Mishap::node_b_dies, Mishap::witness_dies, Mishap::links_cut})
    EXPECT_EQ(told(good_status(), mishap), told(other, mishap)) << mishap_word(mishap);
}

TEST(WhatIf, TheWitnessDies) {
  EXPECT_EQ(told(good_status(), Mishap::witness_dies),
            "serves: node a, as now: both nodes are a majority\n"
            "waits:  nothing\n"
            "lost:   nothing\n"
            "then:   the loss of either node stops the other: bring the witness back first\n");
  ClusterStatus status = good_status();
  status.peer_heard = false;
  EXPECT_EQ(told(status, Mishap::witness_dies),
            "serves: nobody: node b and the witness are not heard then\n"
            "waits:  every command, until one of them is back\n"
            "lost:   nothing\n");
  status = filling_status();
  status.peer_heard = false;
  EXPECT_THAT(told(status, Mishap::witness_dies),
              testing::StartsWith("serves: node a, as now: it is the only one in sync"));
  status.witness_heard = false;
  EXPECT_EQ(told(status, Mishap::witness_dies), "serves: as now: the witness is not heard already\n");
  EXPECT_EQ(told(without_witness(good_status()), Mishap::witness_dies, alone(PeerLoss::freeze)),
            "serves: as now: there is no witness\n");
}

TEST(WhatIf, TheLinksAreCut) {
  EXPECT_THAT(
      told(good_status(), Mishap::links_cut),
      testing::StartsWith("serves: node a, as now\nwaits:  writes, for 700ms at most, until node b is voted out\n"));
  EXPECT_THAT(told(filling_status(), Mishap::links_cut),
              testing::StartsWith("serves: node a, as now: node b is not in sync\n"));
}

TEST(WhatIf, TwoNodesFreeze) {
  const ClusterStatus status = without_witness(good_status());
  const ClusterConfig config = alone(PeerLoss::freeze);
  EXPECT_EQ(told(status, Mishap::node_a_dies, config),
            "serves: nobody: without a witness, node b cannot know that node a is dead (on_peer_loss freeze)\n"
            "waits:  every command, until node a is back; a witness would avoid it\n"
            "lost:   nothing: every write that was answered is on node b\n");
  for (const Mishap mishap : {Mishap::node_b_dies, Mishap::links_cut})
    EXPECT_THAT(
        told(status, mishap, config),
        testing::StartsWith(
            "serves: nobody: without a witness, node a cannot know that node b is dead (on_peer_loss freeze)\n"));
}

TEST(WhatIf, TwoNodesFence) {
  const ClusterStatus status = without_witness(good_status());
  const ClusterConfig config = alone(PeerLoss::fence);
  EXPECT_THAT(told(status, Mishap::node_a_dies, config),
              testing::StartsWith(
                  "serves: node b, after 10700ms at most, if /usr/sbin/off says that node a is off; else nobody\n"));
  EXPECT_THAT(told(status, Mishap::node_b_dies, config),
              testing::StartsWith("serves: node a, as now, if /usr/sbin/off says that node b is off; else nobody\n"
                                  "waits:  writes, for 10700ms at most"));
  EXPECT_THAT(told(status, Mishap::links_cut, config),
              testing::StartsWith("serves: whichever node's fence command succeeds first; nobody if none does\n"));
}

TEST(WhatIf, TwoNodesContinueAndSplit) {
  const ClusterStatus status = without_witness(good_status());
  const ClusterConfig config = alone(PeerLoss::proceed);
  EXPECT_THAT(told(status, Mishap::node_a_dies, config),
              testing::StartsWith("serves: node b, after 700ms at most (on_peer_loss continue)\n"));
  EXPECT_EQ(told(status, Mishap::links_cut, config),
            "serves: BOTH nodes, each for itself: the pair splits (on_peer_loss continue)\n"
            "waits:  commands, for about 700ms\n"
            "lost:   all writes that one of the nodes answers from then on: an administrator has to choose which\n"
            "then:   when they hear each other again neither serves until that is done; a witness avoids it\n");
}

TEST(WhatIf, NothingWasDecidedYet) {
  EXPECT_THAT(told({.name = "store"}, Mishap::node_a_dies), testing::HasSubstr("mptargetctl cluster init"));
}

// The witness's word to the dead can outlast the silence when the lease is nearly as long.
TEST(WhatIf, TheLeaseCounts) {
  ClusterConfig config = sample_config();
  config.lease = std::chrono::milliseconds(599);
  config.drift_percent = 20;
  EXPECT_THAT(told(good_status(), Mishap::node_a_dies, config),
              testing::StartsWith("serves: node b, after 818ms at most\n"));
}

TEST(WhatIf, KnowsItsWords) {
  for (const Mishap mishap : {Mishap::node_a_dies, Mishap::node_b_dies, Mishap::witness_dies, Mishap::links_cut})
    EXPECT_EQ(parse_mishap(mishap_word(mishap)), mishap);
  EXPECT_FALSE(parse_mishap("node-c-dies"));
}

}  // namespace
}  // namespace mpath::target::cluster
