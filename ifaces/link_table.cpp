#include "ifaces/link_table.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace mpath {
namespace {

constexpr unsigned iff_lower_up = 0x10000;  // IFF_LOWER_UP of linux/if.h, which does not go along with net/if.h

// nlmsg_parse() reads only, but takes a pointer to non-const.
template <int Max>
bool parse(const nlmsghdr& message, int header_size, std::array<nlattr*, Max + 1>& attributes) {
  return nlmsg_parse(const_cast<nlmsghdr*>(&message), header_size, attributes.data(), Max, nullptr) == 0;
}

std::string text_of(nlattr* attribute) {
  const auto* bytes = static_cast<const char*>(nla_data(attribute));
  return {bytes, ::strnlen(bytes, static_cast<std::size_t>(nla_len(attribute)))};
}

std::string mac_of(nlattr* attribute) {
  if (attribute == nullptr || nla_len(attribute) != 6) return {};
  const auto* bytes = static_cast<const unsigned char*>(nla_data(attribute));
  return fmt::format("{:02x}", fmt::join(bytes, bytes + 6, ":"));
}

unsigned number_of(nlattr* attribute) {
  return attribute == nullptr || nla_len(attribute) < 4 ? 0 : nla_get_u32(attribute);
}

}  // namespace

bool Nic::has_address() const {
  return std::ranges::any_of(addresses, [](const NicAddress& a) { return a.usable && !a.link_local; });
}

unsigned LinkTable::apply(const nlmsghdr& message) {
  switch (message.nlmsg_type) {
    case RTM_NEWLINK:
      return apply_link(message, true);
    case RTM_DELLINK:
      return apply_link(message, false);
    case RTM_NEWADDR:
      return apply_address(message, true);
    case RTM_DELADDR:
      return apply_address(message, false);
  }
  return 0;
}

unsigned LinkTable::apply_link(const nlmsghdr& message, bool present) {
  std::array<nlattr*, IFLA_MAX + 1> attributes{};
  if (!parse<IFLA_MAX>(message, sizeof(ifinfomsg), attributes)) return 0;
  const auto& info = *static_cast<const ifinfomsg*>(nlmsg_data(&message));
  // With AF_BRIDGE the message is about a port of a bridge: its DELLINK does not mean that the device went.
  if (info.ifi_family != AF_UNSPEC || info.ifi_index <= 0) return 0;
  const auto index = static_cast<unsigned>(info.ifi_index);
  if (!present) {
    entries_.erase(index);
    return index;
  }
  if (attributes[IFLA_IFNAME] == nullptr) return 0;
  Entry& entry = entries_[index];
  entry.told = true;
  entry.seen = generation_;
  Nic& nic = entry.nic;
  nic.index = index;
  nic.name = text_of(attributes[IFLA_IFNAME]);
  nic.mac = mac_of(attributes[IFLA_ADDRESS]);
  nic.permanent_mac = mac_of(attributes[IFLA_PERM_ADDRESS]);
  nic.admin_up = (info.ifi_flags & IFF_UP) != 0;
  nic.lower_up = (info.ifi_flags & iff_lower_up) != 0;
  nic.loopback = (info.ifi_flags & IFF_LOOPBACK) != 0;
  nic.master = number_of(attributes[IFLA_MASTER]);
  // A veth's IFLA_LINK is its peer, possibly an index of another namespace; only a link of this one is "below".
  const bool veth = [&] {
    if (attributes[IFLA_LINKINFO] == nullptr) return false;
    std::array<nlattr*, IFLA_INFO_MAX + 1> link_info{};
    if (nla_parse_nested(link_info.data(), IFLA_INFO_MAX, attributes[IFLA_LINKINFO], nullptr) != 0) return false;
    return link_info[IFLA_INFO_KIND] != nullptr && text_of(link_info[IFLA_INFO_KIND]) == "veth";
  }();
  nic.lower = veth || attributes[IFLA_LINK_NETNSID] != nullptr ? 0 : number_of(attributes[IFLA_LINK]);
  return index;
}

unsigned LinkTable::apply_address(const nlmsghdr& message, bool present) {
  std::array<nlattr*, IFA_MAX + 1> attributes{};
  if (!parse<IFA_MAX>(message, sizeof(ifaddrmsg), attributes)) return 0;
  const auto& info = *static_cast<const ifaddrmsg*>(nlmsg_data(&message));
  const bool v6 = info.ifa_family == AF_INET6;
  if (!v6 && info.ifa_family != AF_INET) return 0;
  // On a point-to-point link IFA_ADDRESS is the peer; IFA_LOCAL is ours where it is given.
  nlattr* raw = attributes[IFA_LOCAL] != nullptr ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
  if (raw == nullptr || nla_len(raw) != (v6 ? 16 : 4) || info.ifa_index == 0) return 0;
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(info.ifa_family, nla_data(raw), text.data(), text.size());
  const std::uint32_t flags = attributes[IFA_FLAGS] != nullptr ? number_of(attributes[IFA_FLAGS]) : info.ifa_flags;
  const auto found = entries_.find(info.ifa_index);
  if (found == entries_.end() && !present) return 0;
  Entry& entry = entries_[info.ifa_index];
  const std::pair<std::string, int> key{text.data(), info.ifa_prefixlen};
  if (present) {
    entry.addresses[key] = {.value = {.address = key.first,
                                      .prefix_length = key.second,
                                      .link_local = v6 && info.ifa_scope == RT_SCOPE_LINK,
                                      .usable = (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) == 0},
                            .seen = generation_};
  } else {
    entry.addresses.erase(key);
  }
  collect_addresses(entry);
  return info.ifa_index;
}

void LinkTable::collect_addresses(Entry& entry) {
  entry.nic.addresses.clear();
  for (const auto& [key, address] : entry.addresses) entry.nic.addresses.push_back(address.value);
}

void LinkTable::end_dump() {
  std::erase_if(entries_, [this](const auto& item) { return item.second.seen < generation_; });
  for (auto& [index, entry] : entries_) {
    std::erase_if(entry.addresses, [this](const auto& item) { return item.second.seen < generation_; });
    collect_addresses(entry);
  }
}

const Nic* LinkTable::find(unsigned index) const {
  const auto found = entries_.find(index);
  return found == entries_.end() || !found->second.told ? nullptr : &found->second.nic;
}

const Nic* LinkTable::find(const std::string& name) const {
  for (const auto& [index, entry] : entries_) {
    if (entry.told && entry.nic.name == name) return &entry.nic;
  }
  return nullptr;
}

std::vector<Nic> LinkTable::nics() const {
  std::vector<Nic> all;
  for (const auto& [index, entry] : entries_) {
    if (entry.told) all.push_back(entry.nic);
  }
  return all;
}

}  // namespace mpath
