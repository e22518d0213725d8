// Carries out what the grammar understood: one function a mode.
#pragma once

#include "base/exit_codes.hpp"
#include "initiator/mpathadm_command.hpp"
#include "initiator/mpathadm_context.hpp"

namespace mpath::adm {

// Prints what there is to print and returns the exit code. Of several objects that fail, the first one's code.
[[nodiscard]] ExitCode run(Context& context, const CommandLine& line);

[[nodiscard]] ExitCode run_discovery(Context& context, const DiscoveryCommand& command, const CommandLine& line);
[[nodiscard]] ExitCode run_node(Context& context, const NodeCommand& command, const CommandLine& line);
[[nodiscard]] ExitCode run_session(Context& context, const SessionCommand& command, const CommandLine& line);
[[nodiscard]] ExitCode run_iface(Context& context, const IfaceCommand& command, const CommandLine& line);
[[nodiscard]] ExitCode run_firmware(Context& context, const FirmwareCommand& command, const CommandLine& line);
// `-m discovery -t fw`.
[[nodiscard]] ExitCode run_firmware_discovery(Context& context, bool login, const CommandLine& line);

// Shared by the modes.
// Logs in to `nodes` at once and prints what became of each.
[[nodiscard]] ExitCode log_in(Context& context, std::vector<db::NodeKey> nodes, bool wait, bool additional = false);
[[nodiscard]] ExitCode log_out(Context& context, std::span<const SessionReport> sessions);
[[nodiscard]] ExitCode rescan(Context& context, std::span<const SessionReport> sessions);
[[nodiscard]] ExitCode print_stats(Context& context, std::span<const SessionReport> sessions, bool json);
[[nodiscard]] ExitCode print_node_records(Context& context, std::span<const db::NodeRecord> records, const CommandLine& line);
// Refused while a session uses it.
[[nodiscard]] ExitCode remove_nodes(Context& context, std::span<const db::NodeRecord> records);
[[nodiscard]] ExitCode update_nodes(Context& context, std::span<const db::NodeRecord> records, const std::vector<Assignment>& assignments);
// Keys of nodes that have a session; none without a daemon.
[[nodiscard]] Outcome<std::vector<db::NodeKey>> keys_in_use(Context& context);

}  // namespace mpath::adm
