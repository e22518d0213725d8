// Mode node: records, and the sessions that belong to them.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "db/settings.hpp"
#include "initiator/mpathadm_print.hpp"
#include "initiator/mpathadm_run.hpp"
#include "initiator/node_config.hpp"

namespace mpath::adm {
namespace {

constexpr std::uint16_t iscsi_port = 3260;

ExitCode no_records(Context& context) {
  context.console.error("No records found");
  return ExitCode::no_objects_found;
}

// The addresses that -p stands for, as records hold them: itself, and what its host name resolves to.
std::set<std::string> addresses_of(Context& context, const PortalArgument& portal) {
  std::set<std::string> addresses{db::canonical_address(portal.address)};
  for (const auto& numeric : context.resolve(portal.address)) addresses.insert(db::canonical_address(numeric));
  return addresses;
}

// Whether a record or a session is meant by -T, -p and -I.
class Matcher {
 public:
  Matcher(Context& context, const NodeCommand& command) : command_(command) {
    if (!command.portal) return;
    exact_ = db::canonical_address(command.portal->address);
    any_ = addresses_of(context, *command.portal);
  }

  [[nodiscard]] bool matches(const db::NodeKey& key) const {
    if (!command_.target.empty() && command_.target != key.target_name) return false;
    if (command_.iface && *command_.iface != key.iface) return false;
    if (!command_.portal) return true;
    return key.port == command_.portal->port.value_or(iscsi_port) && any_.contains(db::canonical_address(key.address));
  }

  // The store narrows down by what it can; matches() has the last word.
  [[nodiscard]] db::NodeFilter filter() const {
    db::NodeFilter filter;
    if (!command_.target.empty()) filter.target_name = command_.target;
    filter.iface = command_.iface;
    return filter;
  }

 private:
  const NodeCommand& command_;
  std::string exact_;
  std::set<std::string> any_;
};

Outcome<std::vector<db::NodeRecord>> find_records(Context& context, const NodeCommand& command) {
  const auto store = context.store();
  if (!store) return std::unexpected(store.error());
  const Matcher matcher(context, command);
  auto records = (*store)->nodes(matcher.filter());
  if (!records) return std::unexpected(store_failure(records.error(), "Could not read the node records"));
  std::erase_if(*records, [&](const db::NodeRecord& record) { return !matcher.matches(record.key); });
  return std::move(*records);
}

Outcome<std::vector<SessionReport>> find_sessions(Context& context, const NodeCommand& command) {
  auto sessions = context.daemon.sessions();
  if (!sessions) return std::unexpected(sessions.error());
  const Matcher matcher(context, command);
  std::erase_if(*sessions, [&](const SessionReport& session) { return !matcher.matches(session.node); });
  return std::move(*sessions);
}

std::vector<db::NodeKey> keys_of(std::span<const db::NodeRecord> records) {
  std::vector<db::NodeKey> keys;
  for (const auto& record : records) keys.push_back(record.key);
  return keys;
}

// --- new -------------------------------------------------------------------------------------------------------------

// What `-o new` asks for: -T and -p together are a record; with one of them missing, one for every portal known.
Outcome<std::vector<db::NodeKey>> keys_to_add(Context& context, const NodeCommand& command) {
  const std::string iface = command.iface.value_or("default");
  if (!command.target.empty() && command.portal) {
    return std::vector{db::NodeKey{.target_name = command.target,
                                   .address = db::canonical_address(command.portal->address),
                                   .port = command.portal->port.value_or(iscsi_port),
                                   .tpgt = command.portal->tpgt.value_or(-1),
                                   .iface = iface}};
  }
  NodeCommand pattern = command;
  pattern.iface.reset();
  auto records = find_records(context, pattern);
  if (!records) return std::unexpected(records.error());
  std::set<db::NodeKey> keys;
  for (auto& record : *records) {
    record.key.iface = iface;
    keys.insert(std::move(record.key));
  }
  if (keys.empty()) {
    return std::unexpected(Failure{ExitCode::invalid_argument, "Error while adding record: a new record needs a target (-T) and a portal (-p)"});
  }
  return std::vector(keys.begin(), keys.end());
}

// A record for the same portal and iface whose portal group was learnt meanwhile is the same record.
bool is_known(const db::NodeKey& key, std::span<const db::NodeRecord> records) {
  return std::ranges::any_of(records, [&](const db::NodeRecord& record) {
    db::NodeKey known = record.key;
    if (key.tpgt == -1) known.tpgt = -1;
    return known == key;
  });
}

ExitCode create(Context& context, const NodeCommand& command) {
  const auto settings = checked_settings(command.assignments);
  if (!settings) return show_failure(context.console, settings.error());
  const auto store = context.store();
  if (!store) return show_failure(context.console, store.error());
  const auto keys = keys_to_add(context, command);
  if (!keys) return show_failure(context.console, keys.error());
  const auto iface = (*store)->iface(command.iface.value_or("default"));
  if (!iface) {
    return show_failure(context.console, store_failure(iface.error(), fmt::format("Could not read iface {}", *command.iface)));
  }
  for (const auto& key : *keys) {
    const auto known = (*store)->nodes(db::NodeFilter{.target_name = key.target_name});
    if (!known) return show_failure(context.console, store_failure(known.error(), "Could not read the node records"));
    error_code error = is_known(key, *known) ? error_code{} : (*store)->add_node(key, *settings);
    if (error == db::StoreErrc::exists) error = {};  // somebody else was quicker
    if (error) return show_failure(context.console, store_failure(error, fmt::format("Error while adding record {}", node_brackets(key))));
    context.console.print(node_added(key, iface->settings));
  }
  return ExitCode::success;
}

// --- groups ----------------------------------------------------------------------------------------------------------

bool in_group(const db::NodeRecord& record, Group group) { return group == Group::all || has_startup(record, to_word(group)); }

bool is_leading(const db::NodeRecord& record) {
  const auto at = record.settings.find("node.leading_login");
  return at != record.settings.end() && at->second == "Yes";
}

std::set<std::string> targets_with_session(Context& context) {
  std::set<std::string> targets;
  if (const auto sessions = context.daemon.sessions()) {
    for (const auto& session : *sessions) {
      if (session.established) targets.insert(session.node.target_name);
    }
  }
  return targets;
}

// node.leading_login: iface after iface until each target has a session.
ExitCode lead_in(Context& context, std::span<const db::NodeRecord> records) {
  std::set<std::string> ifaces, targets;
  for (const auto& record : records) {
    ifaces.insert(record.key.iface);
    targets.insert(record.key.target_name);
  }
  for (const auto& iface : ifaces) {
    const auto served = targets_with_session(context);
    std::vector<db::NodeKey> keys;
    for (const auto& record : records) {
      if (record.key.iface == iface && !served.contains(record.key.target_name)) keys.push_back(record.key);
    }
    if (!keys.empty() && log_in(context, keys, true) == ExitCode::daemon_unreachable) return ExitCode::daemon_unreachable;
  }
  const auto served = targets_with_session(context);
  if (std::ranges::includes(served, targets)) return ExitCode::success;
  context.console.error("Could not login all leading-login portals");
  return ExitCode::non_retryable_login;
}

ExitCode login_group(Context& context, Group group, bool wait) {
  auto records = find_records(context, NodeCommand{});
  if (!records) return show_failure(context.console, records.error());
  std::erase_if(*records, [&](const db::NodeRecord& record) { return !in_group(record, group); });
  if (records->empty()) return no_records(context);
  const auto leading = std::ranges::stable_partition(*records, [](const db::NodeRecord& record) { return !is_leading(record); });
  const std::vector<db::NodeRecord> leaders(leading.begin(), leading.end());
  records->erase(leading.begin(), leading.end());

  ExitCode code = ExitCode::success;
  if (!records->empty()) code = log_in(context, keys_of(*records), wait);
  if (!leaders.empty() && code != ExitCode::daemon_unreachable) {
    const ExitCode led = lead_in(context, leaders);
    if (code == ExitCode::success) code = led;
  }
  return code;
}

// Never those of startup onboot: the root disk may be behind them.
ExitCode logout_group(Context& context, Group group) {
  auto sessions = context.daemon.sessions();
  if (!sessions) return show_failure(context.console, sessions.error());
  const auto records = find_records(context, NodeCommand{});
  if (!records) return show_failure(context.console, records.error());
  std::set<db::NodeKey> keys;
  for (const auto& record : *records) {
    if (in_group(record, group) && !has_startup(record, "onboot")) keys.insert(record.key);
  }
  std::erase_if(*sessions, [&](const SessionReport& session) { return !keys.contains(session.node); });
  return log_out(context, *sessions);
}

template <typename Act>
ExitCode with_records(Context& context, const NodeCommand& command, Act act) {
  auto records = find_records(context, command);
  if (!records) return show_failure(context.console, records.error());
  if (records->empty()) return no_records(context);
  return act(*records);
}

template <typename Act>
ExitCode with_sessions(Context& context, const NodeCommand& command, Act act) {
  const auto sessions = find_sessions(context, command);
  if (!sessions) return show_failure(context.console, sessions.error());
  return act(*sessions);
}

ExitCode list(Context& context, std::span<const db::NodeRecord> records, const CommandLine& line) {
  const auto keys = keys_of(records);
  if (line.json) {
    nlohmann::json all = nlohmann::json::array();
    for (const auto& key : keys) all.push_back(to_json(key));
    context.console.print(json_text({{"nodes", std::move(all)}}));
  } else {
    context.console.print(line.print_level == 1 ? nodes_tree(keys, TreeStyle::node) : nodes_flat(keys, UnknownGroup::as_65535));
  }
  return ExitCode::success;
}

}  // namespace

ExitCode run_node(Context& context, const NodeCommand& command, const CommandLine& line) {
  switch (command.action) {
    case NodeAction::create: return create(context, command);
    case NodeAction::login_all: return login_group(context, command.group, line.wait);
    case NodeAction::logout_all: return logout_group(context, command.group);
    case NodeAction::list:
      return with_records(context, command, [&](const auto& records) { return list(context, records, line); });
    case NodeAction::show:
      return with_records(context, command, [&](const auto& records) { return print_node_records(context, records, line); });
    case NodeAction::update:
      return with_records(context, command, [&](const auto& records) { return update_nodes(context, records, command.assignments); });
    case NodeAction::remove:
      return with_records(context, command, [&](const auto& records) { return remove_nodes(context, records); });
    case NodeAction::login:
      return with_records(context, command, [&](const auto& records) { return log_in(context, keys_of(records), line.wait); });
    case NodeAction::logout:
      return with_sessions(context, command, [&](const auto& sessions) { return log_out(context, sessions); });
    case NodeAction::rescan:
      return with_sessions(context, command, [&](const auto& sessions) { return rescan(context, sessions); });
    case NodeAction::stats:
      return with_sessions(context, command, [&](const auto& sessions) { return print_stats(context, sessions, line.json); });
  }
  return ExitCode::internal;
}

ExitCode print_node_records(Context& context, std::span<const db::NodeRecord> records, const CommandLine& line) {
  if (line.json) {
    nlohmann::json all = nlohmann::json::array();
    for (const auto& record : records) {
      all.push_back({{"node", to_json(record.key)}, {"settings", settings_json(record.settings, line.show_secrets)}});
    }
    context.console.print(json_text({{"nodes", std::move(all)}}));
    return ExitCode::success;
  }
  std::string text;
  for (const auto& record : records) text += db::dump(record, {.version = context.version, .show_secrets = line.show_secrets});
  context.console.print(text);
  return ExitCode::success;
}

ExitCode update_nodes(Context& context, std::span<const db::NodeRecord> records, const std::vector<Assignment>& assignments) {
  for (const auto& [name, value] : assignments) {
    if (name.starts_with("iface.") && name != "iface.transport_name") {
      context.console.error(fmt::format("Cannot modify {}. Use iface mode to update this value.", name));
      return ExitCode::invalid_argument;
    }
  }
  const auto changes = checked_settings(assignments);
  if (!changes) return show_failure(context.console, changes.error());
  const auto store = context.store();
  if (!store) return show_failure(context.console, store.error());
  for (const auto& record : records) {
    if (const error_code error = (*store)->update_node(record.key, *changes)) {
      return show_failure(context.console, store_failure(error, fmt::format("Could not update {}", node_brackets(record.key))));
    }
  }
  return ExitCode::success;
}

ExitCode remove_nodes(Context& context, std::span<const db::NodeRecord> records) {
  const auto in_use = keys_in_use(context);
  if (!in_use) return show_failure(context.console, in_use.error());
  const auto store = context.store();
  if (!store) return show_failure(context.console, store.error());
  ExitCode code = ExitCode::success;
  for (const auto& record : records) {
    if (std::ranges::find(*in_use, record.key) != in_use->end()) {
      context.console.error(
          fmt::format("This command will remove the record {}, but a session is using it. Logout session then rerun command to remove record.",
                      node_brackets(record.key)));
      if (code == ExitCode::success) code = ExitCode::session_exists;
      continue;
    }
    if (const error_code error = (*store)->remove_node(record.key); error && error != db::StoreErrc::not_found) {
      const ExitCode failed = show_failure(context.console, store_failure(error, fmt::format("Could not remove {}", node_brackets(record.key))));
      if (code == ExitCode::success) code = failed;
    }
  }
  if (code != ExitCode::success) context.console.error(fmt::format("Could not execute operation on all records: {}", exit_text(code)));
  return code;
}

}  // namespace mpath::adm
