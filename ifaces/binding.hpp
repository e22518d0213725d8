// How a session's socket leaves this machine: the resolved form of an iface record.
//
// An iface record names a NIC by net_ifacename or by hwaddress; a Binding is what is left to do on a socket.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace mpath {

struct Binding {
  std::string iface_name = "default";  // iface.iscsi_ifacename
  std::string net_ifacename;           // SO_BINDTODEVICE; empty: any NIC (iface "default")
  std::string source_address;          // bind() to it when not empty (iface.ipaddress)
  friend bool operator==(const Binding&, const Binding&) = default;
};

// Applies the binding to an unconnected TCP socket and reads it back: SO_BINDTODEVICE is believed only when
// getsockopt() names the same device. Fails with ENODEV, EPERM, EADDRNOTAVAIL or what the kernel said.
[[nodiscard]] error_code bind_socket(int fd, const Binding& binding);

// True when the connected socket really is bound to that device.
[[nodiscard]] bool socket_is_bound(int fd, const Binding& binding);

}  // namespace mpath
