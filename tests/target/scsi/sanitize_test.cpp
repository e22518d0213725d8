#include <gtest/gtest.h>

#include "base/error_device.hpp"
#include "target/scsi/sanitize.hpp"
#include "tests/target/scsi/medium_unit.hpp"

namespace mpath::target {
namespace {

using scsi::Sanitize;
using test::Bytes;
using test::filled;
using test::joined;
using test::TestUnit;
using Phase = SanitizeState::Phase;
constexpr std::uint32_t block = TestUnit::block;
constexpr std::uint8_t overwrite = 1;
constexpr std::uint8_t block_erase = 2;
constexpr std::uint8_t exit_failure_mode = 0x1f;

Bytes parameters(unsigned flags, const Bytes& pattern) {
  Bytes list = {static_cast<std::byte>(flags), std::byte{0}, static_cast<std::byte>(pattern.size() >> 8),
                static_cast<std::byte>(pattern.size() & 0xff)};
  return joined(list, pattern);
}
std::unique_ptr<test::Execution> start_overwrite(TestUnit& unit, const Bytes& list, bool immediate = false,
                                                 bool unrestricted = false) {
  return unit.start(Sanitize{.service = overwrite,
                             .immediate = immediate,
                             .unrestricted_exit = unrestricted,
                             .length = static_cast<std::uint16_t>(list.size())},
                    list);
}
Bytes whole(const TestUnit& unit) {
  return unit.on_medium(0, unit.block_count());
}

TEST(Sanitize, OverwritesEveryBlockWithThePattern) {
  TestUnit unit;
  const auto run = start_overwrite(unit, parameters(1, filled(block, 0xaa)));
  EXPECT_TRUE(run->good());
  EXPECT_EQ(whole(unit), filled(1 << 20, 0xaa));
  EXPECT_EQ(unit.lu_state.sanitize, SanitizeState{});
  EXPECT_GE(unit.memory.counters().of(BlockOp::flush), 1u);
  EXPECT_FALSE(unit.medium().obstacle());
}

TEST(Sanitize, BeginsThePatternAnewInEachBlock) {
  TestUnit unit;
  Bytes pattern = {std::byte{1}, std::byte{2}, std::byte{3}};
  EXPECT_TRUE(start_overwrite(unit, parameters(1, pattern))->good());
  Bytes one(block);
  for (std::size_t i = 0; i < block; ++i) one[i] = pattern[i % 3];
  EXPECT_EQ(unit.on_medium(0, 2), joined(one, one));
  EXPECT_EQ(unit.on_medium(unit.block_count() - 1, 1), one);
}

TEST(Sanitize, InvertsEverySecondPass) {
  TestUnit unit;
  EXPECT_TRUE(start_overwrite(unit, parameters(0x80 | 2, filled(4, 0x0f)))->good());
  EXPECT_EQ(whole(unit), filled(1 << 20, 0xf0));
  EXPECT_EQ(unit.memory.counters().bytes_written, 2u << 20);
  EXPECT_TRUE(start_overwrite(unit, parameters(0x80 | 3, filled(4, 0x0f)))->good());
  EXPECT_EQ(whole(unit), filled(1 << 20, 0x0f));
}

TEST(Sanitize, ErasesBlocksToNothing) {
  TestUnit unit;
  unit.put(0, filled(1 << 20, 'x'));
  EXPECT_TRUE(unit.start(Sanitize{.service = block_erase})->good());
  EXPECT_EQ(whole(unit), filled(1 << 20, 0));
  EXPECT_EQ(unit.memory.allocated_bytes(), 0u);
}

TEST(Sanitize, RefusesWhatItCannotDo) {
  TestUnit unit;
  const auto refused = [](const auto& run) {
    return run->failed(scsi::sense::invalid_field_in_cdb) || run->failed(scsi::sense::invalid_field_in_parameters);
  };
  for (unsigned length = 0; length < 5; ++length) {
    EXPECT_TRUE(refused(start_overwrite(unit, Bytes(length)))) << length;
  }
  EXPECT_TRUE(refused(start_overwrite(unit, Bytes(block + 5))));
  EXPECT_TRUE(refused(start_overwrite(unit, parameters(0, filled(block, 1)))));
  EXPECT_TRUE(refused(start_overwrite(unit, parameters(0x21, filled(block, 1)))));
  for (const unsigned length : {0u, block + 4, 5u}) {
    Bytes list = parameters(1, filled(4, 1));
    list[2] = static_cast<std::byte>(length >> 8);
    list[3] = static_cast<std::byte>(length & 0xff);
    EXPECT_TRUE(refused(start_overwrite(unit, list))) << length;
  }
  for (const std::uint8_t service : {block_erase, exit_failure_mode}) {
    EXPECT_TRUE(refused(unit.start(Sanitize{.service = service, .length = 8}, Bytes(8))));
  }
  for (std::uint8_t service = 0; service < 0x1f; ++service) {
    if (service == overwrite || service == block_erase) continue;
    EXPECT_TRUE(unit.start(Sanitize{.service = service})->failed(scsi::sense::invalid_field_in_cdb)) << int{service};
  }
  for (std::size_t byte = 1; byte < 7; ++byte) {
    unit.prepare = [byte](Task& task) { task.cdb[byte] = std::byte{0x40}; };
    EXPECT_TRUE(unit.start(Sanitize{.service = block_erase})->failed(scsi::sense::invalid_field_in_cdb)) << byte;
  }
  EXPECT_EQ(unit.changes, 0u);
}

TEST(Sanitize, TellsItsProgressAndKeepsToItsSpeed) {
  TestUnit unit;
  unit.lu_options.sanitize_bytes_per_second = 128 << 10;  // the medium takes 8 s
  const auto run = start_overwrite(unit, parameters(1, filled(4, 7)));
  EXPECT_TRUE(run->waits());
  unit.sim.run_for(std::chrono::seconds(4));
  auto obstacle = unit.medium().obstacle();
  ASSERT_TRUE(obstacle);
  EXPECT_EQ(obstacle->sense, (scsi::Sense{scsi::SenseKey::not_ready, 0x04, 0x1b}));
  EXPECT_NEAR(obstacle->detail.progress.value_or(0), 32768, 1500);
  unit.sim.run_for(std::chrono::seconds(3));
  EXPECT_TRUE(run->waits());
  unit.sim.run_for(std::chrono::seconds(2));
  EXPECT_TRUE(run->good());
}

TEST(Sanitize, WithImmedAnswersOnceItIsUnderWay) {
  TestUnit unit;
  unit.lu_options.sanitize_bytes_per_second = 128 << 10;
  const auto run = start_overwrite(unit, parameters(1, filled(4, 7)), true);
  EXPECT_TRUE(run->good());
  EXPECT_EQ(unit.lu_state.sanitize.phase, Phase::running);
  const auto second = unit.start(Sanitize{.service = block_erase});
  EXPECT_TRUE(second->failed(sanitize_running));
  unit.settle();
  EXPECT_EQ(whole(unit), filled(1 << 20, 7));
  EXPECT_EQ(run->ends, 1u);
}

TEST(Sanitize, GoesOnWhenItsTaskIsAborted) {
  TestUnit unit;
  unit.lu_options.sanitize_bytes_per_second = 128 << 10;
  const auto run = start_overwrite(unit, parameters(1, filled(4, 7)));
  unit.sim.run_for(std::chrono::seconds(1));
  run->task.aborted = true;
  unit.medium().reset();
  unit.sim.run_for(std::chrono::milliseconds(200));
  EXPECT_TRUE(run->dropped);
  EXPECT_TRUE(unit.medium().obstacle());
  unit.settle();
  EXPECT_EQ(whole(unit), filled(1 << 20, 7));
  EXPECT_FALSE(unit.medium().obstacle());
}

TEST(Sanitize, WaitsForCommandsThatWorkAlready) {
  TestUnit unit(std::chrono::milliseconds(5));
  const auto write = unit.start(scsi::Write{.blocks = 1}, filled(block, 'w'));
  const auto run = unit.start(Sanitize{.service = block_erase});
  unit.settle();
  EXPECT_TRUE(write->good() && run->good());
  EXPECT_EQ(unit.on_medium(0, 1), filled(block, 0));
}

TEST(Sanitize, GoesOnAfterARestart) {
  SanitizeState left;
  Bytes half;
  {
    TestUnit unit;
    unit.memory.resize(256 << 20);
    unit.lu_options.sanitize_bytes_per_second = 16 << 20;
    start_overwrite(unit, parameters(1, filled(4, 7)), true);
    unit.sim.run_for(std::chrono::seconds(6));
    bool stopped = false;
    unit.medium().stop([&stopped] { stopped = true; });
    EXPECT_TRUE(stopped);
    left = unit.lu_state.sanitize;
  }
  EXPECT_EQ(left.phase, Phase::running);
  // As far as it was made durable, which is less than it had come.
  EXPECT_GT(left.done_bytes, 80u << 20);
  EXPECT_LT(left.done_bytes, 97u << 20);
  TestUnit unit;
  unit.memory.resize(256 << 20);
  unit.lu_state.sanitize = left;
  EXPECT_TRUE(unit.medium().obstacle());
  unit.medium().start();
  EXPECT_FALSE(unit.medium().obstacle());
  EXPECT_EQ(unit.memory.counters().bytes_written, (256u << 20) - left.done_bytes);
  EXPECT_EQ(unit.on_medium(left.done_bytes / block, 1), filled(block, 7));
}

TEST(Sanitize, ThatFailsStaysFailedUntilItIsRepeated) {
  TestUnit unit;
  ErrorDevice broken(unit.memory, {.op = BlockOp::write_zeroes, .count = 1});
  unit.device = &broken;
  EXPECT_TRUE(unit.start(Sanitize{.service = block_erase})->failed({scsi::SenseKey::medium_error, 0x31, 0x03}));
  ASSERT_TRUE(unit.medium().obstacle());
  EXPECT_EQ(unit.medium().obstacle()->sense, sanitize_failed);
  EXPECT_TRUE(unit.start(Sanitize{.service = exit_failure_mode})->failed(scsi::sense::invalid_field_in_cdb));
  EXPECT_TRUE(unit.start(Sanitize{.service = block_erase, .unrestricted_exit = true})
                  ->failed(scsi::sense::invalid_field_in_cdb));
  EXPECT_TRUE(unit.start(Sanitize{.service = block_erase})->good());
  EXPECT_FALSE(unit.medium().obstacle());
}

TEST(Sanitize, ThatMayBeGivenUpIsGivenUp) {
  TestUnit unit;
  ErrorDevice broken(unit.memory, {.op = BlockOp::write, .count = 1});
  unit.device = &broken;
  EXPECT_FALSE(start_overwrite(unit, parameters(1, filled(4, 7)), false, true)->good());
  EXPECT_EQ(unit.lu_state.sanitize.phase, Phase::failed);
  EXPECT_TRUE(unit.start(Sanitize{.service = exit_failure_mode})->good());
  EXPECT_FALSE(unit.medium().obstacle());
  EXPECT_TRUE(unit.start(Sanitize{.service = exit_failure_mode})->good());
}

TEST(Sanitize, ThatCannotBeWrittenDownDoesNotBegin) {
  TestUnit unit;
  unit.change_error = std::make_error_code(std::errc::io_error);
  EXPECT_TRUE(unit.start(Sanitize{.service = block_erase})->failed(scsi::sense::internal_failure));
  EXPECT_FALSE(unit.medium().obstacle());
  EXPECT_EQ(unit.memory.counters().of(BlockOp::write_zeroes), 0u);
}

}  // namespace
}  // namespace mpath::target
