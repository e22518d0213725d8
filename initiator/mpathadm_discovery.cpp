// Modes discovery and discoverydb: what a portal says that there is, and the records of who was asked.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "db/settings.hpp"
#include "initiator/mpathadm_print.hpp"
#include "initiator/mpathadm_run.hpp"

namespace mpath::adm {
namespace {

constexpr std::uint16_t iscsi_port = 3260;
constexpr const char* sendtargets = "sendtargets";

Failure invalid(std::string text) { return {ExitCode::invalid_argument, std::move(text)}; }

db::DiscoveryKey key_of(const PortalArgument& portal) {
  return {.type = sendtargets, .address = db::canonical_address(portal.address), .port = portal.port.value_or(iscsi_port)};
}

std::string brackets(const db::DiscoveryKey& key) { return fmt::format("[{},{}]", key.address, key.port); }

// --- one discovery ---------------------------------------------------------------------------------------------------

// Those of -I; or every tcp iface there is; or, when there is none, "default".
Outcome<std::vector<db::IfaceRecord>> ifaces_to_bind(Context& context, db::Store& store, const std::vector<std::string>& names) {
  std::vector<db::IfaceRecord> ifaces;
  for (const auto& name : names) {
    auto iface = store.iface(name);
    if (iface) {
      ifaces.push_back(std::move(*iface));
    } else if (iface.error() == db::StoreErrc::not_found) {
      context.console.error(fmt::format("Could not read iface info for {}. Make it with: -m iface -I {} -o new", name, name));
    } else {
      return std::unexpected(store_failure(iface.error(), fmt::format("Could not read iface {}", name)));
    }
  }
  if (!names.empty()) {
    if (ifaces.empty()) return std::unexpected(Failure{ExitCode::no_objects_found, "None of the interfaces exists"});
    return ifaces;
  }
  auto all = store.ifaces();
  if (!all) return std::unexpected(store_failure(all.error(), "Could not read the iface records"));
  for (auto& iface : *all) {
    const auto transport = iface.settings.find("iface.transport_name");
    const bool tcp = transport == iface.settings.end() || transport->second == "tcp";
    if (tcp && iface.name != "default") ifaces.push_back(std::move(iface));
  }
  if (!ifaces.empty()) return ifaces;
  auto fallback = store.iface("default");
  if (!fallback) return std::unexpected(store_failure(fallback.error(), "Could not read iface default"));
  return std::vector{std::move(*fallback)};
}

// Asks through one iface after another until one gets an answer; what is found is bound to all of them.
Outcome<std::vector<db::NodeAddress>> ask(Context& context, const db::DiscoveryRecord& record, std::span<const db::IfaceRecord> ifaces) {
  auto name = context.initiator_name();
  if (!name) return std::unexpected(name.error());
  std::optional<Failure> first;
  for (const auto& iface : ifaces) {
    context.console.progress(
        fmt::format("asking {} through {} for targets ...", portal_text(record.key.address, record.key.port), iface.name));
    auto found = context.discover({.record = record, .iface = iface, .initiator_name = *name});
    if (found) return found;
    if (!first) first = found.error();
  }
  return std::unexpected(*first);
}

std::vector<db::NodeKey> cross(std::span<const db::NodeAddress> found, std::span<const db::IfaceRecord> ifaces) {
  std::vector<db::NodeKey> keys;
  for (const auto& address : found) {
    for (const auto& iface : ifaces) {
      keys.push_back({.target_name = address.target_name,
                      .address = address.address,
                      .port = address.port,
                      .tpgt = address.tpgt,
                      .iface = iface.name});
    }
  }
  return keys;
}

Outcome<std::vector<db::NodeKey>> keep(Context& context, db::Store& store, const db::DiscoveryKey& key, const Ops& ops,
                                       std::vector<db::NodeAddress> found, std::span<const db::IfaceRecord> ifaces) {
  db::Store::Merge merge;
  merge.found = std::move(found);
  for (const auto& iface : ifaces) merge.ifaces.push_back(iface.name);
  // Without -o: new records come, vanished ones go, what an administrator set stays.
  merge.add_new = ops.empty() || ops.has(Op::create);
  merge.update_known = ops.has(Op::update);
  merge.remove_stale = ops.empty() || ops.has(Op::remove);
  auto in_use = keys_in_use(context);
  if (!in_use) return std::unexpected(in_use.error());
  merge.in_use = std::move(*in_use);
  auto keys = store.merge_discovery(key, merge);
  if (!keys) return std::unexpected(store_failure(keys.error(), "Could not store what was found"));
  return std::move(*keys);
}

void print_found(Context& context, std::span<const db::NodeKey> keys, const CommandLine& line) {
  if (line.json) {
    nlohmann::json all = nlohmann::json::array();
    for (const auto& key : keys) all.push_back(to_json(key));
    context.console.print(json_text({{"nodes", std::move(all)}}));
    return;
  }
  context.console.print(line.print_level == 1 ? nodes_tree(keys, TreeStyle::discovery) : nodes_flat(keys, UnknownGroup::as_minus_one));
}

ExitCode discover(Context& context, db::Store& store, const db::DiscoveryRecord& record, const DiscoveryCommand& command,
                  const CommandLine& line) {
  const bool persistent = !command.ops.has(Op::nonpersistent);
  if (command.login && !persistent) {
    return show_failure(context.console, invalid("nonpersistent and login exclude each other: sessions are made from records"));
  }
  const auto ifaces = ifaces_to_bind(context, store, command.ifaces);
  if (!ifaces) return show_failure(context.console, ifaces.error());
  auto found = ask(context, record, *ifaces);
  if (!found) {
    const Failure& why = found.error();
    const std::string cause = why.text.empty() ? std::string() : fmt::format(" ({})", why.text);
    context.console.error(fmt::format("Could not perform SendTargets discovery: {}{}", exit_text(why.code), cause));
    return why.code;
  }
  if (found->empty()) {
    context.console.error("No portals found");
    return ExitCode::no_objects_found;
  }
  auto keys = persistent ? keep(context, store, record.key, command.ops, std::move(*found), *ifaces)
                         : Outcome<std::vector<db::NodeKey>>(cross(*found, *ifaces));
  if (!keys) return show_failure(context.console, keys.error());
  print_found(context, *keys, line);
  return command.login ? log_in(context, std::move(*keys), line.wait) : ExitCode::success;
}

// --- records ---------------------------------------------------------------------------------------------------------

Outcome<db::DiscoveryRecord> record_with_defaults(Context& context, const db::DiscoveryKey& key) {
  const auto conf = context.conf();
  if (!conf) return std::unexpected(conf.error());
  return db::DiscoveryRecord{.key = key, .settings = db::defaults(db::discovery_table(key.type), *conf), .found = {}};
}

ExitCode print_record(Context& context, const db::DiscoveryRecord& record, const CommandLine& line) {
  if (line.json) {
    nlohmann::json nodes = nlohmann::json::array();
    for (const auto& key : record.found) nodes.push_back(to_json(key));
    context.console.print(json_text({{"type", record.key.type},
                                     {"address", record.key.address},
                                     {"port", record.key.port},
                                     {"settings", settings_json(record.settings, line.show_secrets)},
                                     {"nodes", std::move(nodes)}}));
  } else {
    context.console.print(db::dump(record, {.version = context.version, .show_secrets = line.show_secrets}));
  }
  return ExitCode::success;
}

ExitCode list(Context& context, db::Store& store, const CommandLine& line) {
  const auto records = store.discoveries();
  if (!records) return show_failure(context.console, store_failure(records.error(), "Could not read the discovery records"));
  const auto nodes = store.nodes({});
  if (!nodes) return show_failure(context.console, store_failure(nodes.error(), "Could not read the node records"));
  if (line.json) {
    nlohmann::json all = nlohmann::json::array();
    for (const auto& record : *records) {
      nlohmann::json found = nlohmann::json::array();
      for (const auto& key : record.found) found.push_back(to_json(key));
      all.push_back({{"type", record.key.type}, {"address", record.key.address}, {"port", record.key.port}, {"nodes", std::move(found)}});
    }
    context.console.print(json_text({{"discoveries", std::move(all)}}));
    return ExitCode::success;
  }
  if (records->empty() && nodes->empty()) return ExitCode::no_objects_found;  // silent, as iscsiadm is
  std::vector<db::NodeKey> keys;
  for (const auto& node : *nodes) keys.push_back(node.key);
  context.console.print(line.print_level == 1 ? discoveries_tree(*records, keys) : discoveries_flat(*records));
  return records->empty() && line.print_level == 0 ? ExitCode::no_objects_found : ExitCode::success;
}

ExitCode not_found(Context& context, const db::DiscoveryKey& key, ExitCode code) {
  context.console.error(fmt::format("Discovery record {} not found{}", brackets(key), code == ExitCode::database_failure ? "." : "!"));
  return code;
}

ExitCode update(Context& context, db::Store& store, const db::DiscoveryKey& key, const DiscoveryCommand& command) {
  if (command.assignments.empty()) return show_failure(context.console, invalid("Update requires name and value."));
  const auto changes = checked_settings(command.assignments);
  if (!changes) return show_failure(context.console, changes.error());
  const auto table = db::discovery_table(key.type);
  for (const auto& [name, value] : *changes) {
    if (std::ranges::find(table, name, &db::Setting::key) == table.end()) {
      return show_failure(context.console, invalid(fmt::format("Cannot modify {}. Invalid param name.", name)));
    }
  }
  if (const error_code error = store.update_discovery(key, *changes)) {
    return show_failure(context.console, store_failure(error, fmt::format("Could not update the discovery record {}", brackets(key))));
  }
  return ExitCode::success;
}

ExitCode remove(Context& context, db::Store& store, const db::DiscoveryKey& key) {
  if (const error_code error = store.remove_discovery(key)) {
    return show_failure(context.console, store_failure(error, "Unable to delete record!"));
  }
  return ExitCode::success;
}

ExitCode add(Context& context, db::Store& store, const db::DiscoveryKey& key, const DiscoveryCommand& command) {
  const auto settings = checked_settings(command.assignments);
  if (!settings) return show_failure(context.console, settings.error());
  error_code error = store.add_discovery(key, *settings);
  if (error == db::StoreErrc::exists) error = settings->empty() ? error_code{} : store.update_discovery(key, *settings);
  if (error) return show_failure(context.console, store_failure(error, "Could not add new discovery record"));
  context.console.print(fmt::format("New discovery record for {} added.\n", brackets(key)));
  return ExitCode::success;
}

// What is done with a record that exists; the two modes differ in what they say of one that does not.
ExitCode with_record(Context& context, db::Store& store, const db::DiscoveryRecord& record, const DiscoveryCommand& command,
                     const CommandLine& line) {
  if (command.ops.show_or_none()) return print_record(context, record, line);
  if (command.ops.only(Op::remove)) return remove(context, store, record.key);
  if (!command.database && (command.ops.has(Op::create) || command.ops.has(Op::update))) {
    return show_failure(context.console, invalid("Operations new and update for discovery mode is not supported. Use discoverydb mode."));
  }
  if (command.ops.only(Op::update)) return update(context, store, record.key, command);
  return show_failure(context.console, invalid("Operation is not supported."));
}

ExitCode run_sendtargets(Context& context, db::Store& store, const DiscoveryCommand& command, const CommandLine& line) {
  if (!command.portal) return show_failure(context.console, invalid("Please specify portal as <ipaddr>[:<ipport>]"));
  const db::DiscoveryKey key = key_of(*command.portal);
  if (!command.database) {
    const auto record = record_with_defaults(context, key);
    if (!record) return show_failure(context.console, record.error());
    return discover(context, store, *record, command, line);
  }
  if (command.ops.has(Op::create) && !command.discover) return add(context, store, key, command);
  auto record = store.discovery(key);
  if (!record && record.error() != db::StoreErrc::not_found) {
    return show_failure(context.console, store_failure(record.error(), fmt::format("Could not read the discovery record {}", brackets(key))));
  }
  if (record) return command.discover ? discover(context, store, *record, command, line) : with_record(context, store, *record, command, line);
  if (!command.discover) return not_found(context, key, ExitCode::database_failure);
  const auto fresh = record_with_defaults(context, key);
  if (!fresh) return show_failure(context.console, fresh.error());
  return discover(context, store, *fresh, command, line);
}

// Without a type that has records: a listing, or in mode discovery the record of a portal.
ExitCode run_without_type(Context& context, db::Store& store, const DiscoveryCommand& command, const CommandLine& line) {
  if (!command.portal) {
    if (command.ops.show_or_none()) return list(context, store, line);
    return show_failure(context.console, invalid("Invalid operation. Operation not supported."));
  }
  if (command.database) {
    return show_failure(context.console, invalid(command.ops.empty() ? "Invalid command. Portal not needed or possibly missing discovery --type."
                                                                     : "Invalid command. Possibly missing discovery --type."));
  }
  const db::DiscoveryKey key = key_of(*command.portal);
  const auto record = store.discovery(key);
  if (!record && record.error() == db::StoreErrc::not_found) return not_found(context, key, ExitCode::invalid_argument);
  if (!record) {
    return show_failure(context.console, store_failure(record.error(), fmt::format("Could not read the discovery record {}", brackets(key))));
  }
  if (command.discover || command.login) return discover(context, store, *record, command, line);
  return with_record(context, store, *record, command, line);
}

}  // namespace

ExitCode run_discovery(Context& context, const DiscoveryCommand& command, const CommandLine& line) {
  if (command.type == DiscoveryType::isns) {
    return show_failure(context.console, {ExitCode::isns_unavailable, "iSNS discovery is not supported"});
  }
  if (command.type == DiscoveryType::firmware) return run_firmware_discovery(context, command.login, line);
  const auto store = context.store();
  if (!store) return show_failure(context.console, store.error());
  return command.type ? run_sendtargets(context, **store, command, line) : run_without_type(context, **store, command, line);
}

}  // namespace mpath::adm
