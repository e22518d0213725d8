#include "base/system_clock.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <thread>
#include <utility>

namespace mpath {
namespace {

// Cancelling an Asio timer cannot recall a handler that is queued already; the generation tells a stale one apart, and the
// shared state lets the alarm be destroyed from its own handler.
class SystemAlarm final : public Alarm {
 public:
  SystemAlarm(boost::asio::io_context& context, std::function<void()> fire)
      : state_(std::make_shared<State>(context, std::move(fire))) {}
  ~SystemAlarm() override { cancel(); }

  void set(TimePoint at) override {
    const std::uint64_t generation = ++state_->generation;
    if (at == never) {
      state_->timer.cancel();
      return;
    }
    state_->timer.expires_at(at);
    state_->timer.async_wait([state = state_, generation](const boost::system::error_code& error) {
      if (error || state->generation != generation) return;
      ++state->generation;
      state->fire();
    });
  }
  void cancel() override {
    ++state_->generation;
    state_->timer.cancel();
  }

 private:
  struct State {
    State(boost::asio::io_context& context, std::function<void()> function)
        : timer(context), fire(std::move(function)) {}
    boost::asio::steady_timer timer;
    std::function<void()> fire;
    std::uint64_t generation = 0;
  };
  std::shared_ptr<State> state_;
};

}  // namespace

TimePoint steady_now() { return std::chrono::steady_clock::now(); }

void block_for(Duration duration) { std::this_thread::sleep_for(duration); }

TimePoint SystemClock::now() const { return steady_now(); }

std::unique_ptr<Alarm> SystemClock::make_alarm(std::function<void()> fire) {
  return std::make_unique<SystemAlarm>(context_, std::move(fire));
}

}  // namespace mpath
