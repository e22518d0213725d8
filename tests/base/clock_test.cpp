#include <gtest/gtest.h>

#include <vector>

#include "base/sim_clock.hpp"

namespace mpath {
namespace {

using namespace std::chrono_literals;

TEST(SimClock, FiresAlarmsInOrderOfTime) {
  SimClock clock;
  std::vector<int> fired;
  auto late = clock.make_alarm([&] { fired.push_back(2); });
  auto early = clock.make_alarm([&] { fired.push_back(1); });
  late->set(clock.now() + 20ms);
  early->set(clock.now() + 10ms);
  clock.run_for(30ms);
  EXPECT_EQ(fired, (std::vector{1, 2}));
}

TEST(SimClock, AnAlarmMayDestroyItself) {
  SimClock clock;
  std::unique_ptr<Alarm> alarm;
  bool fired = false;
  alarm = clock.make_alarm([&] {
    alarm.reset();
    fired = true;
  });
  alarm->set(clock.now());
  EXPECT_TRUE(clock.step());
  EXPECT_TRUE(fired);
  EXPECT_EQ(clock.next(), never);
}

}  // namespace
}  // namespace mpath
