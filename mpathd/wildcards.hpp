// The % letters of `show paths format` and `show maps format`: what each prints for a path, a group or a map. Pure.
//
// Letters, column headers and words are those of multipathd, which scripts know: never change one. Letters of our own are
// u, f, q of paths and q, X of maps.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "mpathd/snapshot.hpp"

namespace mpath {

struct PathWildcard {
  char letter;
  std::string_view header;
  std::string (*text)(const PathSnapshot&);
};

struct GroupWildcard {
  char letter;
  std::string_view header;
  std::string (*text)(const GroupSnapshot&);
};

struct MapWildcard {
  char letter;
  std::string_view header;
  std::string (*text)(const MapSnapshot&);
};

// In the order in which `show wildcards` lists them.
[[nodiscard]] std::span<const PathWildcard> path_wildcards();
[[nodiscard]] std::span<const GroupWildcard> group_wildcards();
[[nodiscard]] std::span<const MapWildcard> map_wildcards();

// What one letter prints; empty for a letter that nobody knows.
[[nodiscard]] std::string wildcard_text(const PathSnapshot& path, char letter);
[[nodiscard]] std::string wildcard_text(const GroupSnapshot& group, char letter);
[[nodiscard]] std::string wildcard_text(const MapSnapshot& map, char letter);

[[nodiscard]] std::string wildcards_text();  // `show wildcards`

// 10 GiB is "10G", 1.5 GiB "1.5G", 100 MiB "100M": one decimal below ten, units K to P.
[[nodiscard]] std::string size_text(std::uint64_t bytes);

// The names by which `show status` counts ("up", "down"), which differ from the words of %T ("ready", "faulty").
[[nodiscard]] std::string_view checker_state_name(CheckerState state);

// Whether I/O can go this way: what %N of a map counts.
[[nodiscard]] bool usable(const PathSnapshot& path);
[[nodiscard]] std::size_t usable_paths(const MapSnapshot& map);

}  // namespace mpath
