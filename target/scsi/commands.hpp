// The commands of a logical unit, one function for each struct of scsi::Command: they end their task exactly once.
//
// The dispatcher (target/scsi/dispatch.cpp) visits the parsed command and calls the overload; a command without one
// does not compile. What may stand in a task's way was looked at before (target/scsi/gate.hpp).
#pragma once

#include "target/scsi/unit_core.hpp"

namespace mpath::target {

// About the unit, its state and its nexuses: inquiry.cpp, request_sense.cpp, mode_commands.cpp,
// reservation_commands.cpp, port_group_commands.cpp, supported_commands.cpp. About the medium: declared where they are
// defined in medium_commands.hpp.

}  // namespace mpath::target
