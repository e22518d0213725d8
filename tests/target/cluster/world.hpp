// What the tests of the pair's shell share: a loop on real sockets and real time, in which tests wait for what is to
// become true, and addresses of this process alone.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <fmt/format.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <optional>
#include <string>

#include "base/log.hpp"
#include "base/system_clock.hpp"
#include "target/iscsi/portals.hpp"
#include "tests/base/loop.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath::target::cluster::test {

// All of 127.0.0.0/8 is this machine's: other runs of the tests have other addresses.
inline Portal loopback(unsigned member, unsigned link = 0) {
  const auto process = static_cast<unsigned>(::getpid());
  return {.address = fmt::format("127.{}.{}.{}", 1 + process / 250 % 250, 1 + process % 250, 1 + 10 * link + member),
          .port = 7788};
}

class World : public testing::Test {
 protected:
  ~World() override {
    pool_.join();
    if (!HasFailure()) return;
    for (const std::string& line : sink_.lines()) fmt::print("  {}\n", line);
  }

  // Runs the loop until `condition` holds. False after a time that only a failure takes.
  bool until(const std::function<bool()>& condition, Duration limit = std::chrono::seconds(30)) {
    const TimePoint end = clock_.now() + limit;
    while (!condition()) {
      if (clock_.now() >= end) return false;
      context_.restart();
      context_.run_one_for(std::chrono::milliseconds(10));
      while (context_.poll() > 0) {
      }
    }
    return true;
  }
  template <typename T>
  T get(boost::asio::awaitable<T> coroutine) {
    std::optional<T> result;
    boost::asio::co_spawn(context_, std::move(coroutine), [&result](const std::exception_ptr& exception, T value) {
      if (exception) std::rethrow_exception(exception);
      result.emplace(std::move(value));
    });
    EXPECT_TRUE(until([&result] { return result.has_value(); }));
    return std::move(*result);
  }
  void run(boost::asio::awaitable<void> coroutine) {
    bool done = false;
    boost::asio::co_spawn(context_, std::move(coroutine), [&done](const std::exception_ptr& exception) {
      if (exception) std::rethrow_exception(exception);
      done = true;
    });
    EXPECT_TRUE(until([&done] { return done; }));
  }

  boost::asio::io_context context_{1};
  SystemClock clock_{context_};
  boost::asio::thread_pool pool_{2};
  MemorySink sink_;
  LogOutput output_{sink_, LogLevel::info};
  Log log_{output_};
  mpath::test::TemporaryDirectory directory_;
};

}  // namespace mpath::target::cluster::test
