#include "target/iscsi/portals.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "base/event.hpp"
#include "base/sim_clock.hpp"
#include "base/unique_fd.hpp"
#include "tests/target/iscsi/login_script.hpp"

namespace mpath::target {
namespace {

namespace asio = boost::asio;
using namespace test;
using namespace std::chrono_literals;
using iscsi::ChapAlgorithm;

// What the registry was asked and given.
class FakeRegistry final : public SessionRegistry {
 public:
  explicit FakeRegistry(const asio::any_io_executor& executor) : gate(executor) { gate.set(); }
  struct FakeSeat final : Seat {
    explicit FakeSeat(unsigned& count) : seats(count) { ++seats; }
    ~FakeSeat() override { --seats; }
    unsigned& seats;
  };
  asio::awaitable<std::expected<std::unique_ptr<Seat>, LoginStatus>> admit(const Admission& admission) override {
    admissions.push_back(admission);
    if (co_await gate.wait()) co_return std::unexpected(LoginStatus::target_error);
    if (refusal != LoginStatus::success) co_return std::unexpected(refusal);
    auto seat = std::make_unique<FakeSeat>(seats);
    seat->tsih = 0x1234;
    co_return seat;
  }
  void establish(std::unique_ptr<Seat> seat, Established connection) override {
    EXPECT_EQ(seat->tsih, 0x1234);
    established.push_back(std::move(connection));
  }

  Event gate;  // open unless a test clears it
  LoginStatus refusal = LoginStatus::success;
  unsigned seats = 0;
  std::vector<Admission> admissions;
  std::vector<Established> established;
};

class PortalsTest : public testing::Test {
 protected:
  PortalsTest() { make({}); }
  ~PortalsTest() override {
    closed_ = false;
    asio::co_spawn(context_, portals_->close(), [this](const std::exception_ptr& thrown) {
      EXPECT_FALSE(thrown);
      closed_ = true;
    });
    until([this] { return closed_; });
    portals_.reset();
  }
  void make(LoginLimits limits) {
    portals_ = std::make_unique<Portals>(context_.get_executor(), clock_, registry_, limits, Log(output_));
  }
  // Listens on 127.0.0.1 and serves `target` there.
  void serve(std::shared_ptr<TargetView> target = plain_target()) {
    const std::vector<Portal> asked = {{.address = "127.0.0.1", .port = 0}};
    ASSERT_TRUE(portals_->listen(asked));
    port_ = portals_->listening().at(0).port;
    use(std::move(target));
  }
  void use(std::shared_ptr<TargetView> target) {
    target->groups = {{.tag = 7, .portals = {{.host = "127.0.0.1", .port = port_}}}};
    auto targets = std::make_shared<TargetsView>();
    targets->targets.push_back(std::move(target));
    portals_->set_targets(std::move(targets));
  }

  // Runs the loop until it is so; fails when it never is.
  template <typename Condition>
  void until(Condition condition) {
    const auto give_up = std::chrono::steady_clock::now() + 20s;
    while (!condition()) {
      context_.restart();
      context_.run_one_for(20ms);
      if (std::chrono::steady_clock::now() > give_up) {
        ADD_FAILURE() << "waited in vain";
        return;
      }
    }
  }
  void settle() {
    context_.restart();
    while (context_.poll() > 0) {
    }
  }

  UniqueFd connect(std::uint16_t port, const char* address = "127.0.0.1") {
    const bool v6 = std::string_view(address).find(':') != std::string_view::npos;
    UniqueFd fd(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in in{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {}, .sin_zero = {}};
    sockaddr_in6 in6{};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    ::inet_pton(v6 ? AF_INET6 : AF_INET, address, v6 ? static_cast<void*>(&in6.sin6_addr) : &in.sin_addr);
    const auto* name = v6 ? reinterpret_cast<const sockaddr*>(&in6) : reinterpret_cast<const sockaddr*>(&in);
    if (::connect(fd.get(), name, v6 ? sizeof in6 : sizeof in) != 0) return UniqueFd();
    ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
    return fd;
  }
  UniqueFd connect() {
    UniqueFd fd = connect(port_);
    EXPECT_TRUE(fd);
    return fd;
  }
  static void put(const UniqueFd& fd, std::span<const std::byte> bytes) {
    EXPECT_EQ(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  static void put(const UniqueFd& fd, const Say& say) { put(fd, login_pdu(request_of(say), text(say.keys))); }

  // Exactly that many bytes; fewer when the connection ended before.
  std::vector<std::byte> get(const UniqueFd& fd, std::size_t count) {
    std::vector<std::byte> bytes(count);
    std::size_t got = 0;
    until([&] {
      const ssize_t n = ::recv(fd.get(), bytes.data() + got, count - got, MSG_DONTWAIT);
      if (n > 0) got += static_cast<std::size_t>(n);
      return got == count || n == 0 || (n < 0 && errno != EAGAIN);
    });
    bytes.resize(got);
    return bytes;
  }
  Heard hear_from(const UniqueFd& fd) {
    auto bytes = get(fd, iscsi::bhs_bytes);
    EXPECT_EQ(bytes.size(), iscsi::bhs_bytes);
    if (bytes.size() != iscsi::bhs_bytes) return {};
    const auto pdu = iscsi::decode_login_response(std::span(bytes).first<iscsi::bhs_bytes>());
    EXPECT_TRUE(pdu);
    if (!pdu) return {};
    const auto data = get(fd, iscsi::padded(pdu->data_length));
    bytes.insert(bytes.end(), data.begin(), data.end());
    return hear_pdu(bytes);
  }
  // Ended by the other side, without another byte.
  void expect_end(const UniqueFd& fd) { EXPECT_TRUE(get(fd, 1).empty()); }

  LoginStatus log_in(const char* initiator, const Account& who) {
    const UniqueFd fd = connect();
    put(fd, security("InitiatorName=" + std::string(initiator) + "\nTargetName=" + target_iqn + "\nAuthMethod=CHAP\n"));
    Heard heard = hear_from(fd);
    if (heard.pdu.status != LoginStatus::success) return heard.pdu.status;
    put(fd, security("CHAP_A=7\n"));
    heard = hear_from(fd);
    if (heard.pdu.status != LoginStatus::success) return heard.pdu.status;
    const std::size_t before = registry_.established.size();
    put(fd, security_to(Stage::full_feature, proof(ChapAlgorithm::sha256, heard, who)));
    until([&] { return registry_.established.size() > before || portals_->half_open() == 0 || readable(fd); });
    if (registry_.established.size() > before) return LoginStatus::success;
    return hear_from(fd).pdu.status;
  }
  static bool readable(const UniqueFd& fd) {
    std::byte byte;
    return ::recv(fd.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
  }

  asio::io_context context_{1};
  SimClock clock_;
  MemorySink sink_;
  LogOutput output_{sink_, LogLevel::info};
  FakeRegistry registry_{context_.get_executor()};
  std::unique_ptr<Portals> portals_;
  std::uint16_t port_ = 0;
  bool closed_ = false;
};

// ---- logins --------------------------------------------------------------------------------------------------------

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

// ---- time ----------------------------------------------------------------------------------------------------------

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

// ---- floods --------------------------------------------------------------------------------------------------------

TEST_F(PortalsTest, TheOneThatWasSilentForLongestGivesWay) {
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

TEST_F(PortalsTest, ALoginInTheHandsOfTheRegistryDoesNotGiveWay) {
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

TEST_F(PortalsTest, AFloodOfHalfOpenLoginsIsBoundedAndDoesNotKeepOthersOut) {
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
  const std::size_t before = ::mallinfo2().uordblks;
  for (std::size_t i = 0; i < most; ++i) {
    fds.push_back(connect());
    fill_up(fds.back());
  }
  const std::size_t full = ::mallinfo2().uordblks - before;
  EXPECT_EQ(portals_->half_open(), most);
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
  EXPECT_LT(::mallinfo2().uordblks - before, full + full / 4);
  fds.clear();
  until([&] { return portals_->half_open() == 0; });
  settle();
  EXPECT_LT(::mallinfo2().uordblks - before, full / 4);
}

TEST_F(PortalsTest, LocksOutWhoFailsTooOften) {
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

TEST_F(PortalsTest, ASuccessForgivesFailures) {
  auto target = plain_target();
  target->authentication.incoming = {account};
  serve(target);
  const Account wrong{.user = "joe", .secret = "no secret of joe's"};
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 4; ++i) EXPECT_EQ(log_in(initiator_iqn, wrong), LoginStatus::authentication_failure);
    EXPECT_EQ(log_in(initiator_iqn, account), LoginStatus::success);
  }
}

// ---- listening -----------------------------------------------------------------------------------------------------

TEST_F(PortalsTest, ListensOnAllOrOnNone) {
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

TEST_F(PortalsTest, ReplacesAWildcardByOneOfItsAddresses) {
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

TEST_F(PortalsTest, RefusesAddressesThatAreNone) {
  const std::vector<Portal> asked = {{.address = "localhost", .port = 0}};
  EXPECT_EQ(portals_->listen(asked).error(), "cannot listen on localhost:0: not a numeric address");
  EXPECT_TRUE(portals_->listening().empty());
}

TEST_F(PortalsTest, LeavesWhatItListensOnAlone) {
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

TEST_F(PortalsTest, ServesBothKindsOfAddressOnOnePort) {
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

// ---- the end -------------------------------------------------------------------------------------------------------

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
