// The secret that the members of a pair share, and the name by which their records know each other.
//
// A key file belongs to its owner alone. Its first line is the key: 64 hex digits as `openssl rand -hex 32` prints
// them, or any text of at least 32 bytes. A second line is accepted from others and not used: to change the key while
// everything runs, give each member the new one as second line; then each the new one first and the old one second;
// then take the old one away.
#pragma once

#include <array>
#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wire/replication.hpp"

namespace mpath::target::cluster {

using ClusterId = std::array<std::byte, 16>;
using mpath::replication::Key;

inline constexpr std::size_t key_text_bytes_min = 32;

struct ClusterKeys {
  Key current{};
  std::optional<Key> previous;
  // The one to send with first; what comes may be of any.
  [[nodiscard]] std::vector<Key> all() const;
  bool operator==(const ClusterKeys&) const = default;
};

// Blocks for a moment. The error names the file and says what to do.
[[nodiscard]] std::expected<ClusterKeys, std::string> read_cluster_keys(const std::string& path);
// SHA-256 of the text.
[[nodiscard]] Key key_of(std::string_view text);
// The first half of SHA-256 of "mptarget cluster NAME".
[[nodiscard]] ClusterId cluster_id(std::string_view name);
// The key of the agreement's frames: HMAC-SHA256 of a label and the cluster's id. Clusters that were given the same key
// do not understand each other, and no tag made for another purpose passes as one of a frame.
[[nodiscard]] Key frame_key(const Key& key, const ClusterId& cluster);

}  // namespace mpath::target::cluster
