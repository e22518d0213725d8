// Mode session, and what the other modes do with sessions too.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "db/settings.hpp"
#include "initiator/mpathadm_print.hpp"
#include "initiator/mpathadm_run.hpp"

namespace mpath::adm {
namespace {

// Without a daemon there is no session: for a listing that is an answer, not a failure.
Outcome<std::vector<SessionReport>> sessions_to_list(Context& context) {
  auto sessions = context.daemon.sessions();
  if (!sessions && sessions.error().code == ExitCode::daemon_unreachable) return std::vector<SessionReport>();
  return sessions;
}

ExitCode unknown_session(Context& context, unsigned sid) {
  context.console.error(fmt::format("Could not get session info for sid {}", sid));
  context.console.report(ExitCode::session_not_found);
  return ExitCode::session_not_found;
}

SecretsOf secrets_from(db::Store& store) {
  return [&store](const db::NodeKey& key) {
    Secrets secrets;
    if (const auto record = store.node(key)) {
      const auto value = [&](const char* name) {
        const auto at = record->settings.find(name);
        return at == record->settings.end() ? std::string() : at->second;
      };
      secrets = {value("node.session.auth.password"), value("node.session.auth.password_in")};
    }
    return secrets;
  };
}

// One target's sessions together, in the order of the first one's number, as trees need them.
void group_by_target(std::vector<SessionReport>& sessions) {
  std::ranges::stable_sort(sessions, {}, &SessionReport::sid);
  std::map<std::string, unsigned> first;
  for (const auto& session : sessions) first.emplace(session.node.target_name, session.sid);
  std::ranges::stable_sort(sessions, {}, [&](const SessionReport& session) { return first.at(session.node.target_name); });
}

ExitCode list(Context& context, std::vector<SessionReport> sessions, const CommandLine& line) {
  if (line.json) {  // with those that never were logged in, which iscsiadm does not call sessions
    nlohmann::json all = nlohmann::json::array();
    for (const auto& session : sessions) all.push_back(to_json(session));
    context.console.print(json_text({{"sessions", std::move(all)}}));
    return ExitCode::success;
  }
  std::erase_if(sessions, [](const SessionReport& session) { return !session.established; });
  if (sessions.empty()) {
    context.console.error("No active sessions.");
    return ExitCode::no_objects_found;
  }
  group_by_target(sessions);
  if (line.print_level == 0) {
    context.console.print(sessions_flat(sessions));
    return ExitCode::success;
  }
  SecretsOf secrets;
  if (line.show_secrets && line.print_level >= 2) {
    const auto store = context.store();
    if (!store) return show_failure(context.console, store.error());
    secrets = secrets_from(**store);
  }
  context.console.print(sessions_tree(sessions, line.print_level, context.version, secrets));
  return ExitCode::success;
}

// The record of one session.
ExitCode with_record(Context& context, const SessionReport& session, const SessionCommand& command, const CommandLine& line) {
  const auto store = context.store();
  if (!store) return show_failure(context.console, store.error());
  auto record = (*store)->node(session.node);
  if (!record) {
    return show_failure(context.console, store_failure(record.error(), fmt::format("Could not read the record {}", node_brackets(session.node))));
  }
  const std::vector<db::NodeRecord> records{std::move(*record)};
  if (command.action == SessionAction::update) return update_nodes(context, records, command.assignments);
  if (command.action == SessionAction::remove) return remove_nodes(context, records);
  return print_node_records(context, records, line);
}

ExitCode act(Context& context, const SessionCommand& command, std::vector<SessionReport> sessions, const CommandLine& line) {
  switch (command.action) {
    case SessionAction::list: return list(context, std::move(sessions), line);
    case SessionAction::rescan: return rescan(context, sessions);
    case SessionAction::stats: return print_stats(context, sessions, line.json);
    case SessionAction::logout: return log_out(context, sessions);
    case SessionAction::clone: return log_in(context, {sessions.front().node}, true, true);
    case SessionAction::show:
    case SessionAction::update:
    case SessionAction::remove: return with_record(context, sessions.front(), command, line);
  }
  return ExitCode::internal;
}

// Prints the lines of those that failed and returns the first one's code.
template <typename Complain>
ExitCode first_failure(std::span<const SessionOutcome> outcomes, Complain complain) {
  ExitCode first = ExitCode::success;
  for (const auto& outcome : outcomes) {
    if (outcome.code == ExitCode::success) continue;
    complain(outcome);
    if (first == ExitCode::success) first = outcome.code;
  }
  return first;
}

}  // namespace

ExitCode run_session(Context& context, const SessionCommand& command, const CommandLine& line) {
  const bool listing = command.action == SessionAction::list;
  auto sessions = listing ? sessions_to_list(context) : context.daemon.sessions();
  if (!sessions) return show_failure(context.console, sessions.error());
  if (command.sid) {
    std::erase_if(*sessions, [&](const SessionReport& session) { return session.sid != *command.sid; });
    if (sessions->empty()) return unknown_session(context, *command.sid);
  }
  return act(context, command, std::move(*sessions), line);
}

ExitCode log_in(Context& context, std::vector<db::NodeKey> nodes, bool wait, bool additional) {
  if (wait) context.console.progress(fmt::format("logging in to {} portal{} ...", nodes.size(), nodes.size() == 1 ? "" : "s"));
  const auto outcomes = context.daemon.log_in({.nodes = std::move(nodes), .wait = wait, .additional = additional});
  if (!outcomes) return show_failure(context.console, outcomes.error());
  for (const auto& outcome : *outcomes) {
    if (outcome.code == ExitCode::success && wait) {
      context.console.print(fmt::format("Login to {} successful.\n", node_brackets(outcome.node)));
    }
  }
  const ExitCode code = first_failure(*outcomes, [&](const SessionOutcome& outcome) {
    if (outcome.code == ExitCode::session_exists) {
      context.console.error(outcome.text.empty() ? fmt::format("{}: 1 session requested, but 1 already present.", outcome.node.iface) : outcome.text);
      return;
    }
    context.console.error(fmt::format("Could not login to {}.", node_brackets(outcome.node)));
    context.console.report(outcome.code);
    if (!outcome.text.empty()) context.console.error(fmt::format("the cause: {}", outcome.text));
  });
  if (code != ExitCode::success) context.console.error("Could not log into all portals");
  return code;
}

ExitCode log_out(Context& context, std::span<const SessionReport> sessions) {
  if (sessions.empty()) {
    context.console.error("No matching sessions found");
    return ExitCode::no_objects_found;
  }
  std::vector<unsigned> sids;
  for (const auto& session : sessions) {
    context.console.print(fmt::format("Logging out of session {}\n", session_brackets(session.sid, session.node)));
    sids.push_back(session.sid);
  }
  const auto outcomes = context.daemon.log_out(sids);
  if (!outcomes) return show_failure(context.console, outcomes.error());
  for (const auto& outcome : *outcomes) {
    if (outcome.code == ExitCode::success) {
      context.console.print(fmt::format("Logout of {} successful.\n", session_brackets(outcome.sid, outcome.node)));
    }
  }
  const ExitCode code = first_failure(*outcomes, [&](const SessionOutcome& outcome) {
    context.console.error(fmt::format("Could not logout of {}.", session_brackets(outcome.sid, outcome.node)));
    context.console.report(outcome.code);
    if (!outcome.text.empty()) context.console.error(fmt::format("the cause: {}", outcome.text));
  });
  if (code != ExitCode::success) context.console.error("Could not logout of all requested sessions");
  return code;
}

ExitCode rescan(Context& context, std::span<const SessionReport> sessions) {
  if (sessions.empty()) {
    context.console.error("No session found.");
    return ExitCode::no_objects_found;
  }
  ExitCode code = ExitCode::success;
  for (const auto& session : sessions) {
    context.console.print(fmt::format("Rescanning session {}\n", session_brackets(session.sid, session.node)));
    const auto outcomes = context.daemon.rescan(session.sid);
    if (!outcomes) return show_failure(context.console, outcomes.error());
    const ExitCode failed = first_failure(*outcomes, [&](const SessionOutcome& outcome) {
      context.console.error(fmt::format("Could not rescan session sid {}{}{}.", session.sid, outcome.text.empty() ? "" : ": ", outcome.text));
      context.console.report(outcome.code);
    });
    if (code == ExitCode::success) code = failed;
  }
  return code;
}

ExitCode print_stats(Context& context, std::span<const SessionReport> sessions, bool json) {
  if (sessions.empty()) {
    context.console.error("No session found.");
    return ExitCode::no_objects_found;
  }
  if (json) {
    nlohmann::json all = nlohmann::json::array();
    for (const auto& session : sessions) {
      all.push_back({{"sid", session.sid}, {"node", to_json(session.node)}, {"logins", session.logins}, {"counters", to_json(session.counters)}});
    }
    context.console.print(json_text({{"sessions", std::move(all)}}));
    return ExitCode::success;
  }
  for (const auto& session : sessions) context.console.print(session_stats(session));
  return ExitCode::success;
}

Outcome<std::vector<db::NodeKey>> keys_in_use(Context& context) {
  const auto sessions = sessions_to_list(context);
  if (!sessions) return std::unexpected(sessions.error());
  std::vector<db::NodeKey> keys;
  for (const auto& session : *sessions) keys.push_back(session.node);
  return keys;
}

}  // namespace mpath::adm
