#include "wire/iscsi_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "wire/error.hpp"
#include "wire/iscsi_limits.hpp"

namespace mpath::iscsi {
namespace {

bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool valid_key(std::string_view key) {
  if (key.empty() || key.size() > limits::key_name_bytes_max) return false;
  return std::ranges::all_of(key, [](char c) {
    return is_alpha(c) || is_digit(c) || std::string_view(".-+@_#/").find(c) != std::string_view::npos;
  });
}

// 0..15, or -1.
int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (is_digit(c)) return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

std::optional<std::vector<std::byte>> parse_hex(std::string_view digits, std::size_t bytes_max) {
  if (digits.empty() || (digits.size() + 1) / 2 > bytes_max) return std::nullopt;
  std::vector<std::byte> bytes;
  bytes.reserve((digits.size() + 1) / 2);
  int high = digits.size() % 2 == 0 ? -1 : 0;  // an odd count means a leading zero
  for (const char c : digits) {
    const int digit = hex_digit(c);
    if (digit < 0) return std::nullopt;
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<std::byte>(high << 4 | digit));
      high = -1;
    }
  }
  return bytes;
}

std::optional<std::vector<std::byte>> parse_base64(std::string_view digits, std::size_t bytes_max) {
  const std::size_t padding = digits.size() - std::min(digits.size(), digits.find_last_not_of('=') + 1);
  if (digits.empty() || digits.size() % 4 != 0 || padding > 2 || digits.size() / 4 * 3 - padding > bytes_max) {
    return std::nullopt;
  }
  digits.remove_suffix(padding);
  std::vector<std::byte> bytes;
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : digits) {
    const int digit = base64_digit(c);
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<std::byte>(bits >> count));
  }
  return bytes;
}

template <typename Number>
std::optional<Number> whole_number(std::string_view text, int base = 10) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Result<KeyValues> decode_text(std::span<const std::byte> text) {
  std::string_view rest(reinterpret_cast<const char*>(text.data()), text.size());
  KeyValues pairs;
  while (!rest.empty()) {
    const auto end = rest.find('\0');
    if (end == std::string_view::npos) return failure(WireErrc::truncated);
    const std::string_view pair = rest.substr(0, end);
    if (pair.empty()) {
      if (rest.find_first_not_of('\0') != std::string_view::npos) return failure(WireErrc::bad_field);
      break;
    }
    rest.remove_prefix(end + 1);
    const auto equals = pair.find('=');
    if (equals == std::string_view::npos || !valid_key(pair.substr(0, equals))) return failure(WireErrc::bad_field);
    const std::string_view value = pair.substr(equals + 1);
    if (value.size() > limits::large_value_bytes_max) return failure(WireErrc::bad_length);
    pairs.push_back({.key = std::string(pair.substr(0, equals)), .value = std::string(value)});
  }
  return pairs;
}

std::vector<std::byte> encode_text(std::span<const KeyValue> pairs) {
  std::vector<std::byte> text;
  const auto append = [&text](std::string_view part) {
    const auto bytes = std::as_bytes(std::span(part));
    text.insert(text.end(), bytes.begin(), bytes.end());
  };
  for (const KeyValue& pair : pairs) {
    append(pair.key);
    append("=");
    append(pair.value);
    text.push_back(std::byte{0});
  }
  return text;
}

const std::string* find(std::span<const KeyValue> pairs, std::string_view key) {
  const auto found = std::ranges::find(pairs, key, &KeyValue::key);
  return found == pairs.end() ? nullptr : &found->value;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  if (hexadecimal) text.remove_prefix(2);
  return whole_number<std::uint64_t>(text, hexadecimal ? 16 : 10);
}

std::optional<std::vector<std::byte>> parse_binary(std::string_view text, std::size_t bytes_max) {
  if (text.starts_with("0x") || text.starts_with("0X")) return parse_hex(text.substr(2), bytes_max);
  if (text.starts_with("0b") || text.starts_with("0B")) return parse_base64(text.substr(2), bytes_max);
  return std::nullopt;
}

std::string hex_constant(std::span<const std::byte> bytes) {
  std::string text = "0x";
  for (const std::byte byte : bytes)
    fmt::format_to(std::back_inserter(text), "{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

std::vector<std::string_view> split_list(std::string_view list) {
  std::vector<std::string_view> items;
  for (;;) {
    const auto comma = list.find(',');
    items.push_back(list.substr(0, comma));
    if (comma == std::string_view::npos) return items;
    list.remove_prefix(comma + 1);
  }
}

Result<TargetAddress> parse_target_address(std::string_view text) {
  TargetAddress address;
  if (const auto comma = text.rfind(','); comma != std::string_view::npos) {
    const auto tag = whole_number<std::uint16_t>(text.substr(comma + 1));
    if (!tag) return failure(WireErrc::bad_field);
    address.portal_group = *tag;
    text = text.substr(0, comma);
  }
  std::string_view port;
  bool has_port = false;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos) return failure(WireErrc::bad_field);
    address.host = text.substr(1, close - 1);
    port = text.substr(close + 1);
    has_port = !port.empty();
    if (has_port && !port.starts_with(':')) return failure(WireErrc::bad_field);
    if (has_port) port.remove_prefix(1);
  } else {
    const auto colon = text.find(':');
    has_port = colon != std::string_view::npos;
    address.host = text.substr(0, colon);
    if (has_port) port = text.substr(colon + 1);
  }
  if (has_port) {
    const auto number = whole_number<std::uint16_t>(port);
    if (!number || *number == 0) return failure(WireErrc::bad_field);
    address.port = *number;
  }
  const bool printable = std::ranges::all_of(address.host, [](char c) { return c > ' ' && c < '\x7f'; });
  if (address.host.empty() || address.host.size() > limits::value_bytes_max || !printable)
    return failure(WireErrc::bad_field);
  return address;
}

std::string format_target_address(const TargetAddress& address) {
  const bool brackets = address.host.find(':') != std::string::npos;
  std::string text =
      brackets ? fmt::format("[{}]:{}", address.host, address.port) : fmt::format("{}:{}", address.host, address.port);
  if (address.portal_group) fmt::format_to(std::back_inserter(text), ",{}", *address.portal_group);
  return text;
}

Result<std::vector<DiscoveredTarget>> parse_send_targets(std::span<const KeyValue> pairs) {
  std::vector<DiscoveredTarget> targets;
  std::size_t portals = 0;
  for (const KeyValue& pair : pairs) {
    if (pair.key == "TargetName") {
      if (!valid_iscsi_name(pair.value)) return failure(WireErrc::bad_field);
      targets.push_back({.name = pair.value});
    } else if (pair.key == "TargetAddress") {
      if (targets.empty()) return failure(WireErrc::bad_field);
      if (++portals > limits::portals_max) return failure(WireErrc::bad_length);
      if (auto address = parse_target_address(pair.value)) targets.back().addresses.push_back(*std::move(address));
    }
  }
  return targets;
}

KeyValues format_send_targets(std::span<const DiscoveredTarget> targets) {
  KeyValues pairs;
  for (const DiscoveredTarget& target : targets) {
    pairs.push_back({.key = "TargetName", .value = target.name});
    for (const TargetAddress& address : target.addresses) {
      pairs.push_back({.key = "TargetAddress", .value = format_target_address(address)});
    }
  }
  return pairs;
}

bool valid_iscsi_name(std::string_view name) {
  if (name.size() <= 4 || name.size() > limits::iscsi_name_bytes_max) return false;
  if (!name.starts_with("iqn.") && !name.starts_with("eui.") && !name.starts_with("naa.")) return false;
  return std::ranges::all_of(name, [](char c) {
    const bool beyond_ascii = static_cast<unsigned char>(c) >= 0x80;
    return is_alpha(c) || is_digit(c) || c == '.' || c == '-' || c == ':' || c == '_' || beyond_ascii;
  });
}

}  // namespace mpath::iscsi
