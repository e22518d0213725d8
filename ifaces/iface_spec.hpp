// From an iface record to a Binding: which NIC its sessions leave by.
//
// Rules: transport tcp; at most one of hwaddress and net_ifacename; none of them, or the name "default", binds to no
// device; ipaddress narrows to a source address, which must be configured on the device (on any, without a device).
#pragma once

#include <map>
#include <span>
#include <string>

#include "base/result.hpp"
#include "ifaces/binding.hpp"
#include "ifaces/nic.hpp"

namespace mpath {

enum class IfaceErrc {
  no_such_nic = 1,        // no device of that name or hardware address here
  ambiguous,              // several devices have that hardware address
  named_twice,            // both hwaddress and net_ifacename
  unsupported_transport,  // other than tcp
  no_address,             // the device does not have the iface's ipaddress
};
[[nodiscard]] const std::error_category& iface_category() noexcept;
[[nodiscard]] inline std::error_code make_error_code(IfaceErrc errc) noexcept {
  return {static_cast<int>(errc), iface_category()};
}

struct IfaceSpec {
  std::string name = "default";        // iface.iscsi_ifacename
  std::string net_ifacename;           // iface.net_ifacename
  std::string hwaddress;               // iface.hwaddress
  std::string ipaddress;               // iface.ipaddress
  std::string transport_name = "tcp";  // iface.transport_name
  std::string initiatorname;           // iface.initiatorname: in place of the machine's; not used here
  friend bool operator==(const IfaceSpec&, const IfaceSpec&) = default;
};

// The iface.* part of an iface or node record; keys that are missing keep their defaults.
[[nodiscard]] IfaceSpec make_iface_spec(const std::map<std::string, std::string>& settings);

// Against the devices there are now. A device without cable or address resolves: it may come up later.
// Fails with IfaceErrc, or an errno of the kernel's list.
[[nodiscard]] Result<Binding> resolve(const IfaceSpec& spec);
// The same against `nics`: pure.
[[nodiscard]] Result<Binding> resolve(const IfaceSpec& spec, std::span<const Nic> nics);

// One line for a person: `iface ieth0: no network device eth0`.
[[nodiscard]] std::string describe(const IfaceSpec& spec, error_code error);

}  // namespace mpath

template <>
struct std::is_error_code_enum<mpath::IfaceErrc> : std::true_type {};
