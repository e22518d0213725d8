// The network devices of this machine as the kernel tells them over rtnetlink. That, not /sys, is what the process's
// own network namespace holds.
//
// Threads: any; list_nics() blocks for the moment the kernel takes to answer.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace mpath {

struct NicAddress {
  std::string address;    // numeric
  int prefix_length = 0;  // bits
  bool link_local = false;
  bool usable = true;  // false while (or because) duplicate address detection has not passed it
  friend bool operator==(const NicAddress&, const NicAddress&) = default;
};

struct Nic {
  unsigned index = 0;
  std::string name;
  std::string mac;            // aa:bb:cc:dd:ee:ff; empty when the device has none
  std::string permanent_mac;  // of the hardware; empty when not told
  bool admin_up = false;
  bool lower_up = false;  // the cable, or what stands for it
  bool loopback = false;
  unsigned master = 0;  // index of the bond or bridge it is a port of
  unsigned lower = 0;   // index of the device a VLAN or macvlan sits on; 0 also for a veth pair
  std::vector<NicAddress> addresses;

  [[nodiscard]] bool carrier() const { return admin_up && lower_up; }
  // An address that a connection to another machine can come from.
  [[nodiscard]] bool has_address() const;
};

// Every device with its addresses, ordered by index.
[[nodiscard]] Result<std::vector<Nic>> list_nics();

}  // namespace mpath
