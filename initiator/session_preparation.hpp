// What has to be known before a session can be tried: its record, its NIC, its target's address, our own name. All of it
// blocks (disk, resolver, kernel), so it runs away from the event loops.
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/exit_codes.hpp"
#include "base/layout.hpp"
#include "db/store.hpp"
#include "ifaces/iface_spec.hpp"
#include "initiator/node_config.hpp"

namespace mpath {

struct LoginFailure {
  ExitCode code = ExitCode::login_failure;
  std::string text;
};

struct PreparedSession {
  NodeConfig config;
  IfaceSpec iface;
};

// Where things are found; called on any thread.
struct PreparationSources {
  std::function<Result<std::unique_ptr<db::Store>>()> open_store;
  Layout layout;
  std::string instance{};  // as NodeSurroundings has it
};

[[nodiscard]] std::expected<PreparedSession, LoginFailure> prepare_session(const PreparationSources& sources, const db::NodeKey& key,
                                                                            unsigned index);

// The record alone.
[[nodiscard]] std::expected<db::NodeRecord, LoginFailure> read_node(const PreparationSources& sources, const db::NodeKey& key);

// Numeric forms of a host name or address, in the resolver's order; IPv6 link-local ones carry their scope, `net_ifacename`
// where they came without.
[[nodiscard]] Result<std::vector<std::string>> numeric_addresses(const std::string& host, const std::string& net_ifacename);

}  // namespace mpath
