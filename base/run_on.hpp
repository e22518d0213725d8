// A function run on another thread's loop, awaited from this one: how the control thread asks a shard.
//
// Threads: `work` runs where it is sent; the coroutine resumes on its own executor. The wait is not cancelled, because
// `work`
//          may use what the coroutine owns: keep `work` short, or let it start something and answer later (ask_on).
// Ending:  a shard that is stopped never answers. Stop the coroutines first (TaskGroup::close), then the shards.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/event.hpp"
#include "base/shard.hpp"

namespace mpath {

// Runs work() on `executor` and comes home with its value, or its exception.
template <typename Executor, typename Work>
[[nodiscard]] boost::asio::awaitable<std::invoke_result_t<Work&>> run_elsewhere(Executor executor, Work work) {
  using Value = std::invoke_result_t<Work&>;
  using Stored = std::conditional_t<std::is_void_v<Value>, bool, Value>;
  std::optional<Stored> value;
  std::exception_ptr exception;
  auto there = [&value, &exception, &work]() noexcept {
    try {
      if constexpr (std::is_void_v<Value>) {
        work();
        value.emplace(true);
      } else {
        value.emplace(work());
      }
    } catch (...) {
      exception = std::current_exception();
    }
  };
  auto start = [&executor, &there](auto handler) {
    // The guard keeps the home loop alive while it has nothing else to do.
    auto home = boost::asio::make_work_guard(boost::asio::get_associated_executor(handler));
    boost::asio::post(executor, [&there, home = std::move(home), handler = std::move(handler)]() mutable {
      there();
      boost::asio::post(home.get_executor(), std::move(handler));
    });
  };
  auto token = boost::asio::bind_cancellation_slot(boost::asio::cancellation_slot(), boost::asio::use_awaitable);
  co_await boost::asio::async_initiate<decltype(token), void()>(start, token);
  if (exception) std::rethrow_exception(exception);
  if constexpr (!std::is_void_v<Value>) co_return std::move(*value);
}

// Runs work() on the shard's thread.
template <typename Work>
[[nodiscard]] boost::asio::awaitable<std::invoke_result_t<Work&>> run_on(Shard& shard, Work work) {
  return run_elsewhere(shard.context().get_executor(), std::move(work));
}

// Runs work(answer) on the shard's thread and comes home with what is given to answer(value): once, then or later, on
// any thread.
template <typename Value, typename Work>
[[nodiscard]] boost::asio::awaitable<Value> ask_on(Shard& shard, Work work) {
  const auto home = co_await boost::asio::this_coro::executor;
  Event answered(home);
  Value value{};
  auto answer = [&answered, &value, home](Value given) {
    boost::asio::post(home, [&answered, &value, given = std::move(given)]() mutable {
      value = std::move(given);
      answered.set();
    });
  };
  auto there = [&work, &answer] { work(answer); };
  co_await run_on(shard, there);
  co_await answered.wait_uncancelled();
  co_return value;
}

}  // namespace mpath
