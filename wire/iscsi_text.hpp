// Text of login and text PDUs: key=value pairs (RFC 7143, 6.1), numbers, binary values, SendTargets answers.
//
// Pure. Whoever receives joins the data segments of continued PDUs (C bit) first, bounded by the limits header.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace mpath::iscsi {

struct KeyValue {
  std::string key;
  std::string value;
  friend bool operator==(const KeyValue&, const KeyValue&) = default;
};
using KeyValues = std::vector<KeyValue>;

// Fails with truncated (last pair without its NUL), bad_field (no '=', or a name that is not one), bad_length. Repeated
// keys are kept: SendTargets repeats, and login refuses them where it counts. NULs at the end are padding of careless
// peers.
[[nodiscard]] Result<KeyValues> decode_text(std::span<const std::byte> text);
[[nodiscard]] std::vector<std::byte> encode_text(std::span<const KeyValue> pairs);

// The first value of `key`; null when it is not there.
[[nodiscard]] const std::string* find(std::span<const KeyValue> pairs, std::string_view key);

// Decimal, or hexadecimal with 0x, up to 64 bits; nothing else around it.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text);
// 0x... or 0b... (base64), RFC 7143 4.2.2; at most `bytes_max` bytes.
[[nodiscard]] std::optional<std::vector<std::byte>> parse_binary(std::string_view text, std::size_t bytes_max);
[[nodiscard]] std::string hex_constant(std::span<const std::byte> bytes);
// "a,b,c" apart. Empty items are kept, so that "a,,b" is not "a,b".
[[nodiscard]] std::vector<std::string_view> split_list(std::string_view list);

// A portal as SendTargets and redirection give it: address[:port][,tag].
struct TargetAddress {
  std::string host;  // numeric or name; IPv6 without its brackets
  std::uint16_t port = 3260;
  std::optional<std::uint16_t> portal_group;
  friend bool operator==(const TargetAddress&, const TargetAddress&) = default;
};
[[nodiscard]] Result<TargetAddress> parse_target_address(std::string_view text);
[[nodiscard]] std::string format_target_address(const TargetAddress& address);

struct DiscoveredTarget {
  std::string name;
  std::vector<TargetAddress> addresses;  // empty: where the discovery session went
  friend bool operator==(const DiscoveredTarget&, const DiscoveredTarget&) = default;
};
// Answer to SendTargets. Addresses that cannot be read are left out; an address before any name is an error.
[[nodiscard]] Result<std::vector<DiscoveredTarget>> parse_send_targets(std::span<const KeyValue> pairs);
[[nodiscard]] KeyValues format_send_targets(std::span<const DiscoveredTarget> targets);

// iqn., eui., naa. names as RFC 7143 4.2.7 allows them on the wire (normalised, at most 223 bytes).
[[nodiscard]] bool valid_iscsi_name(std::string_view name);

}  // namespace mpath::iscsi
