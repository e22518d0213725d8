// The session manager behind a real control socket, with real shards and nexuses and sessions of straw: asked the way
// mpathadm asks. The daemon's control loop has a thread of its own; the test is the administrator.
#include "initiator/session_manager.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <condition_variable>
#include <fstream>
#include <future>
#include <mutex>
#include <thread>

#include "base/boot_id.hpp"
#include "base/control_server.hpp"
#include "base/system_clock.hpp"
#include "initiator/mpathadm_context.hpp"
#include "initiator/wanted_sessions.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath {
namespace {

using namespace std::chrono_literals;

const std::string disk = "iqn.2003-01.org.example:disk1";

db::NodeKey key(const std::string& address) { return {.target_name = disk, .address = address, .port = 3260, .tpgt = 1, .iface = "default"}; }

// What the fake sessions do, and what they were seen to do. Shared by all threads.
class FakeTarget {
 public:
  void answer(const std::string& address, SessionEnd end) {
    const std::scoped_lock lock(mutex_);
    refused_[address] = end;
    silent_.erase(address);
  }
  void accept(const std::string& address) {
    const std::scoped_lock lock(mutex_);
    refused_.erase(address);
    silent_.erase(address);
  }
  void keep_silent(const std::string& address) {
    const std::scoped_lock lock(mutex_);
    silent_.insert(address);
  }
  [[nodiscard]] bool silent(const std::string& address) {
    const std::scoped_lock lock(mutex_);
    return silent_.contains(address);
  }
  std::optional<SessionEnd> refusal(const std::string& address) {
    const std::scoped_lock lock(mutex_);
    const auto at = refused_.find(address);
    return at == refused_.end() ? std::nullopt : std::optional(at->second);
  }
  void saw(const std::string& event) {
    const std::scoped_lock lock(mutex_);
    events_.push_back(event);
    changed_.notify_all();
  }
  [[nodiscard]] long count(const std::string& event) {
    const std::scoped_lock lock(mutex_);
    return std::ranges::count(events_, event);
  }
  [[nodiscard]] bool wait_for(const std::string& event, long times = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] { return std::ranges::count(events_, event) >= times; });
  }
  std::vector<SessionConfig> configs() {
    const std::scoped_lock lock(mutex_);
    return configs_;
  }
  void saw_config(const SessionConfig& config) {
    const std::scoped_lock lock(mutex_);
    configs_.push_back(config);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, SessionEnd> refused_;
  std::set<std::string> silent_;
  std::vector<std::string> events_;
  std::vector<SessionConfig> configs_;
};

class FakeSession final : public Session {
 public:
  FakeSession(Shard& shard, SessionConfig config, SessionListener& listener, FakeTarget& target)
      : shard_(shard), config_(std::move(config)), listener_(listener), target_(target) {
    target_.saw_config(config_);
    info_.portal_group = 1;
  }
  ~FakeSession() override { *alive_ = false; }

  void start() override {
    target_.saw("login " + config_.address);
    if (target_.silent(config_.address)) return;
    later([this] {
      if (const auto end = target_.refusal(config_.address)) {
        finish(*end, "refused by the test");
      } else {
        up_ = true;
        target_.saw("up " + config_.address);
        listener_.on_session_up(*this);
      }
    });
  }
  [[nodiscard]] bool logged_in() const override { return up_; }
  [[nodiscard]] std::uint32_t room() const override { return up_ ? 8 : 0; }
  [[nodiscard]] bool submit(ScsiTask&) noexcept override { return false; }
  void reset_lun(scsi::Lun, std::function<void(bool)> done) override { done(false); }
  void log_out() override {
    target_.saw("logout " + config_.address);
    later([this] { finish(SessionEnd::logged_out, ""); });
  }
  void abort(SessionEnd why, const std::string& text) override {
    target_.saw("abort " + config_.address);
    later([this, why, text] { finish(why, text); });
  }
  [[nodiscard]] const SessionInfo& info() const override { return info_; }
  [[nodiscard]] const SessionCounters& counters() const override { return counters_; }

 private:
  void finish(SessionEnd why, const std::string& text) {
    if (ended_) return;
    ended_ = true;
    up_ = false;
    listener_.on_session_end(*this, {why, text});
  }
  template <typename Work>
  void later(Work work) {
    shard_.post([alive = alive_, work] {
      if (*alive) work();
    });
  }

  Shard& shard_;
  SessionConfig config_;
  SessionListener& listener_;
  FakeTarget& target_;
  SessionInfo info_;
  SessionCounters counters_;
  bool up_ = false;
  bool ended_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// The daemon of the test: what mpathd's main puts together, as far as sessions need it.
class TestDaemon final : private NexusListener {
 public:
  TestDaemon(Layout layout, FakeTarget& target) : layout_(std::move(layout)), target_(target) {
    for (unsigned index = 0; index < 2; ++index) {
      shards_.push_back(std::make_unique<Shard>(index));
      shards_.back()->start();
    }
    manager_ = std::make_unique<SessionManager>(SessionManager::Setup{
        .control = control_,
        .blocking = blocking_,
        .shards = shards_,
        .factory =
            [this](Shard& shard, SessionConfig config, SessionListener& listener) {
              return std::make_unique<FakeSession>(shard, std::move(config), listener, target_);
            },
        .open_store = [this] { return db::Store::open(layout_.database()); },
        .layout = layout_,
        .listener = *this,
        .attached =
            [](unsigned sid, std::function<void(std::vector<AttachedDevice>)> done) {
              done({{.lun = sid, .name = "sda", .state = "running"}});
            },
        .rescan = [](unsigned sid, std::function<void(std::string)> done) { done(sid == 1 ? "" : "no answer"); },
        .preparing = {.first = 20ms, .longest = 50ms}});
    manager_->register_verbs(server_);
    EXPECT_FALSE(server_.listen(layout_.control_socket()));
    std::promise<void> started;
    boost::asio::post(control_, [&] { manager_->start([&] { started.set_value(); }); });
    thread_ = std::thread([this] { control_.run(); });
    started.get_future().wait();
  }

  ~TestDaemon() override {
    std::promise<void> stopped;
    boost::asio::co_spawn(control_, server_.close(), boost::asio::use_future).wait();
    boost::asio::post(control_, [&] { manager_->stop(10s, [&] { stopped.set_value(); }); });
    stopped.get_future().wait();
    work_.reset();
    thread_.join();
    blocking_.join();
    for (auto& shard : shards_) shard->stop();
    EXPECT_EQ(alive_, 0);
  }

  void link_changed(const std::string& nic, bool usable) {
    std::promise<void> told;
    boost::asio::post(control_, [&] {
      manager_->link_changed(nic, usable);
      told.set_value();
    });
    told.get_future().wait();
  }

 private:
  void on_nexus_created(Nexus& nexus, Shard&) override {
    EXPECT_EQ(nexus.state(), NexusState::idle);
    ++alive_;
  }
  void on_nexus_stopped(Nexus& nexus) override {
    EXPECT_EQ(nexus.state(), NexusState::stopped);
    --alive_;
  }

  Layout layout_;
  FakeTarget& target_;
  boost::asio::io_context control_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{control_.get_executor()};
  boost::asio::thread_pool blocking_{2};
  SystemClock clock_{control_};
  control::Server server_{control_.get_executor(), clock_};
  std::vector<std::unique_ptr<Shard>> shards_;
  std::atomic<int> alive_ = 0;
  std::unique_ptr<SessionManager> manager_;
  std::thread thread_;
};

class ManagerTest : public testing::Test {
 protected:
  ManagerTest() {
    store_ = db::Store::open(layout_.database()).value();
    client_ = adm::connect_daemon(layout_.control_socket());
  }
  ~ManagerTest() override {
    daemon_.reset();
    store_.reset();
  }

  void start() { daemon_ = std::make_unique<TestDaemon>(layout_, target_); }
  void restart() {
    daemon_.reset();
    start();
  }
  void add_node(const std::string& address, const db::Settings& settings = {}) { ASSERT_FALSE(store_->add_node(key(address), settings)); }

  adm::SessionOutcome log_in(const std::string& address, bool wait = true, bool additional = false) {
    const auto outcomes = client_->log_in({.nodes = {key(address)}, .wait = wait, .additional = additional});
    EXPECT_TRUE(outcomes) << (outcomes ? "" : outcomes.error().text);
    if (!outcomes || outcomes->size() != 1) {
      ADD_FAILURE() << "no single outcome";
      return {};
    }
    return outcomes->front();
  }
  ExitCode log_out(unsigned sid) {
    const auto outcomes = client_->log_out(std::vector{sid});
    return outcomes ? outcomes->front().code : outcomes.error().code;
  }
  std::vector<SessionReport> sessions() {
    auto all = client_->sessions();
    EXPECT_TRUE(all) << (all ? "" : all.error().text);
    return all ? std::move(*all) : std::vector<SessionReport>();
  }
  // Until exactly one session is there and logged in.
  [[nodiscard]] bool wait_logged_in(const std::string& address) {
    const auto end = steady_now() + 20s;
    while (steady_now() < end) {
      for (const auto& session : sessions()) {
        if (session.node.address == address && session.phase == SessionPhase::logged_in) return true;
      }
    }
    return false;
  }

  const test::TemporaryDirectory root_;
  Layout layout_{root_.path()};
  FakeTarget target_;
  std::unique_ptr<db::Store> store_;
  std::unique_ptr<adm::Daemon> client_;
  std::unique_ptr<TestDaemon> daemon_;
};

TEST_F(ManagerTest, LoginMakesASessionAndLogoutEndsIt) {
  add_node("127.0.0.1");
  start();
  const auto outcome = log_in("127.0.0.1");
  EXPECT_EQ(outcome.code, ExitCode::success) << outcome.text;
  EXPECT_EQ(outcome.sid, 1u);
  const auto all = sessions();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].phase, SessionPhase::logged_in);
  EXPECT_TRUE(all[0].established);
  EXPECT_EQ(all[0].node, key("127.0.0.1"));
  EXPECT_EQ(all[0].current_address, "127.0.0.1");
  ASSERT_EQ(all[0].devices.size(), 1u);
  EXPECT_EQ(all[0].devices[0].lun, 1u);
  EXPECT_EQ(log_out(1), ExitCode::success);
  EXPECT_TRUE(sessions().empty());
  EXPECT_EQ(target_.count("logout 127.0.0.1"), 1);
}

TEST_F(ManagerTest, FailedLoginByHandLeavesNothingBehind) {
  add_node("127.0.0.1");
  start();
  const std::pair<SessionEnd, ExitCode> rows[] = {{SessionEnd::connect_failed, ExitCode::connection_failure},
                                                  {SessionEnd::connect_timeout, ExitCode::connect_timeout},
                                                  {SessionEnd::auth_failed, ExitCode::authorization_failure},
                                                  {SessionEnd::login_rejected, ExitCode::non_retryable_login}};
  for (const auto& [end, code] : rows) {
    target_.answer("127.0.0.1", end);
    const auto outcome = log_in("127.0.0.1");
    EXPECT_EQ(outcome.code, code);
    EXPECT_EQ(outcome.text, "refused by the test");
    EXPECT_TRUE(sessions().empty());
  }
  target_.accept("127.0.0.1");
  EXPECT_EQ(log_in("127.0.0.1").code, ExitCode::success);
}

TEST_F(ManagerTest, SecondLoginOfARecordIsFifteen) {
  add_node("127.0.0.1");
  start();
  ASSERT_EQ(log_in("127.0.0.1").code, ExitCode::success);
  const auto again = log_in("127.0.0.1");
  EXPECT_EQ(again.code, ExitCode::session_exists);
  EXPECT_EQ(again.text, "default: 1 session requested, but 1 already present.");
  EXPECT_EQ(log_in("127.0.0.1", true, true).code, ExitCode::success);  // unless one more is asked for
  EXPECT_EQ(sessions().size(), 2u);
}

TEST_F(ManagerTest, UnknownRecordIsNoObject) {
  start();
  EXPECT_EQ(log_in("127.0.0.9").code, ExitCode::no_objects_found);
}

TEST_F(ManagerTest, ManySessionsOfARecordHaveNamesOfTheirOwn) {
  add_node("127.0.0.1", {{"node.session.nr_sessions", "3"}});
  start();
  const auto outcomes = client_->log_in({.nodes = {key("127.0.0.1")}});
  ASSERT_TRUE(outcomes);
  EXPECT_EQ(outcomes->size(), 3u);
  std::set<Isid> isids;
  for (const auto& config : target_.configs()) isids.insert(config.isid);
  EXPECT_EQ(isids.size(), 3u);
}

TEST_F(ManagerTest, LoginsOfManyNodesRunSideBySide) {
  for (const char* address : {"127.0.0.1", "127.0.0.2", "127.0.0.3"}) add_node(address);
  target_.answer("127.0.0.2", SessionEnd::connect_failed);
  start();
  const auto outcomes = client_->log_in({.nodes = {key("127.0.0.1"), key("127.0.0.2"), key("127.0.0.3")}});
  ASSERT_TRUE(outcomes);
  ASSERT_EQ(outcomes->size(), 3u);
  EXPECT_EQ((*outcomes)[0].code, ExitCode::success);
  EXPECT_EQ((*outcomes)[1].code, ExitCode::connection_failure);
  EXPECT_EQ((*outcomes)[2].code, ExitCode::success);
  EXPECT_EQ((*outcomes)[1].node, key("127.0.0.2"));
}

TEST_F(ManagerTest, AutomaticNodesAreTriedForEverAndDoNotBlockTheStart) {
  add_node("127.0.0.1", {{"node.startup", "automatic"}});
  add_node("127.0.0.2", {{"node.conn[0].startup", "onboot"}});
  add_node("127.0.0.3");
  target_.answer("127.0.0.1", SessionEnd::connect_failed);
  start();
  EXPECT_TRUE(wait_logged_in("127.0.0.2"));
  EXPECT_TRUE(target_.wait_for("login 127.0.0.1", 3));
  target_.accept("127.0.0.1");
  EXPECT_TRUE(wait_logged_in("127.0.0.1"));
  EXPECT_EQ(target_.count("login 127.0.0.3"), 0);
}

TEST_F(ManagerTest, LoginByHandTakesOverWhatTheBackgroundTries) {
  add_node("127.0.0.1", {{"node.startup", "automatic"}});
  target_.answer("127.0.0.1", SessionEnd::connect_failed);
  start();
  ASSERT_TRUE(target_.wait_for("login 127.0.0.1"));
  EXPECT_EQ(log_in("127.0.0.1").code, ExitCode::connection_failure);
  EXPECT_EQ(sessions().size(), 1u);  // it goes on being tried
  target_.accept("127.0.0.1");
  EXPECT_TRUE(wait_logged_in("127.0.0.1"));
}

TEST_F(ManagerTest, LoginWithoutWaitingGoesOnInTheBackground) {
  add_node("127.0.0.1");
  target_.keep_silent("127.0.0.1");
  start();
  EXPECT_EQ(log_in("127.0.0.1", false).code, ExitCode::success);
  ASSERT_EQ(sessions().size(), 1u);
  EXPECT_FALSE(sessions()[0].established);
  EXPECT_EQ(log_out(1), ExitCode::success);  // a login under way can always be ended
  EXPECT_TRUE(sessions().empty());
}

TEST_F(ManagerTest, WhatWasLoggedInComesBackAfterARestart) {
  for (const char* address : {"127.0.0.1", "127.0.0.2", "127.0.0.3"}) add_node(address);
  start();
  ASSERT_EQ(log_in("127.0.0.1").code, ExitCode::success);
  ASSERT_EQ(log_in("127.0.0.2").code, ExitCode::success);
  // The reply came after the file: a daemon killed now would find both.
  EXPECT_EQ(load_wanted(layout_.state() / "sessions.json", read_boot_id()).value(), (std::set{key("127.0.0.1"), key("127.0.0.2")}));
  ASSERT_EQ(log_out(2), ExitCode::success);
  EXPECT_EQ(load_wanted(layout_.state() / "sessions.json", read_boot_id()).value(), std::set{key("127.0.0.1")});
  restart();
  EXPECT_TRUE(wait_logged_in("127.0.0.1"));
  EXPECT_EQ(sessions().size(), 1u);
}

TEST_F(ManagerTest, RecordRemovedWhileTheDaemonWasAwayIsForgotten) {
  add_node("127.0.0.1");
  start();
  ASSERT_EQ(log_in("127.0.0.1").code, ExitCode::success);
  daemon_.reset();
  ASSERT_FALSE(store_->remove_node(key("127.0.0.1")));
  start();
  EXPECT_TRUE(sessions().empty());
}

TEST_F(ManagerTest, DamagedSessionsFileDoesNotKeepTheDaemonFromStarting) {
  add_node("127.0.0.1", {{"node.startup", "automatic"}});
  std::ofstream(layout_.state() / "sessions.json") << "{ not json";
  start();
  EXPECT_TRUE(wait_logged_in("127.0.0.1"));
}

TEST_F(ManagerTest, MissingNicIsWaitedFor) {
  ASSERT_FALSE(store_->add_iface("ieth9", {{"iface.net_ifacename", "nosuchnic9"}}));
  db::NodeKey bound = key("127.0.0.1");
  bound.iface = "ieth9";
  ASSERT_FALSE(store_->add_node(bound, {{"node.startup", "automatic"}}));
  start();
  const auto all = sessions();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].phase, SessionPhase::preparing);
  const auto outcomes = client_->log_in({.nodes = {bound}});
  ASSERT_TRUE(outcomes);
  EXPECT_EQ(outcomes->front().code, ExitCode::connection_failure);
  EXPECT_NE(outcomes->front().text.find("nosuchnic9"), std::string::npos);
  ASSERT_FALSE(store_->update_iface("ieth9", {{"iface.net_ifacename", "lo"}}));
  daemon_->link_changed("lo", true);
  EXPECT_TRUE(wait_logged_in("127.0.0.1"));
}

TEST_F(ManagerTest, LostLinkEndsTheSessionsOfItsNicOnly) {
  ASSERT_FALSE(store_->add_iface("ilo", {{"iface.net_ifacename", "lo"}}));
  db::NodeKey bound = key("127.0.0.1");
  bound.iface = "ilo";
  ASSERT_FALSE(store_->add_node(bound, {}));
  add_node("127.0.0.2");
  start();
  ASSERT_EQ(client_->log_in({.nodes = {bound, key("127.0.0.2")}})->size(), 2u);
  daemon_->link_changed("lo", false);
  EXPECT_TRUE(target_.wait_for("abort 127.0.0.1"));
  EXPECT_EQ(target_.count("abort 127.0.0.2"), 0);
  daemon_->link_changed("lo", true);
  EXPECT_TRUE(target_.wait_for("up 127.0.0.1", 2));
}

TEST_F(ManagerTest, RescanAnswersForEachSession) {
  add_node("127.0.0.1");
  add_node("127.0.0.2");
  start();
  ASSERT_EQ(client_->log_in({.nodes = {key("127.0.0.1"), key("127.0.0.2")}})->size(), 2u);
  EXPECT_EQ(client_->rescan(1)->front().code, ExitCode::success);
  EXPECT_EQ(client_->rescan(2)->front().code, ExitCode::session_not_connected);
  EXPECT_EQ(client_->rescan(2)->front().text, "no answer");
}

TEST_F(ManagerTest, UnknownSidIsNoSession) {
  start();
  EXPECT_EQ(client_->log_out(std::vector<unsigned>{7}).error().code, ExitCode::session_not_found);
}

TEST_F(ManagerTest, BadSettingIsNamed) {
  add_node("127.0.0.1", {{"node.session.auth.authmethod", "CHAP"}});
  start();
  const auto outcome = log_in("127.0.0.1");
  EXPECT_EQ(outcome.code, ExitCode::invalid_argument);
  EXPECT_NE(outcome.text.find("node.session.auth.username"), std::string::npos);
}

TEST_F(ManagerTest, TwoLoginsAtOnceMakeOneSession) {
  add_node("127.0.0.1");
  start();
  const auto other = adm::connect_daemon(layout_.control_socket());
  auto second = std::async(std::launch::async, [&] { return other->log_in({.nodes = {key("127.0.0.1")}}); });
  const auto first = log_in("127.0.0.1").code;
  const auto outcome = second.get();
  ASSERT_TRUE(outcome);
  const std::set<ExitCode> both{first, outcome->front().code};
  EXPECT_EQ(both, (std::set{ExitCode::success, ExitCode::session_exists}));
  EXPECT_EQ(sessions().size(), 1u);
}

TEST_F(ManagerTest, StopIsBoundedWhenATargetIsSilent) {
  add_node("127.0.0.1", {{"node.startup", "automatic"}});
  target_.keep_silent("127.0.0.1");
  start();
  ASSERT_TRUE(target_.wait_for("login 127.0.0.1"));
  daemon_.reset();  // would hang here
}

// --- the sessions file -----------------------------------------------------------------------------------------------

TEST(WantedSessions, BelongToTheirBoot) {
  const std::set<db::NodeKey> keys{key("10.0.0.1"), key("fe80::1")};
  const std::string text = format_wanted(keys, "boot-1");
  EXPECT_EQ(parse_wanted(text, "boot-1").value(), keys);
  EXPECT_TRUE(parse_wanted(text, "boot-2").value().empty());
}

TEST(WantedSessions, WhatIsNoSuchFileIsAnError) {
  for (const char* text : {"", "{", "[]", "{}", R"({"version":2,"boot":"b","nodes":[]})", R"({"version":1,"boot":"b"})",
                           R"({"version":1,"boot":"b","nodes":[{"target":"x"}]})"}) {
    EXPECT_EQ(parse_wanted(text, "b").error(), std::errc::protocol_error) << text;
  }
}

}  // namespace
}  // namespace mpath
