#include "ifaces/network_hints.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <optional>

namespace mpath {
namespace {

struct Subnet {
  std::uint32_t network = 0;
  int prefix_length = 0;
  friend bool operator==(const Subnet&, const Subnet&) = default;
};

std::optional<Subnet> subnet_of(const NicAddress& address) {
  in_addr raw{};
  if (::inet_pton(AF_INET, address.address.c_str(), &raw) != 1) return std::nullopt;
  if (address.prefix_length <= 0 || address.prefix_length > 31) return std::nullopt;  // a host route is no subnet
  const std::uint32_t mask = ~std::uint32_t{0} << (32 - address.prefix_length);
  return Subnet{.network = ntohl(raw.s_addr) & mask, .prefix_length = address.prefix_length};
}

std::optional<Subnet> shared_subnet(const Nic& a, const Nic& b) {
  for (const NicAddress& one : a.addresses) {
    const auto subnet = subnet_of(one);
    if (!subnet) continue;
    for (const NicAddress& other : b.addresses) {
      if (subnet_of(other) == subnet) return subnet;
    }
  }
  return std::nullopt;
}

std::string text_of(const Subnet& subnet) {
  return fmt::format("{}.{}.{}.{}/{}", subnet.network >> 24, (subnet.network >> 16) & 255, (subnet.network >> 8) & 255,
                     subnet.network & 255, subnet.prefix_length);
}

// What is wrong with one NIC that has a neighbour in its subnet; empty when nothing.
std::string complaint(const NicNetwork& network) {
  const std::string& name = network.nic.name;
  const bool strict = network.sysctls.rp_filter == 1;
  const bool flux = network.sysctls.arp_ignore == 0;
  if (strict && flux) {
    return fmt::format("net.ipv4.conf.{0}.rp_filter = 1 (set 2) and net.ipv4.conf.{0}.arp_ignore = 0 (set 1)", name);
  }
  if (strict) return fmt::format("net.ipv4.conf.{}.rp_filter = 1 (set 2)", name);
  if (flux) return fmt::format("net.ipv4.conf.{}.arp_ignore = 0 (set 1)", name);
  return {};
}

int read_sysctl(const std::string& nic, const char* key) {
  int own = 0;
  int all = 0;
  std::ifstream("/proc/sys/net/ipv4/conf/" + nic + "/" + key) >> own;
  std::ifstream(std::string("/proc/sys/net/ipv4/conf/all/") + key) >> all;
  return std::max(own, all);
}

}  // namespace

std::vector<std::string> binding_warnings(std::span<const NicNetwork> nics) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < nics.size(); ++i) {
    for (std::size_t j = i + 1; j < nics.size(); ++j) {
      const auto subnet = shared_subnet(nics[i].nic, nics[j].nic);
      if (!subnet) continue;
      const std::string first = complaint(nics[i]);
      const std::string second = complaint(nics[j]);
      if (first.empty() && second.empty()) continue;
      lines.push_back(fmt::format("{} and {} share subnet {}: answers may go astray: {}{}{}", nics[i].nic.name,
                                  nics[j].nic.name, text_of(*subnet), first,
                                  first.empty() || second.empty() ? "" : ", ", second));
    }
  }
  return lines;
}

std::vector<std::string> check_bindings(std::span<const std::string> nic_names) {
  const auto nics = list_nics();
  if (!nics) return {};
  std::vector<NicNetwork> networks;
  for (const Nic& nic : *nics) {
    if (std::ranges::find(nic_names, nic.name) == nic_names.end()) continue;
    networks.push_back({.nic = nic,
                        .sysctls = {.rp_filter = read_sysctl(nic.name, "rp_filter"),
                                    .arp_ignore = read_sysctl(nic.name, "arp_ignore")}});
  }
  return binding_warnings(networks);
}

}  // namespace mpath
