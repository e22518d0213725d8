#include "target/iscsi/ip_address.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>

namespace mpath::target {
namespace {

constexpr std::array<std::uint8_t, 12> mapped_prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr unsigned mapped_bits = 96;
constexpr unsigned all_bits = 128;
constexpr std::size_t text_bytes_max = 64;

}  // namespace

bool IpAddress::is_v4() const {
  return std::equal(mapped_prefix.begin(), mapped_prefix.end(), bytes.begin());
}

bool IpAddress::is_any() const {
  const auto first = bytes.begin() + (is_v4() ? mapped_prefix.size() : 0);
  return std::all_of(first, bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

std::optional<IpAddress> parse_ip_address(std::string_view text) {
  if (text.size() > text_bytes_max) return std::nullopt;
  const std::string whole(text);
  const std::string bare = whole.substr(0, whole.find('%'));
  IpAddress address;
  if (bare.find(':') != std::string::npos) {
    if (::inet_pton(AF_INET6, bare.c_str(), address.bytes.data()) != 1) return std::nullopt;
    return address;
  }
  std::copy(mapped_prefix.begin(), mapped_prefix.end(), address.bytes.begin());
  if (::inet_pton(AF_INET, whole.c_str(), address.bytes.data() + mapped_prefix.size()) != 1) return std::nullopt;
  return address;
}

bool IpPrefix::holds(const IpAddress& other) const {
  const std::size_t whole = bits / 8;
  if (!std::equal(address.bytes.begin(), address.bytes.begin() + static_cast<std::ptrdiff_t>(whole),
                  other.bytes.begin())) {
    return false;
  }
  const unsigned rest = bits % 8;
  return rest == 0 || (address.bytes[whole] ^ other.bytes[whole]) >> (8 - rest) == 0;
}

std::optional<IpPrefix> parse_ip_prefix(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = parse_ip_address(text.substr(0, slash));
  if (!address) return std::nullopt;
  IpPrefix prefix{.address = *address};
  if (slash == std::string_view::npos) return prefix;
  const std::string_view digits = text.substr(slash + 1);
  const unsigned least = address->is_v4() && text.find(':') == std::string_view::npos ? mapped_bits : 0;
  unsigned bits = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
  if (error != std::errc{} || end != digits.data() + digits.size() || bits > all_bits - least) return std::nullopt;
  prefix.bits = least + bits;
  return prefix;
}

}  // namespace mpath::target
