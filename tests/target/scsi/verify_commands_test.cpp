#include <gtest/gtest.h>

#include "base/error_device.hpp"
#include "tests/target/scsi/medium_unit.hpp"

namespace mpath::target {
namespace {

using scsi::Verify;
using scsi::WriteAndVerify;
using test::Bytes;
using test::filled;
using test::joined;
using test::TestUnit;
constexpr std::uint32_t block = TestUnit::block;

TEST(Verify, ComparesEveryByte) {
  TestUnit unit;
  Bytes data = filled(3 * block, 'v');
  unit.put(5, data);
  EXPECT_TRUE(unit.start(Verify{.lba = 5, .blocks = 3, .byte_check = 1}, data)->good());
  for (const std::size_t at : {std::size_t{0}, std::size_t{767}, std::size_t{768}, std::size_t{3 * block - 1}}) {
    Bytes other = data;
    other[at] ^= std::byte{0x58};
    const auto run = unit.start(Verify{.lba = 5, .blocks = 3, .byte_check = 1}, other);
    EXPECT_TRUE(run->failed(scsi::sense::miscompare)) << at;
    EXPECT_EQ(run->detail.information, at);
  }
}

TEST(Verify, OfMoreThanOneStepStillCountsFromTheStart) {
  TestUnit unit;
  unit.lu_options.transfer_bytes_max = 4 << 20;
  unit.memory.resize(4 << 20);
  const std::uint32_t blocks = (3 << 20) / block;
  Bytes data = filled(blocks * block, 'v');
  unit.put(0, data);
  data[(2 << 20) + 77] = std::byte{0};
  const auto run = unit.start(Verify{.blocks = blocks, .byte_check = 1}, data);
  EXPECT_TRUE(run->failed(scsi::sense::miscompare));
  EXPECT_EQ(run->detail.information, (2u << 20) + 77);
}

TEST(Verify, WithoutByteCheckReadsTheMediumAndLooksAtNoData) {
  TestUnit unit;
  const auto run = unit.start(Verify{.lba = 1, .blocks = 2}, filled(2 * block, 'x'));
  EXPECT_TRUE(run->good());
  EXPECT_EQ(run->task.transfer_bytes, 0u);
  EXPECT_EQ(unit.memory.counters().bytes_read, 2 * block);
  ErrorDevice broken(unit.memory, {.op = BlockOp::read});
  unit.device = &broken;
  const auto failed = unit.start(Verify{.lba = 1, .blocks = 2});
  EXPECT_TRUE(failed->failed(scsi::sense::read_error));
  EXPECT_EQ(failed->detail.information, 1u);
}

TEST(Verify, ComparesEachBlockWithTheOneThatCame) {
  TestUnit unit;
  unit.put(0, filled(4 * block, 's'));
  const auto same = unit.start(Verify{.blocks = 4, .byte_check = 3}, filled(block, 's'));
  EXPECT_TRUE(same->good());
  EXPECT_EQ(same->task.transfer_bytes, block);
  Bytes odd = filled(block, 's');
  odd[9] = std::byte{'t'};
  unit.put(3, odd);
  const auto other = unit.start(Verify{.blocks = 4, .byte_check = 3}, filled(block, 's'));
  EXPECT_TRUE(other->failed(scsi::sense::miscompare));
  EXPECT_EQ(other->detail.information, 9u);
}

TEST(Verify, RefusesWhatItCannotDo) {
  TestUnit unit;
  EXPECT_TRUE(
      unit.start(Verify{.blocks = 1, .byte_check = 2}, filled(block, 0))->failed(scsi::sense::invalid_field_in_cdb));
  EXPECT_TRUE(unit.start(Verify{.blocks = 1, .protect = 1})->failed(scsi::sense::invalid_field_in_cdb));
  EXPECT_TRUE(
      unit.start(Verify{.lba = unit.block_count() + 1, .byte_check = 1})->failed(scsi::sense::lba_out_of_range));
  EXPECT_TRUE(unit.start(Verify{.lba = unit.block_count()})->good());
}

TEST(WriteAndVerify, WritesThroughTheCacheAndReadsBack) {
  TestUnit unit;
  const auto run = unit.start(WriteAndVerify{.lba = 2, .blocks = 2, .byte_check = 1}, filled(2 * block, 'w'));
  EXPECT_TRUE(run->good());
  EXPECT_EQ(run->task.transfer_bytes, 2 * block);
  EXPECT_EQ(unit.on_medium(2, 2), filled(2 * block, 'w'));
  EXPECT_EQ(unit.memory.counters().fua, 1u);
  EXPECT_EQ(unit.memory.counters().bytes_read, 2 * block);
}

TEST(WriteAndVerify, WritesTheWholeBlocksThatCame) {
  TestUnit unit;
  EXPECT_TRUE(unit.start(WriteAndVerify{.blocks = 1, .byte_check = 1})->good());
  EXPECT_TRUE(unit.start(WriteAndVerify{.blocks = 1, .byte_check = 1}, filled(200, 1))->good());
  EXPECT_TRUE(unit.start(WriteAndVerify{.blocks = 2, .byte_check = 1}, filled(block, 'b'))->good());
  EXPECT_EQ(unit.on_medium(0, 2), joined(filled(block, 'b'), filled(block, 0)));
}

TEST(WriteAndVerify, SaysWhichHalfFailed) {
  TestUnit unit;
  ErrorDevice no_write(unit.memory, {.op = BlockOp::write});
  unit.device = &no_write;
  EXPECT_TRUE(unit.start(WriteAndVerify{.blocks = 1}, filled(block, 1))->failed(scsi::sense::write_error));
  ErrorDevice no_read(unit.memory, {.op = BlockOp::read});
  unit.device = &no_read;
  EXPECT_TRUE(unit.start(WriteAndVerify{.blocks = 1}, filled(block, 1))->failed(scsi::sense::read_error));
}

TEST(WriteAndVerify, AbortedBetweenItsStepsReadsNothingMore) {
  TestUnit unit(std::chrono::milliseconds(1));
  const auto run = unit.start(WriteAndVerify{.blocks = 1, .byte_check = 1}, filled(block, 'w'));
  run->task.aborted = true;
  unit.settle();
  EXPECT_TRUE(run->dropped);
  EXPECT_EQ(unit.memory.counters().of(BlockOp::read), 0u);
}

}  // namespace
}  // namespace mpath::target
