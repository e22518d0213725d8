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
                                           PathFaulty{}, PathHeld{.port_up = false}, PathHeld{.port_up = true}, PathForeign{}};
const std::vector<PathEventKind> all_events = {port_up,        port_down,     identity_same,      identity_other, identity_failed,
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
  const PathStep bad = step(PathUp{start, 5s, false}, {command_bad, CheckerState::ghost}, start, timing);
  EXPECT_EQ(bad.wake_at, start + timing.faulty_retry);
  EXPECT_EQ(shown_checker_state(bad.next), CheckerState::ghost);
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

}  // namespace
}  // namespace mpath
