// How the end of a session, or of an attempt to make one, shows in an exit code.
#pragma once

#include "base/exit_codes.hpp"
#include "initiator/scsi_port.hpp"

namespace mpath {

[[nodiscard]] ExitCode exit_code_of(SessionEnd end);

}  // namespace mpath
