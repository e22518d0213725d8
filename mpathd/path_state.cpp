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
  PathStep faulty(std::vector<PathAction> actions, Duration retry) const {
    return {PathFaulty{.why = event.checker, .checked_at = now}, std::move(actions), now + retry};
  }

  PathStep operator()(const PathDown& state) const {
    switch (event.kind) {
      case PathEventKind::port_up:
        return identify();
      case PathEventKind::operator_fail:
        return {PathHeld{.port_up = false}, {}, never};
      case PathEventKind::port_down:
      case PathEventKind::identity_same:
      case PathEventKind::identity_other:
      case PathEventKind::identity_failed:
      case PathEventKind::check_good:
      case PathEventKind::check_bad:
      case PathEventKind::command_bad:
      case PathEventKind::unit_attention:
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
        next.checking = false;
        next.checked_at = now;
        next.interval = std::min(state.interval * 2, std::max(timing.polling_interval, timing.polling_interval_max));
        return {next, {}, now + next.interval};
      case PathEventKind::check_bad:
        return faulty({PathAction::fail}, timing.polling_interval);
      case PathEventKind::command_bad:
        return faulty({PathAction::fail}, timing.faulty_retry);
      case PathEventKind::operator_fail:
        return {PathHeld{.port_up = true}, {PathAction::fail}, never};
      case PathEventKind::tick:
        if (state.checking) return {state, {}, never};  // its answer, or its deadline, moves us on
        next.checking = true;
        return {next, {PathAction::check}, never};
      case PathEventKind::identity_same:
      case PathEventKind::identity_other:
      case PathEventKind::identity_failed:
      case PathEventKind::operator_reinstate:
      case PathEventKind::sorted_anew:
        return {state, {}, state.checking ? never : state.checked_at + state.interval};
    }
    return {state, {}, never};
  }

  PathStep operator()(const PathFaulty& state) const {
    switch (event.kind) {
      case PathEventKind::port_down:
        return {PathDown{}, {}, never};
      case PathEventKind::port_up:
      case PathEventKind::unit_attention:  // readiness often announces itself by one
      case PathEventKind::operator_reinstate:
      case PathEventKind::tick:
        return identify();
      case PathEventKind::operator_fail:
        return {PathHeld{.port_up = true}, {}, never};
      case PathEventKind::identity_same:
      case PathEventKind::identity_other:
      case PathEventKind::identity_failed:
      case PathEventKind::check_good:
      case PathEventKind::check_bad:
      case PathEventKind::command_bad:
      case PathEventKind::sorted_anew:
        return {state, {}, std::max(now, state.checked_at + timing.polling_interval)};
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
      case PathEventKind::identity_other:
      case PathEventKind::identity_failed:
      case PathEventKind::check_good:
      case PathEventKind::check_bad:
      case PathEventKind::command_bad:
      case PathEventKind::unit_attention:
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
      case PathEventKind::identity_other:
      case PathEventKind::identity_failed:
      case PathEventKind::check_good:
      case PathEventKind::check_bad:
      case PathEventKind::command_bad:
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

bool usable(const PathState& state) { return std::holds_alternative<PathUp>(state); }

CheckerState shown_checker_state(const PathState& state) {
  return std::visit(Overloaded{[](const PathDown&) { return CheckerState::faulty; },
                               [](const PathIdentifying&) { return CheckerState::pending; },
                               [](const PathUp&) { return CheckerState::ready; },
                               [](const PathFaulty& faulty) { return faulty.why; },
                               [](const PathHeld& held) { return held.port_up ? CheckerState::ready : CheckerState::faulty; },
                               [](const PathForeign&) { return CheckerState::undef; }},
                    state);
}

DmState shown_dm_state(const PathState& state) {
  if (std::holds_alternative<PathForeign>(state)) return DmState::undef;
  return usable(state) ? DmState::active : DmState::failed;
}

const char* state_name(const PathState& state) {
  return std::visit(Overloaded{[](const PathDown&) { return "down"; }, [](const PathIdentifying&) { return "identifying"; },
                               [](const PathUp&) { return "up"; }, [](const PathFaulty&) { return "faulty"; },
                               [](const PathHeld&) { return "held"; }, [](const PathForeign&) { return "foreign"; }},
                    state);
}

}  // namespace mpath
