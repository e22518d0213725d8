// What tests of a session engine need: one shard whose loop runs in the test's own thread, a listener that remembers, and
// tasks with memory of their own.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/shard.hpp"
#include "initiator/session.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::test {

using namespace std::chrono_literals;

// Everything is waited for, never slept for; the limit is for machines under load.
inline constexpr std::chrono::seconds patience{30};

class Bench : public SessionListener {
 public:
  Bench() : shard_(0) {}
  ~Bench() override { session_.reset(); }

  Shard& shard() { return shard_; }
  // Runs the loop until `done`; false when patience ends first.
  [[nodiscard]] bool run_until(const std::function<bool()>& done) {
    const TimePoint limit = shard_.clock().now() + patience;
    while (!done()) {
      if (shard_.clock().now() > limit) return false;
      shard_.context().restart();
      shard_.context().run_one_for(50ms);
    }
    return true;
  }
  void run_for(std::chrono::milliseconds time) {
    const TimePoint end = shard_.clock().now() + time;
    while (shard_.clock().now() < end) {
      shard_.context().restart();
      shard_.context().run_one_until(end);
    }
  }

  Session& make(const SessionFactory& factory, SessionConfig config) {
    if (session_ && !end_) {  // a session is destroyed only after its end
      session_->abort(SessionEnd::aborted, "next test");
      EXPECT_TRUE(run_until([&] { return end_.has_value(); }));
    }
    session_ = factory(shard_, std::move(config), *this);
    up_ = 0;
    end_.reset();
    return *session_;
  }
  // Starts it and waits until it is up or has ended. True when up.
  bool log_in(const SessionFactory& factory, SessionConfig config) {
    make(factory, std::move(config)).start();
    EXPECT_TRUE(run_until([&] { return up_ > 0 || end_; }));
    return up_ > 0 && !end_;
  }
  [[nodiscard]] bool log_out() {
    session_->log_out();
    return run_until([&] { return end_.has_value(); });
  }

  void on_session_up(Session&) override { ++up_; }
  void on_session_end(Session&, const SessionFailure& failure) override {
    EXPECT_FALSE(end_) << "ended twice";
    end_ = failure;
  }
  void on_session_room(Session&) override {
    ++rooms_;
    if (on_room) on_room();
  }
  void on_session_event(Session&, const scsi::Sense& sense) override { events_.push_back(sense); }

  Session& session() { return *session_; }
  std::function<void()> on_room;
  Shard shard_;
  std::unique_ptr<Session> session_;
  int up_ = 0;
  int rooms_ = 0;
  std::optional<SessionFailure> end_;
  std::vector<scsi::Sense> events_;
};

struct TestTask : ScsiTask {
  std::vector<std::byte> memory;
  std::vector<iovec> parts;
  int completions = 0;
  std::function<void(TestTask&)> then;

  // `pieces`: how many elements the scatter list has.
  static std::unique_ptr<TestTask> make(scsi::Cdb cdb, DataDirection direction, std::size_t bytes, std::size_t pieces = 1) {
    auto task = std::make_unique<TestTask>();
    task->cdb = cdb;
    task->lun = {1};
    task->direction = direction;
    task->length = static_cast<std::uint32_t>(bytes);
    task->memory.resize(bytes);
    for (std::size_t i = 0; i < pieces && bytes > 0; ++i) {
      const std::size_t from = bytes * i / pieces, to = bytes * (i + 1) / pieces;
      task->parts.push_back({task->memory.data() + from, to - from});
    }
    task->data = task->parts;
    task->done = [](ScsiTask& base) noexcept {
      auto& self = static_cast<TestTask&>(base);
      ++self.completions;
      if (self.then) self.then(self);
    };
    return task;
  }
  [[nodiscard]] bool finished() const { return completions > 0; }
};

// A pattern that differs for every 512-byte block and every run.
inline void fill_pattern(std::vector<std::byte>& memory, std::uint64_t lba, std::uint32_t seed) {
  std::uint64_t state = 0;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    if (i % 512 == 0) state = (lba + i / 512) * 0x9e3779b97f4a7c15U + seed;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    memory[i] = static_cast<std::byte>(state);
  }
}

}  // namespace mpath::test
