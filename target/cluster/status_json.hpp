// Status and decisions of a pair as JSON, and back: what the control socket carries, what scripts read, what the
// decision log keeps a line of. Names of keys are never changed.
//
// Pure.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "target/cluster/status.hpp"

namespace mpath::target::cluster {

[[nodiscard]] nlohmann::json to_json(const ClusterStatus& status);
[[nodiscard]] nlohmann::json to_json(const Decision& decision);

// What is missing keeps its default, so that both ends may be of different age. Throws nlohmann::json::exception when a
// value is of another type.
[[nodiscard]] ClusterStatus status_from_json(const nlohmann::json& json);
[[nodiscard]] Decision decision_from_json(const nlohmann::json& json);

// 2026-11-21T11:30:04.251Z
[[nodiscard]] std::string format_utc(std::chrono::system_clock::time_point at);
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> parse_utc(std::string_view text);

}  // namespace mpath::target::cluster
