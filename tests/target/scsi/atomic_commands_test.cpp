#include <gtest/gtest.h>

#include <cstring>

#include "base/delay_device.hpp"
#include "base/error_device.hpp"
#include "base/random.hpp"
#include "tests/target/scsi/medium_unit.hpp"

namespace mpath::target {
namespace {

using scsi::CompareAndWrite;
using scsi::OrWrite;
using scsi::WriteAtomic;
using test::Bytes;
using test::Execution;
using test::filled;
using test::joined;
using test::TestUnit;
constexpr std::uint32_t block = TestUnit::block;

TEST(CompareAndWrite, WritesWhenAllIsEqual) {
  TestUnit unit;
  for (const std::uint8_t blocks : {1, 2, 255}) {
    unit.put(0, filled(blocks * block, 'A'));
    const auto run =
        unit.start(CompareAndWrite{.blocks = blocks}, joined(filled(blocks * block, 'A'), filled(blocks * block, 'B')));
    EXPECT_TRUE(run->good()) << int{blocks};
    EXPECT_EQ(run->task.transfer_bytes, 2u * blocks * block);
    EXPECT_EQ(unit.on_medium(0, blocks), filled(blocks * block, 'B'));
  }
}

TEST(CompareAndWrite, WritesNothingWhenOneByteDiffers) {
  TestUnit unit;
  unit.put(0, filled(4 * block, 'A'));
  Bytes data = joined(filled(4 * block, 'A'), filled(4 * block, 'B'));
  data[4 * block - 27] = std::byte{'C'};
  const auto run = unit.start(CompareAndWrite{.blocks = 4}, data);
  EXPECT_TRUE(run->failed(scsi::sense::miscompare));
  EXPECT_EQ(run->detail.information, 4 * block - 27);
  EXPECT_EQ(unit.on_medium(0, 4), filled(4 * block, 'A'));
}

TEST(CompareAndWrite, WantsExactlyItsTwoHalves) {
  TestUnit unit;
  for (const std::uint8_t blocks : {1, 3}) {
    unit.prepare = [blocks](Task& task) {  // a session gathers what the command can take
      task.data_out_bytes = std::min<std::uint32_t>(task.data_out_bytes, 2 * blocks * block);
    };
    const auto run = unit.start(CompareAndWrite{.blocks = blocks}, filled(4 * block, 0));
    EXPECT_TRUE(run->failed(scsi::sense::invalid_field_in_cdb)) << int{blocks};
  }
  // 256 blocks, which the count cannot say.
  unit.prepare = [](Task& task) { task.data_out_bytes = 0; };
  EXPECT_TRUE(unit.start(CompareAndWrite{}, filled(512 * block, 0))->failed(scsi::sense::invalid_field_in_cdb));
  unit.prepare = nullptr;
  EXPECT_TRUE(unit.start(CompareAndWrite{})->good());
  EXPECT_EQ(unit.memory.counters().of(BlockOp::write), 0u);
}

TEST(CompareAndWrite, RefusesWhatIsNotThere) {
  TestUnit unit;
  const auto end = unit.start(CompareAndWrite{.lba = unit.block_count(), .blocks = 1}, filled(2 * block, 0));
  EXPECT_TRUE(end->failed(scsi::sense::lba_out_of_range));
  const auto protect = unit.start(CompareAndWrite{.blocks = 1, .protect = 3}, filled(2 * block, 0));
  EXPECT_TRUE(protect->failed(scsi::sense::invalid_field_in_cdb));
}

TEST(CompareAndWrite, HonoursFuaAndSaysWhatTheMediumSaid) {
  TestUnit unit;
  EXPECT_TRUE(unit.start(CompareAndWrite{.blocks = 1, .fua = true}, filled(2 * block, 0))->good());
  EXPECT_EQ(unit.memory.counters().fua, 1u);
  ErrorDevice no_read(unit.memory, {.op = BlockOp::read});
  unit.device = &no_read;
  EXPECT_TRUE(unit.start(CompareAndWrite{.blocks = 1}, filled(2 * block, 0))->failed(scsi::sense::read_error));
  ErrorDevice full(unit.memory, {.op = BlockOp::write, .status = BlockStatus::no_space});
  unit.device = &full;
  EXPECT_TRUE(unit.start(CompareAndWrite{.blocks = 1}, filled(2 * block, 0))->failed(scsi::sense::no_space));
}

TEST(CompareAndWrite, AbortedAfterItsComparisonWritesNothing) {
  TestUnit unit(std::chrono::milliseconds(1));
  const auto run = unit.start(CompareAndWrite{.blocks = 1}, joined(filled(block, 0), filled(block, 'B')));
  run->task.aborted = true;
  unit.settle();
  EXPECT_TRUE(run->dropped);
  EXPECT_EQ(unit.on_medium(0, 1), filled(block, 0));
}

Bytes counter_block(std::uint64_t value) {
  Bytes bytes(block);
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}
std::uint64_t counter_of(const Bytes& bytes) {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

// Many clients add one to shared counters with READ and COMPARE AND WRITE, on a store that answers in any order: each
// success must be one step of its counter, none lost and none twice. Two counters are sometimes changed by one command.
TEST(CompareAndWrite, IsOneStepForEverybodyElse) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    std::uint64_t random = seed;
    TestUnit unit;
    DelayDevice::Delays delays{.jitter = std::chrono::milliseconds(9), .seed = static_cast<std::uint32_t>(seed)};
    DelayDevice slow(unit.memory, unit.sim, delays);
    unit.device = &slow;
    constexpr std::uint64_t counters = 3;
    struct Client {
      std::unique_ptr<Execution> run;
      std::uint64_t first = 0;
      std::uint64_t count = 0;
      bool comparing = false;
      Bytes seen;
    };
    std::vector<Client> clients(6);
    std::vector<std::uint64_t> successes(counters);
    unsigned miscompares = 0;
    for (int round = 0; round < 400; ++round) {
      for (Client& client : clients) {
        if (client.run && client.run->waits()) continue;
        if (client.run && client.comparing) {
          if (client.run->good()) {
            for (std::uint64_t i = 0; i < client.count; ++i) ++successes[client.first + i];
          } else {
            ASSERT_TRUE(client.run->failed(scsi::sense::miscompare));
            ++miscompares;
          }
          client.run.reset();
        }
        if (client.run) {  // has read: tries its step
          client.seen = client.run->in;
          Bytes next;
          for (std::uint64_t i = 0; i < client.count; ++i) {
            const auto at = client.seen.begin() + static_cast<std::ptrdiff_t>(i * block);
            next = joined(next, counter_block(counter_of(Bytes(at, at + block)) + 1));
          }
          client.comparing = true;
          client.run =
              unit.start(CompareAndWrite{.lba = client.first, .blocks = static_cast<std::uint8_t>(client.count)},
                         joined(client.seen, next));
        } else if (round < 350) {
          client.count = 1 + next_random(random) % 2;
          client.first = next_random(random) % (counters - client.count + 1);
          client.comparing = false;
          client.run = unit.start(scsi::Read{.lba = client.first, .blocks = static_cast<std::uint32_t>(client.count)},
                                  {}, client.count * block);
        }
      }
      unit.sim.step();
    }
    unit.settle();
    for (Client& client : clients) {
      if (client.run && client.comparing && client.run->good()) {
        for (std::uint64_t i = 0; i < client.count; ++i) ++successes[client.first + i];
      }
    }
    for (std::uint64_t i = 0; i < counters; ++i) {
      EXPECT_EQ(counter_of(unit.on_medium(i, 1)), successes[i]) << "seed " << seed;
      EXPECT_GT(successes[i], 0u);
    }
    EXPECT_GT(miscompares, 0u) << "nobody competed: the test shows nothing, seed " << seed;
  }
}

TEST(OrWrite, SetsBitsAndClearsNone) {
  TestUnit unit;
  unit.put(1, filled(2 * block, 0x0f));
  const auto run = unit.start(OrWrite{.lba = 1, .blocks = 2, .fua = true}, filled(2 * block, 0xa0));
  EXPECT_TRUE(run->good());
  EXPECT_EQ(unit.on_medium(1, 2), filled(2 * block, 0xaf));
  EXPECT_EQ(unit.memory.counters().fua, 1u);
}

TEST(OrWrite, OfManyClientsLosesNoBit) {
  TestUnit unit;
  DelayDevice slow(unit.memory, unit.sim, {.jitter = std::chrono::milliseconds(9), .seed = 5});
  unit.device = &slow;
  std::vector<std::unique_ptr<Execution>> runs;
  for (unsigned bit = 0; bit < 8; ++bit) {
    runs.push_back(unit.start(OrWrite{.lba = bit % 2, .blocks = 2}, filled(2 * block, 1u << bit)));
  }
  unit.settle();
  for (const auto& run : runs) EXPECT_TRUE(run->good());
  EXPECT_EQ(unit.on_medium(1, 1), filled(block, 0xff));
  EXPECT_EQ(unit.on_medium(0, 1), filled(block, 0x55));
}

TEST(OrWrite, RefusesLikeAWrite) {
  TestUnit unit;
  EXPECT_TRUE(unit.start(OrWrite{})->good());
  EXPECT_TRUE(unit.start(OrWrite{.lba = unit.block_count() + 1})->failed(scsi::sense::lba_out_of_range));
  EXPECT_TRUE(
      unit.start(OrWrite{.blocks = 1, .protect = 1}, filled(block, 0))->failed(scsi::sense::invalid_field_in_cdb));
  EXPECT_TRUE(unit.start(OrWrite{.blocks = 513}, filled(block, 0))->failed(scsi::sense::invalid_field_in_cdb));
}

TEST(WriteAtomic, GoesThroughTheJournal) {
  TestUnit unit;
  const auto run = unit.start(WriteAtomic{.lba = 4, .blocks = 256}, filled(256 * block, 'j'));
  EXPECT_TRUE(run->good());
  EXPECT_EQ(unit.atomic.atomic_writes, 1u);
  EXPECT_EQ(unit.on_medium(4, 256), filled(256 * block, 'j'));
  EXPECT_TRUE(unit.start(WriteAtomic{})->good());
  EXPECT_TRUE(unit.start(WriteAtomic{.blocks = 8, .boundary = 8}, filled(8 * block, 'k'))->good());
}

TEST(WriteAtomic, IsAllOrNothing) {
  TestUnit unit;
  EXPECT_TRUE(unit.start(WriteAtomic{.blocks = 2}, filled(block, 1))->failed(scsi::sense::invalid_field_in_cdb));
  EXPECT_TRUE(
      unit.start(WriteAtomic{.blocks = 257}, filled(257 * block, 1))->failed(scsi::sense::invalid_field_in_cdb));
  const auto boundary = unit.start(WriteAtomic{.blocks = 8, .boundary = 257}, filled(8 * block, 1));
  EXPECT_TRUE(boundary->failed(scsi::sense::invalid_field_in_cdb));
  // The range comes before the length.
  const auto end = unit.start(WriteAtomic{.lba = unit.block_count() - 1, .blocks = 512}, filled(512 * block, 1));
  EXPECT_TRUE(end->failed(scsi::sense::lba_out_of_range));
  const auto behind = unit.start(WriteAtomic{.lba = ~std::uint64_t{0}});
  EXPECT_TRUE(behind->failed(scsi::sense::lba_out_of_range));
  EXPECT_EQ(unit.memory.counters().of(BlockOp::write), 0u);
}

TEST(WriteAtomic, IsUnknownWithoutAJournal) {
  TestUnit unit;
  unit.has_journal = false;
  EXPECT_TRUE(unit.start(WriteAtomic{.blocks = 1}, filled(block, 1))->failed(scsi::sense::invalid_opcode));
  EXPECT_EQ(block_limits(unit).atomic_max, 0u);
  unit.has_journal = true;
  EXPECT_EQ(block_limits(unit).atomic_max, 256u);
}

}  // namespace
}  // namespace mpath::target
