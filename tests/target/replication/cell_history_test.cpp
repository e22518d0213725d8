// What is a register, and what is none: the checker of the simulator has to tell them apart.
#include "tests/support/pair_sim/cell_history.hpp"

#include <gtest/gtest.h>

namespace mpath::target::replication::test {
namespace {

class Cell : public testing::Test {
 protected:
  static TimePoint at(int moment) { return TimePoint(std::chrono::seconds(moment)); }
  // A COMPARE AND WRITE that was done between two moments. Says what it has written.
  std::uint64_t wrote(std::uint64_t expected, int begin, int end) {
    const auto op = history_.begin(expected, true, at(begin));
    op->ended = at(end);
    return *op->value;
  }
  // One that nobody heard of any more.
  std::uint64_t tried(std::uint64_t expected, int begin) { return *history_.begin(expected, true, at(begin))->value; }
  void read(std::uint64_t found, int begin, int end) {
    const auto op = history_.begin(0, false, at(begin));
    op->read = found;
    op->ended = at(end);
  }
  void failed(std::uint64_t expected, std::uint64_t found, int begin, int end) {
    const auto op = history_.begin(expected, true, at(begin));
    op->read = found;
    op->ended = at(end);
  }
  CellHistory history_;
};

TEST_F(Cell, IsARegisterWhenOneFollowsTheOther) {
  const auto one = wrote(0, 1, 2);
  const auto two = wrote(one, 3, 4);
  failed(0, two, 5, 6);
  read(two, 7, 8);
  EXPECT_TRUE(history_.is_register());
  EXPECT_EQ(history_.answers(), 2U);
}

TEST_F(Cell, IsNoneWhenTwoFoundTheSame) {
  wrote(0, 1, 4);
  wrote(0, 2, 3);
  EXPECT_FALSE(history_.is_register());
}

TEST_F(Cell, IsNoneWhenARoundOfThemHasNoBegin) {
  const auto one = wrote(0, 1, 2);
  wrote(one + 5, 3, 4);
  EXPECT_FALSE(history_.is_register());
}

TEST_F(Cell, MayBeReadEitherWayWhileItIsWritten) {
  const auto one = wrote(0, 2, 6);
  read(one, 1, 4);
  read(0, 1, 4);
  EXPECT_TRUE(history_.is_register());
}

TEST_F(Cell, IsNoneWhenAReadIsOld) {
  wrote(0, 1, 2);
  read(0, 3, 4);
  EXPECT_FALSE(history_.is_register());
}

TEST_F(Cell, IsNoneWhenAReadIsTakenBack) {
  const auto one = wrote(0, 1, 9);
  read(one, 2, 3);
  read(0, 4, 5);
  EXPECT_FALSE(history_.is_register());
}

TEST_F(Cell, IsNoneWhenAReadIsOfTheFuture) {
  read(wrote(0, 5, 6), 1, 2);
  EXPECT_FALSE(history_.is_register());
}

TEST_F(Cell, TakesWhatHasNoAnswerAsDoneWhenItIsFound) {
  const auto lost = tried(0, 1);
  read(0, 2, 3);
  EXPECT_TRUE(history_.is_register());
  const auto two = wrote(lost, 4, 5);
  EXPECT_TRUE(history_.is_register());
  read(0, 6, 7);
  EXPECT_FALSE(history_.is_register());
  static_cast<void>(two);
}

TEST_F(Cell, KeepsWhatWasAnsweredWhenAllPowerIsLost) {
  const auto one = wrote(0, 1, 2);
  const auto lost = tried(one, 3);
  read(lost, 4, 5);
  EXPECT_TRUE(history_.total_loss());
  read(one, 6, 7);  // it was found, and it may be gone
  EXPECT_TRUE(history_.is_register());
  read(0, 8, 9);
  EXPECT_FALSE(history_.is_register());
}

// Others have gone on from what it wrote, before the loss (witness seed 1795280947000009482).
TEST_F(Cell, TakesAnAnswerThatComesAfterTheLossForOneOfBefore) {
  const auto late = history_.begin(0, true, at(1));
  const auto two = wrote(*late->value, 2, 3);
  EXPECT_TRUE(history_.total_loss());
  late->ended = at(5);
  read(two, 6, 7);
  EXPECT_TRUE(history_.is_register());
}

// It is the last that was written, and then all power is lost again (continue, protocol B, seed 1795302436700000077).
TEST_F(Cell, MayHoldWhatWasOpenAtTheLossBeforeThisOne) {
  const auto one = wrote(0, 1, 2);
  const auto open = history_.begin(one, true, at(3));
  EXPECT_TRUE(history_.total_loss());
  open->ended = at(5);
  EXPECT_TRUE(history_.total_loss());
  read(*open->value, 6, 7);
  EXPECT_TRUE(history_.is_register());
  read(0, 8, 9);
  EXPECT_FALSE(history_.is_register());
}

}  // namespace
}  // namespace mpath::target::replication::test
