// Every key of mptarget.conf in one table: it drives the check, the values in force, and the manual page.
//
// Pure.
#pragma once

#include <string_view>

#include "base/settings.hpp"

namespace mpath::target {

[[nodiscard]] const SettingsTable& target_settings();

// What ietd.conf calls a key of ours ("MaxBurstLength" is max_burst); in any case. Empty: it is none of ietd's.
[[nodiscard]] std::string_view ours_of_ietd(std::string_view key);

}  // namespace mpath::target
