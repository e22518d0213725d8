// Port groups: what their states are worth, what a report proves, and how paths are grouped by it.
#include <gtest/gtest.h>

#include "mpathd/alua.hpp"
#include "mpathd/grouping.hpp"
#include "mpathd/judgement.hpp"

namespace mpath {
namespace {

using enum scsi::AccessState;

struct PriorityRow {
  scsi::AccessState state;
  bool preferred;
  int priority;
  int exclusive;
};
class AluaPriority : public testing::TestWithParam<PriorityRow> {};
TEST_P(AluaPriority, IsThatOfMultipathTools) {
  const PriorityRow& row = GetParam();
  const scsi::PortGroup group{.state = row.state, .preferred = row.preferred};
  EXPECT_EQ(alua_priority(group, false), row.priority);
  EXPECT_EQ(alua_priority(group, true), row.exclusive);
}
INSTANTIATE_TEST_SUITE_P(States, AluaPriority,
                         testing::Values(PriorityRow{optimized, false, 50, 50}, PriorityRow{optimized, true, 50, 130},
                                         PriorityRow{non_optimized, false, 10, 10},
                                         PriorityRow{non_optimized, true, 90, 90},
                                         PriorityRow{lba_dependent, false, 5, 5}, PriorityRow{standby, false, 1, 1},
                                         PriorityRow{standby, true, 81, 81}, PriorityRow{unavailable, false, 0, 0},
                                         PriorityRow{offline, false, 0, 0}, PriorityRow{transitioning, false, 0, 0},
                                         PriorityRow{static_cast<scsi::AccessState>(7), false, 0, 0}));

TEST(AluaState, SaysHowAPathLooks) {
  for (const auto state : {optimized, non_optimized, lba_dependent})
    EXPECT_EQ(checker_state_of(state), CheckerState::ready);
  EXPECT_EQ(checker_state_of(standby), CheckerState::ghost);
  EXPECT_EQ(checker_state_of(transitioning), CheckerState::pending);
  for (const auto state : {unavailable, offline, static_cast<scsi::AccessState>(7)}) {
    EXPECT_EQ(checker_state_of(state), CheckerState::faulty);
  }
}

TEST(AluaSense, IsToldFromOthers) {
  EXPECT_TRUE(access_changed({scsi::SenseKey::unit_attention, 0x2a, 0x06}));
  EXPECT_TRUE(access_changed({scsi::SenseKey::unit_attention, 0x2a, 0x07}));
  EXPECT_FALSE(access_changed({scsi::SenseKey::unit_attention, 0x2a, 0x09}));
  EXPECT_FALSE(access_changed({scsi::SenseKey::unit_attention, 0x29, 0x06}));
  for (const std::uint8_t ascq : {0x0a, 0x0b, 0x0c}) {
    const scsi::Sense sense{scsi::SenseKey::not_ready, 0x04, ascq};
    EXPECT_TRUE(refused_by_access(sense));
    const Judgement judgement = judge(scsi::Status::check_condition, sense);
    EXPECT_EQ(judgement.verdict, Verdict::path_failed);
    EXPECT_TRUE(judgement.by_access);
  }
  EXPECT_FALSE(refused_by_access({scsi::SenseKey::not_ready, 0x04, 0x01}));
  EXPECT_FALSE(judge(scsi::Status::check_condition, {scsi::SenseKey::not_ready, 0x04, 0x01}).by_access);
}

TEST(AluaReport, TellsHowLongATakeoverMayLast) {
  EXPECT_EQ(takeover_wait({}), takeover_wait_default);
  EXPECT_EQ(takeover_wait({.transition_seconds = 60}), std::chrono::seconds(60));
}

TEST(AluaReport, FindsThePortGroupOfAPath) {
  using scsi::Association;
  using scsi::DesignatorType;
  const scsi::Bytes five{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{5}};
  scsi::DeviceId page;
  page.designators = {{.type = DesignatorType::target_port_group, .bytes = five}};
  EXPECT_FALSE(port_group_of(page)) << "a designator of the unit";
  page.designators = {
      {.association = Association::target_port, .type = DesignatorType::target_port_group, .bytes = {std::byte{0}}}};
  EXPECT_FALSE(port_group_of(page)) << "too short";
  page.designators.push_back(
      {.association = Association::target_port, .type = DesignatorType::target_port_group, .bytes = five});
  EXPECT_EQ(port_group_of(page), 5U);
}

// The proof that lifts a write fence.

scsi::PortGroupReport report(scsi::AccessState one, scsi::AccessState two) {
  return {.groups = {{.id = 1, .state = one}, {.id = 2, .state = two}}};
}

TEST(OutOfService, IsWhatAServingGroupTellsOfAnother) {
  for (const auto state : {standby, unavailable, offline}) EXPECT_TRUE(out_of_service(report(state, optimized), 2, 1));
  EXPECT_TRUE(out_of_service({.groups = {{.id = 2}}}, 2, 1)) << "not listed any more";
}

TEST(OutOfService, IsNotABusyOrAServingGroup) {
  for (const auto state : {optimized, non_optimized, lba_dependent, transitioning, static_cast<scsi::AccessState>(7)}) {
    EXPECT_FALSE(out_of_service(report(state, optimized), 2, 1));
  }
}

TEST(OutOfService, IsNotToldByAGroupThatDoesNotServeItself) {
  for (const auto state : {non_optimized, lba_dependent, standby, unavailable, offline, transitioning}) {
    EXPECT_FALSE(out_of_service(report(standby, state), 2, 1));
  }
  EXPECT_FALSE(out_of_service({.groups = {{.id = 1, .state = standby}}}, 2, 1)) << "it does not list itself";
  EXPECT_FALSE(out_of_service(report(standby, optimized), 1, 1)) << "nobody speaks of himself";
}

TEST(OutOfService, IsAFenceOnlyWithATargetOfOurs) {
  LuFacts facts;
  for (const char* vendor : {"LIO-ORG", "IET", "NETAPP", "", "mpath", "MPATHX"}) {
    facts.vendor = vendor;
    EXPECT_FALSE(access_states_fence(facts)) << vendor;
  }
  facts.vendor = "MPATH";
  EXPECT_TRUE(access_states_fence(facts));
}

// Grouping.

TEST(GroupByPrio, MakesAGroupForEachPriorityTheBestFirst) {
  const std::vector<GroupingInput> paths{{.priority = 1, .standby = true},
                                         {.priority = 50, .usable = true},
                                         {.priority = 1, .standby = true},
                                         {.priority = 50}};
  const auto groups = make_groups(GroupingPolicy::group_by_prio, paths);
  EXPECT_EQ(groups, (std::vector<Group>{{{1, 3}}, {{0, 2}}}));
  EXPECT_EQ(group_priority(groups[0], paths), 50);
  EXPECT_EQ(group_priority(groups[1], paths), 1);
  EXPECT_EQ(choose_group(groups, paths, std::nullopt, Failback::immediate), 0U);
}

TEST(GroupByPrio, NeverChoosesAGroupInStandby) {
  const std::vector<GroupingInput> paths{{.priority = 81, .standby = true}, {.priority = 10, .usable = true}};
  const auto groups = make_groups(GroupingPolicy::group_by_prio, paths);
  EXPECT_EQ(choose_group(groups, paths, std::nullopt, Failback::immediate), 1U);
  const std::vector<GroupingInput> none{{.priority = 1, .standby = true}, {.priority = 0}};
  EXPECT_EQ(choose_group(make_groups(GroupingPolicy::group_by_prio, none), none, 0, Failback::immediate), std::nullopt);
}

TEST(GroupByPrio, WithoutPrioritiesItIsOneGroup) {
  EXPECT_EQ(make_groups(GroupingPolicy::group_by_prio, std::vector<GroupingInput>(3)),
            (std::vector<Group>{{{0, 1, 2}}}));
}

}  // namespace
}  // namespace mpath
