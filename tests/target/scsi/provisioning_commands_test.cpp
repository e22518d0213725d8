#include <gtest/gtest.h>

#include "base/error_device.hpp"
#include "tests/target/scsi/medium_unit.hpp"

namespace mpath::target {
namespace {

using scsi::GetLbaStatus;
using scsi::LbaState;
using scsi::Unmap;
using scsi::WriteSame;
using test::Bytes;
using test::filled;
using test::joined;
using test::TestUnit;
constexpr std::uint32_t block = TestUnit::block;
constexpr std::uint32_t chunk_blocks = 32;  // what the memory device gives back in one piece

Bytes unmap_list(const std::vector<scsi::UnmapRange>& ranges) {
  Bytes list(scsi::unmap_list_bytes(ranges.size()));
  EXPECT_EQ(scsi::encode_unmap_list(ranges, list), list.size());
  return list;
}
std::unique_ptr<test::Execution> start_unmap(TestUnit& unit, const std::vector<scsi::UnmapRange>& ranges) {
  const Bytes list = unmap_list(ranges);
  return unit.start(Unmap{.length = static_cast<std::uint16_t>(list.size())}, list);
}

TEST(WriteSame, RepeatsOneBlock) {
  TestUnit unit;
  Bytes pattern = filled(block, 's');
  pattern[100] = std::byte{'t'};
  const auto run = unit.start(WriteSame{.lba = 3, .blocks = 3}, pattern);
  EXPECT_TRUE(run->good());
  EXPECT_EQ(run->task.transfer_bytes, block);
  EXPECT_EQ(unit.on_medium(2, 5),
            joined(joined(filled(block, 0), joined(joined(pattern, pattern), pattern)), filled(block, 0)));
}

TEST(WriteSame, OfMoreThanOneStepFillsAll) {
  TestUnit unit;
  unit.memory.resize(8 << 20);
  EXPECT_TRUE(unit.start(WriteSame{.lba = 1, .blocks = 5000}, filled(block, 'p'))->good());
  EXPECT_EQ(unit.on_medium(1, 5000), filled(5000 * block, 'p'));
  EXPECT_EQ(unit.on_medium(5001, 1), filled(block, 0));
  EXPECT_GT(unit.memory.counters().of(BlockOp::write), 1u);
}

TEST(WriteSame, GivesZeroesBackToTheStoreWhenItMay) {
  TestUnit unit;
  unit.put(0, filled(4 * chunk_blocks * block, 'x'));
  EXPECT_TRUE(unit.start(WriteSame{.blocks = chunk_blocks, .unmap = true}, filled(block, 0))->good());
  EXPECT_TRUE(
      unit.start(WriteSame{.lba = chunk_blocks, .blocks = chunk_blocks, .unmap = true, .no_data_out = true})->good());
  EXPECT_EQ(unit.memory.allocated_bytes(), 2u * chunk_blocks * block);
  // Without UNMAP the blocks stay mapped.
  EXPECT_TRUE(unit.start(WriteSame{.lba = 2 * chunk_blocks, .blocks = chunk_blocks}, filled(block, 0))->good());
  EXPECT_EQ(unit.memory.allocated_bytes(), 2u * chunk_blocks * block);
  EXPECT_EQ(unit.on_medium(0, 3 * chunk_blocks), filled(3 * chunk_blocks * block, 0));
  EXPECT_EQ(unit.memory.counters().of(BlockOp::write), 0u);
}

// LBPRZ promises zeroes for what is unmapped: another pattern is written.
TEST(WriteSame, WithUnmapAndAPatternWritesThePattern) {
  TestUnit unit;
  EXPECT_TRUE(unit.start(WriteSame{.lba = 1, .blocks = 7, .unmap = true}, filled(block, 0xa6))->good());
  EXPECT_EQ(unit.on_medium(1, 7), filled(7 * block, 0xa6));
}

TEST(WriteSame, RefusesWhatItCannotDo) {
  TestUnit unit;
  const auto refused = [&unit](const WriteSame& command, std::size_t bytes) {
    return unit.start(command, filled(bytes, 0))->failed(scsi::sense::invalid_field_in_cdb);
  };
  EXPECT_TRUE(refused({.blocks = 0}, block));  // WSNZ
  EXPECT_TRUE(refused({.blocks = 1, .anchor = true}, block));
  EXPECT_TRUE(refused({.blocks = 1, .unmap = true, .anchor = true}, block));
  EXPECT_TRUE(refused({.blocks = 1, .protect = 1}, block));
  EXPECT_TRUE(refused({.blocks = 1, .unmap = true}, block / 2));
  unit.prepare = [](Task& task) { task.data_out_bytes = block; };  // as much as a session gathers
  EXPECT_TRUE(refused({.blocks = 1, .unmap = true}, 2 * block));
  unit.prepare = nullptr;
  unit.lu_options.thin = false;
  EXPECT_TRUE(refused({.blocks = 1, .unmap = true}, block));
  EXPECT_TRUE(unit.start(WriteSame{.lba = unit.block_count(), .blocks = 1}, filled(block, 0))
                  ->failed(scsi::sense::lba_out_of_range));
  unit.memory.resize(64 << 20);
  EXPECT_TRUE(refused({.blocks = 32769}, block));
  EXPECT_TRUE(unit.start(WriteSame{.blocks = 32768}, filled(block, 0))->good());
}

TEST(WriteSame, SaysWhereItFailedAndStopsWhenAborted) {
  TestUnit unit(std::chrono::milliseconds(1));
  unit.memory.resize(8 << 20);
  ErrorDevice broken(unit.memory, {.op = BlockOp::write, .offset = 3 << 20, .length = block});
  unit.device = &broken;
  const auto failed = unit.start(WriteSame{.blocks = 10000}, filled(block, 1));
  unit.settle();
  EXPECT_TRUE(failed->failed(scsi::sense::write_error));
  EXPECT_EQ(failed->detail.information, (3u << 20) / block);
  const auto aborted = unit.start(WriteSame{.lba = 8192, .blocks = 8192}, filled(block, 1));
  aborted->task.aborted = true;
  const auto before = unit.memory.counters().of(BlockOp::write);
  unit.settle();
  EXPECT_TRUE(aborted->dropped);
  EXPECT_EQ(unit.memory.counters().of(BlockOp::write), before + 1);  // the one that was under way
}

TEST(Unmap, GivesBlocksBackAndTheyReadAsZeroes) {
  TestUnit unit;
  unit.put(0, filled(4 * chunk_blocks * block, 'u'));
  EXPECT_TRUE(
      start_unmap(unit, {{.lba = 0, .blocks = chunk_blocks}, {.lba = 2 * chunk_blocks + 3, .blocks = 5}})->good());
  EXPECT_EQ(unit.on_medium(0, chunk_blocks), filled(chunk_blocks * block, 0));
  EXPECT_EQ(unit.on_medium(2 * chunk_blocks + 2, 7),
            joined(joined(filled(block, 'u'), filled(5 * block, 0)), filled(block, 'u')));
  EXPECT_EQ(unit.memory.allocated_bytes(), 3u * chunk_blocks * block);
}

TEST(Unmap, TakesOverlapsEmptyRangesAndEmptyLists) {
  TestUnit unit;
  unit.put(0, filled(8 * block, 'u'));
  EXPECT_TRUE(start_unmap(unit, {{.lba = 0, .blocks = 4}, {.lba = 2, .blocks = 4}, {.lba = 2, .blocks = 4}})->good());
  EXPECT_EQ(unit.on_medium(0, 8), joined(filled(6 * block, 0), filled(2 * block, 'u')));
  EXPECT_TRUE(start_unmap(unit, {{.lba = unit.block_count(), .blocks = 0}, {.lba = 1, .blocks = 0}})->good());
  EXPECT_TRUE(start_unmap(unit, {})->good());
  EXPECT_TRUE(unit.start(Unmap{})->good());
}

TEST(Unmap, RefusesWhatItCannotDo) {
  TestUnit unit;
  EXPECT_TRUE(start_unmap(unit, {{.lba = 0, .blocks = 1}, {.lba = unit.block_count() - 1, .blocks = 2}})
                  ->failed(scsi::sense::lba_out_of_range));
  EXPECT_TRUE(start_unmap(unit, std::vector<scsi::UnmapRange>(257))->failed(scsi::sense::invalid_field_in_parameters));
  EXPECT_TRUE(start_unmap(unit, std::vector<scsi::UnmapRange>(256))->good());
  EXPECT_TRUE(unit.start(Unmap{.length = 4}, filled(4, 0))->failed(scsi::sense::parameter_list_length));
  const Bytes list = unmap_list({{.lba = 0, .blocks = 1}});
  EXPECT_TRUE(
      unit.start(Unmap{.length = 24}, Bytes(list.begin(), list.end() - 1))->failed(scsi::sense::parameter_list_length));
  EXPECT_TRUE(unit.start(Unmap{.anchor = true, .length = 24}, list)->failed(scsi::sense::invalid_field_in_cdb));
  unit.lu_options.thin = false;
  EXPECT_TRUE(unit.start(Unmap{.length = 24}, list)->failed(scsi::sense::invalid_opcode));
  EXPECT_EQ(unit.memory.counters().of(BlockOp::write_zeroes), 0u);
}

TEST(Unmap, StopsWhenAbortedBetweenRanges) {
  TestUnit unit(std::chrono::milliseconds(1));
  unit.put(0, filled(4 * block, 'u'));
  const auto run = start_unmap(unit, {{.lba = 0, .blocks = 1}, {.lba = 2, .blocks = 1}});
  run->task.aborted = true;
  unit.settle();
  EXPECT_TRUE(run->dropped);
  EXPECT_EQ(unit.on_medium(2, 1), filled(block, 'u'));
}

TEST(GetLbaStatus, ListsRunsThatCoverTheMedium) {
  TestUnit unit;
  unit.put(chunk_blocks, filled(chunk_blocks * block, 'm'));
  const auto run = unit.start(GetLbaStatus{.lba = 5, .length = 256}, {}, 256);
  ASSERT_TRUE(run->good());
  const auto ranges = scsi::decode_lba_status(run->answer);
  ASSERT_TRUE(ranges);
  const std::uint32_t rest = static_cast<std::uint32_t>(unit.block_count()) - 2 * chunk_blocks;
  const std::vector<scsi::LbaRange> expected = {
      {.lba = 5, .blocks = chunk_blocks - 5, .state = LbaState::deallocated},
      {.lba = chunk_blocks, .blocks = chunk_blocks, .state = LbaState::mapped},
      {.lba = 2 * chunk_blocks, .blocks = rest, .state = LbaState::deallocated}};
  EXPECT_EQ(*ranges, expected);
  const auto one = unit.start(GetLbaStatus{.lba = chunk_blocks, .length = 24}, {}, 24);
  EXPECT_EQ(*scsi::decode_lba_status(one->answer), std::vector<scsi::LbaRange>{expected[1]});
}

TEST(GetLbaStatus, HasNothingPastTheEnd) {
  TestUnit unit;
  for (const std::uint64_t lba :
       {unit.block_count(), unit.block_count() + 1, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    EXPECT_TRUE(unit.start(GetLbaStatus{.lba = lba, .length = 24}, {}, 24)->failed(scsi::sense::lba_out_of_range));
  }
  EXPECT_TRUE(unit.start(GetLbaStatus{.lba = unit.block_count() - 1, .length = 24}, {}, 24)->good());
}

TEST(GetLbaStatus, OfAThickUnitIsAllMapped) {
  TestUnit unit;
  unit.lu_options.thin = false;
  const auto run = unit.start(GetLbaStatus{.length = 24}, {}, 24);
  EXPECT_EQ(scsi::decode_lba_status(run->answer)->at(0).state, LbaState::mapped);
}

TEST(BlockLimits, AreThoseThatTheCommandsKeep) {
  TestUnit unit;
  const scsi::BlockLimits limits = block_limits(unit);
  EXPECT_EQ(limits.transfer_max, 512u);
  EXPECT_EQ(limits.compare_and_write_max, 255);
  EXPECT_TRUE(limits.write_same_nonzero);
  EXPECT_EQ(limits.unmap_granularity, 8u);
  EXPECT_TRUE(provisioning(unit).reads_zeroes && provisioning(unit).unmap);
  unit.lu_options.thin = false;
  EXPECT_EQ(block_limits(unit).unmap_blocks_max, 0u);
  EXPECT_EQ(provisioning(unit), scsi::Provisioning{});
}

TEST(Thin, TellsOnceWhenTheThresholdIsPassed) {
  TestUnit unit;
  unit.memory.resize(64 << 20);
  unit.lu_options.transfer_bytes_max = 16 << 20;
  unit.lu_options.threshold_percent = 80;
  const scsi::Write big{.blocks = (16 << 20) / block};
  const auto write = [&] { EXPECT_TRUE(unit.start(big, filled(16 << 20, 1))->good()); };
  unit.atomic.used = {.allocated_bytes = 79, .available_bytes = 21};
  write();
  EXPECT_TRUE(unit.attentions.empty());
  unit.atomic.used = {.allocated_bytes = 80, .available_bytes = 20};
  write();
  write();
  EXPECT_EQ(unit.attentions, std::vector<scsi::Sense>{scsi::sense::thin_threshold});
  unit.atomic.used = {.allocated_bytes = 70, .available_bytes = 30};
  write();
  unit.atomic.used = {.allocated_bytes = 90, .available_bytes = 10};
  write();
  EXPECT_EQ(unit.attentions.size(), 2u);
}

}  // namespace
}  // namespace mpath::target
