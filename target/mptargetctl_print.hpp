// What mptargetctl shows to people, from the JSON that the daemon answers with.
//
// Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace mpath::target {

[[nodiscard]] std::string targets_text(const nlohmann::json& answer);  // as tgtadm --op show --mode target
[[nodiscard]] std::string sessions_text(const nlohmann::json& answer);
[[nodiscard]] std::string reservations_text(const nlohmann::json& answer);
[[nodiscard]] std::string units_text(const nlohmann::json& answer);
[[nodiscard]] std::string portals_text(const nlohmann::json& answer);
[[nodiscard]] std::string accounts_text(const nlohmann::json& answer);

}  // namespace mpath::target
