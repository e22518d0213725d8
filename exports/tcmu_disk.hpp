// A map as /dev/sdX: the kernel's TCMU hands us what its SCSI stack asks of a LUN of tcm_loop. More of a disk than NBD or
// ublk can be: persistent reservations, UNMAP's limits, COMPARE AND WRITE and sense data are the unit's own.
//
// Takeover: the kernel keeps the ring when a process is gone. The next one does not answer what it finds there: it lets
//           the kernel give all of it back to the SCSI stack (action/reset_ring: BUSY), which sends it again. So the kernel
//           alone says what was answered and what was not, and not the memory that a killed process left half written.
// Absence:  the kernel waits without end. Its only limit (cmd_time_out) counts from when a command was asked, whether a
//           process is there or not, and would fail I/O of a map that queues: KernelDiskSetup::absence_limit is not used.
#pragma once

#include "exports/kernel_disk.hpp"

namespace mpath {

[[nodiscard]] std::unique_ptr<KernelDisk> make_tcmu_disk(KernelDiskSetup setup);

}  // namespace mpath
