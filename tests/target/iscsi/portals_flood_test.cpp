#include "target/iscsi/portals.hpp"

#include <gtest/gtest.h>

#include "tests/support/live_memory.hpp"
#include "tests/target/iscsi/portals_world.hpp"

namespace mpath::target {
namespace {

using namespace test;
using namespace std::chrono_literals;

using PortalsFlood = PortalsWorld;

TEST_F(PortalsFlood, TheOneThatWasSilentForLongestGivesWay) {
  make({.half_open_max = 3});
  serve();
  std::vector<UniqueFd> fds;
  for (int i = 0; i < 3; ++i) {
    fds.push_back(connect());
    until([&] { return portals_->half_open() == fds.size(); });
    settle();
    clock_.run_for(1s);
  }
  put(fds[0], security(names));  // the oldest, but not silent
  static_cast<void>(hear_from(fds[0]));
  clock_.run_for(1s);
  fds.push_back(connect());
  expect_end(fds[1]);
  EXPECT_EQ(portals_->half_open(), 3U);
  put(fds[0], last(""));
  EXPECT_EQ(hear_from(fds[0]).pdu.status, LoginStatus::initiator_error);  // of another stage, and still there
  put(fds[3], last(names));
  until([&] { return !registry_.established.empty(); });
}

TEST_F(PortalsFlood, ALoginInTheHandsOfTheRegistryDoesNotGiveWay) {
  make({.half_open_max = 1});
  serve();
  registry_.gate.clear();
  const UniqueFd fd = connect();
  put(fd, last(names));
  until([&] { return registry_.admissions.size() == 1; });
  const UniqueFd other = connect();
  expect_end(other);
  registry_.gate.set();
  until([&] { return !registry_.established.empty(); });
}

TEST_F(PortalsFlood, AFloodOfHalfOpenLoginsIsBoundedAndDoesNotKeepOthersOut) {
  constexpr std::size_t most = 32;
  make({.half_open_max = most});
  serve();
  // Each sends part after part of a request that never ends, and the head of one more: the most that a login can hold.
  const std::string part = "X-" + std::string(60, 'x') + "=" + std::string(8000, 'y') + "\n";
  const auto fill_up = [&](const UniqueFd& fd) {
    for (int i = 0; i < 7; ++i) {
      put(fd, {.keys = part, .continued = true});
      static_cast<void>(hear_from(fd));
    }
    const auto more = login_pdu(request_of({.continued = true}), text(part));
    put(fd, std::span(more).first(more.size() - 1));
    settle();
  };
  std::vector<UniqueFd> fds;
  const std::size_t before = mpath::test::live_memory();
  for (std::size_t i = 0; i < most; ++i) {
    fds.push_back(connect());
    fill_up(fds.back());
  }
  const std::size_t full = mpath::test::live_memory() - before;
  EXPECT_EQ(portals_->half_open(), most);
  EXPECT_GT(full, most * part.size() * 7);  // it is held, and it is seen
  EXPECT_LT(full, most * (std::size_t{256} << 10));
  for (std::size_t i = 0; i < 4 * most; ++i) {
    fds[i % most] = connect();
    fill_up(fds[i % most]);
    EXPECT_LE(portals_->half_open(), most);
    if (i % most != 0) continue;
    const std::size_t sessions = registry_.established.size();
    const UniqueFd honest = connect();
    put(honest, security_to(Stage::operational, names));
    EXPECT_TRUE(hear_from(honest).pdu.transit);
    put(honest, last(""));
    until([&] { return registry_.established.size() > sessions; });
  }
  EXPECT_LT(mpath::test::live_memory() - before, full + full / 4);
  fds.clear();
  until([&] { return portals_->half_open() == 0; });
  settle();
  EXPECT_LT(mpath::test::live_memory() - before, full / 4);
}

TEST_F(PortalsFlood, LocksOutWhoFailsTooOften) {
  auto target = plain_target();
  target->authentication.incoming = {account};
  serve(target);
  const Account wrong{.user = "joe", .secret = "no secret of joe's"};
  EXPECT_EQ(log_in(initiator_iqn, account), LoginStatus::success);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(log_in(initiator_iqn, wrong), LoginStatus::authentication_failure);
  EXPECT_TRUE(sink_.contains("locked out initiator="));
  EXPECT_EQ(log_in(initiator_iqn, account), LoginStatus::authentication_failure);  // though it is right
  EXPECT_EQ(log_in("iqn.2026-01.org.example:other", account), LoginStatus::success);
  clock_.run_for(30001ms);
  EXPECT_EQ(log_in(initiator_iqn, account), LoginStatus::success);
}

TEST_F(PortalsFlood, ASuccessForgivesFailures) {
  auto target = plain_target();
  target->authentication.incoming = {account};
  serve(target);
  const Account wrong{.user = "joe", .secret = "no secret of joe's"};
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 4; ++i) EXPECT_EQ(log_in(initiator_iqn, wrong), LoginStatus::authentication_failure);
    EXPECT_EQ(log_in(initiator_iqn, account), LoginStatus::success);
  }
}

}  // namespace
}  // namespace mpath::target
