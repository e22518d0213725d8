// The preferred node serves again, but only when nothing speaks against it, and not at once.
#include "target/cluster/failback.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "tests/target/cluster/sample_status.hpp"

namespace mpath::target::cluster {
namespace {

using namespace std::chrono_literals;

ClusterConfig to_b() {
  ClusterConfig config = sample_config();
  config.auto_failback = AutoFailback::on;
  config.preferred = Member::b;
  return config;
}
const TimePoint start{1h};

TEST(Failback, WaitsForAPeerThatStays) {
  Failback failback(to_b());
  EXPECT_FALSE(failback.due_at());
  EXPECT_FALSE(failback.due(good_status(), start));
  EXPECT_EQ(failback.due_at(), start + 10s);
  EXPECT_FALSE(failback.due(good_status(), start + 9s));
  ClusterStatus gone = good_status();
  gone.peer_heard = false;
  EXPECT_FALSE(failback.due(gone, start + 9500ms));
  EXPECT_FALSE(failback.due(good_status(), start + 10s));
  EXPECT_FALSE(failback.due(good_status(), start + 19s));
  EXPECT_TRUE(failback.due(good_status(), start + 20s));
  EXPECT_FALSE(failback.due(good_status(), start + 21s)) << "the next try has its own wait";
  EXPECT_TRUE(failback.due(good_status(), start + 30s));
}

struct Against {
  const char* name;
  std::function<void(ClusterStatus&, ClusterConfig&)> change;
};
class NoFailback : public testing::TestWithParam<Against> {};
TEST_P(NoFailback, IsDue) {
  ClusterStatus status = good_status();
  ClusterConfig config = to_b();
  GetParam().change(status, config);
  Failback failback(config);
  EXPECT_FALSE(failback.due(status, start));
  EXPECT_FALSE(failback.due(status, start + 1h));
}
INSTANTIATE_TEST_SUITE_P(
    Failback, NoFailback,
    testing::Values(Against{"off", [](auto&, auto& config) { config.auto_failback = AutoFailback::off; }},
                    Against{"preferred_here", [](auto&, auto& config) { config.preferred = Member::a; }},
                    Against{"not_serving", [](auto& status, auto&) { status.serving = false; }},
                    Against{"maintenance", [](auto& status, auto&) { status.held_back = {Member::a, Member::b}; }},
                    Against{"out_of_sync", [](auto& status, auto&) { status.view.in_sync = {Member::a}; }},
                    Against{"filling", [](auto& status, auto&) { status.copies[0].to_fill_bytes = 1; }},
                    Against{"disconnected", [](auto& status, auto&) { status.copies[0].connection = "Connecting"; }},
                    Against{"failed", [](auto& status, auto&) { status.copies[0].peer_disk = "Failed"; }}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace mpath::target::cluster
