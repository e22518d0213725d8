// SendTargets discovery as mpathadm does it: in its own process, over a session of its own. A portal is asked once: who
// wants another try types it again.
#pragma once

#include "initiator/discovery.hpp"
#include "initiator/mpathadm_context.hpp"

namespace mpath::adm {

// What the settings of a discovery record come to, or which of them cannot be met. Pure; address and binding are filled in
// by ask_portal().
[[nodiscard]] Outcome<DiscoveryConfig> discovery_config(const DiscoveryRequest& request);

// Blocks for the resolver and for the target, each within its time limit. A host name's addresses are tried in turn.
[[nodiscard]] Outcome<std::vector<db::NodeAddress>> ask_portal(const DiscoveryRequest& request);

}  // namespace mpath::adm
