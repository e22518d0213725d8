#include "target/cluster/frame_window.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace mpath::target::cluster {
namespace {

using enum FrameWindow::Verdict;

TEST(FrameWindow, TakesEachFrameOnce) {
  FrameWindow window;
  EXPECT_EQ(window.take(7, 1, 0), fresh);
  EXPECT_EQ(window.take(7, 1, 1), copy);
  EXPECT_EQ(window.take(7, 1, 0), repeated);
  EXPECT_EQ(window.take(7, 1, 1), repeated);
  EXPECT_EQ(window.take(7, 0, 0), repeated);
}

TEST(FrameWindow, TakesThemInAnyOrder) {
  FrameWindow window;
  EXPECT_EQ(window.take(7, 500, 0), fresh);
  for (std::uint64_t number = 499; number > 0; --number) EXPECT_EQ(window.take(7, number, 1), fresh) << number;
  for (std::uint64_t number = 500; number > 0; --number) EXPECT_EQ(window.take(7, number, 2), copy) << number;
  EXPECT_EQ(window.take(7, 500, 0), repeated);
}

TEST(FrameWindow, ForgetsWhatIsTooOldAndTakesItNoMore) {
  FrameWindow window;
  EXPECT_EQ(window.take(7, 1, 0), fresh);
  EXPECT_EQ(window.take(7, 1 + FrameWindow::span, 0), fresh);
  EXPECT_EQ(window.take(7, 1, 1), repeated);
  EXPECT_EQ(window.take(7, 2, 1), fresh);
  // A leap leaves nothing behind in the places that are used again.
  EXPECT_EQ(window.take(7, 100 * FrameWindow::span, 0), fresh);
  for (std::uint64_t back = 1; back < FrameWindow::span; ++back) {
    EXPECT_EQ(window.take(7, 100 * FrameWindow::span - back, 0), fresh) << back;
  }
  EXPECT_EQ(window.take(7, 99 * FrameWindow::span, 0), repeated);
  constexpr std::uint64_t last = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(window.take(7, last, 0), fresh);
  EXPECT_EQ(window.take(7, last, 0), repeated);
  EXPECT_EQ(window.take(7, last - 1, 0), fresh);
}

TEST(FrameWindow, KnowsOneLifeAtATime) {
  FrameWindow window;
  EXPECT_EQ(window.take(7, 30, 0), fresh);
  EXPECT_EQ(window.take(8, 30, 0), fresh);
  EXPECT_EQ(window.take(8, 1, 0), fresh);
  EXPECT_EQ(window.take(7, 31, 0), old_life);
  EXPECT_EQ(window.incarnation(), 8U);
}

}  // namespace
}  // namespace mpath::target::cluster
