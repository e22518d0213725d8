#include <gtest/gtest.h>

#include "base/error_device.hpp"
#include "tests/target/scsi/medium_unit.hpp"
#include "tests/wire/hex.hpp"
#include "wire/scsi_log.hpp"

namespace mpath::target {
namespace {

using mpath::test::to_hex;
using test::filled;
using test::TestUnit;

constexpr scsi::Sense removal_prevented{scsi::SenseKey::illegal_request, 0x53, 0x02};

TEST(ReadCapacity, FollowsTheMedium) {
  TestUnit unit;
  EXPECT_EQ(to_hex(unit.start(scsi::ReadCapacity10{}, {}, 8)->answer), "000007ff00000200");
  const auto long_form = unit.start(scsi::ReadCapacity16{.length = 32}, {}, 32);
  const auto capacity = scsi::decode_capacity_16(long_form->answer);
  ASSERT_TRUE(capacity);
  EXPECT_EQ(*capacity, (scsi::Capacity{.last_lba = 0x7ff, .physical_exponent = 3, .thin = true, .reads_zeroes = true}));
  unit.memory.resize(2 << 20);
  EXPECT_EQ(to_hex(unit.start(scsi::ReadCapacity10{}, {}, 8)->answer), "00000fff00000200");
  EXPECT_EQ(unit.start(scsi::ReadCapacity16{.length = 12}, {}, 12)->answer.size(), 12u);
}

TEST(ReadDefectData, HasEmptyLists) {
  TestUnit unit;
  EXPECT_EQ(to_hex(unit.start(scsi::ReadDefectData{.length = 32}, {}, 32)->answer), "00000000");
  const scsi::ReadDefectData all{.short_form = false, .primary = true, .grown = true, .format = 5, .length = 32};
  EXPECT_EQ(to_hex(unit.start(all, {}, 32)->answer), "001d000000000000");
}

TEST(LogSense, ListsItsPages) {
  TestUnit unit;
  const auto ask = [&unit](const scsi::LogSense& command) { return to_hex(unit.start(command, {}, 255)->answer); };
  EXPECT_EQ(ask({.control = 1, .page = 0, .length = 255}), "00000004000c0d2f");
  EXPECT_EQ(ask({.page = 0, .subpage = 0xff, .length = 255}),
            "40ff0010"
            "000000ff"
            "0c000cff"
            "0d000dff"
            "2f002fff");
  EXPECT_EQ(ask({.page = 0x2f, .subpage = 0xff, .length = 255}), "6fff00042f002fff");
  EXPECT_EQ(ask({.page = 0x0d, .length = 8}), "0d00000c00000302");
  EXPECT_EQ(ask({.page = 0x0d, .parameter = 1, .length = 255}), "0d0000060001030200ff");
  unit.lu_options.thin = false;
  EXPECT_EQ(ask({.page = 0, .length = 255}), "00000003000d2f");
}

TEST(LogSense, CountsTheThresholdSets) {
  TestUnit unit;
  unit.atomic.used = {.allocated_bytes = 3 << 20, .available_bytes = 5 << 20};
  const auto run = unit.start(scsi::LogSense{.page = 0x0c, .length = 255}, {}, 255);
  const auto page = scsi::decode_log_page(run->answer);
  ASSERT_TRUE(page);
  EXPECT_EQ(*page, scsi::provisioning_log_page({.available = 5, .used = 3}));
}

TEST(LogSense, RefusesWhatIsNotThere) {
  TestUnit unit;
  for (const scsi::LogSense& command :
       {scsi::LogSense{.save = true}, scsi::LogSense{.page = 0x02}, scsi::LogSense{.page = 0x0d, .subpage = 1},
        scsi::LogSense{.page = 0x0d, .parameter = 2}}) {
    EXPECT_TRUE(unit.start(command, {}, 255)->failed(scsi::sense::invalid_field_in_cdb));
  }
}

TEST(StartStopUnit, TakesTheMediumOutAndIn) {
  TestUnit unit;
  unit.lu_options.removable = true;
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{.load_eject = true})->good());
  EXPECT_FALSE(unit.medium().present());
  EXPECT_EQ(unit.memory.counters().of(BlockOp::flush), 1u);
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{.load_eject = true})->good());
  EXPECT_TRUE(unit.attentions.empty());
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{.load_eject = true, .start = true})->good());
  EXPECT_TRUE(unit.medium().present());
  EXPECT_EQ(unit.attentions, (std::vector<scsi::Sense>{{scsi::SenseKey::unit_attention, 0x28, 0x00}}));
  EXPECT_EQ(unit.spared, &unit.nexus);
}

TEST(StartStopUnit, KeepsTheMediumInOtherwise) {
  TestUnit unit;
  unit.lu_options.removable = true;
  for (std::uint8_t condition = 1; condition < 16; ++condition) {
    EXPECT_TRUE(unit.start(scsi::StartStopUnit{.power_condition = condition, .load_eject = true})->good());
    EXPECT_TRUE(unit.medium().present());
  }
  EXPECT_EQ(unit.memory.counters().of(BlockOp::flush), 0u);
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{})->good());
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{.no_flush = true})->good());
  EXPECT_EQ(unit.memory.counters().of(BlockOp::flush), 1u);
  EXPECT_TRUE(unit.medium().present());
  unit.lu_options.removable = false;
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{.load_eject = true})->failed(scsi::sense::invalid_field_in_cdb));
}

TEST(StartStopUnit, DoesNotEjectWhatItCouldNotFlush) {
  TestUnit unit;
  unit.lu_options.removable = true;
  ErrorDevice broken(unit.memory, {.op = BlockOp::flush});
  unit.device = &broken;
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{.load_eject = true})->failed(scsi::sense::write_error));
  EXPECT_TRUE(unit.medium().present());
}

TEST(PreventAllow, HoldsForEachNexusByItself) {
  TestUnit unit;
  unit.lu_options.removable = true;
  Nexus other{.id = 8};
  EXPECT_TRUE(unit.start(scsi::PreventAllow{.prevent = 1})->good());
  unit.medium().prevent_removal(other, true);
  EXPECT_TRUE(unit.nexus.prevents_removal);
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{.load_eject = true})->failed(removal_prevented));
  EXPECT_TRUE(unit.start(scsi::PreventAllow{.prevent = 0})->good());
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{.load_eject = true})->failed(removal_prevented));
  unit.medium().nexus_ended(other);
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{.load_eject = true})->good());
  // A medium that is out may be kept from coming in.
  EXPECT_TRUE(unit.start(scsi::PreventAllow{.prevent = 1})->good());
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{.load_eject = true, .start = true})->failed(removal_prevented));
  unit.medium().reset();
  EXPECT_FALSE(unit.nexus.prevents_removal);
  EXPECT_TRUE(unit.start(scsi::StartStopUnit{.load_eject = true, .start = true})->good());
  EXPECT_TRUE(unit.start(scsi::PreventAllow{.prevent = 2})->failed(scsi::sense::invalid_field_in_cdb));
}

TEST(TestUnitReady, IsReady) {
  TestUnit unit;
  EXPECT_TRUE(unit.start(scsi::TestUnitReady{})->good());
}

TEST(SynchronizeCache, FlushesAndWaitsUnlessImmediate) {
  TestUnit unit(std::chrono::milliseconds(1));
  const auto waits = unit.start(scsi::SynchronizeCache{});
  EXPECT_TRUE(waits->waits());
  const auto at_once = unit.start(scsi::SynchronizeCache{.immediate = true});
  EXPECT_TRUE(at_once->good());
  bool stopped = false;
  unit.medium().stop([&stopped] { stopped = true; });
  EXPECT_FALSE(stopped) << "work in the background was forgotten";
  unit.settle();
  EXPECT_TRUE(stopped);
  EXPECT_TRUE(waits->good());
  EXPECT_EQ(unit.memory.counters().of(BlockOp::flush), 2u);
  EXPECT_TRUE(unit.start(scsi::SynchronizeCache{.lba = unit.block_count() + 1})->failed(scsi::sense::lba_out_of_range));
  ErrorDevice broken(unit.memory, {.op = BlockOp::flush});
  unit.device = &broken;
  EXPECT_TRUE(unit.start(scsi::SynchronizeCache{})->failed(scsi::sense::write_error));
}

// Whoever lives on after the other node was lost with what it had answered learns of it, and of all flushes that were
// on their way then; who comes much later has nothing to learn.
TEST(SynchronizeCache, FailsAtFirstWhenAnswersMayBeLost) {
  constexpr scsi::Sense lost{scsi::SenseKey::hardware_error, 0x0c, 0x00};
  TestUnit unit;
  const auto flush = [&unit](const char* initiator) {
    unit.nexus.name.initiator.name = initiator;
    return unit.start(scsi::SynchronizeCache{});
  };
  EXPECT_TRUE(flush("one")->good());
  unit.medium().cache_lost();
  EXPECT_TRUE(flush("one")->failed(lost));
  EXPECT_TRUE(flush("one")->failed(lost));
  unit.sim.run_for(std::chrono::seconds(2));
  EXPECT_TRUE(flush("one")->good());
  EXPECT_TRUE(flush("two")->failed(lost)) << "each is told";
  unit.nexus.name.initiator.name = "three";
  EXPECT_TRUE(unit.start(scsi::SynchronizeCache{.immediate = true})->failed(lost));
  unit.sim.run_for(std::chrono::minutes(10));
  EXPECT_TRUE(flush("four")->good());
}

TEST(PreFetch, AsksTheStoreAndPromisesNothing) {
  TestUnit unit;
  EXPECT_TRUE(unit.start(scsi::PreFetch{.blocks = 8})->good());
  EXPECT_TRUE(unit.start(scsi::PreFetch{.lba = 3, .immediate = true})->good());
  EXPECT_TRUE(unit.start(scsi::PreFetch{.lba = unit.block_count()})->good());
  EXPECT_EQ(unit.memory.counters().of(BlockOp::prefetch), 2u);
  EXPECT_TRUE(
      unit.start(scsi::PreFetch{.lba = unit.block_count(), .blocks = 1})->failed(scsi::sense::lba_out_of_range));
  ErrorDevice unable(unit.memory, {.op = BlockOp::prefetch, .status = BlockStatus::not_supported});
  unit.device = &unable;
  EXPECT_TRUE(unit.start(scsi::PreFetch{.blocks = 8})->good());
}

}  // namespace
}  // namespace mpath::target
