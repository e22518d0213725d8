#include "ifaces/binding.hpp"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace mpath {
namespace {

// A socket address of either family, port zero.
struct SourceAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

// `address` as the socket's family wants it. Link-local IPv6 addresses take the device of the binding as their scope.
Result<SourceAddress> source_address(const Binding& binding, int family) {
  SourceAddress source;
  const char* text = binding.source_address.c_str();
  if (family == AF_INET) {
    auto& in = reinterpret_cast<sockaddr_in&>(source.storage);
    if (::inet_pton(AF_INET, text, &in.sin_addr) != 1) return failure(EAFNOSUPPORT);
    in.sin_family = AF_INET;
    source.length = sizeof in;
    return source;
  }
  if (family == AF_INET6) {
    auto& in = reinterpret_cast<sockaddr_in6&>(source.storage);
    if (::inet_pton(AF_INET6, text, &in.sin6_addr) != 1) return failure(EAFNOSUPPORT);
    in.sin6_family = AF_INET6;
    if (IN6_IS_ADDR_LINKLOCAL(&in.sin6_addr)) in.sin6_scope_id = ::if_nametoindex(binding.net_ifacename.c_str());
    source.length = sizeof in;
    return source;
  }
  return failure(EAFNOSUPPORT);
}

Result<int> family_of(int fd) {
  int family = 0;
  socklen_t length = sizeof family;
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) != 0) return failure(errno);
  return family;
}

// The device the kernel says the socket is bound to; empty when to none.
Result<std::string> bound_device(int fd) {
  std::array<char, IF_NAMESIZE> name{};
  socklen_t length = name.size();
  if (::getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name.data(), &length) != 0) return failure(errno);
  return std::string(name.data(), ::strnlen(name.data(), name.size()));
}

error_code bind_device(int fd, const std::string& device) {
  if (device.size() >= IF_NAMESIZE) return errno_code(ENODEV);
  const auto length = static_cast<socklen_t>(device.size() + 1);
  if (::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device.c_str(), length) != 0) return errno_code(errno);
  const auto bound = bound_device(fd);
  if (!bound) return bound.error();
  return *bound == device ? error_code{} : errno_code(ENODEV);
}

error_code bind_source(int fd, const Binding& binding) {
  const auto family = family_of(fd);
  if (!family) return family.error();
  const auto source = source_address(binding, *family);
  if (!source) return source.error();
  // The port is chosen at connect(), when the peer is known: many sessions may leave by one address. Best effort.
  const int on = 1;
  static_cast<void>(::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&source->storage), source->length) != 0) return errno_code(errno);
  return {};
}

bool has_source(int fd, const Binding& binding) {
  sockaddr_storage local{};
  socklen_t length = sizeof local;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length) != 0) return false;
  const auto wanted = source_address(binding, local.ss_family);
  if (!wanted) return false;
  if (local.ss_family == AF_INET) {
    return reinterpret_cast<const sockaddr_in&>(local).sin_addr.s_addr ==
           reinterpret_cast<const sockaddr_in&>(wanted->storage).sin_addr.s_addr;
  }
  return std::memcmp(&reinterpret_cast<const sockaddr_in6&>(local).sin6_addr,
                     &reinterpret_cast<const sockaddr_in6&>(wanted->storage).sin6_addr, sizeof(in6_addr)) == 0;
}

}  // namespace

error_code bind_socket(int fd, const Binding& binding) {
  if (!binding.net_ifacename.empty()) {
    if (const error_code error = bind_device(fd, binding.net_ifacename)) return error;
  }
  if (!binding.source_address.empty()) return bind_source(fd, binding);
  return {};
}

bool socket_is_bound(int fd, const Binding& binding) {
  if (!binding.net_ifacename.empty()) {
    const auto bound = bound_device(fd);
    if (!bound || *bound != binding.net_ifacename) return false;
  }
  return binding.source_address.empty() || has_source(fd, binding);
}

}  // namespace mpath
