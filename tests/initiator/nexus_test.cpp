// The nexus over sessions that do what the test says.
#include <gtest/gtest.h>

#include <algorithm>

#include "initiator/nexus.hpp"
#include "tests/initiator/engine_bench.hpp"

namespace mpath::test {
namespace {

class FakeSession;

// All sessions that were made, newest last.
struct Factory {
  std::vector<FakeSession*> alive;
  std::vector<SessionConfig> made;
  SessionFactory function();
};

class FakeSession final : public Session {
 public:
  FakeSession(Factory& factory, Shard& shard, SessionConfig config, SessionListener& listener)
      : factory_(factory), shard_(shard), listener_(listener) {
    factory_.made.push_back(std::move(config));
    factory_.alive.push_back(this);
    info_.portal_group = 1;
  }
  ~FakeSession() override { std::erase(factory_.alive, this); }

  void start() override { started = true; }
  [[nodiscard]] bool logged_in() const override { return up_ && !ended_; }
  [[nodiscard]] std::uint32_t room() const override { return logged_in() ? 10 : 0; }
  [[nodiscard]] bool submit(ScsiTask&) noexcept override { return logged_in(); }
  void reset_lun(scsi::Lun lun, std::function<void(bool)> done) override {
    reset_lun_seen = lun;
    reset_done = std::move(done);
  }
  void log_out() override { end({SessionEnd::logged_out, "logged out"}); }
  void abort(SessionEnd why, const std::string& text) override { end({why, text}); }
  [[nodiscard]] const SessionInfo& info() const override { return info_; }
  [[nodiscard]] const SessionCounters& counters() const override { return counters_; }

  // What the test makes happen.
  void come_up() {
    up_ = true;
    listener_.on_session_up(*this);
  }
  void end(SessionFailure failure) {
    if (std::exchange(ended_, true)) return;
    shard_.post([this, failure = std::move(failure)] { listener_.on_session_end(*this, failure); });
  }

  bool started = false;
  std::optional<scsi::Lun> reset_lun_seen;
  std::function<void(bool)> reset_done;
  SessionInfo info_;
  SessionCounters counters_{.commands = 1};

 private:
  Factory& factory_;
  Shard& shard_;
  SessionListener& listener_;
  bool up_ = false;
  bool ended_ = false;
};

SessionFactory Factory::function() {
  return [this](Shard& shard, SessionConfig config, SessionListener& listener) {
    return std::make_unique<FakeSession>(*this, shard, std::move(config), listener);
  };
}

struct Watcher final : ScsiPortObserver {
  void on_port_up() override { lines.push_back("up"); }
  void on_port_down(const SessionFailure& failure) override { lines.push_back("down " + failure.text); }
  void on_port_room() override { lines.push_back("room"); }
  void on_port_event(const scsi::Sense&) override { lines.push_back("event"); }
  std::vector<std::string> lines;
};

class NexusTest : public testing::Test {
 protected:
  [[nodiscard]] static SessionConfig config(std::uint8_t path) {
    SessionConfig config;
    config.initiator_name = "iqn.i";
    config.target_name = "iqn.t";
    config.address = "192.0.2." + std::to_string(path);
    config.binding.iface_name = "iface" + std::to_string(path);
    config.isid = {0x80, 0, 0, 0, 0, path};
    return config;
  }
  std::unique_ptr<Nexus> make(std::uint8_t path) {
    return std::make_unique<Nexus>(path, bench_.shard(), config(path), ReconnectPolicy{10ms, 40ms, 0}, factory_.function());
  }
  // A nexus that is up.
  std::unique_ptr<Nexus> make_up(std::uint8_t path) {
    auto nexus = make(path);
    nexus->start();
    factory_.alive.back()->come_up();
    return nexus;
  }
  [[nodiscard]] bool run_until(const std::function<bool()>& done) { return bench_.run_until(done); }
  void stop(Nexus& nexus) {
    bool stopped = false;
    nexus.stop([&] { stopped = true; });
    ASSERT_TRUE(run_until([&] { return stopped; }));
    EXPECT_EQ(nexus.state(), NexusState::stopped);
  }

  Bench bench_;
  Factory factory_;
};

TEST_F(NexusTest, LogsInAgainAfterEveryFailureWithTheSameIsid) {
  auto nexus = make(1);
  Watcher watcher;
  nexus->add_observer(watcher);
  std::vector<std::optional<SessionFailure>> first;
  nexus->on_first_attempt([&](const auto& failure) { first.push_back(failure); });
  nexus->start();
  EXPECT_EQ(nexus->state(), NexusState::connecting);
  for (std::size_t attempt = 1; attempt <= 4; ++attempt) {
    factory_.alive.back()->end({SessionEnd::connect_failed, "refused"});
    ASSERT_TRUE(run_until([&] { return factory_.made.size() == attempt + 1; }));
  }
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0]->end, SessionEnd::connect_failed);
  EXPECT_EQ(nexus->generation(), 0U);
  ASSERT_TRUE(run_until([&] { return factory_.alive.size() == 1; }));
  factory_.alive.back()->come_up();
  EXPECT_TRUE(nexus->up());
  EXPECT_EQ(nexus->generation(), 1U);
  EXPECT_EQ(nexus->portal_group(), 1);
  for (const SessionConfig& made : factory_.made) EXPECT_EQ(made.isid, config(1).isid);
  EXPECT_EQ(watcher.lines, std::vector<std::string>{"up"});
  EXPECT_EQ(nexus->counters().commands, 5U);
  stop(*nexus);
  EXPECT_EQ(watcher.lines, (std::vector<std::string>{"up", "down logged out"}));
}

TEST_F(NexusTest, LinkEventsEndAndRetryAtOnce) {
  auto nexus = make_up(1);
  nexus->link_changed(false);
  ASSERT_TRUE(run_until([&] { return nexus->state() == NexusState::waiting; }));
  EXPECT_EQ(nexus->last_failure()->end, SessionEnd::link_down);
  nexus->link_changed(true);
  EXPECT_EQ(nexus->state(), NexusState::connecting);
  factory_.alive.back()->come_up();
  EXPECT_EQ(nexus->generation(), 2U);
  stop(*nexus);
}

TEST_F(NexusTest, StopsFromEveryState) {
  auto idle = make(1);
  stop(*idle);
  auto connecting = make(2);
  connecting->start();
  stop(*connecting);
  auto waiting = make(3);
  waiting->start();
  factory_.alive.back()->end({SessionEnd::connect_failed, "refused"});
  ASSERT_TRUE(run_until([&] { return waiting->state() == NexusState::waiting; }));
  stop(*waiting);
  auto up = make_up(4);
  stop(*up);
  EXPECT_TRUE(factory_.alive.empty());
}

TEST_F(NexusTest, ReinstatementUsesOurPortalAndTheIsidOfTheLost) {
  auto lost = make_up(1);
  auto helper = make_up(2);
  factory_.alive.front()->end({SessionEnd::nop_timeout, "silent"});
  lost->link_changed(false);
  ASSERT_TRUE(run_until([&] { return lost->state() == NexusState::waiting; }));
  std::vector<bool> results;
  const auto note = [&](bool fenced) { results.push_back(fenced); };
  const TimePoint deadline = bench_.shard().clock().now() + patience;
  const std::size_t before = factory_.made.size();
  helper->fence_by_reinstatement(*lost, deadline, note);
  helper->fence_by_reinstatement(*lost, deadline, note);  // joins the first
  ASSERT_EQ(factory_.made.size(), before + 1);
  const SessionConfig& made = factory_.made.back();
  EXPECT_EQ(made.isid, config(1).isid);
  EXPECT_EQ(made.address, config(2).address);
  EXPECT_EQ(made.binding, config(2).binding);
  EXPECT_TRUE(results.empty());
  factory_.alive.back()->come_up();
  ASSERT_TRUE(run_until([&] { return results.size() == 2; }));
  EXPECT_TRUE(results[0] && results[1]);
  EXPECT_EQ(lost->generation(), 2U);
  stop(*lost);
  stop(*helper);
}

TEST_F(NexusTest, ReinstatementInAnotherPortalGroupIsNone) {
  auto lost = make_up(1);
  auto helper = make_up(2);
  lost->link_changed(false);
  ASSERT_TRUE(run_until([&] { return lost->state() == NexusState::waiting; }));
  std::optional<bool> result;
  helper->fence_by_reinstatement(*lost, bench_.shard().clock().now() + patience, [&](bool fenced) { result = fenced; });
  factory_.alive.back()->info_.portal_group = 2;
  factory_.alive.back()->come_up();
  ASSERT_TRUE(run_until([&] { return result.has_value(); }));
  EXPECT_FALSE(*result);
  EXPECT_EQ(lost->generation(), 1U);
  stop(*lost);
  stop(*helper);
}

TEST_F(NexusTest, FencingEndsWithItsDeadlineOrItsHelper) {
  auto lost = make_up(1);
  auto helper = make_up(2);
  lost->link_changed(false);
  ASSERT_TRUE(run_until([&] { return lost->state() == NexusState::waiting; }));
  std::vector<bool> results;
  const auto note = [&](bool fenced) { results.push_back(fenced); };
  helper->fence_by_reinstatement(*lost, bench_.shard().clock().now() + 20ms, note);
  ASSERT_TRUE(run_until([&] { return results.size() == 1; }));
  helper->fence_by_reinstatement(*lost, bench_.shard().clock().now() + patience, note);
  stop(*helper);
  EXPECT_EQ(results, (std::vector<bool>{false, false}));
  helper->fence_by_reinstatement(*lost, bench_.shard().clock().now() + patience, note);
  ASSERT_TRUE(run_until([&] { return results.size() == 3; }));
  EXPECT_FALSE(results[2]);
  stop(*lost);
}

TEST_F(NexusTest, AnotherTargetCannotFence) {
  auto lost = make_up(1);
  SessionConfig other = config(2);
  other.target_name = "iqn.other";
  Nexus helper(2, bench_.shard(), other, {}, factory_.function());
  helper.start();
  factory_.alive.back()->come_up();
  lost->link_changed(false);
  std::optional<bool> result;
  helper.fence_by_reinstatement(*lost, bench_.shard().clock().now() + patience, [&](bool fenced) { result = fenced; });
  EXPECT_FALSE(result) << "told within the call";
  ASSERT_TRUE(run_until([&] { return result.has_value(); }));
  EXPECT_FALSE(*result);
  stop(*lost);
  stop(helper);
}

TEST_F(NexusTest, LuResetHasASessionOfItsOwn) {
  auto helper = make_up(2);
  std::optional<bool> result;
  helper->fence_by_lu_reset({5}, bench_.shard().clock().now() + patience, [&](bool fenced) { result = fenced; });
  EXPECT_NE(factory_.made.back().isid, config(2).isid);
  FakeSession& session = *factory_.alive.back();
  session.come_up();
  ASSERT_TRUE(session.reset_lun_seen);
  EXPECT_EQ(session.reset_lun_seen->value, 5U);
  session.reset_done(true);
  ASSERT_TRUE(run_until([&] { return result.has_value(); }));
  EXPECT_TRUE(*result);
  EXPECT_TRUE(helper->up());
  stop(*helper);
}

TEST_F(NexusTest, ObserversMayLeaveWhileTheyAreTold) {
  auto nexus = make(1);
  struct Leaver final : ScsiPortObserver {
    Nexus* nexus = nullptr;
    Watcher* other = nullptr;
    void on_port_up() override {
      nexus->remove_observer(*this);
      nexus->remove_observer(*other);
    }
    void on_port_down(const SessionFailure&) override { FAIL(); }
    void on_port_room() override {}
    void on_port_event(const scsi::Sense&) override {}
  } leaver;
  Watcher watcher;
  leaver.nexus = nexus.get();
  leaver.other = &watcher;
  nexus->add_observer(leaver);
  nexus->add_observer(watcher);
  nexus->start();
  factory_.alive.back()->come_up();
  EXPECT_TRUE(watcher.lines.empty());
  stop(*nexus);
}

TEST(ReconnectPolicy, DoublesUpToTheLongestWithJitterBelow) {
  const ReconnectPolicy policy{100ms, 5000ms, 0};
  struct Row {
    unsigned attempt;
    std::chrono::milliseconds most;
  };
  for (const Row& row : {Row{1, 100ms}, Row{2, 200ms}, Row{3, 400ms}, Row{6, 3200ms}, Row{7, 5000ms}, Row{1000000, 5000ms}}) {
    EXPECT_EQ(policy.pause(row.attempt, 0), row.most) << row.attempt;
    const auto least = policy.pause(row.attempt, 0xffffffff);
    EXPECT_GE(least, row.most * 3 / 4);
    EXPECT_LE(least, row.most * 3 / 4 + 1ms);
  }
  EXPECT_EQ((ReconnectPolicy{0ms, 0ms, 0}.pause(5, 7)), 0ms);
}

}  // namespace
}  // namespace mpath::test
