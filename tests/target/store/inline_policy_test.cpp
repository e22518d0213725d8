#include "target/store/inline_policy.hpp"

#include <gtest/gtest.h>

namespace mpath::target {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint start{1000s};

TEST(InlinePolicy, AWakeMayWriteSoMuch) {
  InlinePolicy policy;
  policy.begin(start);
  for (int i = 0; i < 64; ++i) {
    EXPECT_TRUE(policy.allows(4096)) << i;
    policy.ended(4096, start + i * 5us, false);
  }
  EXPECT_FALSE(policy.allows(4096));
  policy.begin(start + 1ms);
  EXPECT_TRUE(policy.allows(4096));
  EXPECT_TRUE(policy.allows(65536));
  EXPECT_FALSE(policy.allows(65536 + 512));
}

TEST(InlinePolicy, ASlowWriteSendsTheOthersAwayForAWhileAndLongerEachTime) {
  InlinePolicy policy;
  TimePoint now = start;
  for (const Duration pause : {Duration(1s), Duration(2s), Duration(4s)}) {
    policy.begin(now);
    ASSERT_TRUE(policy.allows(4096));
    now += 3ms;
    policy.ended(4096, now, true);
    EXPECT_FALSE(policy.allows(512)) << "in the same wake";
    policy.begin(now + pause - 1ms);
    EXPECT_FALSE(policy.allows(512));
    now += pause;
    policy.begin(now);
    EXPECT_TRUE(policy.allows(512));
  }
  for (int i = 0; i < 20; ++i) {
    policy.begin(now);
    policy.ended(512, now + 3ms, true);
    now += 3ms + InlinePolicy::pause_max;
  }
  policy.begin(now);
  EXPECT_TRUE(policy.allows(512)) << "the pause has a longest";
}

TEST(InlinePolicy, WaitingForTheCpuIsNoFaultOfTheMedium) {
  InlinePolicy policy;
  policy.begin(start);
  policy.ended(4096, start + 8ms, false);
  EXPECT_TRUE(policy.allows(4096));
}

TEST(InlinePolicy, ALongQuickTimeIsForgiven) {
  InlinePolicy policy;
  policy.begin(start);
  policy.ended(512, start + 3ms, true);
  const TimePoint later = start + 60s;
  policy.begin(later);
  policy.ended(512, later + 3ms, true);
  policy.begin(later + 3ms + InlinePolicy::pause_min);
  EXPECT_TRUE(policy.allows(512)) << "as after the first";
}

}  // namespace
}  // namespace mpath::target
