// The coroutines that belong to one owner. Nothing is detached: what a group spawned has ended when close() returns.
//
// Threads:      one; the executor given at construction must run on one thread only.
// Ownership:    destroy only when no task runs (after close()), or together with an executor that will not run again.
// Cancellation: close() sends terminal cancellation. A task that waits is resumed with operation_aborted; a task that then
//               awaits something else is unwound by the exception Asio throws there, which counts as a normal end. A task that
//               wants to say goodbye first uses throw_if_cancelled(false) and a fresh cancellation state, and bounds its time.
// Errors:       any other exception that escapes a task is a bug and ends the process.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <functional>
#include <memory>

namespace mpath {

class TaskGroup {
 public:
  explicit TaskGroup(boost::asio::any_io_executor executor);
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Starts the task from the loop, never from within this call. Once closing, new tasks are dropped unstarted.
  void spawn(boost::asio::awaitable<void> task);
  // The same for a callable, which is kept until its coroutine has ended: lambdas with captures are safe here.
  void spawn(std::function<boost::asio::awaitable<void>()> task);

  // Stops new work, cancels, waits for the last task; not itself cancelled. Call from outside the group, any number of times.
  [[nodiscard]] boost::asio::awaitable<void> close();

  [[nodiscard]] std::size_t size() const;  // tasks that have not ended
  [[nodiscard]] bool closing() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the tasks' completion handlers
};

}  // namespace mpath
