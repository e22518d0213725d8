// The status of a pair as people read it.
//
// Pure.
#pragma once

#include <string>

#include "target/cluster/status.hpp"

namespace mpath::target::cluster {

// Alarms first; then who serves, the members, links, and each unit with its bar while a copy is filled.
[[nodiscard]] std::string status_text(const ClusterStatus& status);

// As /proc/drbd has it: a line a unit and one of counters (in KiB), and the progress of a filling.
[[nodiscard]] std::string brief_text(const ClusterStatus& status);

// One line that changes when the state of the pair does: for following it where nothing can be overwritten.
[[nodiscard]] std::string state_line(const ClusterStatus& status);

// What giving up everything that was decided before would lose, as far as this node can know: lines for a question.
[[nodiscard]] std::string force_warning(const ClusterStatus& status);

// 312.4 MiB
[[nodiscard]] std::string format_amount(std::uint64_t bytes);

}  // namespace mpath::target::cluster
