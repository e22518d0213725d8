#include "mpathd/command.hpp"

#include <fmt/format.h>

#include <charconv>
#include <span>
#include <utility>
#include <vector>

#include "mpathd/command_json.hpp"
#include "mpathd/command_table.hpp"
#include "mpathd/command_words.hpp"
#include "mpathd/table_format.hpp"
#include "mpathd/topology.hpp"
#include "mpathd/wildcards.hpp"

#if defined(__GNUC__) && !defined(__clang__)
// With sanitizers g++ 12 inlines half of Asio's pair of frame allocation functions and then misses the other half.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

namespace mpath {
namespace {

using boost::asio::awaitable;

CommandReply failed(std::string_view why, bool json) {
  if (json) return {.text = outcome_json(false, why), .code = 1};
  return {.text = why.empty() ? "fail\n" : fmt::format("fail\n{}\n", why), .code = 1};
}

CommandReply failed(const CommandOutcome& outcome, bool json) {
  const std::string_view words = status_words(outcome.status);
  if (outcome.text.empty()) return failed(words, json);
  return failed(words.empty() ? outcome.text : fmt::format("{}: {}", words, outcome.text), json);
}

CommandReply reply_to(const CommandOutcome& outcome, bool json) {
  if (!outcome.ok()) return failed(outcome, json);
  if (json) return {.text = outcome_json(true, outcome.text)};
  return {.text = outcome.text.empty() ? "ok\n" : fmt::format("ok\n{}\n", outcome.text)};
}

CommandReply not_found(std::string_view what, const std::string& name, bool json) {
  const CommandOutcome outcome{.status = CommandStatus::not_found, .text = fmt::format("{} '{}'", what, name)};
  return failed(outcome, json);
}

CommandReply text_reply(std::string text, bool json) { return {.text = json ? text_json(text) : std::move(text)}; }

TableStyle style_of(const ParsedCommand& command) { return command.raw ? TableStyle::raw : TableStyle::padded; }

CommandReply show_paths(const ParsedCommand& command, const Snapshot& snapshot) {
  const auto paths = all_paths(snapshot);
  if (!command.json)
    return {.text = format_paths(command.format.value_or(std::string(paths_format)), paths, style_of(command))};
  return {.text = command.format ? path_rows_json(*command.format, paths) : paths_json(paths)};
}

CommandReply show_path(const ParsedCommand& command, const Snapshot& snapshot) {
  const PathSnapshot* path = find_path(snapshot, command.path);
  if (path == nullptr) return not_found("path", command.path, command.json);
  const std::vector<const PathSnapshot*> one{path};
  if (command.json) return {.text = command.format ? path_rows_json(*command.format, one) : paths_json(one)};
  if (!command.format) return {.text = wildcard_text(*path, 'o') + "\n"};
  return {.text = format_paths(*command.format, one, style_of(command))};
}

CommandReply show_maps(const ParsedCommand& command, const Snapshot& snapshot, std::string_view built_in) {
  const std::string format = command.format.value_or(std::string(built_in));
  if (command.json) return {.text = map_rows_json(format, snapshot.maps)};
  return {.text = format_maps(format, snapshot.maps, style_of(command))};
}

CommandReply show_topology(std::span<const MapSnapshot> maps, bool bold, bool json) {
  if (json) return {.text = maps_json(maps)};
  const TopologyStyle style{.columns = TopologyStyle::Columns::common, .bold = bold};
  return {.text = topology_text(maps, style)};
}

// `show map M ...`: multipathd prints the formatted row without a header.
CommandReply show_map(const ParsedCommand& command, const MapSnapshot& map, bool bold) {
  const std::span<const MapSnapshot> one(&map, 1);
  if (command.id == CommandId::show_map_topology) return show_topology(one, bold, command.json);
  if (command.id == CommandId::show_map_json || (command.json && !command.format)) return {.text = map_json(map)};
  const std::string format = command.format.value_or(std::string(maps_format));
  if (command.json) return {.text = map_rows_json(format, one)};
  return {.text = format_maps(format, one, TableStyle::raw)};
}

CommandReply show_status(const Snapshot& snapshot, const DaemonState& state, bool json) {
  const auto paths = all_paths(snapshot);
  return {.text = json ? status_json(paths, state.busy) : status_text(paths, state.busy)};
}

std::vector<LocalMap> local_maps(const Snapshot& snapshot) {
  std::vector<LocalMap> maps;
  for (const MapSnapshot& map : snapshot.maps)
    maps.push_back({.wwid = map.wwid, .name = map.name, .vendor = map.vendor, .product = map.product,
                    .revision = map.revision});
  return maps;
}

// Every path that is known, and what became of it.
std::string devices_text(const Snapshot& snapshot, const MultipathConfig& config) {
  std::string text = "available block devices:\n";
  for (const PathSnapshot* path : all_paths(snapshot)) {
    const MapSettings settings = config.settings_for(path->wwid, path->vendor, path->product, path->revision);
    std::string fate = "whitelisted, monitored";
    if (settings.blacklisted) fate = fmt::format("blacklisted by {}, unmonitored", settings.blacklist_reason);
    else if (path->map.empty()) fate = "whitelisted, unmonitored";
    text += fmt::format("    {} {}\n", path->device, fate);
  }
  return text;
}

// The commands that are about one map or path: finds it, then does what was asked. `Argument` is made of its name.
template <typename Argument>
using Action = awaitable<CommandOutcome> (MapControl::*)(Argument);

template <typename Argument>
awaitable<CommandReply> change_map(ParsedCommand command, MapControl& control, Action<Argument> action) {
  const Snapshot snapshot = co_await control.snapshot();
  const MapSnapshot* map = find_map(snapshot, command.map);
  if (map == nullptr) co_return not_found("map", command.map, command.json);
  Argument name(map->name);
  const CommandOutcome outcome = co_await (control.*action)(std::move(name));
  co_return reply_to(outcome, command.json);
}

awaitable<CommandReply> change_path(ParsedCommand command, MapControl& control, Action<std::string> action) {
  const Snapshot snapshot = co_await control.snapshot();
  const PathSnapshot* path = find_path(snapshot, command.path);
  if (path == nullptr) co_return not_found("path", command.path, command.json);
  const CommandOutcome outcome = co_await (control.*action)(path->device);
  co_return reply_to(outcome, command.json);
}

awaitable<CommandReply> switch_group(ParsedCommand command, MapControl& control) {
  const Snapshot snapshot = co_await control.snapshot();
  const MapSnapshot* map = find_map(snapshot, command.map);
  if (map == nullptr) co_return not_found("map", command.map, command.json);
  unsigned number = 0;
  const char* end = command.group.data() + command.group.size();
  const auto [stopped, problem] = std::from_chars(command.group.data(), end, number);
  if (problem != std::errc{} || stopped != end || number < 1 || number > map->groups.size())
    co_return failed(fmt::format("{} has {} groups, none is number '{}'", map->name, map->groups.size(), command.group),
                     command.json);
  const CommandOutcome outcome = co_await control.switch_group(map->name, number);
  co_return reply_to(outcome, command.json);
}

awaitable<CommandReply> change_exports(ParsedCommand command, MapControl& control) {
  const Snapshot snapshot = co_await control.snapshot();
  const MapSnapshot* map = find_map(snapshot, command.map);
  if (map == nullptr) co_return not_found("map", command.map, command.json);
  const auto kind = export_kind(command.as);
  if (!kind)
    co_return failed(fmt::format("unknown export '{}': nbd-socket, nbd, tcmu or ublk", command.as), command.json);
  const auto action = command.id == CommandId::export_map ? &MapControl::export_map : &MapControl::unexport_map;
  const CommandOutcome outcome = co_await (control.*action)(map->name, *kind);
  co_return reply_to(outcome, command.json);
}

// A path or map that is not known yet may be named too.
awaitable<CommandReply> add_something(ParsedCommand command, MapControl& control) {
  const Snapshot snapshot = co_await control.snapshot();
  CommandOutcome outcome;
  if (command.id == CommandId::add_path) {
    const PathSnapshot* path = find_path(snapshot, command.path);
    outcome = co_await control.add_path(path == nullptr ? command.path : path->device);
  } else {
    const MapSnapshot* map = find_map(snapshot, command.map);
    outcome = co_await control.add_map(map == nullptr ? command.map : map->name);
  }
  co_return reply_to(outcome, command.json);
}

// All of them; the first failure is reported, the others are removed all the same.
awaitable<CommandReply> remove_maps(bool json, MapControl& control) {
  const Snapshot snapshot = co_await control.snapshot();
  CommandOutcome first;
  for (const MapSnapshot& map : snapshot.maps) {
    CommandOutcome outcome = co_await control.remove_map(map.name);
    if (outcome.ok() || !first.ok()) continue;
    first = std::move(outcome);
    if (first.text.empty()) first.text = map.name;
  }
  co_return reply_to(first, json);
}

}  // namespace

awaitable<CommandReply> run_command(CommandRequest request, MapControl& control,
                                    std::shared_ptr<const MultipathConfig> config) {
  const auto parsed = parse_command(request.line);
  if (!parsed) co_return failed(parsed.error().text, false);
  const ParsedCommand command = *parsed;
  const bool json = command.json;
  if (command.changes && !request.privileged) co_return failed("permission deny: need to be root", json);
  CommandOutcome outcome;
  const std::optional<std::string> all_maps;
  switch (command.id) {
    case CommandId::show_paths: co_return show_paths(command, co_await control.snapshot());
    case CommandId::show_path: co_return show_path(command, co_await control.snapshot());
    case CommandId::show_maps: co_return show_maps(command, co_await control.snapshot(), maps_format);
    case CommandId::show_maps_status: co_return show_maps(command, co_await control.snapshot(), maps_status_format);
    case CommandId::show_maps_stats: co_return show_maps(command, co_await control.snapshot(), maps_stats_format);
    case CommandId::show_maps_topology:
    case CommandId::show_maps_json: {
      const Snapshot snapshot = co_await control.snapshot();
      co_return show_topology(snapshot.maps, request.tty, json);
    }
    case CommandId::show_map:
    case CommandId::show_map_topology:
    case CommandId::show_map_json: {
      const Snapshot snapshot = co_await control.snapshot();
      const MapSnapshot* map = find_map(snapshot, command.map);
      if (map == nullptr) co_return not_found("map", command.map, json);
      co_return show_map(command, *map, request.tty);
    }
    case CommandId::show_status: {
      const Snapshot snapshot = co_await control.snapshot();
      const DaemonState state = co_await control.daemon_state();
      co_return show_status(snapshot, state, json);
    }
    case CommandId::show_daemon: {
      const DaemonState state = co_await control.daemon_state();
      co_return CommandReply{.text = json ? daemon_json(state) : daemon_text(state)};
    }
    case CommandId::show_config: co_return CommandReply{.text = json ? config->dump_json() : config->dump(DumpStyle::values)};
    case CommandId::show_config_origin: co_return text_reply(config->dump(DumpStyle::origins), json);
    case CommandId::show_config_local: {
      const Snapshot snapshot = co_await control.snapshot();
      const auto maps = local_maps(snapshot);
      co_return text_reply(config->dump_local(maps), json);
    }
    case CommandId::show_wildcards: co_return CommandReply{.text = json ? wildcards_json() : wildcards_text()};
    case CommandId::show_devices: {
      const Snapshot snapshot = co_await control.snapshot();
      co_return text_reply(devices_text(snapshot, *config), json);
    }
    case CommandId::show_blacklist: co_return text_reply(config->blacklist_report(), json);
    case CommandId::help: co_return CommandReply{.text = help_text()};
    case CommandId::quit: co_return CommandReply{};
    case CommandId::not_supported: outcome.status = CommandStatus::not_supported; break;
    case CommandId::add_path:
    case CommandId::add_map: co_return co_await add_something(command, control);
    case CommandId::del_path: co_return co_await change_path(command, control, &MapControl::remove_path);
    case CommandId::fail_path: co_return co_await change_path(command, control, &MapControl::fail_path);
    case CommandId::reinstate_path: co_return co_await change_path(command, control, &MapControl::reinstate_path);
    case CommandId::del_map: co_return co_await change_map(command, control, &MapControl::remove_map);
    case CommandId::resize_map: co_return co_await change_map(command, control, &MapControl::resize_map);
    case CommandId::export_map:
    case CommandId::unexport_map: co_return co_await change_exports(command, control);
    case CommandId::switch_group: co_return co_await switch_group(command, control);
    case CommandId::disable_queueing_map: co_return co_await change_map(command, control, &MapControl::disable_queueing);
    case CommandId::restore_queueing_map: co_return co_await change_map(command, control, &MapControl::restore_queueing);
    case CommandId::reset_map_stats: co_return co_await change_map(command, control, &MapControl::reset_stats);
    case CommandId::del_maps: co_return co_await remove_maps(json, control);
    case CommandId::disable_queueing_maps: outcome = co_await control.disable_queueing(all_maps); break;
    case CommandId::restore_queueing_maps: outcome = co_await control.restore_queueing(all_maps); break;
    case CommandId::reset_maps_stats: outcome = co_await control.reset_stats(all_maps); break;
    case CommandId::reconfigure: outcome = co_await control.reconfigure(); break;
    case CommandId::shutdown: outcome = co_await control.shutdown(); break;
  }
  co_return reply_to(outcome, json);
}

awaitable<CommandReply> run_topology(TopologyRequest request, MapControl& control) {
  const Snapshot snapshot = co_await control.snapshot();
  std::span<const MapSnapshot> maps = snapshot.maps;
  if (request.map) {
    const MapSnapshot* map = find_map(snapshot, *request.map);
    if (map == nullptr) co_return not_found("map", *request.map, request.json);
    maps = std::span(map, 1);
  }
  if (request.json) co_return CommandReply{.text = maps_json(maps)};
  const bool brief = request.level == TopologyRequest::Level::brief;
  const TopologyStyle style{.detail = brief ? TopologyStyle::Detail::brief : TopologyStyle::Detail::full,
                            .bold = request.tty};
  co_return CommandReply{.text = topology_text(maps, style)};
}

}  // namespace mpath
