// What there is, as JSON: targets, sessions, units, reservations, portals, accounts.
//
// Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>

#include "target/config/model.hpp"
#include "target/iscsi/sessions.hpp"
#include "target/units.hpp"

namespace mpath::target {

[[nodiscard]] nlohmann::json targets_json(const TargetdConfig& config, std::span<const UnitReport> units,
                                          std::span<const SessionStatus> sessions);
[[nodiscard]] nlohmann::json sessions_json(std::span<const SessionStatus> sessions);
[[nodiscard]] nlohmann::json units_json(std::span<const UnitReport> units);
[[nodiscard]] nlohmann::json reservations_json(std::span<const UnitReport> units);
[[nodiscard]] nlohmann::json portals_json(const TargetdConfig& config, std::span<const Portal> listening);
[[nodiscard]] nlohmann::json accounts_json(const TargetdConfig& config);

}  // namespace mpath::target
