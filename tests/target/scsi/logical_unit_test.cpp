// The unit as its nexuses see it: unit attentions, RESERVE(6), and that no change is answered before it is durable. A
// read and a write in steady state allocate nothing.
#include "target/scsi/logical_unit.hpp"

#include <gtest/gtest.h>

#include "tests/support/allocation_counter.hpp"
#include "tests/target/scsi/quiet_unit.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using Quiet = test::QuietUnit;
using iscsi::TaskFunction;
using iscsi::TaskResult;
using test::block_of;
using test::release_6;
using test::reserve_6;
using test::tur;
using test::UnitWorld;

// --- unit attentions ------------------------------------------------------------------------------------------------

TEST(UnitAttention, EveryNexusHearsOfPowerOnOnce) {
  UnitWorld world;
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(world.run(i, tur())->told(), sense::power_on);
    EXPECT_TRUE(world.run(i, tur())->good());
  }
}

TEST(UnitAttention, InquiryPassesAndRequestSenseTakesIt) {
  UnitWorld world;
  EXPECT_TRUE(world.run(0, scsi::inquiry_cdb())->good());
  const auto asked = world.run(0, scsi::request_sense_cdb());
  ASSERT_TRUE(asked->good());
  EXPECT_EQ(scsi::decode_sense(asked->answer())->sense, sense::power_on);
  EXPECT_TRUE(world.run(0, tur())->good());
}

TEST(UnitAttention, ComesBeforeWhatElseIsWrongWithACommand) {
  UnitWorld world;
  const auto unknown = UnitWorld::cdb({0x02, 0, 0, 0, 0, 0});
  EXPECT_EQ(world.run(0, unknown)->told(), sense::power_on);
  EXPECT_EQ(world.run(0, unknown)->told(), sense::invalid_opcode);
  EXPECT_EQ(world.run(0, UnitWorld::cdb({0x5e, 9, 0, 0, 0, 0, 0, 0, 8, 0}))->told(), sense::invalid_field_in_cdb);
}

TEST(UnitAttention, AreToldByPriority) {
  UnitAttentions queue;
  queue.establish(sense::luns_changed);
  queue.establish(sense::capacity_changed);
  queue.establish(sense::nexus_loss);
  queue.establish(sense::luns_changed);
  EXPECT_EQ(queue.take(), sense::nexus_loss);
  queue.establish(sense::bus_reset);
  queue.establish(sense::unit_reset);  // a bus reset says it all
  EXPECT_EQ(queue.take(), sense::bus_reset);
  EXPECT_EQ(queue.take(), sense::luns_changed);
  EXPECT_EQ(queue.take(), sense::capacity_changed);
  EXPECT_EQ(queue.take(), std::nullopt);
}

TEST(UnitAttention, GrowthIsHeardByAll) {
  Quiet world;
  world.memory.resize(UnitWorld::size_bytes * 2);
  EXPECT_EQ(world.run(1, tur())->told(), sense::capacity_changed);
}

TEST(UnitAttention, ANexusThatComesBackHearsThatItWasLost) {
  Quiet world;
  bool ended = false;
  world.unit->detach(*world.nexuses[2], [&] { ended = true; });
  world.settle();
  ASSERT_TRUE(ended);
  world.nexuses[2] = &world.unit->attach(UnitWorld::name(2));
  EXPECT_EQ(world.run(2, tur())->told(), sense::nexus_loss);
}

// --- RESERVE(6) -----------------------------------------------------------------------------------------------------

TEST(Reserve6, KeepsTheOtherInitiatorOutUntilItIsReleased) {
  Quiet world;
  EXPECT_TRUE(world.run(0, reserve_6())->good());
  EXPECT_TRUE(world.run(0, reserve_6())->good());
  EXPECT_TRUE(world.run(1, reserve_6())->conflict());
  EXPECT_TRUE(world.run(1, release_6())->good());
  EXPECT_TRUE(world.run(0, scsi::mode_sense_6_cdb(0x3f))->good());
  EXPECT_TRUE(world.run(1, scsi::mode_sense_6_cdb(0x3f))->conflict());
  EXPECT_TRUE(world.run(1, tur())->conflict());
  EXPECT_TRUE(world.run(0, release_6())->good());
  EXPECT_TRUE(world.run(1, reserve_6())->good());
}

TEST(Reserve6, TwoAtOnceAreOneReservation) {
  Quiet world;
  world.state_log.held = true;
  const auto first = world.send(0, reserve_6());
  const auto second = world.send(1, reserve_6());
  EXPECT_EQ(first->ends + second->ends, 0u);
  world.state_log.let_one_through();
  EXPECT_TRUE(first->good());
  EXPECT_TRUE(second->conflict());
}

// --- durable before answered ----------------------------------------------------------------------------------------

TEST(StateChange, IsNeitherAnsweredNorInForceBeforeItIsDurable) {
  Quiet world;
  world.state_log.held = true;
  const auto call = world.send(0, reserve_6());
  EXPECT_EQ(call->ends, 0u);
  EXPECT_TRUE(world.run(1, tur())->good()) << "not in force yet";
  EXPECT_TRUE(world.state_log.durable.empty());
  world.state_log.let_one_through();
  EXPECT_TRUE(call->good());
  EXPECT_TRUE(decode_lu_state(world.state_log.durable)->reservations.reserved);
  EXPECT_TRUE(world.run(1, tur())->conflict());
}

TEST(StateChange, ThatCannotBeWrittenDownFailsAndChangesNothing) {
  Quiet world;
  world.state_log.error = std::make_error_code(std::errc::io_error);
  EXPECT_EQ(world.run(0, reserve_6())->told(), sense::internal_failure);
  EXPECT_TRUE(world.run(1, tur())->good());
}

TEST(StateChange, AbortedWhileItIsWrittenDownEndsOnce) {
  Quiet world;
  world.state_log.held = true;
  const auto call = world.send(0, reserve_6());
  std::optional<TaskResult> result;
  world.unit->manage(TaskFunction::abort_task, *world.nexuses[0], call->tag, [&](TaskResult value) { result = value; });
  EXPECT_FALSE(result);
  world.state_log.let_one_through();
  EXPECT_EQ(result, TaskResult::complete);
  EXPECT_EQ(call->ends, 1u);
  EXPECT_TRUE(call->aborted);
}

// --- allocation -----------------------------------------------------------------------------------------------------

TEST(Allocation, ReadAndWriteTakeNoneInSteadyState) {
  Quiet world;
  const auto write = world.run(0, scsi::write_cdb(8, 1), block_of(7));
  const auto read = world.run(0, scsi::read_cdb(8, 1));
  ASSERT_TRUE(write->good() && read->good());
  EXPECT_EQ(read->answer(), block_of(7));
  const auto before = mpath::test::allocations();
  for (unsigned i = 0; i < 1000; ++i) {
    world.unit->submit(*write);
    world.unit->submit(*read);
  }
  EXPECT_EQ(mpath::test::allocations(), before);
  EXPECT_EQ(write->ends, 1001u);
  EXPECT_EQ(read->ends, 1001u);
  EXPECT_EQ(world.unit->status().reads, 1001u);
}

}  // namespace
}  // namespace mpath::target
