#include <gtest/gtest.h>

#include <algorithm>

#include "mpathd/path_state.hpp"

namespace mpath {
namespace {

using namespace std::chrono_literals;
using enum PathEventKind;

const TimePoint start{std::chrono::hours(1)};
const PathTiming timing{};

std::vector<PathAction> actions(const PathState& state, PathEvent event) { return step(state, event, start, timing).actions; }
PathState next(const PathState& state, PathEvent event) { return step(state, event, start, timing).next; }

const std::vector<PathState> all_states = {PathDown{},   PathIdentifying{},          PathUp{start, 5s, false}, PathUp{start, 5s, true},
                                           PathFaulty{}, PathHeld{.port_up = false}, PathHeld{.port_up = true}, PathForeign{},
                                           PathStandby{}, PathStandby{.why = CheckerState::pending, .checking = true}};
const std::vector<PathEventKind> all_events = {port_up,        port_down,     identity_same,      identity_other, identity_failed, identity_standby, look,
                                               check_good,     check_bad,     command_bad,        unit_attention, operator_fail,
                                               operator_reinstate, sorted_anew, tick};

TEST(PathState, ComesUpOnlyOutOfAnIdentification) {
  for (const PathState& state : all_states) {
    for (const PathEventKind event : all_events) {
      const PathStep taken = step(state, {event}, start, timing);
      const bool entered = !usable(state) && usable(taken.next);
      EXPECT_EQ(entered, std::holds_alternative<PathIdentifying>(state) && event == identity_same)
          << state_name(state) << " on event " << static_cast<int>(event);
    }
  }
}

TEST(PathState, TellsTheMapOfEveryWayIntoAndOutOfUse) {
  for (const PathState& state : all_states) {
    for (const PathEventKind event : all_events) {
      const PathStep taken = step(state, {event}, start, timing);
      const auto told = [&](PathAction action) { return std::ranges::find(taken.actions, action) != taken.actions.end(); };
      EXPECT_EQ(told(PathAction::reinstate), !usable(state) && usable(taken.next));
      EXPECT_EQ(told(PathAction::fail), usable(state) && !usable(taken.next))
          << state_name(state) << " on event " << static_cast<int>(event);
    }
  }
}

TEST(PathState, GoesDownWithItsPortFromEverywhereButHeld) {
  for (const PathState& state : all_states) {
    const PathState after = next(state, {port_down});
    if (std::holds_alternative<PathHeld>(state)) {
      EXPECT_EQ(after, PathState{PathHeld{.port_up = false}});
    } else {
      EXPECT_EQ(after, PathState{PathDown{}}) << state_name(state);
    }
  }
}

TEST(PathState, IsReadAnewAfterEveryLogin) {
  EXPECT_EQ(actions(PathDown{}, {port_up}), std::vector{PathAction::identify});
  EXPECT_EQ(actions(PathUp{}, {port_up}), (std::vector{PathAction::fail, PathAction::identify}));
  EXPECT_EQ(actions(PathIdentifying{}, {port_up}), std::vector{PathAction::identify});
}

TEST(PathState, LeavesItsMapWhenItCarriesAnotherUnit) {
  EXPECT_EQ(actions(PathIdentifying{}, {identity_other}), std::vector{PathAction::leave});
  EXPECT_EQ(next(PathIdentifying{}, {identity_other}), PathState{PathForeign{}});
}

TEST(PathState, IsCheckedLessOftenWhileAllIsWell) {
  PathState state = PathUp{start, 5s, true};
  for (const Duration expected : {10s, 20s, 20s}) {
    const PathStep good = step(state, {check_good}, start, timing);
    EXPECT_EQ(good.wake_at, start + expected);
    state = step(good.next, {tick}, start, timing).next;
  }
}

TEST(PathState, DoesNotCheckTwiceAtOnce) {
  EXPECT_EQ(actions(PathUp{start, 5s, true}, {tick}), std::vector<PathAction>{});
  EXPECT_EQ(actions(PathUp{start, 5s, false}, {tick}), std::vector{PathAction::check});
}

TEST(PathState, LooksAgainAfterAFailure) {
  const PathStep bad = step(PathUp{start, 5s, false}, {command_bad, CheckerState::timeout}, start, timing);
  EXPECT_EQ(bad.wake_at, start + timing.faulty_retry);
  EXPECT_EQ(shown_checker_state(bad.next), CheckerState::timeout);
  EXPECT_EQ(actions(bad.next, {tick}), std::vector{PathAction::identify});
}

TEST(PathState, HeldByTheOperatorStaysOutUntilReinstated) {
  const PathState held = next(PathUp{}, {operator_fail});
  for (const PathEventKind event : all_events) {
    if (event == operator_reinstate) continue;
    EXPECT_TRUE(std::holds_alternative<PathHeld>(next(held, {event})));
  }
  EXPECT_EQ(actions(held, {operator_reinstate}), std::vector{PathAction::identify});
  EXPECT_EQ(next(next(held, {port_down}), {operator_reinstate}), PathState{PathDown{}});
}

// Standby: connected and known, not used, and no failure.

TEST(PathState, InStandbyIsShownAsActiveGhost) {
  const PathState standby = next(PathIdentifying{}, {identity_standby, CheckerState::ghost});
  EXPECT_FALSE(usable(standby));
  EXPECT_TRUE(in_standby(standby));
  EXPECT_EQ(shown_checker_state(standby), CheckerState::ghost);
  EXPECT_EQ(shown_dm_state(standby), DmState::active);
  EXPECT_EQ(shown_checker_state(next(standby, {check_bad, CheckerState::pending})), CheckerState::pending);
}

TEST(PathState, LooksAtOnceWhenACommandIsRefusedByTheStateOfThePortGroup) {
  const PathStep refused = step(PathUp{start, 5s, false}, {command_bad, CheckerState::ghost, true}, start, timing);
  EXPECT_EQ(refused.actions, (std::vector{PathAction::fail, PathAction::look}));
  EXPECT_TRUE(in_standby(refused.next));
  EXPECT_EQ(refused.wake_at, never);  // its answer moves us on
  const PathStep unavailable = step(PathUp{start, 5s, false}, {command_bad, CheckerState::faulty, true}, start, timing);
  EXPECT_EQ(unavailable.wake_at, start + hungry_pause_min);
}

TEST(PathState, LeavesStandbyByAnIdentification) {
  const PathState checking = PathStandby{.checked_at = start, .checking = true};
  EXPECT_EQ(actions(checking, {check_good}), std::vector{PathAction::identify});
  EXPECT_TRUE(in_standby(next(PathStandby{.checked_at = start}, {check_good}))) << "of a check that it did not ask for";
}

TEST(PathState, ATargetThatServesAndRefusesIsNotAskedWithoutAPause) {
  const PathState refused = next(PathUp{start, 5s, false}, {command_bad, CheckerState::ghost, true});
  const PathStep again = step(refused, {check_good}, start + 1ms, timing);
  EXPECT_TRUE(again.actions.empty());
  EXPECT_EQ(again.wake_at, start + hungry_pause_min);
  const PathState looking = step(again.next, {tick}, again.wake_at, timing).next;
  EXPECT_EQ(step(looking, {check_good}, again.wake_at, timing).actions, std::vector{PathAction::identify});
}

TEST(PathState, LooksOnceAtATimeAndAnUnexpectedLookDoesNotCountAsCheck) {
  EXPECT_EQ(actions(PathUp{start, 20s, false}, {look}), std::vector{PathAction::look});
  EXPECT_TRUE(actions(PathUp{start, 20s, true}, {look}).empty());
  const PathState looking = next(PathUp{start, 20s, false}, {look});
  EXPECT_EQ(step(looking, {check_good}, start, timing).wake_at, start + timing.polling_interval);
  EXPECT_EQ(actions(PathStandby{}, {look}), std::vector{PathAction::look});
  EXPECT_TRUE(actions(next(PathStandby{}, {look}), {look}).empty());
}

struct HungryRow {
  Duration waited;
  Duration pause;
};
class HungryPause : public testing::TestWithParam<HungryRow> {};
TEST_P(HungryPause, GrowsWithTheWait) {
  PathTiming hungry = timing;
  hungry.hungry_since = start - GetParam().waited;
  const PathState looking = PathStandby{.checked_at = start, .checking = true};
  EXPECT_EQ(step(looking, {check_bad, CheckerState::ghost}, start, hungry).wake_at, start + GetParam().pause);
  EXPECT_EQ(step(PathIdentifying{}, {identity_failed, CheckerState::faulty}, start, hungry).wake_at, start + GetParam().pause);
  const PathState faulty = PathFaulty{.checked_at = start, .checking = true};
  EXPECT_EQ(step(faulty, {check_bad, CheckerState::faulty}, start, hungry).wake_at, start + GetParam().pause);
}
INSTANTIATE_TEST_SUITE_P(Waits, HungryPause,
                         testing::Values(HungryRow{0s, 50ms}, HungryRow{10s, 50ms}, HungryRow{40s, 200ms}, HungryRow{1h, 1s}));

TEST(PathState, OfAMapThatHasAPathStandbyIsCheckedAsSeldomAsOthers) {
  const PathState looking = PathStandby{.checked_at = start, .checking = true};
  EXPECT_EQ(step(looking, {check_bad, CheckerState::ghost}, start, timing).wake_at, start + timing.polling_interval);
  EXPECT_EQ(step(looking, {check_bad, CheckerState::pending}, start, timing).wake_at, start + timing.faulty_retry);
}

// Checks do not see what was wrong: asking every 50 ms would make it up and down as often.
TEST(PathState, AFailureThatOnlyCommandsSeeIsNotHurried) {
  PathTiming hungry = timing;
  hungry.hungry_since = start;
  const PathStep bad = step(PathUp{start, 5s, false}, {command_bad, CheckerState::faulty}, start, hungry);
  EXPECT_EQ(bad.wake_at, start + timing.faulty_retry);
  EXPECT_TRUE(step(bad.next, {look}, start, hungry).actions.empty());
}

}  // namespace
}  // namespace mpath
