// Numeric addresses, compared by what they mean and not by how they are written. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace mpath::target {

// IPv4 in its IPv6 form (::ffff:a.b.c.d), so that there is one kind; a scope (%eth0) is left out.
struct IpAddress {
  std::array<std::uint8_t, 16> bytes{};
  [[nodiscard]] bool is_v4() const;
  // 0.0.0.0 or ::, which listen on every address of their kind.
  [[nodiscard]] bool is_any() const;
  friend bool operator==(const IpAddress&, const IpAddress&) = default;
};

[[nodiscard]] std::optional<IpAddress> parse_ip_address(std::string_view text);

// 10.0.0.0/8, fe80::/10, or one address.
struct IpPrefix {
  IpAddress address;
  unsigned bits = 128;  // of the IPv6 form
  [[nodiscard]] bool holds(const IpAddress& other) const;
  friend bool operator==(const IpPrefix&, const IpPrefix&) = default;
};

[[nodiscard]] std::optional<IpPrefix> parse_ip_prefix(std::string_view text);

}  // namespace mpath::target
