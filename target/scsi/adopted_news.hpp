// What the nexuses of the standby hear when the state that the other node sends differs from the one before: the unit
// attentions that they would have got had the command run here.
//
// Pure. Two states do not tell which command led from one to the other. Where several could have, the nexus hears of
// the one that concerns it: it is told once too often rather than once too seldom.
#pragma once

#include <vector>

#include "target/scsi/lu_state.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::target {

[[nodiscard]] std::vector<scsi::Sense> adopted_news(const NexusName& nexus, const LuState& before,
                                                    const LuState& after);

}  // namespace mpath::target
