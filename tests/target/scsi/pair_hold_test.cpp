// A unit that is held for a planned hand-over: what runs ends, what comes waits, and nothing of it is lost.
#include <gtest/gtest.h>

#include "tests/support/allocation_counter.hpp"
#include "tests/target/scsi/pair_world.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using iscsi::TaskAttribute;
using iscsi::TaskFunction;
using iscsi::TaskResult;
using std::chrono::milliseconds;
using test::block_of;
using test::Call;
using test::PairWorld;
using test::reserve_6;
using test::tur;
using test::UnitWorld;

scsi::Cdb compare_and_write(std::uint8_t lba) {
  return UnitWorld::cdb({0x89, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, 1, 0, 0});
}
std::vector<std::byte> halves(unsigned first, unsigned second) {
  auto bytes = block_of(first);
  const auto more = block_of(second);
  bytes.insert(bytes.end(), more.begin(), more.end());
  return bytes;
}

struct Leader : PairWorld {
  explicit Leader(Duration latency = milliseconds(1)) : PairWorld(latency) { lead(); }
};

TEST(Hold, IsHeldAtOnceWhenNothingRuns) {
  Leader world;
  world.hold();
  EXPECT_EQ(world.helds, 1u);
  const auto write = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  world.settle();
  EXPECT_EQ(write->ends, 0u);
  EXPECT_EQ(world.memory.counters().bytes_written, 0u);
  world.release();
  world.settle();
  EXPECT_TRUE(write->good());
  EXPECT_EQ(world.memory.peek(0, 1)[0], std::byte{1});
}

TEST(Hold, WaitsForWhatRunsAndKeepsWhatComes) {
  Leader world;
  std::vector<std::unique_ptr<Call>> under_way;
  under_way.push_back(world.send(0, scsi::write_cdb(0, 1), block_of(1)));
  under_way.push_back(world.send(1, scsi::read_cdb(1, 1)));
  under_way.push_back(world.send(2, compare_and_write(8), halves(0, 7)));
  under_way.push_back(world.send(0, scsi::synchronize_cache_cdb()));
  world.state_log.held = true;
  under_way.push_back(world.send(1, reserve_6()));
  world.hold();
  std::vector<std::unique_ptr<Call>> behind;
  behind.push_back(world.send(1, scsi::write_cdb(0, 1), block_of(2)));
  behind.push_back(world.send(1, compare_and_write(8), halves(7, 9)));
  behind.push_back(world.send(1, tur()));
  behind.push_back(world.send(1, test::mode_select_6(0)));
  world.settle();
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(under_way[i]->good()) << i;
  EXPECT_EQ(world.helds, 0u) << "the reservation is not durable yet";
  world.state_log.let_one_through();
  world.settle();
  EXPECT_TRUE(under_way[4]->good());
  EXPECT_EQ(world.helds, 1u);
  for (const auto& call : behind) EXPECT_EQ(call->ends, 0u);
  EXPECT_EQ(world.memory.peek(8 * UnitWorld::block, 1)[0], std::byte{7}) << "the whole of a COMPARE AND WRITE";
  world.state_log.held = false;
  world.release();
  world.settle();
  for (const auto& call : behind) EXPECT_TRUE(call->good());
  EXPECT_EQ(world.memory.peek(8 * UnitWorld::block, 1)[0], std::byte{9});
}

TEST(Hold, AnswersWhatNeedsNoLeader) {
  Leader world;
  world.hold();
  EXPECT_TRUE(world.run(0, scsi::inquiry_cdb())->good());
  EXPECT_TRUE(world.run(0, scsi::report_target_port_groups_cdb(1024))->good());
  EXPECT_TRUE(world.run(0, scsi::mode_sense_6_cdb(8))->good());
  EXPECT_TRUE(world.run(0, scsi::request_sense_cdb())->good());
  EXPECT_EQ(world.run(0, UnitWorld::cdb({0x02, 0, 0, 0, 0, 0}))->told(), sense::invalid_opcode);
}

TEST(Hold, AfterAHandOverWhatWaitedIsSentToTheOtherNode) {
  Leader world;
  world.hold();
  const auto write = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto reserve = world.send(1, reserve_6());
  const auto compare = world.send(2, compare_and_write(0), halves(0, 7));
  world.lose();
  world.hear_all();
  world.release();
  EXPECT_EQ(write->told(), sense::alua_standby);
  EXPECT_EQ(reserve->told(), sense::alua_standby);
  EXPECT_EQ(compare->told(), sense::alua_standby);
  EXPECT_EQ(world.memory.counters().bytes_written, 0u);
  EXPECT_EQ(world.state_log.commits, 0u);
}

TEST(Hold, KeepsTheOrderOfTasks) {
  Leader world;
  world.hold();
  const auto first = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto ordered = world.send(0, scsi::write_cdb(0, 1), block_of(2), TaskAttribute::ordered);
  const auto last = world.send(0, scsi::write_cdb(0, 1), block_of(3));
  world.release();
  EXPECT_TRUE(first->running);
  EXPECT_FALSE(ordered->running);
  world.settle();
  EXPECT_TRUE(first->good() && ordered->good() && last->good());
  EXPECT_EQ(world.memory.peek(0, 1)[0], std::byte{3});
}

// An ORDERED task that waited already when the unit was held does not start when what was before it ends.
TEST(Hold, KeepsWhatWaitedForItsTurn) {
  Leader world;
  const auto first = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto ordered = world.send(0, scsi::write_cdb(0, 1), block_of(2), TaskAttribute::ordered);
  world.hold();
  world.settle();
  EXPECT_TRUE(first->good());
  EXPECT_EQ(ordered->ends, 0u);
  EXPECT_EQ(world.helds, 1u);
  world.release();
  world.settle();
  EXPECT_TRUE(ordered->good());
}

// Those of a copy between units do not wait: the unit that copies may be held too. Here they wait for their turn
// already.
TEST(Hold, RefusesWhatACopyAsksFor) {
  for (const unsigned qerr : {0u, 1u}) {
    Leader world;
    LuState strict = world.state();
    strict.access.clear();
    strict.modes.queue_error = static_cast<std::uint8_t>(qerr);
    world.unit->adopt_state(strict);
    world.lead();
    world.nexuses[2]->of_copy = true;
    const auto ahead = world.send(0, scsi::write_cdb(0, 1), block_of(1), TaskAttribute::ordered);
    const auto one = world.send(2, scsi::write_cdb(0, 1), block_of(2));
    const auto two = world.send(2, scsi::read_cdb(0, 1));
    EXPECT_EQ(one->ends + two->ends, 0u);
    world.hold();
    EXPECT_EQ(one->told(), sense::alua_transition);
    EXPECT_EQ(two->ends, 1u);
    EXPECT_EQ(two->aborted, qerr == 1) << "the error of the first one ends the second one too";
    EXPECT_EQ(world.send(2, scsi::read_cdb(0, 1))->told(), sense::alua_transition) << "nor those that come";
    world.settle();
    EXPECT_EQ(world.helds, 1u);
    EXPECT_EQ(ahead->ends, 1u);
    world.release();
    world.settle();
    EXPECT_TRUE(world.run(2, scsi::read_cdb(0, 1))->good());
  }
}

TEST(Hold, WhatIsKeptCanBeAborted) {
  Leader world;
  world.hold();
  const auto one = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto two = world.send(1, scsi::write_cdb(0, 1), block_of(1));
  const auto three = world.send(2, scsi::write_cdb(0, 1), block_of(1));
  std::optional<TaskResult> result;
  world.unit->manage(TaskFunction::abort_task, *world.nexuses[0], one->tag, [&](TaskResult value) { result = value; });
  EXPECT_EQ(result, TaskResult::complete);
  EXPECT_TRUE(one->aborted);
  bool ended = false;
  world.unit->detach(*world.nexuses[1], [&] { ended = true; });
  EXPECT_TRUE(ended && two->aborted);
  result.reset();
  world.unit->manage(TaskFunction::logical_unit_reset, *world.nexuses[0], 0, [&](TaskResult value) { result = value; });
  EXPECT_EQ(result, TaskResult::complete);
  EXPECT_TRUE(three->aborted);
  world.release();
  world.settle();
  EXPECT_EQ(world.memory.counters().bytes_written, 0u);
}

TEST(Hold, ATaskUnderWayThatIsAbortedIsWaitedForToo) {
  Leader world;
  const auto write = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  world.hold();
  std::optional<TaskResult> result;
  world.unit->manage(TaskFunction::abort_task, *world.nexuses[0], write->tag,
                     [&](TaskResult value) { result = value; });
  EXPECT_EQ(world.helds, 0u);
  EXPECT_FALSE(result);
  world.settle();
  EXPECT_EQ(world.helds, 1u);
  EXPECT_EQ(result, TaskResult::complete);
}

TEST(Hold, ThatIsGivenUpIsNotReported) {
  Leader world;
  const auto write = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  world.hold();
  world.release();
  world.hold();
  world.release();
  world.settle();
  EXPECT_TRUE(write->good());
  EXPECT_EQ(world.helds, 0u);
  world.hold();
  EXPECT_EQ(world.helds, 1u);
}

TEST(Hold, ASanitizeRestsAndGoesOn) {
  for (const bool patient : {true, false}) {  // the hold is given up before everything rests
    Leader world;
    const auto overwrite = world.run(0, UnitWorld::cdb({0x48, 0x81, 0, 0, 0, 0, 0, 0, 5, 0}),
                                     {std::byte{1}, std::byte{0}, std::byte{0}, std::byte{1}, std::byte{0x5a}});
    EXPECT_TRUE(overwrite->good());
    world.settle();
    const std::uint64_t once = world.memory.counters().bytes_written;
    EXPECT_EQ(once, UnitWorld::size_bytes);
    const auto again = world.send(0, UnitWorld::cdb({0x48, 0x81, 0, 0, 0, 0, 0, 0, 5, 0}),
                                  {std::byte{1}, std::byte{0}, std::byte{0}, std::byte{1}, std::byte{0x5b}});
    EXPECT_TRUE(again->good());
    world.hold();
    EXPECT_EQ(world.helds, 0u) << "a step is under way";
    if (patient) {
      world.settle();
      EXPECT_EQ(world.helds, 1u);
      EXPECT_EQ(world.state().sanitize.phase, SanitizeState::Phase::running);
      EXPECT_LT(world.memory.counters().bytes_written, once + UnitWorld::size_bytes);
    }
    world.release();
    world.settle();
    EXPECT_EQ(world.state().sanitize, SanitizeState{});
    EXPECT_EQ(world.memory.peek(UnitWorld::size_bytes - 1, 1)[0], std::byte{0x5b});
    EXPECT_TRUE(world.run(0, tur())->good());
  }
}

TEST(Hold, ThatEndsWithTheUnitLeavesNothingBehind) {
  Leader world;
  const auto running = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  world.hold();
  const auto kept = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  world.unit_is_held = false;  // it ends as it is
  world.unit->close([&] { world.closed = true; });
  world.settle();
  EXPECT_TRUE(world.closed);
  EXPECT_TRUE(running->aborted && kept->aborted);
}

TEST(Hold, CostsNoMemoryWhereThereIsAPair) {
  Leader world(Duration(0));
  const auto write = world.run(0, scsi::write_cdb(8, 1), block_of(7));
  const auto read = world.run(0, scsi::read_cdb(8, 1));
  ASSERT_TRUE(write->good() && read->good());
  const auto before = mpath::test::allocations();
  for (unsigned i = 0; i < 1000; ++i) {
    world.unit->submit(*write);
    world.unit->submit(*read);
  }
  EXPECT_EQ(mpath::test::allocations(), before);
  EXPECT_EQ(read->ends, 1001u);
}

}  // namespace
}  // namespace mpath::target
