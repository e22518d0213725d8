#include "mpathd/path_state.hpp"

#include <algorithm>

namespace mpath {
namespace {

// One overload a state: what it does with each event. Unlisted-by-nature events keep the state and its wake-up time.
struct Stepper {
  const PathEvent& event;
  TimePoint now;
  const PathTiming& timing;

  PathStep identify(std::vector<PathAction> actions = {}) const {
    actions.push_back(PathAction::identify);
    return {PathIdentifying{}, std::move(actions), never};
  }
  PathStep up() const {
    const Duration interval = timing.polling_interval;
    return {PathUp{.checked_at = now, .interval = interval}, {PathAction::reinstate}, now + interval};
  }
  // The pause before the next check of a path that is connected and not usable.
  Duration pause(Duration usual) const {
    if (timing.hungry_since == never) return usual;
    const Duration waited = std::max(Duration::zero(), now - timing.hungry_since);
    return std::min<Duration>(usual, std::clamp<Duration>(waited / 200, hungry_pause_min, hungry_pause_max));
  }
  PathStep faulty(std::vector<PathAction> actions, Duration retry) const {
    const bool by_command = event.kind == PathEventKind::command_bad && !event.by_access;
    return {PathFaulty{.why = event.checker, .checked_at = now, .by_command = by_command}, std::move(actions),
            now + (by_command ? retry : pause(retry))};
  }
  [[nodiscard]] bool says_standby() const {
    return event.checker == CheckerState::ghost || event.checker == CheckerState::pending;
  }
  PathStep standby(std::vector<PathAction> actions) const {
    return wait(PathStandby{.why = event.checker, .checked_at = now}, std::move(actions));
  }
  // A command was refused: the port group's state is read at once.
  PathStep refused() const {
    return {PathStandby{.why = event.checker, .checked_at = now, .refused_at = now, .checking = true},
            {PathAction::fail, PathAction::look},
            never};
  }
  PathStep wait(PathStandby state, std::vector<PathAction> actions = {}) const {
    state.checking = false;
    const Duration usual = state.why == CheckerState::pending ? timing.faulty_retry : timing.polling_interval;
    return {state, std::move(actions), state.checked_at + pause(usual)};
  }

  PathStep operator()(const PathDown& state) const {
    switch (event.kind) {
      case PathEventKind::port_up:
        return identify();
      case PathEventKind::operator_fail:
        return {PathHeld{.port_up = false}, {}, never};
      case PathEventKind::port_down:
      case PathEventKind::identity_same:
      case PathEventKind::identity_standby:
      case PathEventKind::identity_other:
      case PathEventKind::identity_failed:
      case PathEventKind::check_good:
      case PathEventKind::check_bad:
      case PathEventKind::command_bad:
      case PathEventKind::unit_attention:
      case PathEventKind::look:
      case PathEventKind::operator_reinstate:
      case PathEventKind::sorted_anew:
      case PathEventKind::tick:
        return {state, {}, never};
    }
    return {state, {}, never};
  }

  PathStep operator()(const PathIdentifying& state) const {
    switch (event.kind) {
      case PathEventKind::port_down:
        return {PathDown{}, {}, never};
      case PathEventKind::identity_same:
        return up();
      case PathEventKind::identity_standby:
        return standby({});
      case PathEventKind::identity_other:
        return {PathForeign{}, {PathAction::leave}, never};
      case PathEventKind::identity_failed:
        return faulty({}, timing.faulty_retry);
      case PathEventKind::port_up:         // a new session: what was read so far does not count
      case PathEventKind::unit_attention:  // it changed while we read
        return identify();
      case PathEventKind::operator_fail:
        return {PathHeld{.port_up = true}, {}, never};
      case PathEventKind::check_good:
      case PathEventKind::check_bad:
      case PathEventKind::command_bad:
      case PathEventKind::look:
      case PathEventKind::operator_reinstate:
      case PathEventKind::sorted_anew:
      case PathEventKind::tick:
        return {state, {}, never};
    }
    return {state, {}, never};
  }

  PathStep operator()(const PathUp& state) const {
    PathUp next = state;
    switch (event.kind) {
      case PathEventKind::port_down:
        return {PathDown{}, {PathAction::fail}, never};
      case PathEventKind::port_up:
      case PathEventKind::unit_attention:
        return identify({PathAction::fail});
      case PathEventKind::check_good:
        next.checking = next.looking = false;
        next.checked_at = now;
        next.interval = timing.polling_interval;
        if (!state.looking) {
          next.interval = std::min(state.interval * 2, std::max(timing.polling_interval, timing.polling_interval_max));
        }
        return {next, {}, now + next.interval};
      case PathEventKind::check_bad:
        if (says_standby()) return standby({PathAction::fail});
        return faulty({PathAction::fail}, timing.polling_interval);
      case PathEventKind::command_bad:
        if (says_standby()) return refused();
        if (event.by_access) return faulty({PathAction::fail}, hungry_pause_min);
        return faulty({PathAction::fail}, timing.faulty_retry);
      case PathEventKind::operator_fail:
        return {PathHeld{.port_up = true}, {PathAction::fail}, never};
      case PathEventKind::tick:
        if (state.checking) return {state, {}, never};  // its answer, or its deadline, moves us on
        next.checking = true;
        return {next, {PathAction::check}, never};
      case PathEventKind::look:
        if (state.checking) return {state, {}, never};  // the port groups come last in a check
        next.checking = next.looking = true;
        return {next, {PathAction::look}, never};
      case PathEventKind::identity_same:
      case PathEventKind::identity_standby:
      case PathEventKind::identity_other:
      case PathEventKind::identity_failed:
      case PathEventKind::operator_reinstate:
      case PathEventKind::sorted_anew:
        return {state, {}, state.checking ? never : state.checked_at + state.interval};
    }
    return {state, {}, never};
  }

  PathStep operator()(const PathFaulty& state) const {
    PathFaulty next = state;
    const bool hungry = timing.hungry_since != never && !state.by_command;
    const TimePoint again = std::max(now, state.checked_at + pause(timing.polling_interval));
    switch (event.kind) {
      case PathEventKind::port_down:
        return {PathDown{}, {}, never};
      case PathEventKind::port_up:
      case PathEventKind::unit_attention:  // readiness often announces itself by one
      case PathEventKind::operator_reinstate:
        return identify();
      case PathEventKind::check_good:
        if (!state.checking) return {state, {}, again};  // of an earlier day
        return identify();
      case PathEventKind::check_bad:
        if (says_standby()) return identify();  // it may be known by its name again
        next = {.why = event.checker, .checked_at = now};
        return {next, {}, now + pause(timing.faulty_retry)};
      case PathEventKind::tick:
      case PathEventKind::look:
        if (event.kind == PathEventKind::tick && !hungry) return identify();
        if (state.checking) return {state, {}, never};
        if (state.by_command) return {state, {}, std::max(now, state.checked_at + timing.faulty_retry)};
        next.checking = true;
        return {next, {PathAction::look}, never};
      case PathEventKind::operator_fail:
        return {PathHeld{.port_up = true}, {}, never};
      case PathEventKind::identity_same:
      case PathEventKind::identity_standby:
      case PathEventKind::identity_other:
      case PathEventKind::identity_failed:
      case PathEventKind::command_bad:
      case PathEventKind::sorted_anew:
        return {state, {}, state.checking ? never : again};
    }
    return {state, {}, again};
  }

  PathStep operator()(const PathStandby& state) const {
    PathStandby next = state;
    switch (event.kind) {
      case PathEventKind::port_down:
        return {PathDown{}, {}, never};
      case PathEventKind::port_up:
      case PathEventKind::unit_attention:
      case PathEventKind::operator_reinstate:
        return identify();
      case PathEventKind::check_good:
        if (!state.checking) return wait(state);  // of an earlier day
        // A target that says it serves and refuses nevertheless is not asked without a pause between.
        if (state.refused_at != TimePoint::min() && now < state.refused_at + hungry_pause_min) {
          next.checking = false;
          return {next, {}, state.refused_at + hungry_pause_min};
        }
        return identify();
      case PathEventKind::check_bad:
        if (!says_standby()) return faulty({}, timing.faulty_retry);
        next.why = event.checker;
        next.checked_at = now;
        return wait(next);
      case PathEventKind::tick:
      case PathEventKind::look:
        if (state.checking) return {state, {}, never};
        next.checking = true;
        return {next, {PathAction::look}, never};
      case PathEventKind::operator_fail:
        return {PathHeld{.port_up = true}, {}, never};
      case PathEventKind::identity_same:
      case PathEventKind::identity_standby:
      case PathEventKind::identity_other:
      case PathEventKind::identity_failed:
      case PathEventKind::command_bad:  // sent before it was known
      case PathEventKind::sorted_anew:
        if (state.checking) return {state, {}, never};
        return wait(state);
    }
    return {state, {}, never};
  }

  PathStep operator()(const PathHeld& state) const {
    switch (event.kind) {
      case PathEventKind::port_up:
        return {PathHeld{.port_up = true}, {}, never};
      case PathEventKind::port_down:
        return {PathHeld{.port_up = false}, {}, never};
      case PathEventKind::operator_reinstate:
        if (state.port_up) return identify();
        return {PathDown{}, {}, never};
      case PathEventKind::identity_same:
      case PathEventKind::identity_standby:
      case PathEventKind::identity_other:
      case PathEventKind::identity_failed:
      case PathEventKind::check_good:
      case PathEventKind::check_bad:
      case PathEventKind::command_bad:
      case PathEventKind::unit_attention:
      case PathEventKind::look:
      case PathEventKind::operator_fail:
      case PathEventKind::sorted_anew:
      case PathEventKind::tick:
        return {state, {}, never};
    }
    return {state, {}, never};
  }

  PathStep operator()(const PathForeign& state) const {
    switch (event.kind) {
      case PathEventKind::port_down:
        return {PathDown{}, {}, never};
      case PathEventKind::port_up:
      case PathEventKind::unit_attention:
      case PathEventKind::operator_reinstate:
      case PathEventKind::sorted_anew:  // it is read once more before the new map uses it
        return identify();
      case PathEventKind::operator_fail:
        return {PathHeld{.port_up = true}, {}, never};
      case PathEventKind::identity_same:
      case PathEventKind::identity_standby:
      case PathEventKind::identity_other:
      case PathEventKind::identity_failed:
      case PathEventKind::check_good:
      case PathEventKind::check_bad:
      case PathEventKind::command_bad:
      case PathEventKind::look:
      case PathEventKind::tick:
        return {state, {}, never};
    }
    return {state, {}, never};
  }
};

template <typename... Alternatives>
struct Overloaded : Alternatives... {
  using Alternatives::operator()...;
};
template <typename... Alternatives>
Overloaded(Alternatives...) -> Overloaded<Alternatives...>;

}  // namespace

PathStep step(const PathState& state, const PathEvent& event, TimePoint now, const PathTiming& timing) {
  return std::visit(Stepper{event, now, timing}, state);
}

bool in_standby(const PathState& state) {
  return std::holds_alternative<PathStandby>(state);
}

bool usable(const PathState& state) {
  return std::holds_alternative<PathUp>(state);
}

CheckerState shown_checker_state(const PathState& state) {
  return std::visit(
      Overloaded{[](const PathDown&) { return CheckerState::faulty; },
                 [](const PathIdentifying&) { return CheckerState::pending; },
                 [](const PathUp&) { return CheckerState::ready; }, [](const PathFaulty& faulty) { return faulty.why; },
                 [](const PathHeld& held) { return held.port_up ? CheckerState::ready : CheckerState::faulty; },
                 [](const PathForeign&) { return CheckerState::undef; },
                 [](const PathStandby& standby) { return standby.why; }},
      state);
}

DmState shown_dm_state(const PathState& state) {
  if (std::holds_alternative<PathForeign>(state)) return DmState::undef;
  return usable(state) || in_standby(state) ? DmState::active : DmState::failed;
}

const char* state_name(const PathState& state) {
  return std::visit(
      Overloaded{[](const PathDown&) { return "down"; }, [](const PathIdentifying&) { return "identifying"; },
                 [](const PathUp&) { return "up"; }, [](const PathFaulty&) { return "faulty"; },
                 [](const PathHeld&) { return "held"; }, [](const PathForeign&) { return "foreign"; },
                 [](const PathStandby&) { return "standby"; }},
      state);
}

}  // namespace mpath
