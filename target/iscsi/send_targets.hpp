// What a SendTargets request is answered (RFC 7143, appendix C): who may see which targets, and at which addresses.
//
// Pure. The answer may be larger than one PDU: whoever sends it cuts it up.
#pragma once

#include <string_view>

#include "target/iscsi/target_view.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::target {

struct SendTargetsAsker {
  std::string_view initiator;             // its iSCSI name
  std::string_view address;               // numeric, without the port
  iscsi::TargetAddress came_to;           // our end of its connection: what stands in for 0.0.0.0 and ::
  const TargetView* logged_in = nullptr;  // the target of a normal session; null in a discovery session
};

// `value` is that of the key: All (discovery sessions only), a target name, or nothing (normal sessions only: the own
// target). What the asker may not log in to is not shown. A normal session hears of its own target alone. The answer to
// what the session does not allow is SendTargets=Reject; a name that is not there gets an empty answer.
[[nodiscard]] iscsi::KeyValues answer_send_targets(std::string_view value, const TargetsView& targets,
                                                   const SendTargetsAsker& asker);

}  // namespace mpath::target
