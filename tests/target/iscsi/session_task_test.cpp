// Task management: tasks end wherever they are, and the answer comes when they have ended.
#include "tests/target/iscsi/session_fixture.hpp"

namespace mpath::target::test {
namespace {

using iscsi::TaskFunction;
using iscsi::TaskResult;

class Tasks : public SessionTest {
 protected:
  TaskResult manage(ScriptInitiator& initiator, TaskFunction function, std::uint64_t lun = 0,
                    std::uint32_t tag = iscsi::reserved_tag, std::uint32_t ref_cmd_sn = 0) {
    initiator.send(initiator.task(function, lun, tag, ref_cmd_sn));
    return initiator.expect<iscsi::TaskResponse>().result;
  }
};

TEST_F(Tasks, AbortOfATaskThatTheUnitHasWaitsForItsEnd) {
  serve();
  auto initiator = log_in_quietly();
  disk().device.hold = true;
  const auto command = initiator.command(scsi::read_cdb(0, 1), {.in = block});
  initiator.send(command);
  disk().device.wait_for(1);
  initiator.send(initiator.task(TaskFunction::abort_task, 0, command.itt, command.cmd_sn));
  EXPECT_TRUE(initiator.silent());
  await_on(shard(0), [&] { disk().device.let_go(); });
  EXPECT_EQ(initiator.expect<iscsi::TaskResponse>().result, TaskResult::complete);
  EXPECT_TRUE(initiator.silent());
}

TEST_F(Tasks, AbortOfATaskThatGathersDataEndsItAtOnce) {
  serve();
  auto initiator = log_in_quietly();
  const auto command = initiator.command(scsi::write_cdb(0, 1), {.out = block});
  initiator.send(command);
  const auto r2t = initiator.expect<iscsi::ReadyToTransfer>();
  EXPECT_EQ(manage(initiator, TaskFunction::abort_task, 0, command.itt, command.cmd_sn), TaskResult::complete);
  initiator.send(initiator.data_out(r2t, 0, block, 0, true), pattern(block));
  EXPECT_TRUE(initiator.silent());
  EXPECT_EQ(peek(0, block), Bytes(block));
}

TEST_F(Tasks, AbortOfATaskThatHasNotComeUsesItsNumberUp) {
  serve();
  auto initiator = log_in_quietly();
  const auto lost = initiator.command(scsi::write_cdb(0, 1), {.out = block, .immediate_data = block});
  const auto next = initiator.command(scsi::read_cdb(0, 1), {.in = block});
  initiator.send(next);
  EXPECT_TRUE(initiator.silent());
  initiator.hold();
  initiator.send(initiator.task(TaskFunction::abort_task, 0, lost.itt, lost.cmd_sn));
  initiator.release();
  EXPECT_EQ(initiator.expect<iscsi::TaskResponse>().result, TaskResult::complete);
  EXPECT_EQ(initiator.expect<iscsi::DataIn>().itt, next.itt);
  initiator.send(lost, pattern(block));  // late
  EXPECT_TRUE(initiator.silent());
  EXPECT_EQ(peek(0, block), Bytes(block));
}

TEST_F(Tasks, AbortOfATaskThatWaitsForItsTurn) {
  serve();
  auto initiator = log_in_quietly();
  const auto first = initiator.command(scsi::read_cdb(0, 1), {.in = block});
  const auto second = initiator.command(scsi::read_cdb(0, 1), {.in = block});
  const auto third = initiator.command(scsi::read_cdb(0, 1), {.in = block});
  initiator.send(second);
  initiator.send(third);
  EXPECT_EQ(manage(initiator, TaskFunction::abort_task, 0, second.itt, second.cmd_sn), TaskResult::complete);
  initiator.send(first);
  EXPECT_EQ(initiator.expect<iscsi::DataIn>().itt, first.itt);
  EXPECT_EQ(initiator.expect<iscsi::DataIn>().itt, third.itt);
  EXPECT_TRUE(initiator.silent());
}

TEST_F(Tasks, WhatIsNotThereIsNamed) {
  serve();
  auto initiator = log_in_quietly();
  EXPECT_EQ(manage(initiator, TaskFunction::abort_task, 0, 4711, initiator.cmd_sn - 1), TaskResult::no_such_task);
  EXPECT_EQ(manage(initiator, TaskFunction::abort_task, 9, 4711, initiator.cmd_sn - 1), TaskResult::no_such_lun);
  EXPECT_EQ(manage(initiator, TaskFunction::logical_unit_reset, 9), TaskResult::no_such_lun);
  EXPECT_EQ(manage(initiator, TaskFunction::task_reassign, 0, 4711), TaskResult::reassign_not_supported);
  EXPECT_EQ(manage(initiator, static_cast<TaskFunction>(40), 0), TaskResult::not_supported);
}

TEST_F(Tasks, FunctionsOnManyTasksWaitForTheCommandsBeforeThem) {
  serve();
  auto initiator = log_in_quietly();
  const auto lost = initiator.command(scsi::read_cdb(0, 1), {.in = block});
  initiator.send(initiator.task(TaskFunction::abort_task_set, 0, iscsi::reserved_tag));
  EXPECT_TRUE(initiator.silent());
  initiator.send(lost);
  EXPECT_EQ(initiator.expect<iscsi::DataIn>().itt, lost.itt);
  EXPECT_EQ(initiator.expect<iscsi::TaskResponse>().result, TaskResult::complete);
}

class ManyTasks : public Tasks, public ::testing::WithParamInterface<TaskFunction> {};

TEST_P(ManyTasks, EndHereAndInTheUnit) {
  add_disk(0);
  add_disk(1, 1);
  serve();
  auto initiator = log_in_quietly();
  disk(0).device.hold = true;
  const auto inside = initiator.command(scsi::read_cdb(0, 1), {.in = block});
  initiator.send(inside);
  disk(0).device.wait_for(1);
  const auto gathering = initiator.command(scsi::write_cdb(0, 1), {.out = block});
  initiator.send(gathering);
  static_cast<void>(initiator.expect<iscsi::ReadyToTransfer>());
  initiator.skip_async = true;  // a reset is told at once
  initiator.send(initiator.task(GetParam(), 0, iscsi::reserved_tag));
  EXPECT_TRUE(initiator.silent());
  await_on(shard(0), [&] { disk(0).device.let_go(); });
  EXPECT_EQ(initiator.expect<iscsi::TaskResponse>().result, TaskResult::complete);
  EXPECT_TRUE(initiator.silent());
  quiet(initiator);
  EXPECT_EQ(initiator.read_of(initiator.command(scsi::read_cdb(0, 1), {.in = block})).status, scsi::Status::good);
}

INSTANTIATE_TEST_SUITE_P(Tasks, ManyTasks,
                         ::testing::Values(TaskFunction::abort_task_set, TaskFunction::clear_task_set,
                                           TaskFunction::logical_unit_reset, TaskFunction::target_warm_reset));

TEST_F(Tasks, AColdResetIsAnsweredAndEndsAllSessionsOfTheTarget) {
  serve();
  auto other = log_in_quietly({.port = 2});
  auto initiator = log_in_quietly();
  initiator.skip_async = true;
  EXPECT_EQ(manage(initiator, TaskFunction::target_cold_reset), TaskResult::complete);
  const auto drained = [](ScriptInitiator& each) {
    while (each.next()) {
    }
  };
  drained(initiator);
  drained(other);
  while (session_count() > 0) {
  }
}

TEST_F(Tasks, AnOrderedTaskWaitsForTheDataOfThoseBeforeIt) {
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(block, 4);
  initiator.send(initiator.command(scsi::write_cdb(0, 1), {.out = block}));
  const auto r2t = initiator.expect<iscsi::ReadyToTransfer>();
  const auto ordered =
      initiator.command(scsi::read_cdb(0, 1), {.in = block, .attribute = iscsi::TaskAttribute::ordered});
  initiator.send(ordered);
  const auto after = initiator.command(scsi::read_cdb(1, 1), {.in = block});
  initiator.send(after);
  EXPECT_TRUE(initiator.silent());
  initiator.send(initiator.data_out(r2t, 0, block, 0, true), data);
  EXPECT_EQ(initiator.expect<iscsi::ScsiResponse>().status, scsi::Status::good);
  const auto read = initiator.expect<iscsi::DataIn>();
  EXPECT_EQ(read.itt, ordered.itt);
  EXPECT_EQ(read.data, data);
  EXPECT_EQ(initiator.expect<iscsi::DataIn>().itt, after.itt);
}

}  // namespace
}  // namespace mpath::target::test
