// The monitor on real devices in a namespace of its own. Every wait is for a condition.
//
//     test ── veth ve0 ═══════ ve1        (both ends in the same namespace)
#include "ifaces/link_monitor.hpp"

#include <functional>

#include "namespace.hpp"

namespace mpath {
namespace {

using std::chrono::seconds;

class Recorder final : public LinkListener {
 public:
  void on_link(const LinkEvent& event) override {
    events.push_back(event);
    if (then) then(event);
  }
  std::vector<LinkEvent> events;
  std::function<void(const LinkEvent&)> then;

  // The last thing told about a name.
  [[nodiscard]] LinkState last(const std::string& name) const {
    LinkState state;
    for (const LinkEvent& event : events) {
      if (event.net_ifacename == name) state = event.state;
    }
    return state;
  }
  [[nodiscard]] bool ever(const std::string& name, LinkState state) const {
    for (const LinkEvent& event : events) {
      if (event.net_ifacename == name && event.state == state) return true;
    }
    return false;
  }
};

constexpr LinkState gone{};
constexpr LinkState down{.present = true};
constexpr LinkState bare{.present = true, .carrier = true};
constexpr LinkState usable{.present = true, .carrier = true, .has_address = true};
constexpr LinkState unplugged{.present = true, .carrier = false, .has_address = true};

class LinkMonitorTest : public NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped()) return;
    cable("ve0", "ve1");
    ip("addr add 10.9.0.1/24 dev ve0");
  }

  void start(LinkMonitor::Options options = {}) {
    monitor_.emplace(context_, recorder_, options);
    const error_code error = monitor_->start();
    ASSERT_FALSE(error) << error.message();
    EXPECT_TRUE(recorder_.events.empty()) << "told from within start()";
  }
  // Runs the loop until the condition holds; false when it did not come true for long.
  [[nodiscard]] bool wait_for(const std::function<bool()>& condition) {
    context_.restart();
    while (!condition()) {
      if (context_.run_one_for(seconds(20)) == 0) return condition();
    }
    return true;
  }
  [[nodiscard]] bool told(const std::string& name, LinkState state) {
    return wait_for([&] { return recorder_.last(name) == state; });
  }

  boost::asio::io_context context_;
  Recorder recorder_;
  std::optional<LinkMonitor> monitor_;
};

TEST_F(LinkMonitorTest, TellsWhatIsThereFirst) {
  start();
  EXPECT_EQ(monitor_->link_state("ve0"), usable) << "known before the first event";
  EXPECT_EQ(monitor_->link_state("nothing"), gone);
  ASSERT_TRUE(told("ve0", usable));
  ASSERT_TRUE(told("ve1", bare));
  ASSERT_TRUE(told("lo", usable));
  for (const LinkEvent& event : recorder_.events) EXPECT_EQ(event.cause, LinkEvent::Cause::initial);
}

TEST_F(LinkMonitorTest, DownAndUpAreTold) {
  start();
  ASSERT_TRUE(told("ve0", usable));
  ip("link set ve0 down");
  ASSERT_TRUE(told("ve0", unplugged));
  ip("link set ve0 up");
  ASSERT_TRUE(told("ve0", usable));
  EXPECT_EQ(monitor_->link_state("ve0"), usable);
}

TEST_F(LinkMonitorTest, CableIsLostWhenTheFarEndGoesDown) {
  start();
  ASSERT_TRUE(told("ve0", usable));
  ip("link set ve1 down");
  ASSERT_TRUE(told("ve0", unplugged));
  ip("link set ve1 up");
  ASSERT_TRUE(told("ve0", usable));
}

TEST_F(LinkMonitorTest, AddressesComeAndGo) {
  start();
  ASSERT_TRUE(told("ve0", usable));
  ip("addr del 10.9.0.1/24 dev ve0");
  ASSERT_TRUE(told("ve0", bare));
  ip("addr add 2001:db8::1/64 dev ve0 nodad");
  ASSERT_TRUE(told("ve0", usable));
}

TEST_F(LinkMonitorTest, DeviceThatComesBackIsAnotherOne) {
  start();
  ASSERT_TRUE(told("ve0", usable));
  const unsigned first = recorder_.events.front().index;
  ip("link del ve0");
  ASSERT_TRUE(told("ve0", gone));
  EXPECT_EQ(monitor_->link_state("ve0"), gone);
  cable("ve0", "ve1");
  ASSERT_TRUE(told("ve0", bare));
  EXPECT_NE(recorder_.events.back().index, first);
}

TEST_F(LinkMonitorTest, RenameIsGoneThenPresent) {
  start();
  ASSERT_TRUE(told("ve0", usable));
  recorder_.events.clear();
  ip("link set ve0 name storage0");
  ASSERT_TRUE(told("storage0", usable));
  ASSERT_GE(recorder_.events.size(), 2u);
  EXPECT_EQ(recorder_.events[0].net_ifacename, "ve0");
  EXPECT_EQ(recorder_.events[0].state, gone);
  EXPECT_EQ(recorder_.events[0].cause, LinkEvent::Cause::renamed);
  EXPECT_EQ(recorder_.events[1].index, recorder_.events[0].index);
}

TEST_F(LinkMonitorTest, EveryStepOfAShortDropIsTold) {
  start();
  ASSERT_TRUE(told("ve0", usable));
  ip("link set ve0 down");
  ip("link set ve0 up");  // both before the loop runs again
  ASSERT_TRUE(wait_for([&] { return recorder_.ever("ve0", unplugged) && recorder_.last("ve0") == usable; }));
}

TEST_F(LinkMonitorTest, LostNotificationsLeadToTheRightState) {
  start({.receive_buffer_bytes = 4096});
  ASSERT_TRUE(told("ve0", usable));
  const std::string batch = ::testing::TempDir() + "mpath_ip_batch." + std::to_string(::getpid());
  {
    std::ofstream out(batch);
    for (int i = 0; i < 250; ++i) out << "addr add 10.9.1.1/24 dev ve1\naddr del 10.9.1.1/24 dev ve1\n";
    out << "addr del 10.9.0.1/24 dev ve0\nlink set ve1 name far1\nlink add late0 type veth peer name late1\n";
  }
  ip("-batch " + batch);
  ::unlink(batch.c_str());
  ASSERT_TRUE(told("ve0", bare));
  ASSERT_TRUE(told("ve1", gone));
  ASSERT_TRUE(told("far1", bare) || told("far1", down));
  ASSERT_TRUE(told("late0", down));
  EXPECT_GE(monitor_->resyncs(), 1u);
  for (const Nic& nic : monitor_->nics()) EXPECT_EQ(recorder_.last(nic.name).present, true) << nic.name;
}

TEST_F(LinkMonitorTest, ListenerMayStopTheMonitor) {
  recorder_.then = [this](const LinkEvent&) { monitor_->stop(); };
  start();
  context_.run_for(seconds(20));  // ends by itself: nothing waits any more
  EXPECT_EQ(recorder_.events.size(), 1u);
}

TEST_F(LinkMonitorTest, NothingIsToldAfterDestruction) {
  start();
  ASSERT_TRUE(told("ve0", usable));
  recorder_.events.clear();
  ip("link set ve0 down");
  monitor_.reset();
  context_.restart();
  context_.run_for(seconds(20));
  EXPECT_TRUE(recorder_.events.empty());
}

TEST_F(LinkMonitorTest, MonitorMayBeDestroyedByItsListener) {
  recorder_.then = [this](const LinkEvent&) { monitor_.reset(); };
  start();
  context_.run_for(seconds(20));
  EXPECT_EQ(recorder_.events.size(), 1u);
}

TEST_F(LinkMonitorTest, ContextMayEndFirstWhenTheMonitorWasStopped) {
  auto context = std::make_unique<boost::asio::io_context>();
  LinkMonitor monitor(*context, recorder_);
  ASSERT_FALSE(monitor.start());
  context->poll();
  monitor.stop();
}

}  // namespace
}  // namespace mpath
