#include "initiator/mpathadm_run.hpp"

#include <fmt/format.h>

#include "initiator/mpathadm_parse.hpp"

namespace mpath::adm {
namespace {

template <typename... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};

ExitCode stop_daemon(Context& context) {
  const auto stopped = context.daemon.stop();
  return stopped ? ExitCode::success : show_failure(context.console, stopped.error());
}

}  // namespace

ExitCode run(Context& context, const CommandLine& line) {
  const Overloaded handlers{
      [&](const DiscoveryCommand& command) { return run_discovery(context, command, line); },
      [&](const NodeCommand& command) { return run_node(context, command, line); },
      [&](const SessionCommand& command) { return run_session(context, command, line); },
      [&](const IfaceCommand& command) { return run_iface(context, command, line); },
      [&](const UnsupportedCommand& command) {
        return show_failure(context.console, {ExitCode::not_supported, fmt::format("{} is not supported", command.what)});
      },
      [&](const FirmwareCommand& command) { return run_firmware(context, command, line); },
      [&](const HostCommand&) {
        return show_failure(context.console, {ExitCode::no_objects_found, "No iSCSI hosts: offload cards are not supported"});
      },
      [&](const StopDaemonCommand&) { return stop_daemon(context); },
      [&](const HelpCommand&) {
        context.console.print(help_text());
        return ExitCode::success;
      },
      [&](const VersionCommand&) {
        context.console.print(fmt::format("{} version {}\n", context.console.program(), context.version));
        return ExitCode::success;
      },
  };
  return std::visit(handlers, line.command);
}

}  // namespace mpath::adm
