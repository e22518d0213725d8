#include <gtest/gtest.h>

#include "base/error_device.hpp"
#include "tests/support/allocation_counter.hpp"
#include "tests/target/scsi/medium_unit.hpp"

namespace mpath::target {
namespace {

using scsi::Read;
using scsi::Write;
using test::Bytes;
using test::filled;
using test::joined;
using test::TestUnit;
constexpr std::uint32_t block = TestUnit::block;

TEST(Write, PutsTheBlocksWhereTheyBelongAndReadBringsThemBack) {
  TestUnit unit;
  const auto written = unit.start(Write{.lba = 3, .blocks = 2}, filled(2 * block, 'a'));
  EXPECT_TRUE(written->good());
  EXPECT_EQ(written->task.transfer_bytes, 2 * block);
  EXPECT_EQ(unit.on_medium(2, 4), joined(joined(filled(block, 0), filled(2 * block, 'a')), filled(block, 0)));
  const auto read = unit.start(Read{.lba = 3, .blocks = 2}, {}, 2 * block);
  EXPECT_TRUE(read->good());
  EXPECT_EQ(read->in, filled(2 * block, 'a'));
  EXPECT_EQ(read->task.data_in_bytes, 2 * block);
}

TEST(BlockCommands, RefuseWhatIsNotThere) {
  TestUnit unit;
  const std::uint64_t last = unit.block_count();
  struct Row {
    std::uint64_t lba;
    std::uint32_t blocks;
    std::uint64_t first_missing;
  };
  for (const Row& row :
       {Row{last, 1, last}, Row{last - 1, 2, last}, Row{last + 1, 0, last + 1},
        Row{0x8000000000000000, 1, 0x8000000000000000}, Row{~std::uint64_t{0}, 2, ~std::uint64_t{0}}}) {
    const auto read = unit.start(Read{.lba = row.lba, .blocks = row.blocks}, {}, row.blocks * block);
    EXPECT_TRUE(read->failed(scsi::sense::lba_out_of_range)) << row.lba;
    EXPECT_EQ(read->detail.information, row.first_missing);
    const auto written = unit.start(Write{.lba = row.lba, .blocks = row.blocks}, filled(row.blocks * block, 1));
    EXPECT_TRUE(written->failed(scsi::sense::lba_out_of_range)) << row.lba;
  }
  EXPECT_EQ(unit.memory.counters().of(BlockOp::write), 0u);
}

TEST(BlockCommands, TakeZeroBlocks) {
  TestUnit unit;
  EXPECT_TRUE(unit.start(Read{.lba = 1})->good());
  EXPECT_TRUE(unit.start(Write{.lba = unit.block_count()})->good());
}

TEST(BlockCommands, RefuseProtectionInformation) {
  TestUnit unit;
  for (std::uint8_t protect = 1; protect < 8; ++protect) {
    EXPECT_TRUE(
        unit.start(Read{.blocks = 1, .protect = protect}, {}, block)->failed(scsi::sense::invalid_field_in_cdb));
    const auto write = unit.start(Write{.blocks = 1, .protect = protect}, filled(block, 1));
    EXPECT_TRUE(write->failed(scsi::sense::invalid_field_in_cdb));
    EXPECT_EQ(write->detail.field, 1);
  }
}

TEST(BlockCommands, MoveTheMaximumAndNotOneBlockMore) {
  TestUnit unit;
  const std::uint32_t most = unit.lu_options.transfer_bytes_max / block;
  EXPECT_TRUE(unit.start(Read{.blocks = most}, {}, most * block)->good());
  EXPECT_TRUE(unit.start(Read{.blocks = most + 1}, {}, most * block)->failed(scsi::sense::invalid_field_in_cdb));
  EXPECT_TRUE(unit.start(Write{.blocks = most + 1}, filled(block, 1))->failed(scsi::sense::invalid_field_in_cdb));
}

TEST(Write, WritesTheWholeBlocksThatCame) {
  TestUnit unit;
  const auto none = unit.start(Write{.blocks = 1});
  EXPECT_TRUE(none->good());
  EXPECT_EQ(none->task.transfer_bytes, block);
  const auto part = unit.start(Write{.blocks = 1}, filled(200, 'p'));
  EXPECT_TRUE(part->good());
  EXPECT_EQ(unit.on_medium(0, 1), filled(block, 0));
  const auto one = unit.start(Write{.blocks = 2}, filled(block + 100, 'b'));
  EXPECT_TRUE(one->good());
  EXPECT_EQ(one->task.transfer_bytes, 2 * block);
  EXPECT_EQ(unit.on_medium(0, 2), joined(filled(block, 'b'), filled(block, 0)));
}

TEST(Read, ReadsAsMuchAsThereIsRoomFor) {
  TestUnit unit;
  unit.put(0, filled(2 * block, 'r'));
  const auto one = unit.start(Read{.blocks = 2}, {}, block);
  EXPECT_TRUE(one->good());
  EXPECT_EQ(one->task.data_in_bytes, block);
  EXPECT_EQ(one->task.transfer_bytes, 2 * block);
  const auto part = unit.start(Read{.blocks = 1}, {}, 200);
  EXPECT_TRUE(part->good());
  EXPECT_EQ(part->task.data_in_bytes, 200u);
  EXPECT_EQ(part->in, filled(200, 'r'));
  const auto odd = unit.start(Read{.blocks = 2}, {}, block + 188);
  EXPECT_TRUE(odd->good());
  EXPECT_EQ(odd->in, filled(block + 188, 'r'));
  const auto more = unit.start(Read{.blocks = 1}, {}, 1000);
  EXPECT_TRUE(more->good());
  EXPECT_EQ(more->task.data_in_bytes, block);
  EXPECT_EQ(more->in, joined(filled(block, 'r'), filled(1000 - block, 0)));
  EXPECT_TRUE(unit.start(Read{.blocks = 1})->good());
}

TEST(Write, IsForcedToTheMediumByFuaAndWithoutAWriteCache) {
  TestUnit unit;
  EXPECT_TRUE(unit.start(Write{.blocks = 1, .dpo = true}, filled(block, 1))->good());
  EXPECT_EQ(unit.memory.counters().fua, 0u);
  EXPECT_TRUE(unit.start(Write{.blocks = 1, .fua = true}, filled(block, 1))->good());
  EXPECT_EQ(unit.memory.counters().fua, 1u);
  unit.lu_state.modes.write_cache = false;
  EXPECT_TRUE(unit.start(Write{.blocks = 1}, filled(block, 1))->good());
  EXPECT_EQ(unit.memory.counters().fua, 2u);
}

TEST(Read, ComesFromTheMediumWithFua) {
  TestUnit unit;
  unit.put(0, filled(block, 'm'));
  const auto read = unit.start(Read{.blocks = 1, .fua = true}, {}, block);
  EXPECT_TRUE(read->good());
  EXPECT_EQ(read->in, filled(block, 'm'));
  EXPECT_EQ(unit.memory.counters().of(BlockOp::flush), 1u);
}

TEST(BlockCommands, SayWhatTheMediumSaid) {
  TestUnit unit;
  struct Row {
    BlockStatus status;
    scsi::Sense writing, reading;
  };
  for (const Row& row : {Row{BlockStatus::io_error, scsi::sense::write_error, scsi::sense::read_error},
                         Row{BlockStatus::no_space, scsi::sense::no_space, scsi::sense::no_space},
                         Row{BlockStatus::read_only, scsi::sense::write_protected, scsi::sense::write_protected}}) {
    ErrorDevice broken(unit.memory, {.status = row.status});
    unit.device = &broken;
    const auto write = unit.start(Write{.lba = 9, .blocks = 1}, filled(block, 1));
    EXPECT_TRUE(write->failed(row.writing));
    EXPECT_EQ(write->detail.information, 9u);
    const auto read = unit.start(Read{.lba = 9, .blocks = 1}, {}, block);
    EXPECT_TRUE(read->failed(row.reading));
    EXPECT_EQ(read->task.data_in_bytes, 0u);
    const auto flushed = unit.start(Read{.lba = 9, .blocks = 1, .fua = true}, {}, block);
    EXPECT_EQ(flushed->ends, 1u);
    EXPECT_FALSE(flushed->good());
  }
}

TEST(BlockCommands, NameTheBlockThatFailedWhenTheStoreKnowsIt) {
  TestUnit unit;
  ErrorDevice broken(unit.memory, {});
  unit.device = &broken;
  unit.atomic.failed_at = 11 * block;
  const scsi::Read read{.lba = 9, .blocks = 4};
  EXPECT_EQ(unit.start(read, {}, 4 * block)->detail.information, 11u);
  unit.atomic.failed_at = 13 * block;  // of an earlier request
  EXPECT_EQ(unit.start(read, {}, 4 * block)->detail.information, 9u);
}

TEST(BlockCommands, AbortedInFlightEndWithoutAnswer) {
  TestUnit unit(std::chrono::milliseconds(1));
  const auto read = unit.start(Read{.blocks = 1}, {}, block);
  const auto write = unit.start(Write{.blocks = 1}, filled(block, 1));
  EXPECT_TRUE(read->waits());
  read->task.aborted = true;
  write->task.aborted = true;
  unit.settle();
  EXPECT_TRUE(read->dropped && write->dropped);
  EXPECT_TRUE(unit.locks.idle());
}

TEST(BlockCommands, AbortedWhileTheyWaitForBlocksTouchNothing) {
  TestUnit unit(std::chrono::milliseconds(1));
  const auto alone = unit.start(scsi::CompareAndWrite{.blocks = 1}, joined(filled(block, 0), filled(block, 'c')));
  const auto write = unit.start(Write{.blocks = 1}, filled(block, 'w'));
  write->task.aborted = true;
  unit.settle();
  EXPECT_TRUE(alone->good());
  EXPECT_TRUE(write->dropped);
  EXPECT_EQ(unit.on_medium(0, 1), filled(block, 'c'));
}

// Only the commands: the tasks and their buffers are there before.
TEST(BlockCommands, AllocateNothing) {
  TestUnit unit;
  const auto first = unit.start(Write{.blocks = 1}, filled(block, 1));
  const auto read = unit.start(Read{.blocks = 1}, {}, block);
  for (const auto* each : {&first, &read}) (*each)->ends = 0;
  const auto before = mpath::test::allocations();
  run(unit, first->task, Write{.blocks = 1});
  run(unit, read->task, Read{.blocks = 1});
  EXPECT_EQ(mpath::test::allocations(), before);
  EXPECT_TRUE(first->good() && read->good());
}

}  // namespace
}  // namespace mpath::target
