#include "base/sleep.hpp"

#include <boost/asio/this_coro.hpp>

#include "base/event.hpp"

namespace mpath {
namespace asio = boost::asio;

asio::awaitable<bool> sleep_until(Clock& clock, TimePoint at) {
  Event fired(co_await asio::this_coro::executor);
  const auto alarm = clock.make_alarm([&fired] { fired.set(); });
  alarm->set(at);
  const bool cancelled = co_await fired.wait();
  co_return cancelled;
}

asio::awaitable<bool> sleep_for(Clock& clock, Duration duration) { return sleep_until(clock, clock.now() + duration); }

}  // namespace mpath
