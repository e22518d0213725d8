// A clock that stands still until it is told to move: alarms fire in order of time, then of setting.
//
// Threads: one. The same calls give the same order on every machine.
#pragma once

#include <cstdint>
#include <map>

#include "base/clock.hpp"

namespace mpath {

class SimClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const override { return now_; }
  [[nodiscard]] std::unique_ptr<Alarm> make_alarm(std::function<void()> fire) override;

  // Moves to `at`, firing every alarm that falls due on the way, those set by other alarms included.
  void run_until(TimePoint at);
  void run_for(Duration duration) { run_until(now_ + duration); }
  // Moves to the next alarm and fires it. False when none is armed.
  bool step();
  // When the next alarm is due; `never` when none is armed.
  [[nodiscard]] TimePoint next() const;

 private:
  friend class SimAlarm;
  using Key = std::pair<TimePoint, std::uint64_t>;
  TimePoint now_{std::chrono::hours(1)};  // not the epoch, so that "an hour ago" can be said
  std::uint64_t sequence_ = 0;
  std::map<Key, class SimAlarm*> armed_;
};

}  // namespace mpath
