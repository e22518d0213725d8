// From a task to its command: parses the CDB, lets the gate judge, runs the command.
//
// Threads: the unit's shard. Inside target/scsi only.
#pragma once

#include "target/scsi/unit_seat.hpp"

namespace mpath::target {

void dispatch(UnitSeat& unit, Task& task);

}  // namespace mpath::target
