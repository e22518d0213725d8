#include "base/event.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace mpath {
namespace asio = boost::asio;

asio::awaitable<bool> Event::wait() {
  if (!set_) co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  co_return !set_;
}

asio::awaitable<void> Event::wait_uncancelled() {
  // Asio throws at an await of a coroutine that was cancelled already, so that is switched off for the time of the wait.
  const bool throws = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  while (!set_) {
    auto token = asio::bind_cancellation_slot(asio::cancellation_slot(), asio::as_tuple(asio::use_awaitable));
    co_await timer_.async_wait(std::move(token));
  }
  co_await asio::this_coro::throw_if_cancelled(throws);
}

}  // namespace mpath
