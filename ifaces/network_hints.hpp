// Settings of the network that make sessions over several NICs fail in ways that are hard to see.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "ifaces/nic.hpp"

namespace mpath {

// The IPv4 settings in force for a NIC: the larger of its own and that of "all".
struct NicSysctls {
  int rp_filter = 0;   // 0 off, 1 strict, 2 loose
  int arp_ignore = 0;  // 0: answers ARP for any address of the machine
};

struct NicNetwork {
  Nic nic;
  NicSysctls sysctls;
};

// One line for every two NICs of one IPv4 subnet that get in each other's way: with a strict rp_filter answers to the
// NIC that does not hold the route are dropped; with arp_ignore 0 one NIC answers for the address of the other and
// takes its traffic. rp_filter 0 and 2 and arp_ignore from 1 on are fine, and so are NICs in subnets of their own.
[[nodiscard]] std::vector<std::string> binding_warnings(std::span<const NicNetwork> nics);

// The same for the NICs of these names as they are now; names that are not there are left out.
[[nodiscard]] std::vector<std::string> check_bindings(std::span<const std::string> nic_names);

}  // namespace mpath
