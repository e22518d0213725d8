#include "mpathd/command_words.hpp"

#include <fmt/format.h>

#include "mpathd/table_format.hpp"
#include "mpathd/wildcards.hpp"

namespace mpath {
namespace {

std::string_view without_directory(std::string_view name) {
  for (const std::string_view directory : {"/dev/mapper/", "/dev/"})
    if (name.starts_with(directory)) return name.substr(directory.size());
  return name;
}

}  // namespace

std::string_view phase_word(DaemonPhase phase) {
  switch (phase) {
    case DaemonPhase::init: return "init";
    case DaemonPhase::startup: return "startup";
    case DaemonPhase::configure: return "configure";
    case DaemonPhase::idle: return "idle";
    case DaemonPhase::running: return "running";
    case DaemonPhase::shutdown: return "shutdown";
  }
  return "init";
}

std::string_view status_words(CommandStatus status) {
  switch (status) {
    case CommandStatus::ok: return "ok";
    case CommandStatus::not_found: return "device not found";
    case CommandStatus::in_use: return "map or partition in use";
    case CommandStatus::timeout: return "timeout";
    case CommandStatus::not_supported: return "not supported";
    case CommandStatus::failed: return "";
  }
  return "";
}

std::map<CheckerState, std::size_t> count_checker_states(std::span<const PathSnapshot* const> paths) {
  std::map<CheckerState, std::size_t> counts;
  for (const PathSnapshot* path : paths) ++counts[path->checker_state];
  return counts;
}

std::string status_text(std::span<const PathSnapshot* const> paths, bool busy) {
  std::string text = "path checker states:\n";
  for (const auto& [state, count] : count_checker_states(paths))
    text += fmt::format("{:<20}{}\n", checker_state_name(state), count);
  return text + fmt::format("\npaths: {}\nbusy: {}\n", paths.size(), busy ? "True" : "False");
}

std::string daemon_text(const DaemonState& state) {
  return fmt::format("pid {} {}{}\n", state.pid, phase_word(state.phase),
                     state.reconfigure_pending ? " (pending reconfigure)" : "");
}

const MapSnapshot* find_map(const Snapshot& snapshot, std::string_view name) {
  name = without_directory(name);
  if (name.empty()) return nullptr;
  for (const MapSnapshot& map : snapshot.maps)
    if (map.name == name) return &map;
  for (const MapSnapshot& map : snapshot.maps)
    if (map.wwid == name || map.sysfs == name) return &map;
  return nullptr;
}

const PathSnapshot* find_path(const Snapshot& snapshot, std::string_view name) {
  name = without_directory(name);
  if (name.empty()) return nullptr;
  for (const PathSnapshot* path : all_paths(snapshot))
    if (path->device == name || path->dev_t == name || wildcard_text(*path, 'i') == name) return path;
  return nullptr;
}

}  // namespace mpath
