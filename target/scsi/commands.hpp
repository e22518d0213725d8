// The commands about the unit itself, its state and its nexuses: one function for each struct of scsi::Command, which
// ends its task exactly once, now or later. The commands about the medium are in medium_commands.hpp.
//
// The dispatcher (target/scsi/dispatch.cpp) visits the parsed command and calls the overload; a command without one
// does not compile. What may stand in a task's way was looked at before (target/scsi/gate.hpp).
#pragma once

#include "target/scsi/unit_seat.hpp"

namespace mpath::target {

// inquiry.cpp, request_sense.cpp
void run(UnitSeat& unit, Task& task, const scsi::Inquiry& command);
void run(UnitSeat& unit, Task& task, const scsi::RequestSense& command);
// Sessions answer it, they know the LUNs (target/scsi/absent_unit.hpp): one that comes here all the same is refused.
void run(UnitSeat& unit, Task& task, const scsi::ReportLuns& command);

// mode_commands.cpp
void run(UnitSeat& unit, Task& task, const scsi::ModeSense& command);
void run(UnitSeat& unit, Task& task, const scsi::ModeSelect& command);

// reservation_commands.cpp
void run(UnitSeat& unit, Task& task, const scsi::Reserve& command);
void run(UnitSeat& unit, Task& task, const scsi::Release& command);
void run(UnitSeat& unit, Task& task, const scsi::PersistentReserveIn& command);
void run(UnitSeat& unit, Task& task, const scsi::PersistentReserveOut& command);

// port_group_commands.cpp
void run(UnitSeat& unit, Task& task, const scsi::ReportTargetPortGroups& command);
void run(UnitSeat& unit, Task& task, const scsi::SetTargetPortGroups& command);

// supported_commands.cpp
void run(UnitSeat& unit, Task& task, const scsi::ReportSupportedOpcodes& command);
void run(UnitSeat& unit, Task& task, const scsi::ReportSupportedTaskFunctions& command);

}  // namespace mpath::target
