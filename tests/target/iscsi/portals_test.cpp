#include "target/iscsi/portals.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>

#include "tests/target/iscsi/portals_world.hpp"

namespace mpath::target {
namespace {

using namespace test;
using namespace std::chrono_literals;

using PortalsTest = PortalsWorld;

TEST_F(PortalsTest, HandsOverAnEstablishedConnection) {
  serve();
  const UniqueFd fd = connect();
  auto bytes = login_pdu(request_of(last(names)), text(names));
  const std::vector<std::byte> behind(100, std::byte{0x42});
  bytes.insert(bytes.end(), behind.begin(), behind.end());
  put(fd, bytes);
  until([&] { return !registry_.established.empty(); });
  EXPECT_EQ(portals_->half_open(), 0U);
  ASSERT_EQ(registry_.admissions.size(), 1U);
  EXPECT_EQ(registry_.admissions[0].portal_group, 7);
  EXPECT_EQ(registry_.admissions[0].local, "127.0.0.1:" + std::to_string(port_));
  EXPECT_TRUE(registry_.admissions[0].remote.starts_with("127.0.0.1:"));
  const Established& connection = registry_.established[0];
  EXPECT_EQ(connection.leftover, behind);
  EXPECT_EQ(connection.cmd_sn, 1000U);
  const Heard answer = hear_pdu(connection.last_response);
  EXPECT_TRUE(answer.pdu.transit);
  EXPECT_EQ(answer.pdu.tsih, 0x1234);
  EXPECT_EQ(connection.stat_sn, answer.pdu.stat_sn + 1);
  int no_delay = 0;
  socklen_t size = sizeof no_delay;
  ::getsockopt(connection.socket.get(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &size);
  EXPECT_NE(no_delay, 0);
  EXPECT_NE(::fcntl(connection.socket.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(connection.socket.get(), F_GETFD) & FD_CLOEXEC, 0);
  // It is nobody's but the registry's now: nothing was sent, and what it sends arrives.
  EXPECT_FALSE(readable(fd));
  put(connection.socket, connection.last_response);
  EXPECT_EQ(get(fd, connection.last_response.size()), connection.last_response);
}

TEST_F(PortalsTest, TakesALoginByteByByte) {
  serve();
  const UniqueFd fd = connect();
  for (const Say& say : {security_to(Stage::operational, names), last("InitialR2T=No\n")}) {
    for (const std::byte byte : login_pdu(request_of(say), text(say.keys))) {
      put(fd, std::span(&byte, 1));
      settle();
    }
    if (say.stage == Stage::security) {
      EXPECT_TRUE(hear_from(fd).pdu.transit);
    }
  }
  until([&] { return !registry_.established.empty(); });
  EXPECT_TRUE(registry_.established[0].leftover.empty());
}

TEST_F(PortalsTest, ARefusalArrivesThoughMoreWasSent) {
  serve();
  const UniqueFd fd = connect();
  iscsi::LoginRequest request = request_of(last(""));
  put(fd, login_pdu(request, std::vector<std::byte>(100000, std::byte{'x'})));
  EXPECT_EQ(hear_from(fd).pdu.status, LoginStatus::initiator_error);
  expect_end(fd);
  EXPECT_TRUE(sink_.contains("refused status=0200"));
  ::shutdown(fd.get(), SHUT_WR);
  until([&] { return portals_->half_open() == 0; });
}

TEST_F(PortalsTest, ARefusedPeerThatStaysIsClosedSoon) {
  serve();
  const UniqueFd fd = connect();
  put(fd, last(""));
  EXPECT_EQ(hear_from(fd).pdu.status, LoginStatus::missing_parameter);
  expect_end(fd);
  EXPECT_EQ(portals_->half_open(), 1U);
  clock_.run_for(1001ms);
  until([&] { return portals_->half_open() == 0; });
}

TEST_F(PortalsTest, ClosesWithoutAWordOnWhatIsNoLogin) {
  serve();
  const UniqueFd fd = connect();
  auto pdu = login_pdu(request_of(last("")), {});
  pdu[0] = std::byte{0x41};
  put(fd, pdu);
  expect_end(fd);
  until([&] { return portals_->half_open() == 0; });
  const UniqueFd other = connect();
  put(other, text("GET / HTTP/1.1\nHost: disk\nUser-Agent: something curious, of 64 bytes\n\n"));
  expect_end(other);
}

TEST_F(PortalsTest, ForgetsAPeerThatGoes) {
  serve();
  UniqueFd fd = connect();
  put(fd, security(names));
  static_cast<void>(hear_from(fd));
  EXPECT_EQ(portals_->half_open(), 1U);
  fd.reset();
  until([&] { return portals_->half_open() == 0; });
}

TEST_F(PortalsTest, WhatTheRegistryRefusesIsAnswered) {
  serve();
  registry_.refusal = LoginStatus::too_many_connections;
  const UniqueFd fd = connect();
  put(fd, last(names));
  EXPECT_EQ(hear_from(fd).pdu.status, LoginStatus::too_many_connections);
  expect_end(fd);
}

TEST_F(PortalsTest, ALoginEndsWithThePictureItBeganWith) {
  serve();
  const UniqueFd fd = connect();
  until([&] { return portals_->half_open() == 1; });
  auto other = plain_target();
  other->name = "iqn.2026-01.org.example:other";
  use(other);
  put(fd, last(names));
  until([&] { return !registry_.established.empty(); });
  const UniqueFd late = connect();
  put(late, last(names));
  EXPECT_EQ(hear_from(late).pdu.status, LoginStatus::not_found);
}

TEST_F(PortalsTest, SilenceEndsALogin) {
  serve();
  const UniqueFd fd = connect();
  until([&] { return portals_->half_open() == 1; });
  settle();
  clock_.run_for(14999ms);
  settle();
  EXPECT_EQ(portals_->half_open(), 1U);
  clock_.run_for(2ms);
  until([&] { return portals_->half_open() == 0; });
  expect_end(fd);
}

TEST_F(PortalsTest, DrippingBytesAreSilenceToo) {
  serve();
  const UniqueFd fd = connect();
  until([&] { return portals_->half_open() == 1; });
  settle();
  const auto pdu = login_pdu(request_of(security(names)), text(names));
  for (int i = 0; i < 14; ++i) {
    put(fd, std::span(pdu).subspan(static_cast<std::size_t>(i), 1));
    settle();
    clock_.run_for(1s);
    settle();
  }
  EXPECT_EQ(portals_->half_open(), 1U);
  clock_.run_for(1001ms);
  until([&] { return portals_->half_open() == 0; });
}

TEST_F(PortalsTest, ALoginAsAWholeHasItsTimeToo) {
  serve();
  const UniqueFd fd = connect();
  put(fd, security(names));
  static_cast<void>(hear_from(fd));
  for (int i = 0; i < 2; ++i) {
    clock_.run_for(14s);
    put(fd, security(""));
    EXPECT_EQ(hear_from(fd).pdu.status, LoginStatus::success);
  }
  clock_.run_for(2001ms);
  until([&] { return portals_->half_open() == 0; });
  expect_end(fd);
}

TEST_F(PortalsTest, WaitsForOldSessionsToEnd) {
  serve();
  registry_.gate.clear();
  const UniqueFd fd = connect();
  put(fd, last(names));
  until([&] { return registry_.admissions.size() == 1; });
  clock_.run_for(20s);  // longer than a stage may take: it is we who take the time
  settle();
  EXPECT_EQ(portals_->half_open(), 1U);
  registry_.gate.set();
  until([&] { return !registry_.established.empty(); });
}

TEST_F(PortalsTest, ButNotForEver) {
  serve();
  registry_.gate.clear();
  const UniqueFd fd = connect();
  put(fd, last(names));
  until([&] { return registry_.admissions.size() == 1; });
  clock_.run_for(30001ms);
  until([&] { return portals_->half_open() == 0; });
  expect_end(fd);
  EXPECT_EQ(registry_.seats, 0U);
  EXPECT_TRUE(registry_.established.empty());
}

TEST_F(PortalsTest, LoginsToAnAddressThatLeavesAreReset) {
  const std::vector<Portal> asked = {{.address = "127.0.0.1", .port = 0}, {.address = "127.0.0.2", .port = 0}};
  ASSERT_TRUE(portals_->listen(asked));
  port_ = portals_->listening().at(0).port;
  use(plain_target());
  const UniqueFd stays = connect(portals_->listening().at(1).port, "127.0.0.2");
  const UniqueFd silent = connect();
  registry_.gate.clear();
  const UniqueFd admitted = connect();
  put(admitted, last(names));
  until([&] { return registry_.admissions.size() == 1 && portals_->half_open() == 3; });

  const std::vector<Portal> left = {asked[1]};
  ASSERT_TRUE(portals_->listen(left));
  const auto address = parse_ip_address("127.0.0.1");
  ASSERT_TRUE(address);
  portals_->drop_local(*address);
  for (const UniqueFd* fd : {&silent, &admitted}) {
    char byte = 0;
    EXPECT_EQ(::recv(fd->get(), &byte, 1, MSG_DONTWAIT), -1);
    EXPECT_EQ(errno, ECONNRESET);
  }
  EXPECT_FALSE(connect(port_));
  registry_.gate.set();
  until([&] { return portals_->half_open() == 1; });
  EXPECT_EQ(registry_.seats, 0U) << "what the registry gave was not given back";
  EXPECT_TRUE(registry_.established.empty());
  EXPECT_FALSE(readable(stays));
}

TEST_F(PortalsTest, CloseBreaksLoginsOff) {
  serve();
  const UniqueFd silent = connect();
  until([&] { return portals_->half_open() == 1; });
  registry_.gate.clear();
  const UniqueFd waiting = connect();
  put(waiting, last(names));
  until([&] { return registry_.admissions.size() == 1; });
  bool closed = false;
  asio::co_spawn(context_, portals_->close(), [&](const std::exception_ptr& thrown) {
    EXPECT_FALSE(thrown);
    closed = true;
  });
  until([&] { return closed; });
  EXPECT_EQ(portals_->half_open(), 0U);
  EXPECT_TRUE(portals_->listening().empty());
  expect_end(silent);
  expect_end(waiting);
  EXPECT_TRUE(registry_.established.empty());
  EXPECT_FALSE(connect(port_));
}

}  // namespace
}  // namespace mpath::target
