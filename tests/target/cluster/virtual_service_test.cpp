// The virtual IP with its portals and connections: what happens in which order, on a real device in a namespace.
#include "target/cluster/virtual_service.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>

#include "base/sim_clock.hpp"
#include "base/unique_fd.hpp"
#include "ifaces/announcement.hpp"
#include "tests/ifaces/namespace.hpp"

namespace mpath::target::cluster {
namespace {

using namespace std::chrono_literals;
using boost::asio::awaitable;
using Lines = std::vector<std::string>;

class VirtualServiceTest : public NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped()) return;
    cable("ve0", "ve1");
    ip("addr add 10.9.0.1/24 dev ve0");
  }
  void make(std::vector<VirtualIp> addresses = {{.address = "10.9.0.10", .prefix = 24, .interface = "ve0"}}) {
    service_.emplace(context_.get_executor(), clock_, addresses, doors(), log_);
  }
  [[nodiscard]] VirtualService::Doors doors() {
    return {.listen = [this](bool with_virtual) -> std::expected<void, std::string> {
              note(with_virtual ? "listen" : "listen no more");
              if (!refusal_.empty()) return std::unexpected(refusal_);
              return {};
            },
            .drop_logins =
                [this](const IpAddress& address) {
                  note("drop logins");
                  EXPECT_EQ(address, parse_ip_address("10.9.0.10"));
                },
            .mute_connections = [this](IpAddress) { return mute(); },
            .drop_connections = [this](IpAddress) { return drop(); },
            .may_serve = [] { return true; }};
  }
  awaitable<void> mute() {
    note("mute");
    co_return;
  }
  awaitable<std::size_t> drop() {
    note("drop connections");
    if (gate_) co_await gate_->wait_uncancelled();
    co_return 3;
  }
  // With whether the address is there at that moment.
  void note(const std::string& what) {
    const bool here =
        VirtualAddress(clock_, {.address = "10.9.0.10", .on_trouble = {}, .may_keep = {}}).present() == true;
    seen_.push_back(what + (here ? " (here)" : " (not here)"));
  }
  [[nodiscard]] static bool here(const std::string& address = "10.9.0.10") {
    SimClock clock;
    return VirtualAddress(clock, {.address = address, .on_trouble = {}, .may_keep = {}}).present() == true;
  }
  // As another machine at the far end of the cable would.
  static void announce_from(const char* nic) {
    const UniqueFd socket(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const MacBytes mac{std::byte{2}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{9}};
    const std::array<std::byte, 4> address{std::byte{10}, std::byte{9}, std::byte{0}, std::byte{10}};
    const auto packet = gratuitous_arp(ArpForm::request, mac, address);
    sockaddr_ll everybody{};
    everybody.sll_family = AF_PACKET;
    everybody.sll_protocol = htons(ETH_P_ARP);
    everybody.sll_ifindex = static_cast<int>(::if_nametoindex(nic));
    everybody.sll_halen = ETH_ALEN;
    std::memset(everybody.sll_addr, 0xff, ETH_ALEN);
    EXPECT_EQ(::sendto(socket.get(), packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&everybody),
                       sizeof everybody),
              static_cast<ssize_t>(packet.size()))
        << std::strerror(errno);
  }
  void begin(awaitable<void> work) {
    ++running_;
    boost::asio::co_spawn(context_, std::move(work), [this](const std::exception_ptr& thrown) {
      EXPECT_FALSE(thrown);
      --running_;
    });
  }
  void settle() {
    context_.restart();
    while (context_.poll() > 0) {
    }
  }
  void run(awaitable<void> work) {
    begin(std::move(work));
    settle();
    EXPECT_EQ(running_, 0);
  }

  boost::asio::io_context context_{1};
  SimClock clock_;
  MemorySink sink_;
  LogOutput output_{sink_, LogLevel::info};
  Log log_{output_};
  Lines seen_;
  std::string refusal_;
  std::optional<Event> gate_;
  int running_ = 0;
  std::optional<VirtualService> service_;
};

TEST_F(VirtualServiceTest, ListensBeforeItComesAndDropsBeforeItGoes) {
  make();
  EXPECT_EQ(service_->text(), "10.9.0.10/24 dev ve0");
  run(service_->serve());
  EXPECT_TRUE(here());
  EXPECT_TRUE(service_->here());
  run(service_->serve());
  EXPECT_EQ(seen_, Lines{"listen (not here)"}) << "said twice, done once";
  seen_.clear();
  run(service_->rest());
  EXPECT_FALSE(here());
  EXPECT_FALSE(service_->here());
  EXPECT_EQ(seen_, (Lines{"listen no more (here)", "mute (here)", "drop logins (here)", "drop connections (here)"}));
  EXPECT_TRUE(service_->alarms().empty());
}

TEST_F(VirtualServiceTest, WhatAKilledLifeLeftBehindGoesFirst) {
  ip("addr add 10.9.0.10/24 dev ve0");
  make();
  service_->clear();
  EXPECT_FALSE(here());
  EXPECT_TRUE(seen_.empty());
}

TEST_F(VirtualServiceTest, TheLastWishWins) {
  make();
  run(service_->serve());
  gate_.emplace(context_.get_executor());
  seen_.clear();
  begin(service_->rest());
  settle();
  EXPECT_EQ(running_, 1) << "connections are being dropped";
  begin(service_->serve());
  begin(service_->rest());
  begin(service_->serve());
  settle();
  EXPECT_EQ(running_, 4);
  gate_->set();
  settle();
  EXPECT_EQ(running_, 0);
  EXPECT_TRUE(here());
  EXPECT_EQ(seen_, (Lines{"listen no more (here)", "mute (here)", "drop logins (here)", "drop connections (here)",
                          "listen (not here)"}));
}

TEST_F(VirtualServiceTest, InAHandOverItIsHeldUntilTheOtherHasAnnouncedIt) {
  make();
  run(service_->serve());
  seen_.clear();
  run(service_->hush());
  EXPECT_EQ(seen_, Lines{"mute (here)"});
  begin(service_->rest(500ms));
  settle();
  EXPECT_EQ(running_, 1);
  EXPECT_EQ(seen_.back(), "mute (here)") << "connections are dropped when there is somebody to come to";
  announce_from("ve1");
  for (int i = 0; i < 4000 && running_ != 0; ++i) {
    context_.restart();
    context_.run_one_for(5ms);
  }
  EXPECT_EQ(running_, 0) << "without the clock having moved";
  EXPECT_EQ(seen_.back(), "drop connections (here)");
  EXPECT_FALSE(here());
}

TEST_F(VirtualServiceTest, IfTheOtherNeverTakesItItIsGivenUpAllTheSame) {
  make();
  run(service_->serve());
  begin(service_->rest(500ms));
  settle();
  clock_.run_for(499ms);
  settle();
  EXPECT_EQ(running_, 1);
  clock_.run_for(1ms);
  settle();
  EXPECT_EQ(running_, 0);
  EXPECT_FALSE(here());
}

TEST_F(VirtualServiceTest, AHandOverThatCameToNothingDropsWhomItHushed) {
  make();
  run(service_->serve());
  run(service_->hush());
  seen_.clear();
  run(service_->serve());
  EXPECT_EQ(seen_, (Lines{"drop logins (here)", "drop connections (here)"}));
  EXPECT_TRUE(here());
  seen_.clear();
  run(service_->serve());
  EXPECT_TRUE(seen_.empty());
}

TEST_F(VirtualServiceTest, TroubleIsAnAlarmUntilItIsOver) {
  make({{.address = "10.9.0.10", .prefix = 24, .interface = "later0"}});
  refusal_ = "cannot listen on 10.9.0.10:3260: no";
  run(service_->serve());
  EXPECT_TRUE(service_->here()) << "the role is, and ALUA serves";
  const Lines both = {"virtual IP: cannot listen on 10.9.0.10:3260: no",
                      "virtual IP: cannot put 10.9.0.10 on later0: there is no such interface"};
  EXPECT_EQ(service_->alarms(), both);
  clock_.run_for(10s);
  EXPECT_EQ(service_->alarms(), both);
  const auto errors = [this] {
    std::size_t count = 0;
    for (const auto& line : sink_.lines()) count += line.find("virtual IP: cannot") != std::string::npos ? 1 : 0;
    return count;
  };
  EXPECT_EQ(errors(), 2U) << "told once, though tried again";
  refusal_.clear();
  cable("later0", "later1");
  clock_.run_for(2s);
  EXPECT_TRUE(service_->alarms().empty());
  EXPECT_TRUE(here());
  run(service_->rest());
  clock_.run_for(10s);
  EXPECT_FALSE(here());
}

TEST_F(VirtualServiceTest, SeveralMoveTogether) {
  make({{.address = "10.9.0.10", .prefix = 24}, {.address = "10.9.0.11", .prefix = 32, .interface = "ve0"}});
  EXPECT_EQ(service_->text(), "10.9.0.10/24, 10.9.0.11/32 dev ve0");
  service_.emplace(context_.get_executor(), clock_,
                   std::vector<VirtualIp>{{.address = "10.9.0.10", .prefix = 24},
                                          {.address = "10.9.0.11", .prefix = 32, .interface = "ve0"}},
                   VirtualService::Doors{.listen = [](bool) { return std::expected<void, std::string>(); },
                                         .drop_logins = [](const IpAddress&) {},
                                         .mute_connections = [this](IpAddress) { return mute(); },
                                         .drop_connections = [this](IpAddress) { return drop(); },
                                         .may_serve = {}},
                   log_);
  run(service_->serve());
  EXPECT_TRUE(here("10.9.0.10"));
  EXPECT_TRUE(here("10.9.0.11"));
  run(service_->rest());
  EXPECT_FALSE(here("10.9.0.10"));
  EXPECT_FALSE(here("10.9.0.11"));
}

TEST_F(VirtualServiceTest, NoneConfiguredIsNothingToDo) {
  make({});
  run(service_->serve());
  run(service_->rest());
  EXPECT_TRUE(seen_.empty());
  EXPECT_EQ(service_->text(), "");
}

}  // namespace
}  // namespace mpath::target::cluster
