#include "ifaces/iface_spec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace mpath {
namespace {

class IfaceCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "iface"; }
  [[nodiscard]] std::string message(int code) const override {
    switch (static_cast<IfaceErrc>(code)) {
      case IfaceErrc::no_such_nic:
        return "no such network device";
      case IfaceErrc::ambiguous:
        return "several network devices have this hardware address";
      case IfaceErrc::named_twice:
        return "both hwaddress and net_ifacename are set";
      case IfaceErrc::unsupported_transport:
        return "only transport tcp is supported";
      case IfaceErrc::no_address:
        return "the address is not configured on the device";
    }
    return "unknown";
  }
};

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

bool has_address(const Nic& nic, const std::string& address) {
  return std::ranges::find(nic.addresses, address, &NicAddress::address) != nic.addresses.end();
}

Result<const Nic*> by_name(std::span<const Nic> nics, const std::string& name) {
  const auto found = std::ranges::find(nics, name, &Nic::name);
  if (found == nics.end()) return failure(IfaceErrc::no_such_nic);
  return &*found;
}

// Bonds, bridges and VLANs share the address of what is below them. Meant is the device that carries the traffic
// itself: not the port of a bond or bridge, and not what sits on top of another candidate; but where an address is given,
// the one that has it.
Result<const Nic*> by_mac(std::span<const Nic> nics, const std::string& mac, const std::string& address) {
  std::vector<const Nic*> candidates;
  for (const Nic& nic : nics) {
    if (!nic.loopback && nic.mac == mac) candidates.push_back(&nic);
  }
  if (candidates.empty()) {  // an address of the hardware that was overridden
    for (const Nic& nic : nics) {
      if (!nic.loopback && nic.permanent_mac == mac) candidates.push_back(&nic);
    }
  }
  const auto is_candidate = [&candidates](unsigned index) {
    return index != 0 && std::ranges::find(candidates, index, &Nic::index) != candidates.end();
  };
  for (const Nic* nic : candidates) {
    if (!address.empty() && has_address(*nic, address)) return nic;
  }
  std::vector<const Nic*> carriers;
  for (const Nic* nic : candidates) {
    if (!is_candidate(nic->master) && !is_candidate(nic->lower)) carriers.push_back(nic);
  }
  if (candidates.empty()) return failure(IfaceErrc::no_such_nic);
  if (carriers.size() != 1) return failure(IfaceErrc::ambiguous);
  return carriers.front();
}

}  // namespace

const std::error_category& iface_category() noexcept {
  static const IfaceCategory category;
  return category;
}

IfaceSpec make_iface_spec(const std::map<std::string, std::string>& settings) {
  const auto value = [&settings](const char* key, const char* fallback) {
    const auto found = settings.find(key);
    return found == settings.end() ? std::string(fallback) : found->second;
  };
  return {.name = value("iface.iscsi_ifacename", "default"),
          .net_ifacename = value("iface.net_ifacename", ""),
          .hwaddress = value("iface.hwaddress", ""),
          .ipaddress = value("iface.ipaddress", ""),
          .transport_name = value("iface.transport_name", "tcp"),
          .initiatorname = value("iface.initiatorname", "")};
}

Result<Binding> resolve(const IfaceSpec& spec) {
  if (spec.net_ifacename.empty() && spec.hwaddress.empty() && spec.ipaddress.empty()) return resolve(spec, {});
  const auto nics = list_nics();
  if (!nics) return failure(nics.error());
  return resolve(spec, *nics);
}

Result<Binding> resolve(const IfaceSpec& spec, std::span<const Nic> nics) {
  if (spec.transport_name != "tcp") return failure(IfaceErrc::unsupported_transport);
  if (!spec.net_ifacename.empty() && !spec.hwaddress.empty()) return failure(IfaceErrc::named_twice);
  Binding binding{.iface_name = spec.name, .net_ifacename = {}, .source_address = spec.ipaddress};
  if (spec.net_ifacename.empty() && spec.hwaddress.empty()) {
    const auto has = [&spec](const Nic& nic) { return has_address(nic, spec.ipaddress); };
    if (!spec.ipaddress.empty() && std::ranges::none_of(nics, has)) return failure(IfaceErrc::no_address);
    return binding;
  }
  const auto nic = spec.hwaddress.empty() ? by_name(nics, spec.net_ifacename) : by_mac(nics, lower(spec.hwaddress), spec.ipaddress);
  if (!nic) return failure(nic.error());
  if (!spec.ipaddress.empty() && !has_address(**nic, spec.ipaddress)) return failure(IfaceErrc::no_address);
  binding.net_ifacename = (*nic)->name;
  return binding;
}

std::string describe(const IfaceSpec& spec, error_code error) {
  const std::string& nic = spec.net_ifacename.empty() ? spec.hwaddress : spec.net_ifacename;
  const auto line = [&spec](std::string text) { return fmt::format("iface {}: {}", spec.name, text); };
  if (error == IfaceErrc::no_such_nic) {
    return line(spec.net_ifacename.empty() ? fmt::format("no network device with hardware address {}", nic)
                                           : fmt::format("no network device {}", nic));
  }
  if (error == IfaceErrc::ambiguous) return line(fmt::format("several network devices have hardware address {}", nic));
  if (error == IfaceErrc::unsupported_transport) {
    return line(fmt::format("transport {} is not supported, only tcp", spec.transport_name));
  }
  if (error == IfaceErrc::no_address) {
    return line(nic.empty() ? fmt::format("address {} is not configured here", spec.ipaddress)
                            : fmt::format("address {} is not configured on {}", spec.ipaddress, nic));
  }
  return line(error.message());
}

}  // namespace mpath
