// Commands of several steps, written as coroutines: Part<T> is such a command or a piece of one, Job drives it.
//
// Threads:    the unit's shard. Nothing is posted: a step goes on where the store, the lock or the clock says that it
//             is done, and at once when it was done at once.
// Allocation: a frame per command; READ and WRITE do without.
// Ending:     a Job is not cancelled. Its steps ask UnitCore::aborted() and end by themselves.
#pragma once

#include <coroutine>
#include <memory>
#include <optional>
#include <utility>

#include "base/block_device.hpp"
#include "base/check.hpp"
#include "base/clock.hpp"
#include "target/scsi/range_locks.hpp"
#include "target/store/store.hpp"

namespace mpath::target {

// Runs from its call until its end, and frees itself then.
struct Job {
  struct promise_type {
    Job get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { CHECK(!"a job threw"); }
  };
};

// Begins when it is awaited; its locals are gone when the awaiting coroutine goes on.
template <typename T>
class [[nodiscard]] Part {
 public:
  struct promise_type {
    std::optional<T> value;
    std::coroutine_handle<> waiting;
    Part get_return_object() noexcept { return Part(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
      struct Return {
        bool await_ready() noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> ended) noexcept {
          return ended.promise().waiting;
        }
        void await_resume() noexcept {}
      };
      return Return{};
    }
    void return_value(T result) { value.emplace(std::move(result)); }
    void unhandled_exception() noexcept { CHECK(!"a part of a job threw"); }
  };

  Part(Part&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Part& operator=(Part&&) = delete;
  ~Part() {
    if (handle_) handle_.destroy();
  }
  bool await_ready() noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) noexcept {
    handle_.promise().waiting = waiting;
    return handle_;
  }
  T await_resume() { return std::move(*handle_.promise().value); }

 private:
  explicit Part(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

// One request of the store: fill it in, co_await it, look at the status that comes.
class StoreIo final : public BlockRequest {
 public:
  StoreIo(BlockDevice& store, BlockOp operation, std::uint64_t first_byte, std::uint64_t byte_count) : store_(store) {
    op = operation;
    offset = first_byte;
    length = byte_count;
    done = [](BlockRequest& request) noexcept { static_cast<StoreIo&>(request).completed(); };
  }
  StoreIo(const StoreIo&) = delete;
  StoreIo& operator=(const StoreIo&) = delete;
  void set_data(std::span<const iovec> parts) { data = parts; }
  void set_data(std::span<std::byte> bytes) {
    one_ = {.iov_base = bytes.data(), .iov_len = bytes.size()};
    data = std::span(&one_, 1);
  }
  // All or nothing, by this journal.
  void set_atomic(Store& journal) { journal_ = &journal; }

  bool await_ready() noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiting) noexcept {
    waiting_ = waiting;
    inside_submit_ = true;
    if (journal_ != nullptr) {
      journal_->submit_atomic(*this);
    } else {
      store_.submit(*this);
    }
    inside_submit_ = false;
    return !completed_;
  }
  BlockStatus await_resume() noexcept {
    completed_ = false;
    return status;
  }

 private:
  void completed() noexcept {
    completed_ = true;
    if (!inside_submit_) waiting_.resume();
  }

  BlockDevice& store_;
  Store* journal_ = nullptr;
  iovec one_{};
  std::coroutine_handle<> waiting_;
  bool inside_submit_ = false;
  bool completed_ = false;
};

// Blocks held until the end of the scope.
class BlockLock final : RangeLock {
 public:
  enum class Kind : std::uint8_t { shared, exclusive };
  BlockLock(RangeLocks& locks, std::uint64_t lba, std::uint64_t blocks, Kind kind) : locks_(locks) {
    first = lba;
    count = blocks;
    exclusive = kind == Kind::exclusive;
    granted = [](RangeLock& lock) noexcept { static_cast<BlockLock&>(lock).waiting_.resume(); };
  }
  BlockLock(const BlockLock&) = delete;
  BlockLock& operator=(const BlockLock&) = delete;
  ~BlockLock() {
    if (locked_) locks_.release(*this);
  }
  bool await_ready() noexcept {
    locked_ = true;
    return locks_.lock(*this);
  }
  void await_suspend(std::coroutine_handle<> waiting) noexcept { waiting_ = waiting; }
  void await_resume() noexcept {}

 private:
  RangeLocks& locks_;
  std::coroutine_handle<> waiting_;
  bool locked_ = false;
};

// Until a time has come, or wake() is called.
class Pause {
 public:
  explicit Pause(Clock& clock) : alarm_(clock.make_alarm([this] { wake(); })) {}
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;
  void until(TimePoint at) { at_ = at; }
  void wake() {
    alarm_->cancel();
    if (const auto waiting = std::exchange(waiting_, nullptr)) waiting.resume();
  }

  bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    waiting_ = waiting;
    alarm_->set(at_);
  }
  void await_resume() noexcept {}

 private:
  std::unique_ptr<Alarm> alarm_;
  TimePoint at_{};
  std::coroutine_handle<> waiting_;
};

}  // namespace mpath::target
