// The commands that touch the medium or tell about it. Inside target/scsi only.
//
// Each ends its task exactly once, now or later (target/scsi/unit_core.hpp). What is common to all commands was looked
// at before: unit attentions, reservations, access state, write protection, the medium, a sanitize operation.
#pragma once

#include "target/scsi/unit_core.hpp"

namespace mpath::target {

// block_commands.cpp. No allocation, save when the initiator expects less than the command moves.
void run(UnitCore& core, Task& task, const scsi::Read& command);
void run(UnitCore& core, Task& task, const scsi::Write& command);

// verify_commands.cpp
void run(UnitCore& core, Task& task, const scsi::Verify& command);
void run(UnitCore& core, Task& task, const scsi::WriteAndVerify& command);

// cache_commands.cpp
void run(UnitCore& core, Task& task, const scsi::SynchronizeCache& command);
void run(UnitCore& core, Task& task, const scsi::PreFetch& command);

// provisioning_commands.cpp
void run(UnitCore& core, Task& task, const scsi::WriteSame& command);
void run(UnitCore& core, Task& task, const scsi::Unmap& command);
void run(UnitCore& core, Task& task, const scsi::GetLbaStatus& command);

// atomic_commands.cpp
void run(UnitCore& core, Task& task, const scsi::CompareAndWrite& command);
void run(UnitCore& core, Task& task, const scsi::OrWrite& command);
void run(UnitCore& core, Task& task, const scsi::WriteAtomic& command);

// sanitize.cpp
void run(UnitCore& core, Task& task, const scsi::Sanitize& command);

// copy_commands.cpp
void run(UnitCore& core, Task& task, const scsi::ExtendedCopy& command);
void run(UnitCore& core, Task& task, const scsi::ReceiveCopyResults& command);

// medium_commands.cpp
void run(UnitCore& core, Task& task, const scsi::TestUnitReady& command);
void run(UnitCore& core, Task& task, const scsi::ReadCapacity10& command);
void run(UnitCore& core, Task& task, const scsi::ReadCapacity16& command);
void run(UnitCore& core, Task& task, const scsi::ReadDefectData& command);
void run(UnitCore& core, Task& task, const scsi::LogSense& command);
void run(UnitCore& core, Task& task, const scsi::StartStopUnit& command);
void run(UnitCore& core, Task& task, const scsi::PreventAllow& command);

// What the medium can do, for INQUIRY: page B0h, B2h, 8Fh.
[[nodiscard]] scsi::BlockLimits block_limits(UnitCore& core);
[[nodiscard]] scsi::Provisioning provisioning(UnitCore& core);
[[nodiscard]] scsi::Bytes third_party_copy_page(UnitCore& core);

}  // namespace mpath::target
