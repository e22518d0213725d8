// Which pairs of NICs get a warning.
#include "ifaces/network_hints.hpp"

#include <gmock/gmock.h>

namespace mpath {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

NicNetwork network(std::string name, std::string address, int prefix_length, NicSysctls sysctls) {
  NicNetwork made{.nic = {}, .sysctls = sysctls};
  made.nic.name = std::move(name);
  made.nic.addresses = {{.address = std::move(address), .prefix_length = prefix_length}};
  return made;
}

constexpr NicSysctls good{.rp_filter = 2, .arp_ignore = 1};
constexpr NicSysctls off{.rp_filter = 0, .arp_ignore = 2};
constexpr NicSysctls strict{.rp_filter = 1, .arp_ignore = 1};
constexpr NicSysctls flux{.rp_filter = 2, .arp_ignore = 0};

TEST(NetworkHints, LooseFiltersInOneSubnetAreFine) {
  EXPECT_THAT(
      binding_warnings(std::vector{network("eth0", "10.0.0.1", 24, good), network("eth1", "10.0.0.2", 24, off)}),
      IsEmpty());
}

TEST(NetworkHints, SubnetsOfTheirOwnAreFine) {
  EXPECT_THAT(
      binding_warnings(std::vector{network("eth0", "10.0.0.1", 24, strict), network("eth1", "10.0.1.1", 24, flux)}),
      IsEmpty());
}

TEST(NetworkHints, StrictFilterInOneSubnetIsNamed) {
  EXPECT_THAT(
      binding_warnings(std::vector{network("eth0", "10.0.0.1", 24, good), network("eth1", "10.0.0.2", 24, strict)}),
      ElementsAre(AllOf(HasSubstr("eth0 and eth1 share subnet 10.0.0.0/24"),
                        HasSubstr("net.ipv4.conf.eth1.rp_filter = 1"), Not(HasSubstr("arp_ignore")))));
}

TEST(NetworkHints, AnsweringForTheNeighbourIsNamed) {
  EXPECT_THAT(
      binding_warnings(std::vector{network("eth0", "10.0.0.1", 24, flux), network("eth1", "10.0.0.2", 24, flux)}),
      ElementsAre(AllOf(HasSubstr("eth0.arp_ignore = 0"), HasSubstr("eth1.arp_ignore = 0"))));
}

TEST(NetworkHints, HostRoutesAndIpv6AreNoSubnets) {
  EXPECT_THAT(binding_warnings(
                  std::vector{network("eth0", "10.0.0.1", 32, strict), network("eth1", "10.0.0.1", 32, strict),
                              network("eth2", "2001:db8::1", 64, strict), network("eth3", "2001:db8::2", 64, strict)}),
              IsEmpty());
}

TEST(NetworkHints, AbsentNicsAreLeftOut) {
  const std::vector<std::string> names = {"no-such-nic0", "no-such-nic1"};
  EXPECT_THAT(check_bindings(names), IsEmpty());
}

}  // namespace
}  // namespace mpath
