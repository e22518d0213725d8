#include "target/iscsi/listeners.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/target/iscsi/portals_world.hpp"

namespace mpath::target {
namespace {

using namespace test;
using namespace std::chrono_literals;

using ListenersTest = PortalsWorld;

TEST_F(ListenersTest, ListensOnAllOrOnNone) {
  serve();
  const auto before = portals_->listening();
  UniqueFd taken(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in in{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t size = sizeof in;
  ASSERT_EQ(::bind(taken.get(), reinterpret_cast<sockaddr*>(&in), size), 0);
  ASSERT_EQ(::listen(taken.get(), 1), 0);
  ASSERT_EQ(::getsockname(taken.get(), reinterpret_cast<sockaddr*>(&in), &size), 0);
  const std::vector<Portal> asked = {{.address = "127.0.0.2", .port = 0},
                                     {.address = "127.0.0.1", .port = ntohs(in.sin_port)}};
  const auto listened = portals_->listen(asked);
  ASSERT_FALSE(listened);
  EXPECT_EQ(listened.error(),
            "cannot listen on 127.0.0.1:" + std::to_string(ntohs(in.sin_port)) + ": Address already in use");
  EXPECT_EQ(portals_->listening(), before);
  const UniqueFd fd = connect();
  put(fd, last(names));
  until([&] { return !registry_.established.empty(); });
}

TEST_F(ListenersTest, ReplacesAWildcardByOneOfItsAddresses) {
  const std::vector<Portal> any = {{.address = "0.0.0.0", .port = 0}};
  ASSERT_TRUE(portals_->listen(any));
  const std::uint16_t port = portals_->listening().at(0).port;
  const std::vector<Portal> one = {{.address = "127.0.0.3", .port = port}};
  ASSERT_TRUE(portals_->listen(one));
  EXPECT_EQ(portals_->listening(), one);
  EXPECT_TRUE(connect(port, "127.0.0.3"));
  EXPECT_FALSE(connect(port, "127.0.0.4"));
  // Back, together with one that cannot be: the old one is as it was.
  const std::vector<Portal> impossible = {{.address = "0.0.0.0", .port = port}, {.address = "192.0.2.1", .port = port}};
  EXPECT_FALSE(portals_->listen(impossible));
  EXPECT_EQ(portals_->listening(), one);
  EXPECT_TRUE(connect(port, "127.0.0.3"));
  EXPECT_FALSE(connect(port, "127.0.0.4"));
}

TEST_F(ListenersTest, RefusesAddressesThatAreNone) {
  const std::vector<Portal> asked = {{.address = "localhost", .port = 0}};
  EXPECT_EQ(portals_->listen(asked).error(), "cannot listen on localhost:0: not a numeric address");
  EXPECT_TRUE(portals_->listening().empty());
}

TEST_F(ListenersTest, LeavesWhatItListensOnAlone) {
  serve();
  const UniqueFd fd = connect();
  put(fd, security(names));
  static_cast<void>(hear_from(fd));
  const std::vector<Portal> more = {{.address = "127.0.0.1", .port = 0}, {.address = "127.0.0.2", .port = port_}};
  ASSERT_TRUE(portals_->listen(more));
  ASSERT_EQ(portals_->listening().size(), 2U);
  EXPECT_EQ(portals_->listening()[0].port, port_);
  const std::vector<Portal> other = {{.address = "127.0.0.2", .port = port_}};
  ASSERT_TRUE(portals_->listen(other));
  EXPECT_FALSE(connect(port_));
  // A login goes on though its portal is gone.
  put(fd, security_to(Stage::full_feature, ""));
  until([&] { return !registry_.established.empty(); });
}

TEST_F(ListenersTest, ListensOnAMovingAddressBeforeItIsHere) {
  const std::vector<Portal> fixed = {{.address = "192.0.2.1", .port = 0}};
  EXPECT_EQ(portals_->listen(fixed).error(), "cannot listen on 192.0.2.1:0: Cannot assign requested address");
  const std::vector<Portal> moving = {{.address = "192.0.2.1", .port = 0, .moving = true}};
  ASSERT_TRUE(portals_->listen(moving));
  ASSERT_EQ(portals_->listening().size(), 1U);
  EXPECT_TRUE(portals_->listening()[0].moving);
  EXPECT_NE(portals_->listening()[0].port, 0);
  ASSERT_TRUE(portals_->listen({}));
  EXPECT_TRUE(portals_->listening().empty());
  const std::vector<Portal> v6 = {{.address = "2001:db8::1", .port = 0, .moving = true}};
  const auto listened = portals_->listen(v6);
  if (!listened && listened.error().contains("not supported")) GTEST_SKIP() << "no IPv6 here";
  EXPECT_TRUE(listened) << listened.error();
}

TEST_F(ListenersTest, ServesBothKindsOfAddressOnOnePort) {
  const std::vector<Portal> v6_first = {{.address = "::", .port = 0}};
  if (!portals_->listen(v6_first)) GTEST_SKIP() << "no IPv6 here";
  const std::uint16_t port = portals_->listening().at(0).port;
  EXPECT_FALSE(connect(port));  // :: is not 0.0.0.0
  const std::vector<Portal> both = {{.address = "::", .port = 0}, {.address = "0.0.0.0", .port = port}};
  ASSERT_TRUE(portals_->listen(both));
  auto target = plain_target();
  target->groups = {{.tag = 1, .portals = {{.host = "::", .port = port}}},
                    {.tag = 2, .portals = {{.host = "0.0.0.0", .port = port}}}};
  auto targets = std::make_shared<TargetsView>();
  targets->targets.push_back(target);
  portals_->set_targets(targets);
  const UniqueFd v6 = connect(port, "::1");
  if (!v6) GTEST_SKIP() << "no ::1 here";
  put(v6, last(names));
  until([&] { return registry_.established.size() == 1; });
  const UniqueFd v4 = connect(port);
  put(v4, last(names));
  until([&] { return registry_.established.size() == 2; });
  EXPECT_EQ(registry_.admissions[0].portal_group, 1);
  EXPECT_EQ(registry_.admissions[0].local, "[::1]:" + std::to_string(port));
  EXPECT_EQ(registry_.admissions[1].portal_group, 2);
}

}  // namespace
}  // namespace mpath::target
