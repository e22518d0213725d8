// What a person should do something about, as far as the status and the configuration tell.
//
// Pure.
#pragma once

#include <string>
#include <vector>

#include "target/cluster/status.hpp"
#include "target/config/model.hpp"

namespace mpath::target::cluster {

// The worst first; status.alarms is not looked at. None: everything is as it should be.
[[nodiscard]] std::vector<std::string> alarms_of(const ClusterStatus& status, const ClusterConfig& config);

}  // namespace mpath::target::cluster
