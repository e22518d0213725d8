// From a task to its command: parses the CDB, lets the gate judge, runs the command.
//
// Threads: the unit's shard. Inside target/scsi only.
#pragma once

#include "target/scsi/unit_core.hpp"

namespace mpath::target {

void dispatch(UnitCore& unit, Task& task);

}  // namespace mpath::target
