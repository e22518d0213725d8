// Portals on loopback addresses, with a registry that tells what it was given and a clock that stands still.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "base/event.hpp"
#include "base/sim_clock.hpp"
#include "base/unique_fd.hpp"
#include "target/iscsi/portals.hpp"
#include "tests/target/iscsi/login_script.hpp"

namespace mpath::target::test {

namespace asio = boost::asio;
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

class PortalsWorld : public testing::Test {
 protected:
  PortalsWorld() { make({}); }
  ~PortalsWorld() override {
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

}  // namespace mpath::target::test
