// Tables as multipathd prints them: a header, then one row for each path or map, every column as wide as its widest
// value. `raw` has neither header nor padding. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mpathd/snapshot.hpp"

namespace mpath {

enum class TableStyle : std::uint8_t { padded, raw };

inline constexpr std::string_view paths_format = "%i %d %D %p %t %T %o %C";  // show paths
inline constexpr std::string_view maps_format = "%n %d %w";                  // show maps
inline constexpr std::string_view maps_status_format = "%n %F %Q %N %t %r";
inline constexpr std::string_view maps_stats_format = "%n %0 %1 %2 %3 %4";

// `format` is text with % letters (mpathd/wildcards.hpp); a letter that nobody knows prints nothing. Without rows there is
// no header either. A column is never made wider than 255.
[[nodiscard]] std::string format_paths(std::string_view format, std::span<const PathSnapshot* const> paths,
                                       TableStyle style);
[[nodiscard]] std::string format_maps(std::string_view format, std::span<const MapSnapshot> maps, TableStyle style);

// The order of `show paths`: map by map, group by group, then the orphans. Borrowed from the snapshot.
[[nodiscard]] std::vector<const PathSnapshot*> all_paths(const Snapshot& snapshot);

}  // namespace mpath
