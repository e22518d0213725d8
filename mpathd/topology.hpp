// The tree that `multipath -ll` prints, and os-brick and people read: a map, its size and features, its groups, their
// paths. Where multipath prints dm-N we print the name of the export. Pure.
//
//   mpatha (360000000000000000e00000000010001) nbd/mpatha.sock IET,VIRTUAL-DISK
//   size=256M features='0' hwhandler='0' wp=rw
//   `-+- policy='service-time 0' prio=1 status=active
//     |- 1:0:0:1 p0 0:1 active ready running
//     `- 2:0:0:1 p1 0:2 active ready running
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "mpathd/snapshot.hpp"

namespace mpath {

struct TopologyStyle {
  // -l does not say what the checkers found: `undef`, and priority 0, as multipath prints for paths it did not ask.
  enum class Detail : std::uint8_t { brief, full } detail = Detail::full;
  // `multipath -ll` pads the path columns within each map, `show topology` over all paths.
  enum class Columns : std::uint8_t { per_map, common } columns = Columns::per_map;
  bool bold = false;  // the first line of each map; only for a terminal
};

[[nodiscard]] std::string topology_text(std::span<const MapSnapshot> maps, const TopologyStyle& style);

}  // namespace mpath
