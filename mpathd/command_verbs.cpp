#include "mpathd/command_verbs.hpp"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/control_server.hpp"
#include "mpathd/command.hpp"

namespace mpath {
namespace {

using boost::asio::awaitable;
using control::HandlerError;
using control::HandlerResult;
using Json = nlohmann::json;

HandlerResult as_result(const CommandReply& reply) {
  Json result = Json::object();
  result["text"] = reply.text;
  result["code"] = reply.code;
  return result;
}

awaitable<HandlerResult> answer_line(Json args, MapControl& maps, std::shared_ptr<const MultipathConfig> config) {
  CommandRequest request;
  request.line = args.at("line").get<std::string>();
  request.tty = args.value("tty", false);
  const CommandReply reply = co_await run_command(std::move(request), maps, std::move(config));
  co_return as_result(reply);
}

awaitable<HandlerResult> answer_topology(Json args, MapControl& maps) {
  TopologyRequest request;
  const std::string level = args.value("level", std::string("-ll"));
  if (level != "-l" && level != "-ll") {
    HandlerError wrong;
    wrong.code = ExitCode::invalid_argument;
    wrong.text = "level must be -l or -ll";
    co_return std::unexpected(wrong);
  }
  request.level = level == "-l" ? TopologyRequest::Level::brief : TopologyRequest::Level::full;
  if (args.contains("map")) request.map = args.at("map").get<std::string>();
  request.tty = args.value("tty", false);
  request.json = args.value("json", false);
  const CommandReply reply = co_await run_topology(std::move(request), maps);
  co_return as_result(reply);
}

}  // namespace

void add_command_verbs(control::Server& server, MapControl& maps,
                       std::function<std::shared_ptr<const MultipathConfig>()> config) {
  server.add("mpath", [&maps, config](Json args) { return answer_line(std::move(args), maps, config()); });
  server.add("topology", [&maps](Json args) { return answer_topology(std::move(args), maps); });
}

}  // namespace mpath
