// What the coroutine tests share: a loop whose clock moves only when nothing else is left to do.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <optional>

#include "base/sim_clock.hpp"

namespace mpath::test {

struct Loop {
  boost::asio::io_context context{1};
  SimClock clock;

  // Runs everything that is ready, then the next alarm, until neither is left.
  void run() {
    do {
      context.restart();
      while (context.poll() > 0) {
      }
    } while (clock.step());
  }
  void poll() {
    context.restart();
    while (context.poll() > 0) {
    }
  }
  // The value of a coroutine that ends without the help of other threads.
  template <typename T>
  std::optional<T> get(boost::asio::awaitable<T> coroutine) {
    std::optional<T> result;
    boost::asio::co_spawn(context, std::move(coroutine), [&result](std::exception_ptr exception, T value) {
      if (exception) std::rethrow_exception(exception);
      result = std::move(value);
    });
    run();
    return result;
  }
  // Starts it; sets `done` when it has ended.
  void start(boost::asio::awaitable<void> coroutine, bool& done) {
    boost::asio::co_spawn(context, std::move(coroutine), [&done](std::exception_ptr exception) {
      if (exception) std::rethrow_exception(exception);
      done = true;
    });
  }
};

}  // namespace mpath::test
