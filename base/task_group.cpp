#include "base/task_group.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdio>
#include <exception>
#include <list>
#include <vector>

#include "base/check.hpp"
#include "base/event.hpp"

namespace mpath {
namespace asio = boost::asio;

struct TaskGroup::State {
  explicit State(asio::any_io_executor given) : executor(std::move(given)), idle(executor) {}

  asio::any_io_executor executor;
  std::list<std::shared_ptr<asio::cancellation_signal>> running;
  Event idle;  // set when the last task ends
  bool closing = false;
};

namespace {

asio::awaitable<void> call(std::function<asio::awaitable<void>()> task) { co_await task(); }

bool is_cancellation(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const boost::system::system_error& error) {
    return error.code() == asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

[[noreturn]] void escaped(const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "<2>task: an exception escaped: %s\n", error.what());
  } catch (...) {
    std::fprintf(stderr, "<2>task: an exception escaped\n");
  }
  std::abort();
}

}  // namespace

TaskGroup::TaskGroup(asio::any_io_executor executor) : state_(std::make_shared<State>(std::move(executor))) {}

TaskGroup::~TaskGroup() {
  // Tasks that never run again (their context stopped) are freed with their context; those that could run on would
  // outlive their owner, and close() is what prevents it.
  state_->closing = true;
}

void TaskGroup::spawn(asio::awaitable<void> task) {
  if (state_->closing) return;
  const auto place = state_->running.insert(state_->running.end(), std::make_shared<asio::cancellation_signal>());
  auto ended = [state = state_, place](const std::exception_ptr& exception) {
    if (exception && !(state->closing && is_cancellation(exception))) escaped(exception);
    state->running.erase(place);
    if (state->running.empty()) state->idle.set();
  };
  asio::co_spawn(state_->executor, std::move(task), asio::bind_cancellation_slot((*place)->slot(), std::move(ended)));
}

void TaskGroup::spawn(std::function<asio::awaitable<void>()> task) { spawn(call(std::move(task))); }

asio::awaitable<void> TaskGroup::close() {
  const auto state = state_;
  state->closing = true;
  // A task may end while its signal is being sent: the copies keep the signals alive.
  const std::vector<std::shared_ptr<asio::cancellation_signal>> signals(state->running.begin(), state->running.end());
  for (const auto& signal : signals) signal->emit(asio::cancellation_type::terminal);
  while (!state->running.empty()) {
    state->idle.clear();
    co_await state->idle.wait_uncancelled();
  }
}

std::size_t TaskGroup::size() const { return state_->running.size(); }
bool TaskGroup::closing() const { return state_->closing; }

}  // namespace mpath
