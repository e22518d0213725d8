// The address that moves, on real devices. Time stands still but for what the test says.
//
//      one machine           the network                 the other machine
//      ve0 10.9.0.1 ═══ p0 ── bridge br0 ── p1 ═══ ve1 10.9.0.2
//                             10.9.0.100: the neighbour, who has an ARP cache and connections
#include "ifaces/virtual_address.hpp"

#include <arpa/inet.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>
#include <vector>

#include "base/sim_clock.hpp"
#include "base/unique_fd.hpp"
#include "ifaces/announcement.hpp"
#include "namespace.hpp"

namespace mpath {
namespace {

using namespace std::chrono_literals;

constexpr const char* moving = "10.9.0.10";
constexpr const char* moving6 = "2001:db8::10";

struct Heard {
  std::uint16_t operation = 0;  // of ARP
  std::string sender_mac, target_mac;
  bool broadcast = false;
  friend bool operator==(const Heard&, const Heard&) = default;
};

std::string mac_text(const unsigned char* bytes) {
  std::string text;
  for (int i = 0; i < 6; ++i) {
    std::array<char, 4> part{};
    static_cast<void>(std::snprintf(part.data(), part.size(), "%s%02x", i == 0 ? "" : ":", bytes[i]));
    text += part.data();
  }
  return text;
}

class VirtualAddressTest : public NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped()) return;
    network_ = here();
    ip("link add br0 type bridge");
    ip("link set br0 up");
    ip("addr add 10.9.0.100/24 dev br0");
    ip("addr add 2001:db8::100/64 dev br0 nodad");
    for (const int machine : {0, 1}) machines_[static_cast<std::size_t>(machine)] = make_machine(machine);
  }
  void TearDown() override {
    machines_ = {};
    network_.reset();
    NamespaceTest::TearDown();
  }

  // Everything from here on happens on that machine.
  void on_machine(std::size_t index) { enter(machines_[index]); }
  void on_the_network() { enter(network_); }

  [[nodiscard]] VirtualAddressOptions options(const char* address = moving, int prefix = 24,
                                              const std::string& nic = "") {
    return {.address = address,
            .prefix_length = prefix,
            .net_ifacename = nic,
            .on_trouble = [this](const std::string& text) { troubles_.push_back(text); }};
  }

  static std::string output_of(const std::string& command) {
    FILE* const pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return "popen fails";
    std::string all;
    std::array<char, 512> part{};
    while (::fgets(part.data(), part.size(), pipe) != nullptr) all += part.data();
    ::pclose(pipe);
    return all;
  }
  static bool holds(const std::string& nic, const std::string& address) {
    return output_of("ip -o addr show dev " + nic).find(" " + address + " ") != std::string::npos;
  }
  // What the neighbour believes.
  static std::string neighbour(const std::string& address) {
    const std::string line = output_of("ip neigh show dev br0 to " + address);
    const auto at = line.find("lladdr ");
    return at == std::string::npos ? line : line.substr(at + 7, 17);
  }

  // Sockets of the namespace we are in.
  static UniqueFd listen_on(const char* address) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in in = endpoint(address);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&in), sizeof in), 0) << std::strerror(errno);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    return fd;
  }
  static UniqueFd connect_to(const char* address) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in in = endpoint(address);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&in), sizeof in), 0) << std::strerror(errno);
    return fd;
  }
  static UniqueFd hear_arp() {
    UniqueFd fd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ARP)));
    sockaddr_ll bridge{};
    bridge.sll_family = AF_PACKET;
    bridge.sll_protocol = htons(ETH_P_ARP);
    bridge.sll_ifindex = static_cast<int>(::if_nametoindex("br0"));
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&bridge), sizeof bridge), 0) << std::strerror(errno);
    return fd;
  }
  // The gratuitous ones about that address that came so far; each is waited for.
  static std::vector<Heard> heard(const UniqueFd& fd, std::size_t count) {
    std::vector<Heard> all;
    in_addr wanted{};
    ::inet_pton(AF_INET, moving, &wanted);
    for (;;) {
      pollfd waiting{.fd = fd.get(), .events = POLLIN, .revents = 0};
      if (::poll(&waiting, 1, all.size() < count ? 20000 : 0) <= 0) return all;
      std::array<unsigned char, 64> bytes{};
      sockaddr_ll from{};
      socklen_t size = sizeof from;
      const ssize_t got =
          ::recvfrom(fd.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
      if (got < 28 || from.sll_pkttype == PACKET_OUTGOING) continue;
      if (std::memcmp(&bytes[14], &wanted, 4) != 0 || std::memcmp(&bytes[24], &wanted, 4) != 0) continue;
      all.push_back({.operation = static_cast<std::uint16_t>(bytes[6] << 8 | bytes[7]),
                     .sender_mac = mac_text(&bytes[8]),
                     .target_mac = mac_text(&bytes[18]),
                     .broadcast = from.sll_pkttype == PACKET_BROADCAST});
    }
  }
  static std::string mac_of_machine(int machine) { return "02:00:00:00:00:0" + std::to_string(machine + 1); }

  SimClock clock_;
  std::vector<std::string> troubles_;

 private:
  static UniqueFd here() { return UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)); }
  static void enter(const UniqueFd& space) { ASSERT_EQ(::setns(space.get(), CLONE_NEWNET), 0) << std::strerror(errno); }
  static sockaddr_in endpoint(const char* address) {
    sockaddr_in in{.sin_family = AF_INET, .sin_port = htons(3260), .sin_addr = {}, .sin_zero = {}};
    ::inet_pton(AF_INET, address, &in.sin_addr);
    return in;
  }
  UniqueFd make_machine(int machine) {
    const std::string number = std::to_string(machine);
    EXPECT_EQ(::unshare(CLONE_NEWNET), 0);
    UniqueFd space = here();
    ip("link set lo up");
    enter(network_);
    ip("link add p" + number + " type veth peer name ve" + number + " address " + mac_of_machine(machine) +
       " netns /proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(space.get()));
    ip("link set p" + number + " master br0 up");
    enter(space);
    ip("addr add 10.9.0." + std::to_string(machine + 1) + "/24 dev ve" + number);
    ip("addr add 2001:db8::" + std::to_string(machine + 1) + "/64 dev ve" + number + " nodad");
    ip("link set ve" + number + " up");
    enter(network_);
    return space;
  }

  UniqueFd network_;
  std::array<UniqueFd, 2> machines_;
};

TEST_F(VirtualAddressTest, ComesAndGoesAndMayBeSaidTwice) {
  on_machine(0);
  VirtualAddress address(clock_, options(moving, 24, "ve0"));
  EXPECT_EQ(address.text(), "10.9.0.10/24 dev ve0");
  EXPECT_EQ(address.present(), false);
  for (int twice = 0; twice < 2; ++twice) {
    const auto added = address.add();
    ASSERT_TRUE(added) << added.error();
    EXPECT_EQ(address.present(), true);
    EXPECT_TRUE(holds("ve0", "10.9.0.10/24"));
  }
  for (int twice = 0; twice < 2; ++twice) {
    const auto removed = address.remove();
    ASSERT_TRUE(removed) << removed.error();
    EXPECT_EQ(address.present(), false);
    EXPECT_FALSE(holds("ve0", "10.9.0.10/24"));
  }
  EXPECT_TRUE(holds("ve0", "10.9.0.1/24"));
  EXPECT_TRUE(troubles_.empty()) << troubles_.front();
}

TEST_F(VirtualAddressTest, FindsTheInterfaceThatHasTheSubnet) {
  on_machine(0);
  ip("link add other0 type veth peer name other1");
  ip("link set other0 up");
  ip("link set other1 up");
  ip("addr add 10.0.0.1/8 dev other0");  // holds it too, but less narrowly
  VirtualAddress address(clock_, options(moving, 0));
  EXPECT_EQ(address.text(), moving);
  ASSERT_TRUE(address.add());
  EXPECT_TRUE(holds("ve0", "10.9.0.10/24"));
  EXPECT_FALSE(holds("other0", "10.9.0.10/24"));
  ASSERT_TRUE(address.remove());
}

TEST_F(VirtualAddressTest, OfTwoInterfacesOfOneSubnetTheOneWithACable) {
  on_machine(0);
  cable("other0", "other1");
  ip("addr add 10.9.0.77/24 dev other0");
  VirtualAddress address(clock_, options());
  ip("link set ve0 down");
  ASSERT_TRUE(address.add());
  EXPECT_TRUE(holds("other0", "10.9.0.10/24"));
}

TEST_F(VirtualAddressTest, SaysWhyItCannot) {
  on_machine(0);
  VirtualAddress nowhere(clock_, options("192.0.2.1"));
  EXPECT_EQ(nowhere.add().error(), "no interface has an address in the subnet of 192.0.2.1: name one (dev IFACE)");
  VirtualAddress missing(clock_, options(moving, 24, "eth7"));
  EXPECT_EQ(missing.add().error(), "cannot put 10.9.0.10 on eth7: there is no such interface");
  EXPECT_TRUE(missing.remove()) << "it is not there, and that is what was asked for";
  VirtualAddress nonsense(clock_, options("10.9.0.999"));
  EXPECT_EQ(nonsense.add().error(), "10.9.0.999 is not a numeric address");
  EXPECT_EQ(nonsense.remove().error(), "10.9.0.999 is not a numeric address");
  EXPECT_EQ(nonsense.present(), false);
}

TEST_F(VirtualAddressTest, OneThatWasLeftBehindElsewhereIsTakenOver) {
  on_machine(0);
  cable("other0", "other1");
  ip("addr add 10.9.0.10/32 dev other0");
  ip("addr add 10.9.0.10/16 dev ve0");
  VirtualAddress address(clock_, options(moving, 24, "ve0"));
  EXPECT_EQ(address.present(), true);
  ASSERT_TRUE(address.add());
  EXPECT_TRUE(holds("ve0", "10.9.0.10/24"));
  EXPECT_FALSE(holds("ve0", "10.9.0.10/16"));
  EXPECT_FALSE(holds("other0", "10.9.0.10/32"));
}

TEST_F(VirtualAddressTest, OneThatWasLeftBehindIsRemovedByALifeThatDidNotAddIt) {
  on_machine(0);
  cable("other0", "other1");
  ip("addr add 10.9.0.10/32 dev other0");
  ip("addr add 10.9.0.10/24 dev ve0");
  VirtualAddress address(clock_, options(moving, 24, "ve0"));
  ASSERT_TRUE(address.remove());
  EXPECT_EQ(address.present(), false);
  EXPECT_TRUE(holds("ve0", "10.9.0.1/24"));
}

TEST_F(VirtualAddressTest, TheMachinesOwnAddressesStayWhenTheFirstOfTheSubnetGoes) {
  on_machine(0);
  ip("addr del 10.9.0.1/24 dev ve0");
  VirtualAddress address(clock_, options(moving, 24, "ve0"));
  ASSERT_TRUE(address.add());
  ip("addr add 10.9.0.1/24 dev ve0");  // now the kernel would let it go along
  ip("addr add 10.9.0.5/24 dev ve0");
  ASSERT_TRUE(address.remove());
  EXPECT_TRUE(holds("ve0", "10.9.0.1/24"));
  EXPECT_TRUE(holds("ve0", "10.9.0.5/24"));
  EXPECT_EQ(output_of("cat /proc/sys/net/ipv4/conf/ve0/promote_secondaries"), "0\n") << "the setting is as it was";
}

TEST_F(VirtualAddressTest, NeighboursAreToldFourTimesInBothForms) {
  on_the_network();
  const UniqueFd ears = hear_arp();
  on_machine(0);
  VirtualAddress address(clock_, options());
  ASSERT_TRUE(address.add());
  const std::string mac = mac_of_machine(0);
  const std::vector<Heard> once = {
      {.operation = 1, .sender_mac = mac, .target_mac = "00:00:00:00:00:00", .broadcast = true},
      {.operation = 2, .sender_mac = mac, .target_mac = mac, .broadcast = true}};
  EXPECT_EQ(heard(ears, 2), once);
  const TimePoint begin = clock_.now();
  for (const auto after : {50ms, 200ms, 1000ms}) {
    clock_.run_until(begin + after - 1ms);
    EXPECT_TRUE(heard(ears, 0).empty()) << "before " << after.count() << " ms";
    clock_.run_until(begin + after);
    EXPECT_EQ(heard(ears, 2), once) << "after " << after.count() << " ms";
  }
  address.announce();
  EXPECT_EQ(heard(ears, 2), once);
  ASSERT_TRUE(address.remove());
  EXPECT_EQ(clock_.next(), never);
  address.announce();
  EXPECT_TRUE(heard(ears, 0).empty()) << "announced though it is gone";
  EXPECT_TRUE(troubles_.empty());
}

TEST_F(VirtualAddressTest, TheNeighboursCacheFollows) {
  on_the_network();
  ip("neigh replace 10.9.0.10 lladdr 02:00:00:00:00:99 dev br0 nud reachable");
  ip("-6 neigh replace 2001:db8::10 lladdr 02:00:00:00:00:99 dev br0 nud reachable");
  const UniqueFd ears = hear_arp();
  VirtualAddress v4(clock_, options());
  VirtualAddress v6(clock_, options(moving6, 64));
  for (const int machine : {0, 1, 0}) {
    on_machine(static_cast<std::size_t>(machine));
    const auto added = v4.add();
    ASSERT_TRUE(added) << added.error();
    const auto added6 = v6.add();
    ASSERT_TRUE(added6) << added6.error();

    on_the_network();
    EXPECT_EQ(heard(ears, 2).size(), 2U);
    // Delivery is part of sending on virtual cables, but for the bridge's own queue: ask until it is so.
    for (int i = 0; i < 2000 && neighbour(moving6) != mac_of_machine(machine); ++i) ::usleep(5000);
    EXPECT_EQ(neighbour(moving), mac_of_machine(machine));
    EXPECT_EQ(neighbour(moving6), mac_of_machine(machine));
    on_machine(static_cast<std::size_t>(machine));
    ASSERT_TRUE(v4.remove());
    ASSERT_TRUE(v6.remove());
  }
  EXPECT_TRUE(troubles_.empty()) << troubles_.front();
}

TEST_F(VirtualAddressTest, AnIpv6AddressIsUsableAtOnceAndNobodysSource) {
  on_machine(0);
  VirtualAddress address(clock_, options(moving6, 64, "ve0"));
  ASSERT_TRUE(address.add());
  const std::string line = output_of("ip -6 -o addr show dev ve0 to " + std::string(moving6));
  EXPECT_NE(line.find("2001:db8::10/64"), std::string::npos) << line;
  EXPECT_NE(line.find("deprecated"), std::string::npos) << line;
  EXPECT_NE(line.find("nodad"), std::string::npos) << line;
  EXPECT_EQ(line.find("tentative"), std::string::npos) << line;
  EXPECT_EQ(output_of("ip -6 route get 2001:db8::100").find("src 2001:db8::10 "), std::string::npos);
}

// What a client has to see when its server's machine falls silent and another one takes over.
TEST_F(VirtualAddressTest, TheNewOwnerResetsTheOldConnections) {
  on_machine(0);
  VirtualAddress first(clock_, options());
  ASSERT_TRUE(first.add());
  const UniqueFd first_listener = listen_on(moving);
  on_the_network();
  const UniqueFd client = connect_to(moving);
  ASSERT_EQ(::send(client.get(), "a", 1, MSG_NOSIGNAL), 1);
  const UniqueFd served(::accept(first_listener.get(), nullptr, nullptr));
  ASSERT_TRUE(served);
  ip("link set p0 down");  // silence: nothing is closed, nothing is refused

  on_machine(1);
  VirtualAddress second(clock_, options());
  ASSERT_TRUE(second.add());
  const UniqueFd second_listener = listen_on(moving);
  ASSERT_EQ(::send(client.get(), "b", 1, MSG_NOSIGNAL), 1);
  pollfd waiting{.fd = client.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&waiting, 1, 20000), 1) << "the client hears nothing";
  char byte = 0;
  EXPECT_EQ(::recv(client.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
  on_the_network();
  const UniqueFd again = connect_to(moving);
  const UniqueFd accepted(::accept(second_listener.get(), nullptr, nullptr));
  EXPECT_TRUE(accepted) << "the new owner serves";
}

TEST_F(VirtualAddressTest, ItLeavesByItselfWhenNobodyKeepsIt) {
  on_machine(0);
  for (const char* text : {moving, moving6}) {
    std::optional<VirtualAddress> address;
    VirtualAddressOptions brief = options(text, 0);
    brief.lifetime = 1s;
    address.emplace(clock_, brief);
    ASSERT_TRUE(address->add());
    address.reset();  // as when the process is killed: nothing is removed, and nothing is told again
    VirtualAddress look(clock_, options(text, 0));
    for (int i = 0; i < 4000 && look.present() == true; ++i) ::usleep(5000);
    EXPECT_EQ(look.present(), false) << text;
  }
}

TEST_F(VirtualAddressTest, ItIsKeptAsLongAsItIsWanted) {
  on_machine(0);
  VirtualAddressOptions long_lived = options();
  long_lived.lifetime = 1000s;
  VirtualAddress address(clock_, long_lived);
  ASSERT_TRUE(address.add());
  const auto seconds_left = [] {
    const std::string text = output_of("ip -o addr show dev ve0 to 10.9.0.10");
    const auto at = text.find("valid_lft ");
    return at == std::string::npos ? 0 : std::atoi(text.c_str() + at + 10);
  };
  EXPECT_GT(seconds_left(), 900);
  ip("addr change 10.9.0.10/24 dev ve0 valid_lft 500 preferred_lft 500");
  EXPECT_LE(seconds_left(), 500);
  clock_.run_for(200s);
  EXPECT_GT(seconds_left(), 900);
  ip("addr del 10.9.0.10/24 dev ve0");  // by somebody else
  clock_.run_for(200s);
  EXPECT_GT(seconds_left(), 900);
  ASSERT_TRUE(address.remove());
  clock_.run_for(2000s);
  EXPECT_EQ(seconds_left(), 0);
  long_lived.lifetime = 0s;
  VirtualAddress permanent(clock_, long_lived);
  ASSERT_TRUE(permanent.add());
  EXPECT_NE(output_of("ip -o addr show dev ve0 to 10.9.0.10").find("valid_lft forever"), std::string::npos);
}

TEST_F(VirtualAddressTest, ItIsNotKeptWhileAnotherMayHaveIt) {
  on_the_network();
  const UniqueFd ears = hear_arp();
  on_machine(0);
  bool mine = true;
  VirtualAddressOptions asking = options();
  asking.lifetime = 1000s;
  asking.may_keep = [&mine] { return mine; };
  VirtualAddress address(clock_, asking);
  ASSERT_TRUE(address.add());
  EXPECT_EQ(heard(ears, 2).size(), 2U);
  mine = false;
  clock_.run_for(10s);
  EXPECT_TRUE(heard(ears, 0).empty()) << "neighbours are sent to one that may not have it";
  ip("addr del 10.9.0.10/24 dev ve0");  // as when its time is over
  clock_.run_for(2000s);
  EXPECT_EQ(address.present(), false);
  mine = true;
  clock_.run_for(200s);
  EXPECT_EQ(address.present(), true);
  EXPECT_GE(heard(ears, 2).size(), 2U) << "it came back, and nobody was told";
}

TEST_F(VirtualAddressTest, HearsThatAnotherMachineHasTakenIt) {
  for (const char* text : {moving, moving6}) {
    boost::asio::io_context context;
    on_machine(0);
    VirtualAddress here(clock_, options(text, 0));
    ASSERT_TRUE(here.add());
    std::optional<bool> claimed;
    boost::asio::co_spawn(context, here.claimed_by_another(clock_.now() + 10s),
                          [&claimed](const std::exception_ptr&, bool answer) { claimed = answer; });
    context.poll();
    EXPECT_FALSE(claimed);
    on_machine(1);
    VirtualAddress there(clock_, options(text, 0));
    ASSERT_TRUE(there.add());
    on_machine(0);
    for (int i = 0; i < 4000 && !claimed; ++i) context.run_one_for(5ms);
    EXPECT_EQ(claimed, true) << text;
    ASSERT_TRUE(here.remove());
    on_machine(1);
    ASSERT_TRUE(there.remove());
  }
}

TEST_F(VirtualAddressTest, DoesNotTakeItsOwnVoiceForAnother) {
  boost::asio::io_context context;
  on_machine(0);
  VirtualAddress address(clock_, options());
  const auto wait = [&](Duration limit) {
    std::optional<bool> claimed;
    boost::asio::co_spawn(context, address.claimed_by_another(clock_.now() + limit),
                          [&claimed](const std::exception_ptr&, bool answer) { claimed = answer; });
    context.restart();
    context.poll();
    return claimed;
  };
  EXPECT_EQ(wait(1s), false) << "not here at all";
  ASSERT_TRUE(address.add());
  std::optional<bool> claimed;
  boost::asio::co_spawn(context, address.claimed_by_another(clock_.now() + 1s),
                        [&claimed](const std::exception_ptr&, bool answer) { claimed = answer; });
  context.restart();
  context.poll();
  address.announce();
  context.poll();
  EXPECT_FALSE(claimed);
  clock_.run_for(1s);
  context.restart();
  context.poll();
  EXPECT_EQ(claimed, false);
}

TEST_F(VirtualAddressTest, WithoutAKernelThatPromotesTheOthersArePutBack) {
  on_machine(0);
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr unsigned long locked = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("/proc/sys", "/proc/sys", nullptr, MS_BIND | MS_REC, nullptr) != 0 ||
        ::mount(nullptr, "/proc/sys", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | locked, nullptr) != 0) {
      ::_exit(9);
    }
    ip("addr del 10.9.0.1/24 dev ve0");
    VirtualAddress address(clock_, options(moving, 24, "ve0"));
    if (!address.add()) ::_exit(1);
    ip("addr add 10.9.0.1/24 dev ve0");
    ip("addr add 10.9.0.5/24 dev ve0");
    if (!address.remove()) ::_exit(2);
    ::_exit(holds("ve0", "10.9.0.1/24") && holds("ve0", "10.9.0.5/24") && !holds("ve0", "10.9.0.10/24") ? 0 : 3);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WEXITSTATUS(status) == 9) GTEST_SKIP() << "cannot make /proc/sys read-only";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(VirtualAddressTest, ADeviceThatHasGoneIsToldOnce) {
  on_machine(0);
  cable("other0", "other1");
  VirtualAddress address(clock_, options(moving, 24, "other0"));
  ASSERT_TRUE(address.add());
  ip("link del other0");
  clock_.run_for(10s);
  ASSERT_EQ(troubles_.size(), 1U);
  EXPECT_EQ(troubles_.front(), "cannot announce 10.9.0.10 on other0: No such device");
  EXPECT_EQ(address.present(), false);
}

TEST_F(VirtualAddressTest, LoopbackHasNobodyToTell) {
  on_machine(0);
  VirtualAddress address(clock_, options("127.0.0.10", 8));
  const auto added = address.add();
  ASSERT_TRUE(added) << added.error();
  EXPECT_TRUE(holds("lo", "127.0.0.10/8"));
  clock_.run_for(10s);
  EXPECT_TRUE(troubles_.empty()) << troubles_.front();
  ASSERT_TRUE(address.remove());
}

TEST_F(VirtualAddressTest, WithoutThePrivilegeItSaysWhichIsMissing) {
  on_machine(0);
  const pid_t child = ::fork();
  if (child == 0) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
    if (::syscall(SYS_capset, &header, none.data()) != 0) ::_exit(9);
    VirtualAddress address(clock_, options());
    if (address.present() != false) ::_exit(1);
    const auto added = address.add();
    const bool said =
        !added && added.error() == "cannot put 10.9.0.10 on ve0: Operation not permitted (needs CAP_NET_ADMIN)";
    ::_exit(said ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Announcement, BytesAsTheStandardsHaveThem) {
  const MacBytes mac{std::byte{2}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{7}};
  const std::array<std::byte, 4> v4{std::byte{10}, std::byte{9}, std::byte{0}, std::byte{10}};
  const auto hex = [](const std::vector<std::byte>& bytes) {
    std::string text;
    for (const std::byte byte : bytes) {
      text += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
      text += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 15];
    }
    return text;
  };
  EXPECT_EQ(hex(gratuitous_arp(ArpForm::request, mac, v4)),
            "0001080006040001"
            "020000000007"
            "0a09000a"
            "000000000000"
            "0a09000a");
  EXPECT_EQ(hex(gratuitous_arp(ArpForm::reply, mac, v4)),
            "0001080006040002"
            "020000000007"
            "0a09000a"
            "020000000007"
            "0a09000a");
  std::array<std::byte, 16> v6{};
  v6[0] = std::byte{0xfd};
  v6[15] = std::byte{0x10};
  EXPECT_EQ(hex(neighbour_advertisement(mac, v6)),
            "8800000020000000"
            "fd000000000000000000000000000010"
            "0201020000000007");
  EXPECT_EQ(arp_sender(gratuitous_arp(ArpForm::request, mac, v4), v4), mac);
  EXPECT_EQ(arp_sender(gratuitous_arp(ArpForm::reply, mac, v4), v4), mac);
  EXPECT_EQ(advertisement_sender(neighbour_advertisement(mac, v6), v6), mac);
}

TEST(Announcement, OthersAndDamagedOnesAreNotHeard) {
  const MacBytes mac{};
  const std::array<std::byte, 4> v4{std::byte{10}, std::byte{9}, std::byte{0}, std::byte{10}};
  const std::array<std::byte, 4> other4{std::byte{10}, std::byte{9}, std::byte{0}, std::byte{11}};
  std::array<std::byte, 16> v6{};
  std::array<std::byte, 16> other6{};
  other6[15] = std::byte{1};
  const auto arp = gratuitous_arp(ArpForm::reply, mac, v4);
  const auto advertisement = neighbour_advertisement(mac, v6);
  EXPECT_FALSE(arp_sender(arp, other4));
  EXPECT_FALSE(advertisement_sender(advertisement, other6));
  EXPECT_FALSE(arp_sender(advertisement, v4));
  EXPECT_FALSE(advertisement_sender(arp, v6));
  for (std::size_t size = 0; size < 18; ++size) EXPECT_FALSE(arp_sender(std::span(arp).first(size), v4)) << size;
  for (std::size_t size = 0; size < advertisement.size(); ++size) {
    EXPECT_FALSE(advertisement_sender(std::span(advertisement).first(size), v6)) << size;
  }
}

}  // namespace
}  // namespace mpath
