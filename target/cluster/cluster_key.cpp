#include "target/cluster/cluster_key.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <span>

#include "base/check.hpp"
#include "target/config/secrets.hpp"
#include "wire/hmac.hpp"

namespace mpath::target::cluster {

std::vector<Key> ClusterKeys::all() const {
  std::vector<Key> keys{current};
  if (previous) keys.push_back(*previous);
  return keys;
}

std::expected<ClusterKeys, std::string> read_cluster_keys(const std::string& path) {
  auto lines = read_secret_lines(path);
  if (!lines) return std::unexpected(lines.error());
  if (lines->empty())
    return std::unexpected(fmt::format("{}: empty: openssl rand -hex 32 prints a good key for it", path));
  if (lines->size() > 2)
    return std::unexpected(fmt::format("{}: {} lines: there is one key, and the one of before", path, lines->size()));
  for (std::string& line : *lines) {
    line.resize(line.find_last_not_of(" \t") + 1);
    if (line.size() < key_text_bytes_min) {
      return std::unexpected(fmt::format("{}: a key of {} bytes: at least {} are needed, shorter ones are guessed",
                                         path, line.size(), key_text_bytes_min));
    }
  }
  ClusterKeys keys{.current = key_of(lines->front()), .previous = std::nullopt};
  if (lines->size() == 2) keys.previous = key_of(lines->back());
  return keys;
}

Key key_of(std::string_view text) {
  Key key{};
  unsigned size = 0;
  const int made =
      EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(key.data()), &size, EVP_sha256(), nullptr);
  CHECK(made == 1 && size == key.size());
  return key;
}

ClusterId cluster_id(std::string_view name) {
  const Key digest = key_of("mptarget cluster " + std::string(name));
  ClusterId id{};
  std::copy_n(digest.begin(), id.size(), id.begin());
  return id;
}

Key frame_key(const Key& key, const ClusterId& cluster) {
  constexpr std::string_view label = "mptarget agreement ";
  return hmac_sha256(key, {std::as_bytes(std::span(label)), cluster});
}

}  // namespace mpath::target::cluster
