#include "mpathd/wildcards.hpp"

#include <fmt/format.h>

#include <array>

namespace mpath {
namespace {

constexpr unsigned progress_cells = 10;
constexpr std::string_view unknown_inquiry = "##";  // a vendor, product or revision that was never read

bool orphan(const PathSnapshot& path) { return path.map.empty(); }

std::string or_else(const std::string& text, std::string_view otherwise) {
  return text.empty() ? std::string(otherwise) : text;
}

std::string_view dm_word(DmState state) {
  switch (state) {
    case DmState::undef: return "undef";
    case DmState::active: return "active";
    case DmState::failed: return "failed";
  }
  return "undef";
}

std::string_view checker_word(CheckerState state) {
  switch (state) {
    case CheckerState::undef: return "undef";
    case CheckerState::ready: return "ready";
    case CheckerState::faulty: return "faulty";
    case CheckerState::shaky: return "shaky";
    case CheckerState::ghost: return "ghost";
    case CheckerState::pending: return "i/o pending";
    case CheckerState::timeout: return "i/o timeout";
    case CheckerState::removed: return "undef";
    case CheckerState::disconnected: return "disconnected";
  }
  return "undef";
}

std::string_view group_word(GroupState state) {
  switch (state) {
    case GroupState::undef: return "undef";
    case GroupState::enabled: return "enabled";
    case GroupState::active: return "active";
    case GroupState::disabled: return "disabled";
  }
  return "undef";
}

std::string progress(unsigned current, unsigned total) {
  std::string bar;
  if (total > 0) {
    const auto filled = static_cast<std::size_t>(std::uint64_t{progress_cells} * std::min(current, total) / total);
    bar = std::string(filled, 'X') + std::string(progress_cells - filled, '.');
  }
  return fmt::format("{} {}/{}", bar, current, total);
}

// The eight bytes of a LUN as on the wire: the kernel's order of its four 16-bit levels (SAM-5, 4.7).
std::uint64_t lun_on_the_wire(std::uint64_t lun) {
  return (lun & 0xffff) << 48 | (lun & 0xffff0000) << 16 | (lun >> 16 & 0xffff0000) | lun >> 48;
}

std::string no_answer(const PathSnapshot&) { return "[undef]"; }  // things only Fibre Channel has
std::string no_foreign(const PathSnapshot&) { return "--"; }
std::string normal(const PathSnapshot&) { return "normal"; }

constexpr std::array path_table{
    PathWildcard{'w', "uuid", [](const PathSnapshot& p) { return p.wwid; }},
    PathWildcard{'i', "hcil",
                 [](const PathSnapshot& p) { return fmt::format("{}:{}:{}:{}", p.host, p.channel, p.id, p.lun); }},
    PathWildcard{'d', "dev", [](const PathSnapshot& p) { return or_else(p.device, "-"); }},
    PathWildcard{'D', "dev_t", [](const PathSnapshot& p) { return or_else(p.dev_t, "#:#"); }},
    PathWildcard{'t', "dm_st", [](const PathSnapshot& p) { return std::string(dm_word(p.dm_state)); }},
    PathWildcard{'o', "dev_st",
                 [](const PathSnapshot& p) { return orphan(p) ? std::string("unknown") : p.device_state; }},
    PathWildcard{'T', "chk_st",
                 [](const PathSnapshot& p) {
                   return std::string(checker_word(orphan(p) ? CheckerState::undef : p.checker_state));
                 }},
    PathWildcard{'s', "vend/prod/rev",
                 [](const PathSnapshot& p) {
                   return fmt::format("{},{},{}", or_else(p.vendor, unknown_inquiry),
                                      or_else(p.product, unknown_inquiry), or_else(p.revision, unknown_inquiry));
                 }},
    PathWildcard{'c', "checker", [](const PathSnapshot& p) { return or_else(p.checker, "(null)"); }},
    PathWildcard{'C', "next_check",
                 [](const PathSnapshot& p) {
                   return orphan(p) ? std::string("orphan") : progress(p.next_check, p.check_interval);
                 }},
    PathWildcard{'p', "pri", [](const PathSnapshot& p) { return fmt::to_string(p.priority); }},
    PathWildcard{'S', "size", [](const PathSnapshot& p) { return size_text(p.size_bytes); }},
    PathWildcard{'z', "serial", [](const PathSnapshot& p) { return p.serial; }},
    PathWildcard{'M', "marginal_st", normal},
    PathWildcard{'m', "multipath", [](const PathSnapshot& p) { return or_else(p.map, "[orphan]"); }},
    PathWildcard{'N', "host WWNN", [](const PathSnapshot& p) { return or_else(p.initiator_name, "[undef]"); }},
    PathWildcard{'n', "target WWNN", [](const PathSnapshot& p) { return or_else(p.target_name, "[undef]"); }},
    PathWildcard{'R', "host WWPN", no_answer},
    PathWildcard{'r', "target WWPN", no_answer},
    PathWildcard{'a', "host adapter", [](const PathSnapshot& p) { return or_else(p.net_ifacename, "[undef]"); }},
    PathWildcard{'G', "foreign", no_foreign},
    PathWildcard{'g', "vpd page data", [](const PathSnapshot& p) { return or_else(p.vpd_data, "[undef]"); }},
    PathWildcard{'0', "failures", [](const PathSnapshot& p) { return fmt::to_string(p.failures); }},
    PathWildcard{'P', "protocol", [](const PathSnapshot& p) { return p.protocol; }},
    PathWildcard{'I', "init_st", [](const PathSnapshot& p) { return p.init_state; }},
    PathWildcard{'L', "LUN hex",
                 [](const PathSnapshot& p) { return fmt::format("0x{:016x}", lun_on_the_wire(p.lun)); }},
    PathWildcard{'A', "TPG",
                 [](const PathSnapshot& p) { return p.port_group ? fmt::to_string(*p.port_group) : no_answer(p); }},
    PathWildcard{'k', "max_sectors_kb",
                 [](const PathSnapshot& p) {
                   return p.max_sectors_kb == 0 ? std::string("n/a") : fmt::to_string(p.max_sectors_kb);
                 }},
    PathWildcard{'u', "portal", [](const PathSnapshot& p) { return or_else(p.portal, "[undef]"); }},
    PathWildcard{'f', "iface", [](const PathSnapshot& p) { return or_else(p.iface, "[undef]"); }},
    PathWildcard{'q', "in_flight", [](const PathSnapshot& p) { return fmt::to_string(p.in_flight); }},
};

constexpr std::array group_table{
    GroupWildcard{'s', "selector", [](const GroupSnapshot& g) { return g.selector; }},
    GroupWildcard{'p', "pri", [](const GroupSnapshot& g) { return fmt::to_string(g.priority); }},
    GroupWildcard{'t', "dm_st", [](const GroupSnapshot& g) { return std::string(group_word(g.state)); }},
    GroupWildcard{'M', "marginal_st", [](const GroupSnapshot&) { return std::string("normal"); }},
};

std::string map_vpd_data(const MapSnapshot& map) {
  for (const GroupSnapshot& group : map.groups)
    for (const PathSnapshot& path : group.paths)
      if (!path.vpd_data.empty()) return path.vpd_data;
  return "[undef]";
}

// The largest request that every path takes.
std::string map_max_sectors(const MapSnapshot& map) {
  std::uint32_t least = 0;
  for (const GroupSnapshot& group : map.groups)
    for (const PathSnapshot& path : group.paths)
      if (path.max_sectors_kb != 0 && (least == 0 || path.max_sectors_kb < least)) least = path.max_sectors_kb;
  return least == 0 ? "n/a" : fmt::to_string(least);
}

// multipathd spells a suspended map "suspend" here.
std::string map_dm_word(const MapSnapshot& map) { return map.dm_state == "suspended" ? "suspend" : map.dm_state; }

constexpr std::array map_table{
    MapWildcard{'n', "name", [](const MapSnapshot& m) { return or_else(m.name, m.wwid); }},
    MapWildcard{'w', "uuid", [](const MapSnapshot& m) { return m.wwid; }},
    MapWildcard{'d', "sysfs", [](const MapSnapshot& m) { return or_else(m.sysfs, "undef"); }},
    MapWildcard{'F', "failback", [](const MapSnapshot& m) { return or_else(m.failback, "undef"); }},
    MapWildcard{'Q', "queueing", [](const MapSnapshot& m) { return or_else(m.queueing, "-"); }},
    MapWildcard{'N', "paths", [](const MapSnapshot& m) { return fmt::to_string(usable_paths(m)); }},
    MapWildcard{'r', "write_prot", [](const MapSnapshot& m) { return std::string(m.read_only ? "ro" : "rw"); }},
    MapWildcard{'t', "dm-st", map_dm_word},
    MapWildcard{'S', "size", [](const MapSnapshot& m) { return size_text(m.size_bytes); }},
    MapWildcard{'f', "features", [](const MapSnapshot& m) { return m.features; }},
    MapWildcard{'x', "failures", [](const MapSnapshot& m) { return fmt::to_string(m.map_failures); }},
    MapWildcard{'h', "hwhandler", [](const MapSnapshot& m) { return m.hwhandler; }},
    MapWildcard{'A', "action", [](const MapSnapshot& m) { return m.action; }},
    MapWildcard{'0', "path_faults", [](const MapSnapshot& m) { return fmt::to_string(m.path_faults); }},
    MapWildcard{'1', "switch_grp", [](const MapSnapshot& m) { return fmt::to_string(m.switch_group); }},
    MapWildcard{'2', "map_loads", [](const MapSnapshot& m) { return fmt::to_string(m.map_loads); }},
    MapWildcard{'3', "total_q_time", [](const MapSnapshot& m) { return fmt::to_string(m.total_queue_seconds); }},
    MapWildcard{'4', "q_timeouts", [](const MapSnapshot& m) { return fmt::to_string(m.queue_timeouts); }},
    MapWildcard{'s', "vend/prod",
                [](const MapSnapshot& m) {
                  return fmt::format("{},{}", or_else(m.vendor, unknown_inquiry), or_else(m.product, unknown_inquiry));
                }},
    MapWildcard{'v', "vend", [](const MapSnapshot& m) { return or_else(m.vendor, unknown_inquiry); }},
    MapWildcard{'p', "prod", [](const MapSnapshot& m) { return or_else(m.product, unknown_inquiry); }},
    MapWildcard{'e', "rev", [](const MapSnapshot& m) { return or_else(m.revision, unknown_inquiry); }},
    MapWildcard{'G', "foreign", [](const MapSnapshot&) { return std::string("--"); }},
    MapWildcard{'g', "vpd page data", map_vpd_data},
    MapWildcard{'k', "max_sectors_kb", map_max_sectors},
    MapWildcard{'q', "queued", [](const MapSnapshot& m) { return fmt::to_string(m.queued); }},
    MapWildcard{'X', "exports",
                [](const MapSnapshot& m) { return m.exports.empty() ? "-" : fmt::format("{}", fmt::join(m.exports, ",")); }},
};

template <typename Table, typename Object>
std::string text_of(const Table& table, const Object& object, char letter) {
  for (const auto& wildcard : table)
    if (wildcard.letter == letter) return wildcard.text(object);
  return {};
}

template <typename Table>
std::string list(std::string_view title, const Table& table) {
  std::string text = fmt::format("{} format wildcards:\n", title);
  for (const auto& wildcard : table) text += fmt::format("%{}  {}\n", wildcard.letter, wildcard.header);
  return text;
}

}  // namespace

std::span<const PathWildcard> path_wildcards() { return path_table; }
std::span<const GroupWildcard> group_wildcards() { return group_table; }
std::span<const MapWildcard> map_wildcards() { return map_table; }

std::string wildcard_text(const PathSnapshot& path, char letter) { return text_of(path_table, path, letter); }
std::string wildcard_text(const GroupSnapshot& group, char letter) { return text_of(group_table, group, letter); }
std::string wildcard_text(const MapSnapshot& map, char letter) { return text_of(map_table, map, letter); }

std::string wildcards_text() { return list("multipath", map_table) + "\n" + list("path", path_table); }

std::string size_text(std::uint64_t bytes) {
  constexpr std::string_view units = "KMGTP";
  double size = static_cast<double>(bytes / 512) / 2;  // half kilobytes: the sector is the unit of the kernel's sizes
  std::size_t unit = 0;
  while (size >= 1024 && unit + 1 < units.size()) {
    size /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f}{}", size, size < 10 ? 1 : 0, units[unit]);
}

std::string_view checker_state_name(CheckerState state) {
  switch (state) {
    case CheckerState::undef: return "unchecked";
    case CheckerState::ready: return "up";
    case CheckerState::faulty: return "down";
    case CheckerState::shaky: return "shaky";
    case CheckerState::ghost: return "ghost";
    case CheckerState::pending: return "pending";
    case CheckerState::timeout: return "timeout";
    case CheckerState::removed: return "removed";
    case CheckerState::disconnected: return "disconnected";
  }
  return "unchecked";
}

bool usable(const PathSnapshot& path) {
  return path.dm_state != DmState::failed &&
         (path.checker_state == CheckerState::ready || path.checker_state == CheckerState::ghost);
}

std::size_t usable_paths(const MapSnapshot& map) {
  std::size_t count = 0;
  for (const GroupSnapshot& group : map.groups)
    for (const PathSnapshot& path : group.paths) count += usable(path) ? 1 : 0;
  return count;
}

}  // namespace mpath
