// The one time limit on an await.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/clock.hpp"
#include "base/sleep.hpp"

namespace mpath {
namespace within_detail {

// Asio's `a || b` waits for the first await that does not throw, so none may.
template <typename T>
boost::asio::awaitable<void> keep(boost::asio::awaitable<T> op, std::optional<T>& value, std::exception_ptr& exception) {
  try {
    value.emplace(co_await std::move(op));
  } catch (...) {
    exception = std::current_exception();
  }
}

inline boost::asio::awaitable<bool> as_value(boost::asio::awaitable<void> op) {
  co_await std::move(op);
  co_return true;
}

}  // namespace within_detail

// The value of `op`, or nothing when it had not ended by `deadline`: then it was cancelled, and it has ended when this
// resumes. What `op` throws is thrown here. When the awaiting coroutine is cancelled, `op` is, and its answer to that comes back.
template <typename T>
[[nodiscard]] boost::asio::awaitable<std::optional<T>> within(Clock& clock, TimePoint deadline, boost::asio::awaitable<T> op) {
  using namespace boost::asio::experimental::awaitable_operators;
  std::optional<T> value;
  std::exception_ptr exception;
  const auto first = co_await (within_detail::keep(std::move(op), value, exception) || sleep_until(clock, deadline));
  const bool late = first.index() == 1 && !std::get<1>(first);
  if (late) co_return std::nullopt;
  if (exception) std::rethrow_exception(exception);
  co_return value;
}

// For an `op` without a value: true when it ended in time.
[[nodiscard]] inline boost::asio::awaitable<bool> within(Clock& clock, TimePoint deadline, boost::asio::awaitable<void> op) {
  const auto ended = co_await within(clock, deadline, within_detail::as_value(std::move(op)));
  co_return ended.has_value();
}

template <typename T>
[[nodiscard]] auto within(Clock& clock, Duration limit, boost::asio::awaitable<T> op) {
  return within(clock, clock.now() + limit, std::move(op));
}

}  // namespace mpath
