#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <fstream>

#include "base/system_clock.hpp"
#include "tests/support/verify_load/load.hpp"
#include "tests/support/verify_load/lying_server.hpp"

namespace mpath::verify {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- block_stamp

class Block {
 public:
  explicit Block(const Stamp& stamp) { stamp_block(bytes_, stamp); }
  [[nodiscard]] Finding inspect(std::uint64_t volume, std::uint64_t block) const {
    return inspect_block(bytes_, volume, block);
  }
  std::array<std::byte, block_bytes> bytes_{};
};

TEST(BlockStamp, TellsAGoodBlock) {
  const Stamp stamp{.volume = 5, .block = 77, .seq = 3, .writer = 2};
  const Finding finding = Block(stamp).inspect(5, 77);
  ASSERT_TRUE(std::holds_alternative<Whole>(finding));
  EXPECT_EQ(std::get<Whole>(finding).stamp, stamp);
}

TEST(BlockStamp, TellsAMisplacedBlock) {
  const Finding finding = Block(Stamp{.volume = 5, .block = 77, .seq = 3}).inspect(5, 78);
  ASSERT_TRUE(std::holds_alternative<Misplaced>(finding));
  EXPECT_EQ(std::get<Misplaced>(finding).stamp.block, 77U);
}

TEST(BlockStamp, TellsAnotherVolumeAndZeroesFromOurs) {
  EXPECT_TRUE(std::holds_alternative<Alien>(Block(Stamp{.volume = 6, .block = 1, .seq = 1}).inspect(5, 1)));
  const std::array<std::byte, block_bytes> zeroes{};
  EXPECT_TRUE(std::holds_alternative<Alien>(inspect_block(zeroes, 5, 1)));
}

TEST(BlockStamp, TellsATornBlockAtEverySector) {
  for (unsigned sector = 1; sector < sectors_per_block; ++sector) {
    Block older(Stamp{.volume = 5, .block = 1, .seq = 3});
    const Block newer(Stamp{.volume = 5, .block = 1, .seq = 4});
    std::copy(newer.bytes_.begin() + sector * sector_bytes, newer.bytes_.end(),
              older.bytes_.begin() + sector * sector_bytes);
    const Finding finding = older.inspect(5, 1);
    ASSERT_TRUE(std::holds_alternative<Torn>(finding)) << sector;
    EXPECT_EQ(std::get<Torn>(finding).sector, sector);
  }
}

TEST(BlockStamp, TellsOneWrongBitAnywhere) {
  for (std::size_t at = 0; at < block_bytes; at += 37) {
    Block block(Stamp{.volume = 5, .block = 1, .seq = 3});
    block.bytes_[at] ^= std::byte{1};
    EXPECT_TRUE(std::holds_alternative<Damaged>(block.inspect(5, 1))) << at;
  }
}

TEST(BlockStamp, TellsHalfAWriteOverZeroes) {
  Block block(Stamp{.volume = 5, .block = 1, .seq = 3});
  std::fill(block.bytes_.begin() + block_bytes / 2, block.bytes_.end(), std::byte{});
  EXPECT_TRUE(std::holds_alternative<Damaged>(block.inspect(5, 1)));
}

// ---- register_history

Verdict read_of(RegisterHistory& history, std::uint64_t seq) {
  ReadTicket ticket;
  history.begin_read(0, ticket);
  return history.end_read(ticket, seq);
}

TEST(RegisterHistory, UnwrittenBlocksMayHoldAnything) {
  RegisterHistory history(1);
  EXPECT_EQ(read_of(history, 0), Verdict::good);
  EXPECT_EQ(read_of(history, 1), Verdict::forged);
}

TEST(RegisterHistory, AnAcknowledgedWriteMustBeThere) {
  RegisterHistory history(1);
  const auto seq = history.begin_write(0);
  history.ack_write(0, seq);
  EXPECT_EQ(read_of(history, 0), Verdict::lost);
  EXPECT_EQ(history.verified(), 0U);
  EXPECT_EQ(read_of(history, seq), Verdict::good);
  EXPECT_EQ(history.verified(), 1U);
}

TEST(RegisterHistory, AnOverwrittenValueIsStale) {
  RegisterHistory history(1);
  const auto first = history.begin_write(0);
  history.ack_write(0, first);
  const auto second = history.begin_write(0);
  EXPECT_EQ(read_of(history, first), Verdict::good);  // the second may not have happened yet
  history.ack_write(0, second);
  EXPECT_EQ(read_of(history, first), Verdict::stale);
  EXPECT_EQ(read_of(history, second), Verdict::good);
  EXPECT_EQ(history.verified(), 2U);
}

TEST(RegisterHistory, AValueThatWasSeenDoesNotGoBack) {
  RegisterHistory history(1);
  const auto first = history.begin_write(0);
  history.ack_write(0, first);
  const auto second = history.begin_write(0);
  EXPECT_EQ(read_of(history, second), Verdict::good);
  EXPECT_EQ(read_of(history, first), Verdict::stale);
}

TEST(RegisterHistory, OverlappingWritesLeaveEither) {
  RegisterHistory history(1);
  const auto one = history.begin_write(0);
  const auto two = history.begin_write(0);
  history.ack_write(0, two);
  history.ack_write(0, one);
  EXPECT_EQ(read_of(history, one), Verdict::good);
  EXPECT_EQ(read_of(history, two), Verdict::good);
}

TEST(RegisterHistory, AReadMayReturnWhatWasThereWhileItRan) {
  RegisterHistory history(1);
  const auto first = history.begin_write(0);
  history.ack_write(0, first);
  ReadTicket ticket;
  history.begin_read(0, ticket);
  const auto second = history.begin_write(0);
  history.ack_write(0, second);
  const auto third = history.begin_write(0);
  history.ack_write(0, third);
  EXPECT_TRUE(history.raced(ticket));
  for (const auto seq : {first, second, third}) EXPECT_EQ(history.end_read(ticket, seq), Verdict::good);
  EXPECT_EQ(history.verified(), 1U);  // only what was answered before the read began
}

TEST(RegisterHistory, AWriteWithoutAnswerMayShowLate) {
  RegisterHistory history(1);
  const auto lost = history.begin_write(0);
  history.lose_write(0, lost);
  EXPECT_EQ(read_of(history, 0), Verdict::good);
  const auto next = history.begin_write(0);
  history.ack_write(0, next);
  EXPECT_EQ(read_of(history, 0), Verdict::lost);
  EXPECT_EQ(read_of(history, next), Verdict::good);
  EXPECT_EQ(read_of(history, lost), Verdict::good);
}

// ---- timeline

TimePoint at(int ms) {
  return TimePoint{} + milliseconds(ms);
}

TEST(Timeline, AStallThatSpansAMarkIsSharedOut) {
  Timeline timeline(at(0), "before");
  timeline.started(at(0));
  timeline.started(at(0));
  EXPECT_EQ(timeline.completed(at(10), milliseconds(10), false), milliseconds(10));
  timeline.mark(at(50), "after");
  EXPECT_EQ(timeline.completed(at(200), milliseconds(200), false), milliseconds(190));
  timeline.finish(at(1000));
  ASSERT_EQ(timeline.phases().size(), 2U);
  EXPECT_EQ(timeline.phases()[0].longest_stall, milliseconds(40));
  EXPECT_EQ(timeline.phases()[1].longest_stall, milliseconds(150));
  EXPECT_EQ(timeline.longest_stall(), milliseconds(190));
  EXPECT_EQ(timeline.phases()[1].slowest, milliseconds(200));
}

TEST(Timeline, IdleTimeIsNoStall) {
  Timeline timeline(at(0), "all");
  timeline.started(at(0));
  timeline.completed(at(5), milliseconds(5), false);
  timeline.started(at(500));
  timeline.completed(at(507), milliseconds(7), false);
  timeline.finish(at(900));
  EXPECT_EQ(timeline.longest_stall(), milliseconds(7));
}

TEST(Timeline, ALostConnectionIsAStallUntilTheNextCompletion) {
  Timeline timeline(at(0), "all");
  timeline.started(at(0));
  timeline.abandoned();
  timeline.started(at(300));
  timeline.completed(at(310), milliseconds(10), false);
  EXPECT_EQ(timeline.longest_stall(), milliseconds(310));
}

TEST(Timeline, APhaseThatEndsInAStallShowsIt) {
  Timeline timeline(at(0), "all");
  timeline.started(at(0));
  timeline.finish(at(400));
  EXPECT_EQ(timeline.longest_stall(), milliseconds(400));
}

TEST(LatencyHistogram, PercentilesAreWithinThreePercent) {
  LatencyHistogram histogram;
  for (int i = 1; i <= 10000; ++i) histogram.add(std::chrono::microseconds(i));
  for (const double share : {0.5, 0.9, 0.99, 1.0}) {
    const auto us = std::chrono::duration<double, std::micro>(histogram.percentile(share)).count();
    EXPECT_NEAR(us, share * 10000, share * 10000 * 0.035) << share;
  }
  EXPECT_EQ(LatencyHistogram().percentile(0.5), Duration{});
}

// ---- the whole load against a server that lies

class Silence final : public LoadListener {
 public:
  void on_mark(const Timeline&) override {}
  void on_stall(TimePoint, Duration) override {}
  void on_fault(TimePoint, const Fault&) override {}
  void on_error(TimePoint, std::uint32_t, std::uint64_t) override {}
  void on_connection(TimePoint, const std::string&) override {}
  void on_final_pass(TimePoint, std::uint64_t) override {}
};

LoadOptions short_load() {
  return LoadOptions{.depth = 4, .duration = milliseconds(300), .hang_limit = milliseconds(400)};
}

struct Outcome {
  LoadResult result;
  bool lied;
};

constexpr std::uint64_t small_volume = 64 * block_bytes;     // every block is written many times
constexpr std::uint64_t large_volume = 16384 * block_bytes;  // hardly any block is written twice

Outcome load_against(Lie lie, LoadOptions options = short_load(), std::uint64_t volume_bytes = small_volume) {
  LyingServer server(volume_bytes, lie, 100);
  options.address.unix_path = server.socket_path();
  boost::asio::io_context context;
  SystemClock clock(context);
  Silence silence;
  VerifyLoad load(options, clock, silence);
  const error_code failed = load.open();
  EXPECT_FALSE(failed) << failed.message();
  LoadResult result = load.run();
  return Outcome{.result = std::move(result), .lied = server.lied()};
}

bool found(const LoadResult& result, FaultKind kind) {
  return std::ranges::any_of(result.faults, [kind](const Fault& fault) { return fault.kind == kind; });
}

TEST(VerifyLoad, FindsNothingWrongWithAnHonestServer) {
  const Outcome outcome = load_against(Lie::none);
  EXPECT_EQ(outcome.result.end, LoadEnd::complete) << outcome.result.why;
  EXPECT_TRUE(outcome.result.faults.empty());
  EXPECT_GT(outcome.result.acked, 100U);
  EXPECT_EQ(outcome.result.acked, outcome.result.verified);
}

TEST(VerifyLoad, FlushesWhatIsToBeDurable) {
  LoadOptions options = short_load();
  options.durable = true;
  const Outcome outcome = load_against(Lie::none, options);
  EXPECT_EQ(outcome.result.end, LoadEnd::complete) << outcome.result.why;
  EXPECT_TRUE(outcome.result.faults.empty());
  EXPECT_EQ(outcome.result.acked, outcome.result.verified);
  // Half of the writes have FUA.
  EXPECT_GT(outcome.result.flushes, outcome.result.writes / 4);
  EXPECT_LT(outcome.result.flushes, outcome.result.writes);
}

// One request at a time, of a fixed sequence, spread over many blocks: the one bad write is not overwritten before the
// end.
Outcome sparse_load_against(Lie lie) {
  LoadOptions options = short_load();
  options.depth = 1;
  options.requests_per_second = 2000;
  return load_against(lie, options, large_volume);
}

TEST(VerifyLoad, FindsALostWrite) {
  const Outcome outcome = sparse_load_against(Lie::lose_write);
  ASSERT_TRUE(outcome.lied);
  EXPECT_TRUE(found(outcome.result, FaultKind::stale) || found(outcome.result, FaultKind::lost));
  EXPECT_EQ(outcome.result.end, LoadEnd::complete);
}

TEST(VerifyLoad, FindsAGhostWrite) {
  const Outcome outcome = load_against(Lie::ghost_write);
  ASSERT_TRUE(outcome.lied);
  EXPECT_TRUE(found(outcome.result, FaultKind::stale));
}

TEST(VerifyLoad, FindsAStaleRead) {
  const Outcome outcome = load_against(Lie::stale_read);
  ASSERT_TRUE(outcome.lied);
  EXPECT_TRUE(found(outcome.result, FaultKind::stale) || found(outcome.result, FaultKind::lost));
}

TEST(VerifyLoad, FindsAMisplacedWrite) {
  const Outcome outcome = sparse_load_against(Lie::misplace_write);
  ASSERT_TRUE(outcome.lied);
  EXPECT_TRUE(found(outcome.result, FaultKind::misplaced));
}

TEST(VerifyLoad, FindsATornWrite) {
  const Outcome outcome = sparse_load_against(Lie::lose_half);
  ASSERT_TRUE(outcome.lied);
  EXPECT_TRUE(found(outcome.result, FaultKind::torn) || found(outcome.result, FaultKind::damaged));
}

TEST(VerifyLoad, FindsAFlippedBit) {
  const Outcome outcome = sparse_load_against(Lie::flip_bit);
  ASSERT_TRUE(outcome.lied);
  EXPECT_TRUE(found(outcome.result, FaultKind::damaged));
}

TEST(VerifyLoad, StopsAtAnError) {
  const Outcome outcome = load_against(Lie::error);
  EXPECT_EQ(outcome.result.end, LoadEnd::io_error);
  EXPECT_EQ(outcome.result.errors, 1U);
}

TEST(VerifyLoad, CountsErrorsWhenTheyAreExpected) {
  LoadOptions options = short_load();
  options.tolerate_errors = true;
  const Outcome outcome = load_against(Lie::error, options);
  EXPECT_EQ(outcome.result.end, LoadEnd::complete) << outcome.result.why;
  EXPECT_EQ(outcome.result.errors, 1U);
  EXPECT_EQ(outcome.result.acked, outcome.result.verified);
}

TEST(VerifyLoad, TellsAHang) {
  const Outcome outcome = load_against(Lie::hang);
  EXPECT_EQ(outcome.result.end, LoadEnd::hang);
}

TEST(VerifyLoad, TellsALostConnection) {
  const Outcome outcome = load_against(Lie::close_connection);
  EXPECT_EQ(outcome.result.end, LoadEnd::connection_lost);
}

TEST(VerifyLoad, ComesBackAfterALostConnectionWhenTold) {
  LoadOptions options = short_load();
  options.reconnect = seconds(20);
  const Outcome outcome = load_against(Lie::close_connection, options);
  EXPECT_EQ(outcome.result.end, LoadEnd::complete) << outcome.result.why;
  EXPECT_EQ(outcome.result.reconnects, 1U);
  EXPECT_GT(outcome.result.unanswered, 0U);
  EXPECT_TRUE(outcome.result.faults.empty());
  EXPECT_EQ(outcome.result.acked, outcome.result.verified);
}

TEST(VerifyLoad, ChecksTheTargetsOwnFile) {
  const std::string path = std::string(::testing::TempDir()) + "verify_load_backing." + std::to_string(::getpid());
  std::ofstream(path) << std::string(std::size_t{64} * block_bytes, 'x');
  LoadOptions options = short_load();
  options.backing_file = path;
  const Outcome outcome = load_against(Lie::none, options);
  EXPECT_TRUE(found(outcome.result, FaultKind::lost));  // that file never saw a write
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace mpath::verify
