// The fixed words of replies, and the lookups by which commands find what they name. Pure.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "mpathd/map_control.hpp"
#include "mpathd/snapshot.hpp"

namespace mpath {

[[nodiscard]] std::string_view phase_word(DaemonPhase phase);       // "running"
[[nodiscard]] std::string_view status_words(CommandStatus status);  // "device not found", "map or partition in use" ...

[[nodiscard]] std::map<CheckerState, std::size_t> count_checker_states(std::span<const PathSnapshot* const> paths);

// `show status`: os-brick takes the word before the colon and the numbers apart.
[[nodiscard]] std::string status_text(std::span<const PathSnapshot* const> paths, bool busy);
[[nodiscard]] std::string daemon_text(const DaemonState& state);  // "pid 4711 running"

// A map by its name, its WWID or the name of its export, with or without /dev/ or /dev/mapper/ in front; a path by its
// device, major:minor or H:C:I:L. Null when there is none.
[[nodiscard]] const MapSnapshot* find_map(const Snapshot& snapshot, std::string_view name);
[[nodiscard]] const PathSnapshot* find_path(const Snapshot& snapshot, std::string_view name);

}  // namespace mpath
