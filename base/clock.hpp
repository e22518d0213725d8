// Time as a thing that is handed in: the one place that reads the steady clock is base/clock.cpp, and tests put a
// SimClock (base/sim_clock.hpp) in its stead. Wall-clock time is for display only and is not found here.
//
// Threads:    a Clock belongs to one event loop; its alarms fire on that loop.
// Resolution: a millisecond or better.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

namespace mpath {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;
inline constexpr TimePoint never = TimePoint::max();

// One timer. Destroying or cancelling it means that it does not fire any more, even when it was due already.
class Alarm {
 public:
  virtual ~Alarm() = default;
  // Fires once at `at` (at once if that is past), replacing an earlier setting. `never` disarms. Allocates nothing.
  virtual void set(TimePoint at) = 0;
  virtual void cancel() = 0;
};

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimePoint now() const = 0;
  // A disarmed alarm that will call `fire` from the event loop, never from within set().
  // The alarm must not outlive the clock. `fire` may set, cancel or destroy its own alarm.
  [[nodiscard]] virtual std::unique_ptr<Alarm> make_alarm(std::function<void()> fire) = 0;
};

}  // namespace mpath
