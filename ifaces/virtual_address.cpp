#include "ifaces/virtual_address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <span>
#include <utility>

#include "base/unique_fd.hpp"
#include "base/within.hpp"
#include "ifaces/announcement.hpp"
#include "ifaces/route_socket.hpp"

namespace mpath {

using boost::asio::awaitable;

namespace {

constexpr auto as_tuple = boost::asio::as_tuple(boost::asio::use_awaitable);

constexpr std::array<std::chrono::milliseconds, 4> told_after = {
    std::chrono::milliseconds(0), std::chrono::milliseconds(50), std::chrono::milliseconds(200),
    std::chrono::milliseconds(1000)};
constexpr int renewals_per_lifetime = 5;
constexpr int neighbour_hop_limit = 255;  // others are not believed (RFC 4861, 7.1.2)

// The bytes of a numeric address: 4 or 16.
std::vector<std::byte> bytes_of(const std::string& text) {
  std::array<std::byte, 16> raw{};
  const auto* first = raw.data();
  if (::inet_pton(AF_INET, text.c_str(), raw.data()) == 1) return {first, first + 4};
  if (::inet_pton(AF_INET6, text.c_str(), raw.data()) == 1) return {first, first + 16};
  return {};
}

bool same_subnet(std::span<const std::byte> one, std::span<const std::byte> other, int prefix_length) {
  if (one.size() != other.size()) return false;
  const auto bits = static_cast<std::size_t>(prefix_length);
  if (bits > one.size() * 8) return false;
  if (!std::equal(one.begin(), one.begin() + static_cast<std::ptrdiff_t>(bits / 8), other.begin())) return false;
  if (bits % 8 == 0) return true;
  return std::to_integer<unsigned>(one[bits / 8] ^ other[bits / 8]) >> (8 - bits % 8) == 0;
}

bool same_address(const NicAddress& one, std::span<const std::byte> other) {
  return std::ranges::equal(bytes_of(one.address), other);
}

std::string reason(error_code error, const char* privilege = "CAP_NET_ADMIN") {
  const bool forbidden = error.value() == EPERM || error.value() == EACCES;
  return forbidden ? fmt::format("{} (needs {})", error.message(), privilege) : error.message();
}

// Taking off the first address of an IPv4 subnet takes its later ones along, unless the kernel is told to promote one
// of them. The setting is put back in the end.
class Promotion {
 public:
  explicit Promotion(const std::string& nic) : file_("/proc/sys/net/ipv4/conf/" + nic + "/promote_secondaries") {
    std::ifstream(file_) >> before_;
    if (before_ == "0") std::ofstream(file_) << "1";
  }
  ~Promotion() {
    if (before_ == "0") std::ofstream(file_) << before_;
  }
  [[nodiscard]] bool in_force() const {
    std::string now;
    std::ifstream(file_) >> now;
    return now == "1";
  }
  Promotion(const Promotion&) = delete;
  Promotion& operator=(const Promotion&) = delete;

 private:
  std::string file_;
  std::string before_;
};

// What went along with the address all the same: /proc/sys may be out of our reach.
void put_back_others(RouteSocket& socket, const Nic& before, std::span<const std::byte> removed) {
  const auto nics = list_nics();
  if (!nics) return;
  for (const Nic& nic : *nics) {
    if (nic.index != before.index) continue;
    for (const NicAddress& each : before.addresses) {
      if (same_address(each, removed) || std::ranges::find(nic.addresses, each) != nic.addresses.end()) continue;
      static_cast<void>(socket.add_address(nic.index, each, std::chrono::seconds(0)));
    }
  }
}

// Nothing when the device has no neighbours that it would have to tell of a change: loopback, tunnels.
Result<std::optional<MacBytes>> mac_of(int fd, const std::string& nic) {
  ifreq request{};
  nic.copy(request.ifr_name, sizeof request.ifr_name - 1);
  if (::ioctl(fd, SIOCGIFHWADDR, &request) != 0) return failure(errno);
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) return std::optional<MacBytes>();
  MacBytes mac;
  std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
  return mac;
}

error_code sent(ssize_t result) {
  return result < 0 ? error_code(errno, std::generic_category()) : error_code();
}

error_code tell_v4(unsigned index, const std::string& nic, std::span<const std::byte, 4> address) {
  const UniqueFd socket(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return {errno, std::generic_category()};
  const auto mac = mac_of(socket.get(), nic);
  if (!mac) return mac.error();
  if (!*mac) return {};
  sockaddr_ll everybody{};
  everybody.sll_family = AF_PACKET;
  everybody.sll_protocol = htons(ETH_P_ARP);
  everybody.sll_ifindex = static_cast<int>(index);
  everybody.sll_halen = ETH_ALEN;
  std::memset(everybody.sll_addr, 0xff, ETH_ALEN);
  for (const ArpForm form : {ArpForm::request, ArpForm::reply}) {
    const std::vector<std::byte> packet = gratuitous_arp(form, **mac, address);
    const error_code error = sent(::sendto(socket.get(), packet.data(), packet.size(), 0,
                                           reinterpret_cast<const sockaddr*>(&everybody), sizeof everybody));
    if (error) return error;
  }
  return {};
}

error_code tell_v6(unsigned index, const std::string& nic, std::span<const std::byte, 16> address) {
  const UniqueFd socket(::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6));
  if (!socket) return {errno, std::generic_category()};
  const auto mac = mac_of(socket.get(), nic);
  if (!mac) return mac.error();
  if (!*mac) return {};
  const int interface = static_cast<int>(index);
  sockaddr_in6 from{};
  from.sin6_family = AF_INET6;
  from.sin6_scope_id = index;
  std::memcpy(&from.sin6_addr, address.data(), address.size());
  sockaddr_in6 everybody{};
  everybody.sin6_family = AF_INET6;
  everybody.sin6_scope_id = index;
  ::inet_pton(AF_INET6, "ff02::1", &everybody.sin6_addr);
  const int fd = socket.get();
  if (::setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &neighbour_hop_limit, sizeof neighbour_hop_limit) != 0 ||
      ::setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface, sizeof interface) != 0 ||
      ::bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0) {
    return {errno, std::generic_category()};
  }
  const std::vector<std::byte> packet = neighbour_advertisement(**mac, address);
  return sent(
      ::sendto(fd, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&everybody), sizeof everybody));
}

// ---- hearing others ------------------------------------------------------------------------------------------------

UniqueFd hear_v4(unsigned index) {
  UniqueFd fd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_ll here{};
  here.sll_family = AF_PACKET;
  here.sll_protocol = htons(ETH_P_ARP);
  here.sll_ifindex = static_cast<int>(index);
  if (fd && ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0) fd.reset();
  return fd;
}

UniqueFd hear_v6(unsigned index) {
  UniqueFd fd(::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6));
  if (!fd) return fd;
  icmp6_filter only;
  ICMP6_FILTER_SETBLOCKALL(&only);
  ICMP6_FILTER_SETPASS(ND_NEIGHBOR_ADVERT, &only);
  ipv6_mreq everybody{};
  ::inet_pton(AF_INET6, "ff02::1", &everybody.ipv6mr_multiaddr);
  everybody.ipv6mr_interface = index;
  const bool ready = ::setsockopt(fd.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &only, sizeof only) == 0 &&
                     ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &everybody, sizeof everybody) == 0;
  if (!ready) fd.reset();
  return fd;
}

// Until one other than `own` announces the address.
awaitable<bool> hear_another(boost::asio::posix::stream_descriptor& ears, std::vector<std::byte> address,
                             MacBytes own) {
  std::array<std::byte, 256> packet{};
  for (;;) {
    const ssize_t got = ::recv(ears.native_handle(), packet.data(), packet.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != EAGAIN) co_return false;
    if (got < 0) {
      const auto [error] = co_await ears.async_wait(boost::asio::posix::stream_descriptor::wait_read, as_tuple);
      if (error) co_return false;
      continue;
    }
    const auto bytes = std::span(packet).first(static_cast<std::size_t>(got));
    const auto sender = address.size() == 4 ? arp_sender(bytes, std::span(address).first<4>())
                                            : advertisement_sender(bytes, std::span(address).first<16>());
    if (sender && *sender != own) co_return true;
  }
}

}  // namespace

VirtualAddress::VirtualAddress(Clock& clock, VirtualAddressOptions options)
    : clock_(clock), options_(std::move(options)), text_(options_.address) {
  if (options_.prefix_length > 0) text_ += fmt::format("/{}", options_.prefix_length);
  if (!options_.net_ifacename.empty()) text_ += " dev " + options_.net_ifacename;
  alarm_ = clock_.make_alarm([this] { tell_again(); });
  renewal_ = clock_.make_alarm([this] { renew(); });
}

VirtualAddress::~VirtualAddress() = default;

std::expected<void, std::string> VirtualAddress::add() {
  const auto nics = list_nics();
  if (!nics) return std::unexpected("cannot list the interfaces: " + nics.error().message());
  auto place = find_place(*nics);
  if (!place) return std::unexpected(place.error());
  if (auto cleared = take_off(*nics, &*place); !cleared) return cleared;
  place_ = *std::move(place);
  if (const error_code error = put()) {
    const std::string nic = std::exchange(place_, {}).nic;
    return std::unexpected(fmt::format("cannot put {} on {}: {}", options_.address, nic, reason(error)));
  }
  announce();
  return {};
}

error_code VirtualAddress::put() {
  auto socket = RouteSocket::open({});
  const NicAddress address{.address = options_.address, .prefix_length = place_.prefix_length};
  if (options_.lifetime.count() > 0) {
    kept_until_ = clock_.now() + options_.lifetime;
    renewal_->set(clock_.now() + Duration(options_.lifetime) / renewals_per_lifetime);
  }
  return socket ? socket->add_address(place_.index, address, options_.lifetime) : socket.error();
}

bool VirtualAddress::may_keep() {
  if (!options_.may_keep || options_.may_keep()) return true;
  doubted_ = true;
  return false;
}

void VirtualAddress::renew() {
  if (!may_keep()) {
    renewal_->set(clock_.now() + Duration(options_.lifetime) / renewals_per_lifetime);
    return;
  }
  const bool had_left = doubted_ || clock_.now() >= kept_until_;
  if (const error_code error = put()) {
    complain("keep", error, "CAP_NET_ADMIN");
  } else if (had_left) {
    announce();
  }
}

std::expected<void, std::string> VirtualAddress::remove() {
  alarm_->cancel();
  renewal_->cancel();
  place_ = {};
  const auto nics = list_nics();
  if (!nics) return std::unexpected("cannot list the interfaces: " + nics.error().message());
  return take_off(*nics, nullptr);
}

awaitable<bool> VirtualAddress::claimed_by_another(TimePoint deadline) {
  alarm_->cancel();
  renewal_->cancel();
  if (place_.index == 0) co_return false;
  const auto address = bytes_of(options_.address);
  UniqueFd socket = address.size() == 4 ? hear_v4(place_.index) : hear_v6(place_.index);
  if (!socket) co_return false;
  const auto own = mac_of(socket.get(), place_.nic);
  if (!own || !*own) co_return false;
  boost::asio::posix::stream_descriptor ears(co_await boost::asio::this_coro::executor);
  boost::system::error_code error;
  ears.assign(socket.get(), error);
  if (error) co_return false;
  static_cast<void>(socket.release());
  const auto heard = co_await within(clock_, deadline, hear_another(ears, address, **own));
  co_return heard.value_or(false);
}

std::expected<bool, std::string> VirtualAddress::present() const {
  const auto nics = list_nics();
  if (!nics) return std::unexpected("cannot list the interfaces: " + nics.error().message());
  const auto ours = bytes_of(options_.address);
  return std::ranges::any_of(*nics, [&ours](const Nic& nic) {
    return std::ranges::any_of(nic.addresses, [&ours](const NicAddress& each) { return same_address(each, ours); });
  });
}

// By name, or by the subnet: of several the one with the longest prefix, of those one whose cable is in.
std::expected<VirtualAddress::Place, std::string> VirtualAddress::find_place(const std::vector<Nic>& nics) const {
  const auto ours = bytes_of(options_.address);
  if (ours.empty()) return std::unexpected(options_.address + " is not a numeric address");
  const std::string& name = options_.net_ifacename;
  const Nic* best = nullptr;
  int best_prefix = 0;
  for (const Nic& nic : nics) {
    if (!name.empty() && nic.name != name) continue;
    if (!name.empty()) best = &nic;
    for (const NicAddress& each : nic.addresses) {
      const auto theirs = bytes_of(each.address);
      if (theirs == ours || each.prefix_length <= 0 || !same_subnet(theirs, ours, each.prefix_length)) continue;
      const bool longer = each.prefix_length > best_prefix;
      const bool plugged = each.prefix_length == best_prefix && best != nullptr && !best->carrier() && nic.carrier();
      if (!longer && !plugged) continue;
      best = &nic;
      best_prefix = each.prefix_length;
    }
  }
  if (best == nullptr && !name.empty()) {
    return std::unexpected(fmt::format("cannot put {} on {}: there is no such interface", options_.address, name));
  }
  if (best == nullptr) {
    return std::unexpected(
        fmt::format("no interface has an address in the subnet of {}: name one (dev IFACE)", options_.address));
  }
  int prefix = options_.prefix_length;
  if (prefix <= 0) prefix = best_prefix;
  if (prefix <= 0) prefix = static_cast<int>(ours.size()) * 8;
  return Place{.index = best->index, .nic = best->name, .prefix_length = prefix};
}

// From wherever it is, but for the place where it is to be.
std::expected<void, std::string> VirtualAddress::take_off(const std::vector<Nic>& nics, const Place* kept) const {
  const auto ours = bytes_of(options_.address);
  if (ours.empty()) return std::unexpected(options_.address + " is not a numeric address");
  std::optional<RouteSocket> socket;
  for (const Nic& nic : nics) {
    for (const NicAddress& each : nic.addresses) {
      if (!same_address(each, ours)) continue;
      if (kept != nullptr && nic.index == kept->index && each.prefix_length == kept->prefix_length) continue;
      const auto fail = [&](error_code error) {
        return std::unexpected(
            fmt::format("cannot take {}/{} off {}: {}", each.address, each.prefix_length, nic.name, reason(error)));
      };
      if (!socket) {
        auto opened = RouteSocket::open({});
        if (!opened) return fail(opened.error());
        socket.emplace(*std::move(opened));
      }
      const Promotion promotion(nic.name);
      const bool promoted = promotion.in_force();
      if (const error_code error = socket->remove_address(nic.index, each)) return fail(error);
      if (!promoted && ours.size() == 4) put_back_others(*socket, nic, ours);
    }
  }
  return {};
}

// ---- telling the neighbours ----------------------------------------------------------------------------------------

void VirtualAddress::announce() {
  if (place_.index == 0) return;
  begun_ = clock_.now();
  told_ = 0;
  trouble_told_ = false;
  doubted_ = false;
  tell();
}

void VirtualAddress::tell_again() {
  if (may_keep()) tell();  // otherwise renew() begins anew
}

void VirtualAddress::tell() {
  const auto address = bytes_of(options_.address);
  const error_code error = address.size() == 4 ? tell_v4(place_.index, place_.nic, std::span(address).first<4>())
                                               : tell_v6(place_.index, place_.nic, std::span(address).first<16>());
  if (++told_ < told_after.size()) alarm_->set(begun_ + told_after[told_]);
  if (error) complain("announce", error, "CAP_NET_RAW");
}

void VirtualAddress::complain(const char* doing, error_code error, const char* privilege) {
  if (std::exchange(trouble_told_, true) || !options_.on_trouble) return;
  options_.on_trouble(
      fmt::format("cannot {} {} on {}: {}", doing, options_.address, place_.nic, reason(error, privilege)));
}

}  // namespace mpath
