// SendTargets discovery (RFC 7143, appendix C): a discovery session to one portal, its answer, and goodbye.
//
// Threads: discover() blocks on a loop of its own; start_discovery() runs on the given one and is answered there.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <expected>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "initiator/session.hpp"

namespace mpath {

struct DiscoveredPortal {
  std::string target_name;
  std::string address;  // as the target gives it, without brackets; may be a host name
  std::uint16_t port = 3260;
  int tpgt = -1;        // -1: not told
  friend bool operator==(const DiscoveredPortal&, const DiscoveredPortal&) = default;
};

struct DiscoveryConfig {
  SessionConfig session;                        // address, port, binding, names, CHAP, timeouts; no target name
  std::chrono::milliseconds answer_timeout{30000};  // of the SendTargets answer, once logged in
};

// In the order of the answer; SessionEnd::task_timeout when the answer did not come in time.
using DiscoveryResult = std::expected<std::vector<DiscoveredPortal>, SessionFailure>;

[[nodiscard]] DiscoveryResult discover(const DiscoveryConfig& config);

// `done` runs once, from the loop. Nothing else is owned by the caller; stopping the loop drops it.
void start_discovery(boost::asio::io_context& loop, Clock& clock, const DiscoveryConfig& config,
                     std::function<void(DiscoveryResult)> done);

// The pairs of a whole SendTargets answer. A target without an address is at `asked`. Pure.
[[nodiscard]] DiscoveryResult parse_send_targets(std::span<const std::byte> text, const std::string& asked_address,
                                                 std::uint16_t asked_port);

}  // namespace mpath
