#include "target/verbs.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>

#include "target/daemon.hpp"
#include "target/edits.hpp"
#include "target/show.hpp"

namespace mpath::target {
namespace {

using boost::asio::awaitable;
using control::HandlerError;
using control::HandlerResult;
using nlohmann::json;

// The access states that people put a unit in.
constexpr scsi::AccessState settable[] = {scsi::AccessState::optimized, scsi::AccessState::non_optimized,
                                          scsi::AccessState::standby, scsi::AccessState::unavailable};

std::unexpected<HandlerError> failure_of(const Refusal& refusal) {
  std::string text;
  for (const std::string& line : refusal.lines) text += (text.empty() ? "" : "\n") + line;
  switch (refusal.kind) {
    case Refusal::Kind::invalid:
      return std::unexpected(HandlerError{ExitCode::invalid_argument, text});
    case Refusal::Kind::not_found:
      return std::unexpected(HandlerError{ExitCode::no_objects_found, text});
    case Refusal::Kind::busy:
      return std::unexpected(HandlerError{ExitCode::busy, text});
    case Refusal::Kind::failed:
      break;
  }
  return std::unexpected(HandlerError{ExitCode::generic, text});
}

HandlerResult planned(const Outcome<std::vector<std::string>>& outcome) {
  if (!outcome) return failure_of(outcome.error());
  return json{{"plan", *outcome}};
}

HandlerResult done(const std::string& trouble) {
  if (trouble.empty()) return json::object();
  const bool absent = trouble.starts_with("there is no ");
  return std::unexpected(HandlerError{absent ? ExitCode::no_objects_found : ExitCode::generic, trouble});
}

EditRequest request_of(EditRequest::Op op, const json& args) {
  EditRequest request{
      .op = op, .kind = args.at("kind").get<std::string>(), .label = args.at("label").get<std::string>()};
  request.create_missing = args.value("create", false);
  for (const json& words : args.value("entries", json::array())) {
    ConfigEntry entry{.key = words.at(0).get<std::string>()};
    for (std::size_t at = 1; at < words.size(); ++at) {
      entry.words.push_back(words.at(at).get<std::string>());
      entry.value += (entry.value.empty() ? "" : " ") + entry.words.back();
    }
    request.entries.push_back(std::move(entry));
  }
  return request;
}

awaitable<HandlerResult> edit(TargetDaemon& daemon, EditRequest::Op op, json args) {
  const EditRequest request = request_of(op, args);
  const auto change = plan_edit(daemon.layout(), daemon.parsed(), request);
  if (!change) co_return failure_of(change.error());
  const auto outcome = co_await daemon.edit(change->file, change->text);
  if (!outcome || request.kind != "lu") co_return planned(outcome);
  if (op == EditRequest::Op::remove) {
    // The next unit of this name is another one, and must not be taken for it.
    std::error_code error;
    std::filesystem::remove_all(daemon.layout().target_units() / request.label, error);
  }
  if (op == EditRequest::Op::create && daemon.units().offline(request.label)) {
    const std::string why = daemon.units().trouble(request.label);
    static_cast<void>(co_await daemon.edit(change->file, std::nullopt));
    co_return std::unexpected(
        HandlerError{ExitCode::generic, fmt::format("lu {} was not made: {}", request.label, why)});
  }
  co_return planned(outcome);
}

awaitable<HandlerResult> grow(TargetDaemon& daemon, json args) {
  const auto name = args.at("lu").get<std::string>();
  // Without a size: the medium has grown already.
  if (!args.contains("size")) {
    const std::string trouble = co_await daemon.units().grow(name, 0);
    co_return done(trouble);
  }
  json change{{"kind", "lu"}, {"label", name}};
  change["entries"] = json::array();
  change["entries"].push_back(json::array({"size", args.at("size").get<std::string>()}));
  co_return co_await edit(daemon, EditRequest::Op::add, std::move(change));
}

void add_show(control::Server& server, TargetDaemon& daemon) {
  server.add("show.targets", [&daemon](json) -> awaitable<HandlerResult> {
    const auto units = co_await daemon.units().report();
    const auto sessions = co_await daemon.sessions().list();
    co_return targets_json(daemon.config(), units, sessions);
  });
  server.add("show.sessions", [&daemon](json) -> awaitable<HandlerResult> {
    const auto sessions = co_await daemon.sessions().list();
    co_return sessions_json(sessions);
  });
  server.add("show.reservations", [&daemon](json) -> awaitable<HandlerResult> {
    const auto units = co_await daemon.units().report();
    co_return reservations_json(units);
  });
  server.add("show.lus", [&daemon](json) -> awaitable<HandlerResult> {
    const auto units = co_await daemon.units().report();
    co_return units_json(units);
  });
  server.add("show.portals", [&daemon](json) -> awaitable<HandlerResult> {
    co_return portals_json(daemon.config(), daemon.listening());
  });
  server.add("show.accounts",
             [&daemon](json) -> awaitable<HandlerResult> { co_return accounts_json(daemon.config()); });
  server.add("show.config", [&daemon](json) -> awaitable<HandlerResult> {
    co_return json{{"text", show_settings(daemon.parsed().objects)}};
  });
  server.add("daemon.status", [&daemon](json) -> awaitable<HandlerResult> {
    json status = portals_json(daemon.config(), daemon.listening());
    status["pid"] = ::getpid();
    status["version"] = MPTARGETD_VERSION;
    co_return status;
  });
}

void add_unit_words(control::Server& server, TargetDaemon& daemon) {
  server.add("lu.grow", [&daemon](json args) { return grow(daemon, std::move(args)); });
  server.add("lu.alua", [&daemon](json args) -> awaitable<HandlerResult> {
    const auto text = args.at("state").get<std::string>();
    const std::optional<scsi::AccessState> state = scsi::find_access_state(text);
    if (!state || std::ranges::find(settable, *state) == std::end(settable)) {
      const HandlerError wrong{
          ExitCode::invalid_argument,
          fmt::format("\"{}\" is none of {}, {}, {} and {}", text, scsi::name(scsi::AccessState::optimized),
                      scsi::name(scsi::AccessState::non_optimized), scsi::name(scsi::AccessState::standby),
                      scsi::name(scsi::AccessState::unavailable))};
      co_return std::unexpected(wrong);
    }
    const auto group = args.at("group").get<std::uint16_t>();
    const auto lu = args.at("lu").get<std::string>();
    const std::string trouble = co_await daemon.units().set_access_state(lu, group, *state);
    co_return done(trouble);
  });
  server.add("lu.medium", [&daemon](json args) -> awaitable<HandlerResult> {
    const auto lu = args.at("lu").get<std::string>();
    const bool present = args.at("present").get<bool>();
    const std::string trouble = co_await daemon.units().set_medium(lu, present);
    co_return done(trouble);
  });
  server.add("lu.drill", [&daemon](json args) -> awaitable<HandlerResult> {
    const auto lu = args.at("lu").get<std::string>();
    const auto specs = args.at("specs").get<std::string>();
    const std::string trouble = co_await daemon.units().set_drill(lu, specs);
    co_return done(trouble);
  });
  server.add("lu.clear_reservations", [&daemon](json args) -> awaitable<HandlerResult> {
    const auto lu = args.at("lu").get<std::string>();
    const std::string trouble = co_await daemon.units().clear_reservations(lu);
    co_return done(trouble);
  });
}

}  // namespace

void add_target_verbs(control::Server& server, TargetDaemon& daemon) {
  add_show(server, daemon);
  add_unit_words(server, daemon);
  using Op = EditRequest::Op;
  const std::pair<const char*, Op> edits[] = {
      {"object.create", Op::create}, {"object.remove", Op::remove}, {"object.add", Op::add}, {"object.drop", Op::drop}};
  for (const auto& [verb, op] : edits) {
    server.add(verb, [&daemon, op](json args) { return edit(daemon, op, std::move(args)); });
  }
  server.add("session.disconnect", [&daemon](json args) -> awaitable<HandlerResult> {
    const auto sid = args.at("sid").get<std::uint32_t>();
    if (co_await daemon.sessions().disconnect(sid)) co_return json::object();
    const HandlerError absent{ExitCode::session_not_found, fmt::format("there is no session {}", sid)};
    co_return std::unexpected(absent);
  });
  server.add("reload", [&daemon](json) -> awaitable<HandlerResult> {
    const auto outcome = co_await daemon.reload();
    co_return planned(outcome);
  });
  server.add("shutdown", [&daemon](json) -> awaitable<HandlerResult> {
    if (daemon.on_shutdown) daemon.on_shutdown();
    co_return json::object();
  });
}

}  // namespace mpath::target
