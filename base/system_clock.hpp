// The steady clock of the machine, with alarms on one io_context.
#pragma once

#include <boost/asio/io_context.hpp>

#include "base/clock.hpp"

namespace mpath {

// For programs without an event loop (the command-line tools); everything else is handed a Clock.
[[nodiscard]] TimePoint steady_now();
// Puts the calling thread to sleep: in tools, and in work that was offloaded; never on an event loop.
void block_for(Duration duration);

class SystemClock final : public Clock {
 public:
  // `context` is borrowed and must outlive the clock and its alarms.
  explicit SystemClock(boost::asio::io_context& context) : context_(context) {}
  [[nodiscard]] TimePoint now() const override;
  [[nodiscard]] std::unique_ptr<Alarm> make_alarm(std::function<void()> fire) override;

 private:
  boost::asio::io_context& context_;
};

}  // namespace mpath
