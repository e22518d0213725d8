// A takeover as the map lives through it: one disk behind two target port groups, of which one serves.
#include <gtest/gtest.h>

#include "tests/mpathd/pair_world.hpp"

namespace mpath::test {
namespace {

using namespace std::chrono_literals;
using enum scsi::AccessState;

class Pair : public testing::Test, protected PairWorld {};

TEST_F(Pair, ThePathInStandbyIsAGhostThatIsNotUsed) {
  connect_both();
  EXPECT_EQ(state(b), "standby");
  for (std::uint64_t block = 0; block < 20; ++block) static_cast<void>(write(block));
  EXPECT_EQ(ports[b]->on_wire(), 0U);
  run(5ms);
  for (const auto& request : requests) EXPECT_TRUE(request->ok());
  const MapSnapshot shot = map->snapshot();
  ASSERT_EQ(shot.groups.size(), 2U);
  EXPECT_EQ(shot.groups[0].priority, 50);
  EXPECT_EQ(shot.groups[0].state, GroupState::active);
  EXPECT_EQ(shot.groups[1].priority, 1);
  EXPECT_EQ(shot.groups[1].state, GroupState::enabled);
  const PathSnapshot& ghost = shot.groups[1].paths.front();
  EXPECT_EQ(ghost.checker_state, CheckerState::ghost);
  EXPECT_EQ(ghost.dm_state, DmState::active);
  EXPECT_EQ(ghost.port_group, 2U);
  EXPECT_EQ(shot.path_faults, 0U);
}

TEST_F(Pair, TheStandbyThatComesFirstWaitsForTheMap) {
  connect(b);
  run(1ms);
  EXPECT_FALSE(map);
  connect(a);
  run(1100ms);
  ASSERT_TRUE(map);
  EXPECT_EQ(map->path_count(), 2U);
  EXPECT_EQ(state(b), "standby");
}

TEST_F(Pair, ASwitchoverThatIsAnnouncedCostsNoError) {
  connect_both();
  states(standby, optimized);
  Request& request = write();
  run(20ms);
  EXPECT_TRUE(request.ok());
  EXPECT_EQ(state(a), "standby");
  EXPECT_EQ(state(b), "up");
  EXPECT_EQ(map->snapshot().groups[0].paths.front().port_group, 2U);
}

TEST_F(Pair, ARefusedCommandGoesTheOtherWayThoughNobodyToldOfAChange) {
  connect_both();
  Request& request = write();
  states(standby, optimized, Tell::no);
  run(100ms);
  EXPECT_TRUE(request.ok());
  EXPECT_EQ(state(b), "up");
}

TEST_F(Pair, BothActiveIsUsedByPriority) {
  states(non_optimized, optimized);
  connect_both();
  EXPECT_EQ(map->usable_count(), 2U);
  EXPECT_EQ(map->snapshot().groups[0].priority, 50);
  static_cast<void>(write());
  EXPECT_EQ(ports[a]->on_wire(), 0U);
  EXPECT_EQ(ports[b]->on_wire(), 1U);
}

TEST_F(Pair, IoWaitsInTransitionWhateverNoPathRetrySays) {
  policy.no_path_retry = {.mode = NoPathRetry::Mode::fail};
  connect_both();
  states(transitioning, transitioning);
  Request& request = write();
  run(200ms);
  EXPECT_EQ(request.completed, 0);
  EXPECT_EQ(state(a), "standby");
  EXPECT_EQ(map->snapshot().groups[0].paths.front().checker_state, CheckerState::pending);
  states(standby, optimized, Tell::no);
  run(100ms);
  EXPECT_TRUE(request.ok());
}

TEST_F(Pair, IoWaitsNoLongerThanATakeoverMayLast) {
  policy.no_path_retry = {.mode = NoPathRetry::Mode::fail};
  for (const std::uint8_t told : {0, 3}) {
    disk.transition_seconds = told;
    states(optimized, standby);
    map ? run(1ms) : connect_both();
    run(2s);
    states(standby, standby);
    Request& request = write();
    const Duration limit = told == 0 ? 10s : 3s;
    run(limit - 100ms);
    EXPECT_EQ(request.completed, 0);
    run(200ms);
    EXPECT_EQ(request.completed, 1);
    EXPECT_EQ(request.status, BlockStatus::io_error);
    EXPECT_TRUE(said("no takeover in time, failing I/O"));
    EXPECT_EQ(write().completed, 1) << "and nothing waits after that";
  }
}

TEST_F(Pair, AfterThatTheCountOfNoPathRetryBegins) {
  policy.no_path_retry = {.mode = NoPathRetry::Mode::count, .checks = 2};
  connect_both();
  states(standby, standby);
  Request& request = write();
  run(19900ms);
  EXPECT_EQ(request.completed, 0);
  run(200ms);
  EXPECT_EQ(request.completed, 1);
}

TEST_F(Pair, PathsAreAskedOftenButOneQuestionAtATime) {
  connect_both();
  states(standby, standby);
  Request& request = write();
  run(10ms);
  std::size_t asked = 0;
  for (int step = 0; step < 1000; ++step) {
    clock.run_for(1ms);
    EXPECT_LE(ports[b]->on_wire(), 1U);
    asked += ports[b]->on_wire(scsi::Opcode::maintenance_in);
    if (step % 7 == 0) ports[b]->serve();  // slowly
    ports[a]->serve();
  }
  EXPECT_EQ(request.completed, 0);
  EXPECT_GT(asked, 15U);
  silent[b] = true;
  run(1s);
  EXPECT_LE(ports[b]->on_wire(), 1U);
}

// The primary dies with a write on the wire.

TEST_F(Pair, ADeadPrimaryIsReplacedWithinAnInstantOfTheTakeover) {
  connect_both();
  Request& request = write();
  cut(a);
  EXPECT_EQ(ports[a]->ghosts(), 1U);
  run(600ms);
  EXPECT_EQ(request.completed, 0);
  states(unavailable, optimized, Tell::no);
  run(100ms);
  EXPECT_TRUE(request.ok());
  EXPECT_TRUE(said("port group 1 is out of service, group 2 serves"));
  EXPECT_FALSE(ports[a]->run_ghost() && disk.writes != 1) << "the stuck write ran";
}

TEST_F(Pair, WithAnotherMakersTargetTheFenceWaits) {
  disk.vendor = "SIM";
  connect_both();
  Request& request = write();
  Request& read = *requests.emplace_back(std::make_unique<Request>(BlockOp::read, 3));
  map->submit(read);
  cut(a);
  run(600ms);
  states(unavailable, optimized, Tell::no);
  run(100ms);
  EXPECT_EQ(state(b), "up");
  EXPECT_TRUE(read.ok()) << "reads never wait";
  EXPECT_EQ(request.completed, 0);
  run(4s);
  EXPECT_EQ(request.completed, 0);
  run(1s);
  EXPECT_TRUE(request.ok());
  EXPECT_TRUE(said("waited 5000 ms"));
}

TEST_F(Pair, TheFenceWaitsWhileTheOthersStateIsNotKnown) {
  connect_both();
  Request& request = write();
  cut(a);
  states(transitioning, optimized, Tell::no);
  run(2s);
  EXPECT_EQ(state(b), "up");
  EXPECT_EQ(request.completed, 0);
  states(standby, optimized, Tell::no);
  run(200ms);
  EXPECT_TRUE(request.ok()) << "it is asked again while a write waits";
}

// The node that took over tells; nothing more is sent to the silent one, and what is there already is not sent twice.
TEST_F(Pair, NothingMoreIsSentToASilentNodeThatWasReplaced) {
  connect_both();
  Request& stuck = write(1);
  silent[a] = true;
  states(standby, optimized, Tell::no);
  ports[b]->attention = scsi::sense::alua_changed;
  paths[b]->on_unit_attention(scsi::sense::alua_changed, false);  // as the event of the target does
  run(100ms);
  Request& request = write(2);
  run(10ms);
  EXPECT_TRUE(request.ok());
  EXPECT_EQ(stuck.completed, 0);
  EXPECT_EQ(ports[a]->aborts, 0U) << "it may still answer";
  run(200ms);
  EXPECT_EQ(ports[a]->aborts, 1U);
  paths[a]->port_down();
  run(200ms);
  EXPECT_TRUE(stuck.ok());
}

TEST_F(Pair, ANodeThatAnswersKeepsItsSessionWhenItIsReplaced) {
  connect_both();
  states(standby, optimized);
  for (std::uint64_t block = 0; block < 8; ++block) static_cast<void>(write(block));
  paths[b]->on_unit_attention(scsi::sense::alua_changed, false);
  run(1s);
  EXPECT_EQ(ports[a]->aborts, 0U);
  for (const auto& request : requests) EXPECT_TRUE(request->ok());
}

TEST(WriteFence, IsNotLiftedByAReportThatWasAskedForBeforeTheLoss) {
  LuFacts facts = small_disk();
  facts.vendor = "MPATH";
  MapWorld world({.write_fence = WriteFence::wait}, 2, facts);
  world.map->set_port_group(*world.paths[0], 1);
  world.map->set_port_group(*world.paths[1], 2);
  const scsi::PortGroupReport report{.groups = {{.id = 1, .state = standby}, {.id = 2, .state = optimized}}};
  const std::uint64_t before = world.map->losses();
  Request request(BlockOp::write);
  world.map->submit(request);
  world.lose(world.ports[0]->on_wire() != 0 ? 0 : 1);
  const bool was_first = !world.ports[0]->up();
  MapPath& other = *world.paths[was_first ? 1 : 0];
  const scsi::PortGroupReport turned{.groups = {{.id = 1, .state = optimized}, {.id = 2, .state = standby}}};
  const scsi::PortGroupReport& truth = was_first ? report : turned;
  world.map->on_port_groups(other, truth, before);
  world.serve();
  EXPECT_EQ(request.completed, 0);
  world.map->on_port_groups(other, truth, world.map->losses());
  world.serve();
  EXPECT_TRUE(request.ok());
}

TEST(WriteFence, IsMadeThroughAPathInStandbyOfTheSamePortal) {
  MapWorld world({}, 2);
  Request request(BlockOp::write);
  world.map->submit(request);
  const std::size_t lost = world.ports[0]->on_wire() != 0 ? 0 : 1;
  const std::size_t other = 1 - lost;
  world.map->set_standby(*world.paths[other], true);
  world.map->set_usable(*world.paths[other], false);
  world.lose(lost);
  world.clock.run_for(50ms);
  EXPECT_EQ(world.ports[other]->fences, 1U);
  EXPECT_EQ(world.ports[lost]->ghosts(), 0U);
  world.map->set_usable(*world.paths[other], true);
  world.map->set_standby(*world.paths[other], false);
  world.serve();
  EXPECT_TRUE(request.ok());
}

TEST(Failback, ManualStaysWithThePathsInUseWhenGroupsChange) {
  MapWorld world(
      {.grouping = GroupingPolicy::group_by_prio, .prioritizer = Prioritizer::alua, .failback = Failback::manual}, 2);
  world.map->set_port_group(*world.paths[0], 1);
  world.map->set_port_group(*world.paths[1], 2);
  const auto tell = [&](scsi::AccessState first, scsi::AccessState second) {
    const scsi::PortGroupReport report{.groups = {{.id = 1, .state = first}, {.id = 2, .state = second}}};
    for (MapPath* path : world.paths) world.map->on_port_groups(*path, report, 0);
  };
  tell(optimized, non_optimized);
  const std::size_t before = world.map->snapshot().groups.size();
  EXPECT_EQ(before, 2U);
  EXPECT_EQ(world.map->snapshot().groups[0].state, GroupState::active);
  tell(non_optimized, optimized);
  EXPECT_EQ(world.map->snapshot().groups[1].state, GroupState::active) << "the one it was using";
  MapPolicy immediate = world.map->policy();
  immediate.failback = Failback::immediate;
  world.map->set_policy(immediate);
  EXPECT_EQ(world.map->snapshot().groups[0].state, GroupState::active);
}

}  // namespace
}  // namespace mpath::test
