// MODE SENSE and MODE SELECT, and what follows from the values.
#include <gtest/gtest.h>

#include "tests/target/scsi/quiet_unit.hpp"
#include "wire/scsi_mode.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using Quiet = test::QuietUnit;
using iscsi::TaskFunction;
using iscsi::TaskResult;
using test::block_of;
using test::mode_select_6;
using test::tur;
using test::UnitWorld;

TEST(Mode, AllPagesFitTheShortForm) {
  Quiet world;
  const auto call = world.run(0, UnitWorld::cdb({0x1a, 0, 0x3f, 0xff, 255, 0}));
  ASSERT_TRUE(call->good());
  const auto parameters = scsi::decode_mode_parameters(call->answer(), true);
  ASSERT_TRUE(parameters);
  std::vector<unsigned> pages;
  for (const scsi::ModePage& page : parameters->pages) pages.push_back(page.page << 8 | page.subpage);
  EXPECT_EQ(pages, (std::vector<unsigned>{0x100, 0x200, 0x800, 0xa00, 0xa01, 0x1c00}));
  ASSERT_EQ(parameters->blocks.size(), 1u);
  EXPECT_EQ(parameters->blocks[0].block_bytes, UnitWorld::block);
  EXPECT_EQ(parameters->blocks[0].blocks, UnitWorld::size_bytes / UnitWorld::block);
  EXPECT_TRUE(parameters->dpo_fua);
}

TEST(Mode, UnknownPagesAndBitsThatCannotChangeAreRefused) {
  Quiet world;
  EXPECT_EQ(world.run(0, scsi::mode_sense_6_cdb(0x19))->told(), sense::invalid_field_in_cdb);
  EXPECT_EQ(world.select(0, 0x0a, 1, 0xf0, 0x00)->told(), sense::invalid_field_in_parameters);
  EXPECT_EQ(world.select(0, 0x0a, 0, 0xe0, 0x40)->told(), sense::invalid_field_in_parameters);  // TST 010b
  EXPECT_EQ(world.run(0, mode_select_6(3), std::vector<std::byte>(3))->told(), sense::parameter_list_length);
}

TEST(Mode, SoftwareWriteProtectKeepsWritersOutAndOthersHearOfIt) {
  Quiet world;
  ASSERT_TRUE(world.select(0, 0x0a, 2, 0x08, 0x08)->good());
  EXPECT_EQ(world.run(1, tur())->told(), sense::mode_parameters_changed);
  EXPECT_EQ(world.run(0, scsi::write_cdb(0, 1), block_of(1))->told(), sense::write_protected);
  EXPECT_EQ(world.run(0, scsi::unmap_cdb(24), std::vector<std::byte>(24))->told(), sense::write_protected);
  EXPECT_TRUE(world.run(0, scsi::read_cdb(0, 1))->good());
  EXPECT_TRUE(scsi::decode_mode_sense(world.run(0, scsi::mode_sense_6_cdb(8))->answer(), true)->write_protected);
  ASSERT_TRUE(world.select(0, 0x0a, 2, 0x08, 0x00)->good());
  EXPECT_TRUE(world.run(0, scsi::write_cdb(0, 1), block_of(1))->good());
}

TEST(Mode, DescriptorSenseIsUsedWhenAskedFor) {
  Quiet world;
  ASSERT_TRUE(world.select(0, 0x0a, 0, 0x04, 0x04)->good());
  const auto call = world.run(0, UnitWorld::cdb({0x02, 0, 0, 0, 0, 0}));
  EXPECT_TRUE(scsi::decode_sense(call->sense.view())->descriptor_format);
}

TEST(Mode, ResetGoesBackToTheSavedValues) {
  Quiet world;
  ASSERT_TRUE(world.select(0, 0x08, 0, 0x04, 0x00, true)->good());   // saved
  ASSERT_TRUE(world.select(0, 0x08, 0, 0x04, 0x04, false)->good());  // current only
  EXPECT_EQ(world.manage(TaskFunction::logical_unit_reset, 0), TaskResult::complete);
  EXPECT_FALSE(world.unit->status().state.modes.write_cache);
}

TEST(Mode, TheCacheIsEmptiedBeforeItIsTurnedOff) {
  Quiet world;
  ASSERT_TRUE(world.select(0, 0x08, 0, 0x04, 0x00)->good());
  const auto flushes = world.memory.counters().of(BlockOp::flush);
  EXPECT_EQ(flushes, 1u);
  ASSERT_TRUE(world.select(0, 0x08, 0, 0x04, 0x04)->good());
  ASSERT_TRUE(world.select(0, 0x08, 0, 0x04, 0x00)->good());
  EXPECT_EQ(world.memory.counters().of(BlockOp::flush), flushes + 1);
}

}  // namespace
}  // namespace mpath::target
