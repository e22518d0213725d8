// Mode iface: which NIC sessions leave by.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "db/settings.hpp"
#include "initiator/mpathadm_print.hpp"
#include "initiator/mpathadm_run.hpp"

namespace mpath::adm {
namespace {

constexpr const char* by_mac = "iface.hwaddress";
constexpr const char* by_name = "iface.net_ifacename";

std::string value_of(const db::Settings& settings, const char* key) {
  const auto at = settings.find(key);
  return at == settings.end() ? std::string() : at->second;
}

Failure invalid(std::string text) { return {ExitCode::invalid_argument, std::move(text)}; }

bool is_built_in(const std::string& name) { return name == "default" || name == "iser"; }

// Pairs of -n and -v for an iface record.
Outcome<db::Settings> iface_settings(const IfaceCommand& command) {
  for (const auto& [name, value] : command.assignments) {
    if (!name.starts_with("iface.") && name != "node.transport_name") {
      return std::unexpected(invalid(fmt::format("Cannot modify {}. Invalid param name.", name)));
    }
  }
  auto settings = checked_settings(command.assignments);
  if (settings && !value_of(*settings, by_mac).empty() && !value_of(*settings, by_name).empty()) {
    return std::unexpected(invalid(fmt::format("An interface is bound by {} or by {}, not by both.", by_mac, by_name)));
  }
  return settings;
}

Outcome<std::vector<db::NodeRecord>> nodes_of(db::Store& store, const std::string& iface) {
  auto nodes = store.nodes(db::NodeFilter{.iface = iface});
  if (!nodes) return std::unexpected(store_failure(nodes.error(), "Could not read the node records"));
  return std::move(*nodes);
}

bool has_session(Context& context, const std::string& iface) {
  const auto keys = keys_in_use(context);
  return keys && std::ranges::find(*keys, iface, &db::NodeKey::iface) != keys->end();
}

ExitCode create(Context& context, db::Store& store, const IfaceCommand& command) {
  const std::string& name = *command.name;
  if (is_built_in(name)) {
    return show_failure(context.console, invalid(fmt::format("iface {} is a special interface and is not modified.", name)));
  }
  const auto settings = iface_settings(command);
  if (!settings) return show_failure(context.console, settings.error());
  if (has_session(context, name)) {
    context.console.error(fmt::format("Could not create new interface {}: a session is using it.", name));
    return ExitCode::session_exists;
  }
  error_code error = store.add_iface(name, *settings);
  if (error == db::StoreErrc::exists) error = settings->empty() ? error_code{} : store.update_iface(name, *settings);
  if (error) return show_failure(context.console, store_failure(error, fmt::format("Could not create new interface {}", name)));
  if (!settings->empty()) context.console.print(fmt::format("{} updated.\n", name));
  context.console.print(fmt::format("New interface {} added\n", name));
  return ExitCode::success;
}

// A binding by MAC does not become one by name, nor the other way round.
bool changes_binding(const db::Settings& old, const db::Settings& changes, const char* from, const char* to) {
  return !value_of(old, from).empty() && !value_of(changes, to).empty();
}

ExitCode update(Context& context, db::Store& store, const IfaceCommand& command) {
  const std::string& name = *command.name;
  if (is_built_in(name)) {
    return show_failure(context.console, invalid(fmt::format("iface {} is a special interface and is not modified.", name)));
  }
  const auto record = store.iface(name);
  if (!record && record.error() == db::StoreErrc::not_found) {
    return show_failure(context.console, invalid(fmt::format("Could not read iface info for {}.", name)));
  }
  if (!record) return show_failure(context.console, store_failure(record.error(), fmt::format("Could not read iface {}", name)));
  const auto settings = iface_settings(command);
  if (!settings) return show_failure(context.console, settings.error());
  for (const auto& [from, to] : {std::pair{by_mac, by_name}, std::pair{by_name, by_mac}}) {
    if (changes_binding(record->settings, *settings, from, to)) {
      return show_failure(context.console,
                          invalid(fmt::format("Can not update interface binding from {} to {}. You must delete the interface and create a new one",
                                              from + 6, to + 6)));
    }
  }
  if (has_session(context, name)) {
    context.console.error(
        "Updating iface while iscsi sessions are using it. You must logout the running sessions then log back in for the new settings to take "
        "effect.");
  }
  if (const error_code error = store.update_iface(name, *settings)) {
    return show_failure(context.console, store_failure(error, fmt::format("Could not update iface {}", name)));
  }
  context.console.print(fmt::format("{} updated.\n", name));
  return ExitCode::success;
}

// With the node records that are bound to it.
ExitCode remove(Context& context, db::Store& store, const IfaceCommand& command) {
  const std::string& name = *command.name;
  if (is_built_in(name)) {
    return show_failure(context.console, invalid(fmt::format("iface {} is a special interface and cannot be deleted.", name)));
  }
  if (const auto record = store.iface(name); !record) {
    if (record.error() != db::StoreErrc::not_found) {
      return show_failure(context.console, store_failure(record.error(), fmt::format("Could not read iface {}", name)));
    }
    return show_failure(context.console, invalid(fmt::format("Could not read iface info for {}.", name)));
  }
  const auto nodes = nodes_of(store, name);
  if (!nodes) return show_failure(context.console, nodes.error());
  if (has_session(context, name)) {
    context.console.error(fmt::format("Could not delete iface {}: {}", name, exit_text(ExitCode::session_exists)));
    return ExitCode::session_exists;
  }
  if (!nodes->empty()) {
    if (const ExitCode code = remove_nodes(context, *nodes); code != ExitCode::success) return code;
  }
  if (const error_code error = store.remove_iface(name)) {
    return show_failure(context.console, store_failure(error, fmt::format("Could not delete iface {}", name)));
  }
  context.console.print(fmt::format("{} unbound and deleted.\n", name));
  return ExitCode::success;
}

ExitCode print(Context& context, db::Store& store, std::span<const db::IfaceRecord> ifaces, bool one, const CommandLine& line) {
  if (line.json) {
    nlohmann::json all = nlohmann::json::array();
    for (const auto& iface : ifaces) all.push_back({{"name", iface.name}, {"settings", settings_json(iface.settings, line.show_secrets)}});
    context.console.print(json_text({{"ifaces", std::move(all)}}));
    return ExitCode::success;
  }
  if (line.print_level == 1) {
    const auto nodes = store.nodes({});
    if (!nodes) return show_failure(context.console, store_failure(nodes.error(), "Could not read the node records"));
    std::vector<db::NodeKey> keys;
    for (const auto& node : *nodes) keys.push_back(node.key);
    context.console.print(ifaces_tree(ifaces, keys));
    return ExitCode::success;
  }
  context.console.print(one ? db::dump(ifaces.front(), {.version = context.version, .show_secrets = line.show_secrets}) : ifaces_flat(ifaces));
  return ExitCode::success;
}

ExitCode show(Context& context, db::Store& store, const std::string& name, const CommandLine& line) {
  const auto record = store.iface(name);
  if (!record && record.error() == db::StoreErrc::not_found) {
    return show_failure(context.console, {ExitCode::database_failure, fmt::format("Could not read iface info for {}.", name)});
  }
  if (!record) return show_failure(context.console, store_failure(record.error(), fmt::format("Could not read iface {}", name)));
  return print(context, store, std::span(&*record, 1), true, line);
}

ExitCode list(Context& context, db::Store& store, const CommandLine& line) {
  const auto records = store.ifaces();
  if (!records) return show_failure(context.console, store_failure(records.error(), "Could not read the iface records"));
  return print(context, store, *records, false, line);
}

}  // namespace

ExitCode run_iface(Context& context, const IfaceCommand& command, const CommandLine& line) {
  const auto store = context.store();
  if (!store) return show_failure(context.console, store.error());
  switch (command.action) {
    case IfaceAction::list: return list(context, **store, line);
    case IfaceAction::show: return show(context, **store, *command.name, line);
    case IfaceAction::create: return create(context, **store, command);
    case IfaceAction::update: return update(context, **store, command);
    case IfaceAction::remove: return remove(context, **store, command);
  }
  return ExitCode::internal;
}

}  // namespace mpath::adm
