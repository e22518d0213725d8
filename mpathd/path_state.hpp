// The life of one path as a pure step function.
//
//                 port up                identity same            checker bad, not ready
//   Down ---------------------> Identifying ---------------> Up --------------------------+
//    ^  ^                        |   ^   ^ |                  | |                         v
//    |  |   identity unreadable  |   |   | | another identity | | unit attention        Faulty
//    |  |   (Faulty, try again) <+   |   | +---> Foreign      | +----> Identifying        |
//    |  |                            |   |                    |                           |
//    |  |         its port group     |   +------ Standby <----+ its port group does not   |
//    |  |         serves again       +-------------+            serve now (ALUA)          |
//    |  |                            +----------------------------------------------------+ time, or a check
//    |  +--- port down, from everywhere but Held
//    +------ Held (operator: fail path) leaves by "reinstate path" only
//
// Identity before I/O: the only arrow into Up comes out of Identifying, which reads INQUIRY page 83h and the capacity
// anew. A path in standby was identified as far as that is possible, and works: it is not used, but it is no failure
// either.
//
// A check is one cheap command. While the map has no usable path at all (`hungry`), paths that are connected are
// checked again and again, so that it costs a map next to nothing in time when another node takes over.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "base/clock.hpp"
#include "mpathd/snapshot.hpp"

namespace mpath {

struct PathDown {
  friend bool operator==(const PathDown&, const PathDown&) = default;
};
struct PathIdentifying {
  friend bool operator==(const PathIdentifying&, const PathIdentifying&) = default;
};
struct PathUp {
  TimePoint checked_at{};  // last good answer of the checker (or of the identification)
  Duration interval{};     // until the next check; doubles while all is well
  bool checking = false;   // a check is on the wire
  bool looking = false;    // it was not due: something may have changed
  friend bool operator==(const PathUp&, const PathUp&) = default;
};
struct PathStandby {
  CheckerState why = CheckerState::ghost;  // or pending: in transition
  TimePoint checked_at{};
  TimePoint refused_at = TimePoint::min();  // a command (not a check) was refused last
  bool checking = false;
  friend bool operator==(const PathStandby&, const PathStandby&) = default;
};
struct PathFaulty {
  CheckerState why = CheckerState::faulty;
  TimePoint checked_at{};
  bool by_command = false;  // checks do not see what is wrong: they are no reason to hurry
  bool checking = false;
  friend bool operator==(const PathFaulty&, const PathFaulty&) = default;
};
struct PathHeld {
  bool port_up = false;
  friend bool operator==(const PathHeld&, const PathHeld&) = default;
};
struct PathForeign {  // carries another LU than its map's: an orphan until it is sorted anew
  friend bool operator==(const PathForeign&, const PathForeign&) = default;
};
using PathState = std::variant<PathDown, PathIdentifying, PathUp, PathFaulty, PathHeld, PathForeign, PathStandby>;

enum class PathEventKind : std::uint8_t {
  port_up,
  port_down,
  identity_same,     // page 83h and capacity read, and they are the map's (or the first ever)
  identity_standby,  // the identity is the map's, and the port group does not serve now; `checker`: ghost or pending
  identity_other,    // read, and they are another LU's
  identity_failed,   // could not be read; `checker` says how it looks
  check_good,
  check_bad,       // `checker` says how
  command_bad,     // an I/O came back with a sense that speaks of the path or the LU's readiness
  unit_attention,  // something about the LU may have changed
  look,            // access states may have changed, or the map needs a path badly
  operator_fail,
  operator_reinstate,
  sorted_anew,  // a foreign path was given to the map of its new identity
  tick,         // the wake-up time has come
};

struct PathEvent {
  PathEventKind kind;
  CheckerState checker = CheckerState::faulty;  // identity_standby, identity_failed, check_bad, command_bad
  bool by_access = false;                       // command_bad: because of the state of the port group
};

enum class PathAction : std::uint8_t {
  identify,   // start (or restart) reading the identity
  check,      // start one check: with the checker, then of the port groups
  look,       // start a short one: of the port groups, or TEST UNIT READY where there are none
  reinstate,  // the map may use the path
  fail,       // the map must not use the path any more
  leave,      // the path is not this map's
};

struct PathTiming {
  Duration polling_interval = std::chrono::seconds(5);
  Duration polling_interval_max = std::chrono::seconds(20);  // reached by doubling while the path is good
  Duration faulty_retry = std::chrono::seconds(1);           // first look again after a failure of the LU's own
  TimePoint hungry_since = never;                            // since when the map has no usable path
};

struct PathStep {
  PathState next;
  std::vector<PathAction> actions;
  TimePoint wake_at = never;
};

// Of a map without a usable path: this often at first, and a 200th part of the time that it has waited later on.
inline constexpr auto hungry_pause_min = std::chrono::milliseconds(50);
inline constexpr auto hungry_pause_max = std::chrono::seconds(1);

[[nodiscard]] PathStep step(const PathState& state, const PathEvent& event, TimePoint now, const PathTiming& timing);

[[nodiscard]] bool in_standby(const PathState& state);
// May the map send I/O down this path?
[[nodiscard]] bool usable(const PathState& state);
[[nodiscard]] CheckerState shown_checker_state(const PathState& state);
[[nodiscard]] DmState shown_dm_state(const PathState& state);
[[nodiscard]] const char* state_name(const PathState& state);

}  // namespace mpath
