// The order in which a unit runs its tasks, and how they are ended: task management, resets, errors, sessions that go.
#include <gtest/gtest.h>

#include "tests/target/scsi/quiet_unit.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using Quiet = test::QuietUnit;
using iscsi::TaskAttribute;
using iscsi::TaskFunction;
using iscsi::TaskResult;
using std::chrono::milliseconds;
using test::block_of;
using test::reserve_6;
using test::tur;
using test::UnitWorld;

// --- order of tasks -------------------------------------------------------------------------------------------------

TEST(TaskOrder, SimpleTasksRunSideBySideAndOrderedOnesAlone) {
  Quiet world(milliseconds(1));
  const auto first = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto ordered = world.send(1, scsi::write_cdb(0, 1), block_of(2), TaskAttribute::ordered);
  const auto behind = world.send(0, scsi::write_cdb(0, 1), block_of(3));
  EXPECT_EQ(world.unit->status().nexuses[0].tasks, 2u);
  EXPECT_TRUE(first->running);
  EXPECT_FALSE(ordered->running);
  EXPECT_FALSE(behind->running);
  const auto head = world.send(2, tur(), {}, TaskAttribute::head_of_queue);
  EXPECT_TRUE(head->good());
  world.settle();
  EXPECT_TRUE(first->good() && ordered->good() && behind->good());
  EXPECT_EQ(world.memory.peek(0, 1)[0], std::byte{3});
}

TEST(TaskOrder, TheAcaAttributeIsRefused) {
  Quiet world;
  const auto call = world.send(0, tur(), {}, TaskAttribute::aca);
  EXPECT_EQ(call->told(), sense::invalid_message);
}

// --- task management ------------------------------------------------------------------------------------------------

TEST(TaskManagement, AbortTaskIsDoneWhenTheTaskHasEnded) {
  Quiet world(milliseconds(1));
  const auto call = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  std::optional<TaskResult> result;
  world.unit->manage(TaskFunction::abort_task, *world.nexuses[0], call->tag, [&](TaskResult value) { result = value; });
  world.poll();
  EXPECT_FALSE(result) << "the disk still has the write";
  world.settle();
  EXPECT_EQ(result, TaskResult::complete);
  EXPECT_EQ(call->ends, 1u);
  EXPECT_TRUE(call->aborted);
  EXPECT_EQ(world.manage(TaskFunction::abort_task, 0, call->tag), TaskResult::no_such_task);
}

TEST(TaskManagement, ClearTaskSetTellsTheOthers) {
  Quiet world(milliseconds(1));
  const auto mine = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto theirs = world.send(1, scsi::write_cdb(1, 1), block_of(1));
  EXPECT_EQ(world.manage(TaskFunction::clear_task_set, 0), TaskResult::complete);
  EXPECT_TRUE(mine->aborted && theirs->aborted);
  EXPECT_TRUE(world.run(0, tur())->good());
  EXPECT_EQ(world.run(1, tur())->told(), sense::commands_cleared);
}

TEST(TaskManagement, WithTasTheOthersTasksEndWithTaskAborted) {
  Quiet world(milliseconds(1));
  ASSERT_TRUE(world.select(0, 0x0a, 3, 0x40, 0x40)->good());
  world.hear_all();
  const auto mine = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto theirs = world.send(1, scsi::write_cdb(1, 1), block_of(1));
  EXPECT_EQ(world.manage(TaskFunction::clear_task_set, 0), TaskResult::complete);
  EXPECT_TRUE(mine->aborted);
  EXPECT_FALSE(theirs->aborted);
  EXPECT_EQ(theirs->status, scsi::Status::task_aborted);
  EXPECT_TRUE(world.run(1, tur())->good()) << "told once is enough";
}

TEST(TaskManagement, QueueErrorManagementEndsTheTasksBehindAnError) {
  for (const unsigned qerr : {1u, 3u}) {
    Quiet world(milliseconds(1));
    ASSERT_TRUE(world.select(0, 0x0a, 1, 0x06, static_cast<std::uint8_t>(qerr << 1))->good());
    world.hear_all();
    const auto mine = world.send(0, scsi::write_cdb(0, 1), block_of(1));
    const auto theirs = world.send(1, scsi::write_cdb(1, 1), block_of(1));
    EXPECT_EQ(world.send(0, UnitWorld::cdb({0x02, 0, 0, 0, 0, 0}))->told(), sense::invalid_opcode);
    world.settle();
    EXPECT_TRUE(mine->aborted);
    EXPECT_EQ(theirs->aborted, qerr == 1);
    EXPECT_EQ(world.run(1, tur())->told(), qerr == 1 ? sense::commands_cleared : sense::none);
  }
}

TEST(TaskManagement, AbortTaskSetLeavesTheOthersAlone) {
  Quiet world(milliseconds(1));
  const auto mine = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto theirs = world.send(1, scsi::write_cdb(1, 1), block_of(1));
  EXPECT_EQ(world.manage(TaskFunction::abort_task_set, 0), TaskResult::complete);
  EXPECT_TRUE(mine->aborted);
  EXPECT_TRUE(theirs->good());
}

TEST(TaskManagement, ATaskThatWaitsIsGoneAtOnce) {
  Quiet world(milliseconds(1));
  const auto first = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto waits = world.send(1, tur(), {}, TaskAttribute::ordered);
  EXPECT_EQ(world.manage(TaskFunction::abort_task, 1, waits->tag), TaskResult::complete);
  EXPECT_TRUE(waits->aborted);
  EXPECT_TRUE(first->good());
}

TEST(TaskManagement, ResetEndsTasksAndReserveAndTellsAll) {
  Quiet world(milliseconds(1));
  ASSERT_TRUE(world.run(0, reserve_6())->good());
  const auto call = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  EXPECT_EQ(world.manage(TaskFunction::logical_unit_reset, 1), TaskResult::complete);
  EXPECT_TRUE(call->aborted);
  for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(world.run(i, tur())->told(), sense::unit_reset);
  EXPECT_TRUE(world.run(1, reserve_6())->good());
}

TEST(TaskManagement, DetachEndsWhenTheDiskHasTheLastWriteBack) {
  Quiet world(milliseconds(1));
  ASSERT_TRUE(world.run(2, reserve_6())->good());
  const auto call = world.send(2, scsi::write_cdb(0, 1), block_of(1));
  bool ended = false;
  world.unit->detach(*world.nexuses[2], [&] { ended = call->ends == 1; });
  world.poll();
  EXPECT_FALSE(ended);
  world.settle();
  EXPECT_TRUE(ended);
  EXPECT_TRUE(call->aborted);
  EXPECT_TRUE(world.run(0, reserve_6())->good()) << "RESERVE(6) ends with its nexus";
}

}  // namespace
}  // namespace mpath::target
