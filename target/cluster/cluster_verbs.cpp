#include "target/cluster/cluster_verbs.hpp"

#include <nlohmann/json.hpp>
#include <utility>

#include "target/cluster/decision_log.hpp"
#include "target/cluster/status_json.hpp"
#include "target/cluster/what_if.hpp"

namespace mpath::target::cluster {
namespace {

using boost::asio::awaitable;
using control::HandlerError;
using control::HandlerResult;
using nlohmann::json;
using Done = ClusterControl::Done;
using Find = std::function<ClusterControl*()>;

std::unexpected<HandlerError> no_cluster() {
  return std::unexpected(
      HandlerError{ExitCode::no_objects_found, "no cluster is configured: mptarget.conf has no section cluster"});
}

HandlerResult answer_of(const Done& done) {
  if (done) return json::object();
  const bool absent = done.error().starts_with("there is no ");
  return std::unexpected(HandlerError{absent ? ExitCode::no_objects_found : ExitCode::generic, done.error()});
}

UnitNames units_of(const json& args) {
  return args.value("lus", UnitNames());
}

void add_shown(control::Server& server, const Find& find) {
  server.add("cluster.status", [find](json) -> awaitable<HandlerResult> {
    ClusterControl* const pair = find();
    if (pair == nullptr) co_return no_cluster();
    json answer = json::object();
    answer["status"] = to_json(pair->status());
    co_return answer;
  });
  server.add("cluster.log", [find](json args) -> awaitable<HandlerResult> {
    ClusterControl* const pair = find();
    if (pair == nullptr) co_return no_cluster();
    json answer = json::object();
    answer["decisions"] = json::array();
    for (const Decision& decision : pair->decisions(args.value("most", DecisionLog::lines_max)))
      answer["decisions"].push_back(to_json(decision));
    co_return answer;
  });
  server.add("cluster.what_if", [find](json args) -> awaitable<HandlerResult> {
    const auto mishap = parse_mishap(args.at("event").get<std::string>());
    if (!mishap) {
      const HandlerError unknown{ExitCode::invalid_argument,
                                 "the event is none of node-a-dies, node-b-dies, witness-dies and links-cut"};
      co_return std::unexpected(unknown);
    }
    ClusterControl* const pair = find();
    if (pair == nullptr) co_return no_cluster();
    json answer = json::object();
    answer["lines"] = what_if(pair->status(), *mishap, pair->config());
    co_return answer;
  });
}

using Command = awaitable<Done> (*)(ClusterControl&, json);

awaitable<HandlerResult> carry_out(Find find, Command command, json args) {
  ClusterControl* const pair = find();
  if (pair == nullptr) co_return no_cluster();
  const Done done = co_await command(*pair, std::move(args));
  co_return answer_of(done);
}

constexpr std::pair<const char*, Command> commands[] = {
    {"cluster.init", [](ClusterControl& pair, json args) { return pair.init(args.value("force", false)); }},
    {"cluster.join", [](ClusterControl& pair, json) { return pair.join(); }},
    {"cluster.switchover", [](ClusterControl& pair, json) { return pair.switchover(); }},
    {"cluster.maintenance",
     [](ClusterControl& pair, json args) { return pair.maintenance(args.at("on").get<bool>()); }},
    {"cluster.standby", [](ClusterControl& pair, json args) { return pair.standby(args.at("on").get<bool>()); }},
    {"cluster.connect", [](ClusterControl& pair, json args) { return pair.connect(units_of(args)); }},
    {"cluster.disconnect", [](ClusterControl& pair, json args) { return pair.disconnect(units_of(args)); }},
    {"cluster.discard", [](ClusterControl& pair, json) { return pair.discard(); }},
    {"cluster.invalidate", [](ClusterControl& pair, json args) { return pair.invalidate(units_of(args)); }},
    {"cluster.resync", [](ClusterControl& pair, json args) { return pair.resync(units_of(args)); }},
    {"cluster.verify",
     [](ClusterControl& pair, json args) { return pair.verify(units_of(args), args.value("repair", false)); }},
};

}  // namespace

void add_cluster_verbs(control::Server& server, std::function<ClusterControl*()> find) {
  add_shown(server, find);
  for (const auto& [verb, command] : commands) {
    server.add(verb, [find, command](json args) { return carry_out(find, command, std::move(args)); });
  }
}

}  // namespace mpath::target::cluster
