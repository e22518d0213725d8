// Tells from the decision log why each takeover happened.
//
// Pure.
#pragma once

#include <span>
#include <string>

#include "target/cluster/status.hpp"

namespace mpath::target::cluster {

// The last `most` takeovers (0: all), oldest first: when, what was seen before, and why. Times are local.
[[nodiscard]] std::string explain_text(std::span<const Decision> decisions, std::size_t most = 0);

// The lines as they are, with local times.
[[nodiscard]] std::string log_text(std::span<const Decision> decisions);

// 2026-11-21 11:30:04.251
[[nodiscard]] std::string format_local(std::chrono::system_clock::time_point at);

}  // namespace mpath::target::cluster
