#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/event.hpp"
#include "base/offload.hpp"
#include "base/run_on.hpp"
#include "base/sleep.hpp"
#include "base/task_group.hpp"
#include "base/within.hpp"
#include "tests/base/loop.hpp"

namespace mpath {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using namespace std::chrono_literals;
using test::Loop;

awaitable<void> sleep_and_note(Clock& clock, Duration duration, std::vector<int>& notes, int note) {
  const bool cancelled = co_await sleep_for(clock, duration);
  notes.push_back(cancelled ? -note : note);
}

TEST(Sleep, EndsInOrderOfTime) {
  Loop loop;
  std::vector<int> notes;
  TaskGroup group(loop.context.get_executor());
  group.spawn(sleep_and_note(loop.clock, 20ms, notes, 2));
  group.spawn(sleep_and_note(loop.clock, 10ms, notes, 1));
  group.spawn(sleep_and_note(loop.clock, 0ms, notes, 3));
  EXPECT_TRUE(notes.empty()) << "spawn() does not run the task itself";
  loop.run();
  EXPECT_EQ(notes, (std::vector{3, 1, 2}));
  EXPECT_EQ(group.size(), 0u);
}

TEST(TaskGroup, CloseCancelsAndWaitsForTheLast) {
  Loop loop;
  std::vector<int> notes;
  bool closed = false;
  TaskGroup group(loop.context.get_executor());
  group.spawn(sleep_and_note(loop.clock, 1h, notes, 1));
  group.spawn(sleep_and_note(loop.clock, 2h, notes, 2));
  loop.poll();
  const TimePoint before = loop.clock.now();
  loop.start(group.close(), closed);
  loop.poll();
  EXPECT_TRUE(closed);
  EXPECT_EQ(notes, (std::vector{-1, -2}));
  EXPECT_EQ(loop.clock.now(), before);
}

TEST(TaskGroup, CloseUnwindsATaskThatAwaitsOn) {
  Loop loop;
  bool closed = false;
  int rounds = 0;
  TaskGroup group(loop.context.get_executor());
  auto forever = [&loop, &rounds]() -> awaitable<void> {
    for (;; ++rounds) co_await sleep_for(loop.clock, 1h);
  };
  group.spawn(forever);
  loop.poll();
  loop.start(group.close(), closed);
  loop.poll();
  EXPECT_TRUE(closed);
  EXPECT_EQ(rounds, 1);
}

TEST(TaskGroup, CloseEndsATaskThatHasNotBegun) {
  Loop loop;
  std::vector<int> notes;
  bool closed = false;
  TaskGroup group(loop.context.get_executor());
  group.spawn(sleep_and_note(loop.clock, 1h, notes, 1));
  loop.start(group.close(), closed);
  loop.run();
  EXPECT_TRUE(closed);
  EXPECT_EQ(group.size(), 0u);
}

TEST(TaskGroup, TakesNothingNewOnceClosing) {
  Loop loop;
  std::vector<int> notes;
  bool closed = false;
  TaskGroup group(loop.context.get_executor());
  loop.start(group.close(), closed);
  loop.poll();
  group.spawn(sleep_and_note(loop.clock, 1ms, notes, 1));
  loop.run();
  EXPECT_TRUE(closed);
  EXPECT_TRUE(notes.empty());
}

TEST(TaskGroup, ATaskMaySayGoodbyeAfterCancellation) {
  Loop loop;
  std::vector<int> notes;
  bool closed = false;
  TaskGroup group(loop.context.get_executor());
  auto polite = [&loop, &notes]() -> awaitable<void> {
    co_await asio::this_coro::throw_if_cancelled(false);
    const bool cancelled = co_await sleep_for(loop.clock, 1h);
    if (!cancelled) co_return;
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    if (!co_await sleep_for(loop.clock, 5ms)) notes.push_back(7);
  };
  group.spawn(polite);
  loop.poll();
  loop.start(group.close(), closed);
  loop.poll();
  EXPECT_FALSE(closed);
  loop.clock.run_for(5ms);
  loop.poll();
  EXPECT_TRUE(closed);
  EXPECT_EQ(notes, (std::vector{7}));
}

TEST(TaskGroup, CloseWaitsEvenWhenItsCallerIsCancelled) {
  Loop loop;
  TaskGroup inner(loop.context.get_executor());
  TaskGroup outer(loop.context.get_executor());
  std::vector<int> notes;
  bool closed = false;
  auto stubborn = [&loop, &notes]() -> awaitable<void> {
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    co_await sleep_for(loop.clock, 5ms);
    notes.push_back(1);
  };
  auto owner = [&inner, &notes]() -> awaitable<void> {
    co_await inner.close();
    notes.push_back(2);
  };
  inner.spawn(stubborn);
  loop.poll();
  outer.spawn(owner);
  loop.poll();
  loop.start(outer.close(), closed);
  loop.poll();
  EXPECT_FALSE(closed);
  loop.run();
  EXPECT_TRUE(closed);
  EXPECT_EQ(notes, (std::vector{1, 2}));
}

TEST(TaskGroupDeathTest, AnEscapedExceptionIsABug) {
  const auto run = [] {
    Loop loop;
    TaskGroup group(loop.context.get_executor());
    auto broken = []() -> awaitable<void> {
      throw std::runtime_error("broken");
      co_return;
    };
    group.spawn(broken);
    loop.run();
  };
  EXPECT_DEATH(run(), "an exception escaped: broken");
}

TEST(Event, LetsEveryWaiterPassOnce) {
  Loop loop;
  Event event(loop.context.get_executor());
  int passed = 0;
  TaskGroup group(loop.context.get_executor());
  auto waiter = [&event, &passed]() -> awaitable<void> {
    const bool cancelled = co_await event.wait();
    if (!cancelled) ++passed;
  };
  group.spawn(waiter);
  group.spawn(waiter);
  loop.poll();
  EXPECT_EQ(passed, 0);
  event.set();
  loop.poll();
  EXPECT_EQ(passed, 2);
  group.spawn(waiter);
  loop.poll();
  EXPECT_EQ(passed, 3) << "set stays set";
}

awaitable<int> value_after(Clock& clock, Duration duration, int value) {
  const bool cancelled = co_await sleep_for(clock, duration);
  co_return cancelled ? -value : value;
}

awaitable<int> throw_after(Clock& clock, Duration duration) {
  co_await sleep_for(clock, duration);
  throw std::runtime_error("lost");
}

TEST(Within, GivesTheValueInTime) {
  Loop loop;
  const auto start = loop.clock.now();
  const auto value = loop.get(within(loop.clock, 10ms, value_after(loop.clock, 5ms, 42)));
  ASSERT_TRUE(value);
  EXPECT_EQ(*value, 42);
  EXPECT_EQ(loop.clock.now(), start + 5ms);
}

TEST(Within, GivesNothingWhenLate) {
  Loop loop;
  const auto start = loop.clock.now();
  const auto value = loop.get(within(loop.clock, 10ms, value_after(loop.clock, 1h, 42)));
  ASSERT_TRUE(value);
  EXPECT_EQ(*value, std::nullopt);
  EXPECT_EQ(loop.clock.now(), start + 10ms);
}

TEST(Within, ThrowsAtOnceWhatTheOperationThrows) {
  Loop loop;
  const auto start = loop.clock.now();
  EXPECT_THROW(static_cast<void>(loop.get(within(loop.clock, 1h, throw_after(loop.clock, 5ms)))), std::runtime_error);
  EXPECT_EQ(loop.clock.now(), start + 5ms);
}

TEST(Within, HandsBackTheAnswerToACancellation) {
  Loop loop;
  std::optional<int> seen;
  bool closed = false;
  TaskGroup group(loop.context.get_executor());
  auto task = [&loop, &seen]() -> awaitable<void> { seen = co_await within(loop.clock, 2h, value_after(loop.clock, 1h, 42)); };
  group.spawn(task);
  loop.poll();
  loop.start(group.close(), closed);
  loop.poll();
  EXPECT_TRUE(closed);
  EXPECT_EQ(seen, -42);
}

TEST(Within, TellsWhetherAnOperationWithoutValueEnded) {
  Loop loop;
  std::vector<int> notes;
  EXPECT_EQ(loop.get(within(loop.clock, loop.clock.now() + 10ms, sleep_and_note(loop.clock, 5ms, notes, 1))), true);
  EXPECT_EQ(loop.get(within(loop.clock, loop.clock.now() + 10ms, sleep_and_note(loop.clock, 15ms, notes, 2))), false);
  EXPECT_EQ(notes, (std::vector{1, -2}));
}

// The tests below use real threads; run() of the context returns when the coroutine has come home.
template <typename T>
T run_to_end(asio::io_context& context, awaitable<T> coroutine) {
  std::optional<T> result;
  std::exception_ptr failed;
  asio::co_spawn(context, std::move(coroutine), [&](std::exception_ptr exception, T value) {
    failed = exception;
    result = std::move(value);
  });
  context.run();
  context.restart();
  if (failed) std::rethrow_exception(failed);
  return std::move(*result);
}

awaitable<bool> offload_twice(asio::thread_pool& pool) {
  const auto home = std::this_thread::get_id();
  auto where = [] { return std::this_thread::get_id(); };
  const auto there = co_await offload(pool, where);
  if (std::this_thread::get_id() != home) co_return false;
  const auto unit = std::make_unique<int>(3);
  auto move_only = [&unit] { return std::make_unique<int>(*unit + 1); };
  const auto answer = co_await offload(pool, move_only);
  auto nothing = [&unit] { *unit = 9; };
  co_await offload(pool, nothing);
  co_return there != home && *answer == 4 && *unit == 9;
}

TEST(Offload, RunsElsewhereAndComesHome) {
  asio::thread_pool pool(2);
  asio::io_context context;
  EXPECT_TRUE(run_to_end(context, offload_twice(pool)));
  pool.join();
}

awaitable<int> offload_throw(asio::thread_pool& pool) {
  auto work = []() -> int { throw std::runtime_error("disk"); };
  const int value = co_await offload(pool, work);
  co_return value;
}

TEST(Offload, BringsAnExceptionHome) {
  asio::thread_pool pool(1);
  asio::io_context context;
  EXPECT_THROW(run_to_end(context, offload_throw(pool)), std::runtime_error);
  pool.join();
}

awaitable<int> offload_while_cancelled(asio::thread_pool& pool, TaskGroup& group, std::vector<int>& notes) {
  auto task = [&pool, &notes]() -> awaitable<void> {
    int local = 0;
    auto work = [&local] {
      std::this_thread::yield();
      local = 1;
    };
    co_await offload(pool, work);
    notes.push_back(local);
  };
  group.spawn(task);
  co_await asio::post(asio::use_awaitable);
  co_await group.close();
  co_return static_cast<int>(group.size());
}

TEST(Offload, IsWaitedForWhenCancelled) {
  asio::thread_pool pool(1);
  asio::io_context context;
  std::vector<int> notes;
  TaskGroup group(context.get_executor());
  EXPECT_EQ(run_to_end(context, offload_while_cancelled(pool, group, notes)), 0);
  EXPECT_EQ(notes, (std::vector{1}));
  pool.join();
}

awaitable<bool> ask_shard(Shard& shard) {
  const auto home = std::this_thread::get_id();
  auto question = [&shard] { return std::pair(shard.index(), std::this_thread::get_id()); };
  const auto answer = co_await run_on(shard, question);
  co_return answer.first == 3 && answer.second != home && std::this_thread::get_id() == home;
}

TEST(RunOn, AsksAShardAndComesHome) {
  Shard shard(3);
  shard.start();
  asio::io_context context;
  EXPECT_TRUE(run_to_end(context, ask_shard(shard)));
  shard.stop();
}

}  // namespace
}  // namespace mpath
