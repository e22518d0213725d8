#include "mpathd/topology.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "mpathd/wildcards.hpp"

namespace mpath {
namespace {

constexpr std::string_view path_columns = "idDtTo";
using Widths = std::array<std::size_t, path_columns.size()>;

std::string column(const PathSnapshot& path, char letter, TopologyStyle::Detail detail) {
  if (letter == 'T' && detail == TopologyStyle::Detail::brief) return "undef";
  return wildcard_text(path, letter);
}

void widen(Widths& widths, const MapSnapshot& map, TopologyStyle::Detail detail) {
  for (const GroupSnapshot& group : map.groups)
    for (const PathSnapshot& path : group.paths)
      for (std::size_t i = 0; i < widths.size(); ++i)
        widths[i] = std::max(widths[i], column(path, path_columns[i], detail).size());
}

std::string map_lines(const MapSnapshot& map, const TopologyStyle& style) {
  const bool show_action = style.detail == TopologyStyle::Detail::full && !map.action.empty();
  const bool show_wwid = !map.name.empty() && map.name != map.wwid;
  std::string head = show_action ? map.action + ": " : "";
  head += wildcard_text(map, 'n');
  if (show_wwid) head += fmt::format(" ({})", map.wwid);
  head += fmt::format(" {} {}", wildcard_text(map, 'd'), wildcard_text(map, 's'));
  if (style.bold) head = "\x1b[1m" + head + "\x1b[0m";
  return fmt::format("{}\nsize={} features='{}' hwhandler='{}' wp={}\n", head, wildcard_text(map, 'S'), map.features,
                     map.hwhandler, wildcard_text(map, 'r'));
}

std::string group_line(const GroupSnapshot& group, bool last, TopologyStyle::Detail detail) {
  const int priority = detail == TopologyStyle::Detail::brief ? 0 : group.priority;
  return fmt::format("{}-+- policy='{}' prio={} status={}\n", last ? '`' : '|', group.selector, priority,
                     wildcard_text(group, 't'));
}

std::string path_line(const PathSnapshot& path, const Widths& widths, TopologyStyle::Detail detail) {
  std::string line;
  for (std::size_t i = 0; i < widths.size(); ++i)
    line += fmt::format("{}{:<{}}", i == 0 ? "" : " ", column(path, path_columns[i], detail), widths[i]);
  return line + "\n";
}

}  // namespace

std::string topology_text(std::span<const MapSnapshot> maps, const TopologyStyle& style) {
  Widths common{};
  for (const MapSnapshot& map : maps) widen(common, map, style.detail);
  std::string text;
  for (const MapSnapshot& map : maps) {
    Widths widths{};
    widen(widths, map, style.detail);
    if (style.columns == TopologyStyle::Columns::common) widths = common;
    text += map_lines(map, style);
    for (std::size_t g = 0; g < map.groups.size(); ++g) {
      const GroupSnapshot& group = map.groups[g];
      const bool last_group = g + 1 == map.groups.size();
      text += group_line(group, last_group, style.detail);
      for (std::size_t p = 0; p < group.paths.size(); ++p) {
        const bool last_path = p + 1 == group.paths.size();
        text += fmt::format("{} {}- {}", last_group ? ' ' : '|', last_path ? '`' : '|',
                            path_line(group.paths[p], widths, style.detail));
      }
    }
  }
  return text;
}

}  // namespace mpath
