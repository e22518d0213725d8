// On real devices in a namespace of its own; the time to settle is simulated.
//
//     ve0 10.9.0.1 ═══ ve1      vf0 10.9.1.1, 2001:db8::1 ═══ vf1
#include "ifaces/address_reach.hpp"

#include "base/sim_clock.hpp"
#include "namespace.hpp"

namespace mpath {
namespace {

using namespace std::chrono_literals;

class AddressReachTest : public NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped()) return;
    cable("ve0", "ve1");
    cable("vf0", "vf1");
    ip("addr add 10.9.0.1/24 dev ve0");
    ip("addr add 10.9.1.1/24 dev vf0");
    ip("addr add 2001:db8::1/64 dev vf0 nodad");
  }
  void watch(std::vector<std::string> addresses) {
    reach_.emplace(context_, clock_,
                   AddressReachOptions{.addresses = std::move(addresses),
                                       .settle = 300ms,
                                       .on_change = [this](bool reachable) { told_.push_back(reachable); }});
    const error_code error = reach_->start();
    ASSERT_FALSE(error) << error.message();
    EXPECT_TRUE(reach_->reachable());
  }
  // Runs the loop until it is so.
  [[nodiscard]] bool wait_for(const std::function<bool()>& condition) {
    context_.restart();
    while (!condition()) {
      if (context_.run_one_for(20s) == 0) return condition();
    }
    return true;
  }
  [[nodiscard]] bool doubted() {
    return wait_for([this] { return clock_.next() != never; });
  }
  [[nodiscard]] bool trusted() {
    return wait_for([this] { return clock_.next() == never; });
  }

  boost::asio::io_context context_;
  SimClock clock_;
  std::vector<bool> told_;
  std::optional<AddressReach> reach_;
};

TEST_F(AddressReachTest, TheLastCableMatters) {
  watch({"10.9.0.1", "10.9.1.1"});
  ip("link set ve1 down");
  ip("link set vf1 down");
  ASSERT_TRUE(doubted());
  EXPECT_TRUE(reach_->reachable()) << "it may be back in a moment";
  clock_.run_for(299ms);
  EXPECT_TRUE(told_.empty());
  clock_.run_for(1ms);
  EXPECT_FALSE(reach_->reachable());
  EXPECT_EQ(told_, std::vector<bool>{false});
  clock_.run_for(10s);
  ip("link set vf1 up");
  ASSERT_TRUE(wait_for([this] { return reach_->reachable(); }));
  EXPECT_EQ(told_, (std::vector<bool>{false, true}));
}

TEST_F(AddressReachTest, AShortLossIsNone) {
  watch({"10.9.0.1"});
  ip("link set ve1 down");
  ASSERT_TRUE(doubted());
  clock_.run_for(200ms);
  ip("link set ve1 up");
  ASSERT_TRUE(trusted());
  ip("link set ve1 down");
  ASSERT_TRUE(doubted());
  clock_.run_for(299ms);
  EXPECT_TRUE(told_.empty()) << "the time begins anew";
  clock_.run_for(1ms);
  EXPECT_EQ(told_, std::vector<bool>{false});
}

TEST_F(AddressReachTest, OneOfSeveralIsEnoughHoweverItIsWritten) {
  watch({"10.9.0.1", "2001:0DB8:0:0::1"});
  ip("link set ve1 down");
  ip("link set lo down");
  ip("link set lo up");
  ip("addr add 10.9.7.1/24 dev ve1");
  ip("link set ve0 down");
  // All of that was heard when the loop has nothing left to do.
  while (context_.run_one_for(50ms) > 0) {
  }
  EXPECT_EQ(clock_.next(), never);
  EXPECT_TRUE(reach_->reachable());
  ip("link set vf1 down");
  EXPECT_TRUE(doubted());
}

TEST_F(AddressReachTest, AnAddressThatIsTakenAwayIsOutOfReach) {
  watch({"10.9.0.1"});
  ip("addr del 10.9.0.1/24 dev ve0");
  ASSERT_TRUE(doubted());
  clock_.run_for(300ms);
  EXPECT_FALSE(reach_->reachable());
}

TEST_F(AddressReachTest, WithoutAnAddressThatSaysWhichDeviceMattersAllIsWell) {
  for (const std::vector<std::string>& addresses : {std::vector<std::string>{}, {"10.9.0.1", "0.0.0.0"}, {"::"}}) {
    watch(addresses);
    ip("link set ve1 down");
    ip("link set vf1 down");
    while (context_.run_one_for(20ms) > 0) {
    }
    EXPECT_EQ(clock_.next(), never);
  }
}

TEST_F(AddressReachTest, StoppedItSaysNothing) {
  watch({"10.9.0.1"});
  ip("link set ve1 down");
  ASSERT_TRUE(doubted());
  reach_->stop();
  clock_.run_for(10s);
  EXPECT_TRUE(told_.empty());
}

}  // namespace
}  // namespace mpath
