// The parts of a session that need no socket: window, write data, residuals, text.
#include <gtest/gtest.h>

#include <vector>

#include "target/iscsi/cmd_window.hpp"
#include "target/iscsi/residual.hpp"
#include "target/iscsi/text_exchange.hpp"
#include "target/iscsi/write_sequence.hpp"

namespace mpath::target {
namespace {

// ---- window --------------------------------------------------------------------------------------------------------

TEST(CmdWindow, TakesWhatLiesInItOnce) {
  int command = 0;
  CmdWindow<int> window(10, 4);
  EXPECT_FALSE(window.takes(9));
  EXPECT_TRUE(window.takes(10));
  EXPECT_TRUE(window.takes(13));
  EXPECT_FALSE(window.takes(14));
  window.put(11, &command);
  EXPECT_FALSE(window.takes(11));
  EXPECT_FALSE(window.ready());
}

TEST(CmdWindow, GivesInOrderAndOpensWhenCommandsAreAnswered) {
  int first = 0;
  int second = 0;
  CmdWindow<int> window(0xfffffffe, 3);  // over the end of the numbers
  window.put(0, &second);
  window.put(0xffffffff, nullptr);  // used up
  window.put(0xfffffffe, &first);
  EXPECT_EQ(window.max(), 0U);
  EXPECT_EQ(window.next(), &first);
  EXPECT_EQ(window.max(), 0U);
  EXPECT_EQ(window.next(), nullptr);
  EXPECT_EQ(window.max(), 1U);  // released at once
  EXPECT_EQ(window.next(), &second);
  EXPECT_FALSE(window.ready());
  EXPECT_EQ(window.expected(), 1U);
  window.release();
  EXPECT_EQ(window.max(), 2U);
}

TEST(CmdWindow, AnEmptiedPlaceStaysUsedUp) {
  int command = 0;
  CmdWindow<int> window(1, 2);
  window.put(1, &command);
  window.empty(1);
  EXPECT_FALSE(window.takes(1));
  ASSERT_TRUE(window.ready());
  EXPECT_EQ(window.next(), nullptr);
}

// ---- residuals -----------------------------------------------------------------------------------------------------

TEST(ResidualCount, SaysWhichWayAndHowMuch) {
  EXPECT_EQ(residual(512, 512), (Residual{}));
  EXPECT_EQ(residual(512, 0), (Residual{.underflow = true, .count = 512}));
  EXPECT_EQ(residual(0, 36), (Residual{.overflow = true, .count = 36}));
  EXPECT_EQ(residual(0, std::uint64_t{1} << 40), (Residual{.overflow = true, .count = 0xffffffff}));
}

// ---- write data ----------------------------------------------------------------------------------------------------

iscsi::DataOut data(std::uint32_t ttt, std::uint32_t sn, std::uint32_t offset, std::uint32_t length, bool final) {
  return {.final = final, .data_length = length, .ttt = ttt, .data_sn = sn, .buffer_offset = offset};
}

TEST(WriteData, NothingNeededIsOverAtOnce) {
  WriteSequence sequence;
  sequence.begin({}, 0, 0, 0, true);
  EXPECT_TRUE(sequence.ended());
  EXPECT_FALSE(sequence.next_r2t(1));
}

TEST(WriteData, AsksForWhatIsNeededInBursts) {
  WriteSequence sequence;
  sequence.begin({.max_burst = 1000, .outstanding_max = 2}, 2500, 9999, 0, true);
  const auto first = sequence.next_r2t(1);
  const auto second = sequence.next_r2t(2);
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(sequence.next_r2t(3));
  EXPECT_EQ(second->offset, 1000U);
  EXPECT_EQ(second->r2t_sn, 1U);
  ASSERT_TRUE(sequence.take(data(1, 0, 0, 1000, true)).known);
  sequence.conclude(data(1, 0, 0, 1000, true), true);
  const auto third = sequence.next_r2t(3);
  ASSERT_TRUE(third);
  EXPECT_EQ(third->offset, 2000U);
  EXPECT_EQ(third->length, 500U);
  EXPECT_FALSE(sequence.ended());
  for (const auto& pdu : {data(2, 0, 1000, 1000, true), data(3, 0, 2000, 500, true)}) {
    EXPECT_EQ(sequence.take(pdu).store, pdu.data_length);
    sequence.conclude(pdu, true);
  }
  EXPECT_TRUE(sequence.ended());
  EXPECT_EQ(sequence.fault(), WriteFault::none);
}

TEST(WriteData, TakesMoreThanItNeedsAndKeepsWhatItNeeds) {
  WriteSequence sequence;
  sequence.begin({.initial_r2t = false}, 700, 3000, 512, false);
  EXPECT_EQ(sequence.unsolicited(), 3000U);
  const auto inside = sequence.take(data(iscsi::reserved_tag, 0, 512, 488, false));
  EXPECT_EQ(inside.store, 188U);
  sequence.conclude(data(iscsi::reserved_tag, 0, 512, 488, false), true);
  const auto beyond = sequence.take(data(iscsi::reserved_tag, 1, 1000, 2000, true));
  EXPECT_EQ(beyond.store, 0U);
  sequence.conclude(data(iscsi::reserved_tag, 1, 1000, 2000, true), true);
  EXPECT_TRUE(sequence.ended());
  EXPECT_EQ(sequence.fault(), WriteFault::none);
}

TEST(WriteData, UnaskedDataThatStopsEarlyIsAskedForOnlyWithinTheFirstBurst) {
  WriteSequence sequence;
  sequence.begin({.initial_r2t = false, .first_burst = 4096}, 2048, 2048, 0, false);
  static_cast<void>(sequence.take(data(iscsi::reserved_tag, 0, 0, 512, true)));
  sequence.conclude(data(iscsi::reserved_tag, 0, 0, 512, true), true);
  const auto rest = sequence.next_r2t(1);
  ASSERT_TRUE(rest);
  EXPECT_EQ(rest->offset, 512U);
  EXPECT_EQ(rest->length, 1536U);
  sequence.begin({.initial_r2t = false, .first_burst = 1024}, 2048, 2048, 0, false);
  static_cast<void>(sequence.take(data(iscsi::reserved_tag, 0, 0, 512, true)));
  sequence.conclude(data(iscsi::reserved_tag, 0, 0, 512, true), true);
  EXPECT_EQ(sequence.fault(), WriteFault::wrong_amount);
  EXPECT_TRUE(sequence.ended());
}

TEST(WriteData, AFaultWaitsForWhatWasAskedFor) {
  WriteSequence sequence;
  sequence.begin({.max_burst = 512, .outstanding_max = 2}, 1024, 1024, 0, true);
  static_cast<void>(sequence.next_r2t(1));
  static_cast<void>(sequence.next_r2t(2));
  const auto wrong = data(1, 5, 0, 512, true);
  EXPECT_EQ(sequence.take(wrong).store, 0U);
  sequence.conclude(wrong, true);
  EXPECT_EQ(sequence.fault(), WriteFault::sequence);
  EXPECT_FALSE(sequence.ended());
  const auto last = data(2, 0, 512, 512, true);
  EXPECT_EQ(sequence.take(last).store, 0U);
  sequence.conclude(last, true);
  EXPECT_TRUE(sequence.ended());
}

TEST(WriteData, RecoveryGivesUpInTheEnd) {
  WriteSequence sequence;
  sequence.begin({.recover = true}, 512, 512, 0, true);
  std::uint32_t rounds = 0;
  while (const auto burst = sequence.next_r2t(rounds)) {
    EXPECT_EQ(burst->r2t_sn, rounds);
    const auto pdu = data(rounds, 0, 0, 512, true);
    static_cast<void>(sequence.take(pdu));
    sequence.conclude(pdu, false);
    ++rounds;
  }
  EXPECT_EQ(rounds, WriteSequence::recoveries_max + 1);
  EXPECT_EQ(sequence.fault(), WriteFault::digest);
}

// Whatever comes: nothing is stored outside of what is needed, and it ends once all bursts have seen their last PDU.
TEST(WriteData, NothingIsEverPlacedOutside) {
  std::uint32_t state = 1;
  const auto random = [&state](std::uint32_t below) {
    state = state * 1664525U + 1013904223U;
    return (state >> 8) % below;
  };
  for (unsigned run = 0; run < 20000; ++run) {
    WriteSequence sequence;
    const std::uint32_t expected = random(5000);
    const std::uint32_t needed = random(expected + 1);
    sequence.begin({.initial_r2t = random(2) == 0,
                    .immediate_data = random(2) == 0,
                    .first_burst = 512 + random(2000),
                    .max_burst = 512 + random(2000),
                    .outstanding_max = 1 + random(8),
                    .recover = random(2) == 0},
                   needed, expected, random(4) == 0 ? random(3000) : 0, random(2) == 0);
    std::uint32_t ttt = 0;
    for (unsigned step = 0; step < 30; ++step) {
      while (const auto burst = sequence.next_r2t(ttt)) {
        ASSERT_LE(burst->offset + burst->length, needed);
        ++ttt;
      }
      const auto pdu = data(random(3) == 0 ? iscsi::reserved_tag : random(ttt + 1), random(3), random(6000),
                            random(3000), random(2) == 0);
      const auto placement = sequence.take(pdu);
      if (!placement.known) continue;
      ASSERT_LE(placement.store, pdu.data_length);
      if (placement.store > 0) {
        ASSERT_LE(std::uint64_t{placement.offset} + placement.store, needed);
      }
      sequence.conclude(pdu, random(4) != 0);
    }
  }
}

// ---- text ----------------------------------------------------------------------------------------------------------

TEST(Text, AnswersInPartsAndKnowsItsTag) {
  TextExchange text;
  const auto request = iscsi::encode_text(iscsi::KeyValues{{"SendTargets", "All"}});
  ASSERT_EQ(text.take({}, request), TextExchange::Next::answer);
  EXPECT_EQ(text.request()->front().value, "All");
  text.set_answer(iscsi::KeyValues{{"TargetName", "iqn.2025-11.test:a"}});
  iscsi::TextResponse response;
  const auto first = text.part(response, 10);
  EXPECT_EQ(first.size(), 10U);
  EXPECT_TRUE(response.continued);
  EXPECT_FALSE(response.final);
  const std::uint32_t tag = response.ttt;
  EXPECT_EQ(text.take({.ttt = tag + 1}, {}), TextExchange::Next::refuse);
  EXPECT_EQ(text.take({.ttt = tag}, {}), TextExchange::Next::go_on);
  static_cast<void>(text.part(response, 1000));
  EXPECT_TRUE(response.final);
  EXPECT_EQ(response.ttt, iscsi::reserved_tag);
  EXPECT_EQ(text.take({.ttt = tag}, {}), TextExchange::Next::refuse);
}

TEST(Text, ARequestWithoutEndIsRefused) {
  TextExchange text;
  const std::vector<std::byte> piece(8192, std::byte{'a'});
  iscsi::TextRequest pdu{.final = false, .continued = true};
  unsigned taken = 0;
  while (text.take(pdu, piece) == TextExchange::Next::more && taken < 100) {
    iscsi::TextResponse response;
    static_cast<void>(text.part(response, 100));
    pdu.ttt = response.ttt;
    ++taken;
  }
  EXPECT_EQ(taken, 8U);
}

}  // namespace
}  // namespace mpath::target
