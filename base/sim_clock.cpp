#include "base/sim_clock.hpp"

#include <utility>

namespace mpath {

class SimAlarm final : public Alarm {
 public:
  SimAlarm(SimClock& clock, std::function<void()> fire)
      : clock_(clock), fire_(std::make_shared<std::function<void()>>(std::move(fire))) {}
  ~SimAlarm() override { cancel(); }

  void set(TimePoint at) override {
    cancel();
    if (at == never) return;
    key_ = {std::max(at, clock_.now_), ++clock_.sequence_};
    clock_.armed_.emplace(key_, this);
  }
  void cancel() override {
    if (key_.second != 0) clock_.armed_.erase(key_);
    key_ = {};
  }
  void fire() {
    key_ = {};
    const auto keep = fire_;  // the handler may destroy this alarm
    (*keep)();
  }

 private:
  SimClock& clock_;
  std::shared_ptr<std::function<void()>> fire_;
  SimClock::Key key_{};
};

std::unique_ptr<Alarm> SimClock::make_alarm(std::function<void()> fire) {
  return std::make_unique<SimAlarm>(*this, std::move(fire));
}

TimePoint SimClock::next() const { return armed_.empty() ? never : armed_.begin()->first.first; }

bool SimClock::step() {
  if (armed_.empty()) return false;
  const auto first = armed_.begin();
  SimAlarm& alarm = *first->second;
  now_ = std::max(now_, first->first.first);
  armed_.erase(first);
  alarm.fire();
  return true;
}

void SimClock::run_until(TimePoint at) {
  while (!armed_.empty() && armed_.begin()->first.first <= at) step();
  now_ = std::max(now_, at);
}

}  // namespace mpath
