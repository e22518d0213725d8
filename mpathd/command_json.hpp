// The JSON side of the shell. `show maps json` and `show map M json` have exactly multipathd's fields, so that its
// readers (libdmmp, os-brick, CSI drivers) take them; the other documents carry the same version and fields of our own.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mpathd/map_control.hpp"
#include "mpathd/snapshot.hpp"

namespace mpath {

[[nodiscard]] std::string maps_json(std::span<const MapSnapshot> maps);  // {"major_version","minor_version","maps":[...]}
[[nodiscard]] std::string map_json(const MapSnapshot& map);              // ... "map":{...}

// All that is known of paths: the fields of a path in `show maps json`, then where it goes and how it fares.
[[nodiscard]] std::string paths_json(std::span<const PathSnapshot* const> paths);

// Rows of a format: one object each, named by the headers of its letters, every value a string.
[[nodiscard]] std::string path_rows_json(std::string_view format, std::span<const PathSnapshot* const> paths);
[[nodiscard]] std::string map_rows_json(std::string_view format, std::span<const MapSnapshot> maps);

[[nodiscard]] std::string status_json(std::span<const PathSnapshot* const> paths, bool busy);
[[nodiscard]] std::string daemon_json(const DaemonState& state);
[[nodiscard]] std::string wildcards_json();

// Anything else: {"text": what the command prints}.
[[nodiscard]] std::string text_json(std::string_view text);
// How a command that changes something went: {"ok":bool} and, when there is one, "text".
[[nodiscard]] std::string outcome_json(bool ok, std::string_view text);

}  // namespace mpath
