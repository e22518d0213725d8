// A number for a text that is the same on every machine and in every release (FNV-1a, 64 bits): picks shards, makes ISIDs and
// names in the kernel. Not against whoever chooses the texts.
#pragma once

#include <cstdint>
#include <string_view>

namespace mpath {

[[nodiscard]] constexpr std::uint64_t stable_hash(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace mpath
