// The ublk door: /dev/ublkbN, served by a queue on the shard of the map.
//
// Known again:  the kernel keeps 64 bits with each device for its server; ours are a hash of the identity. They are gone
//               with the device, so a reboot leaves nothing behind that could mislead, and another program's devices
//               are left alone.
// While nobody serves, the kernel holds requests back without a limit of time: `absence_limit` is not its to keep.
// Once left, a disk cannot be attached again by the same process: the kernel waits for the end of the thread that served.
#pragma once

#include <memory>

#include "exports/kernel_disk.hpp"

namespace mpath {

[[nodiscard]] std::unique_ptr<KernelDisk> make_ublk_disk(KernelDiskSetup setup);

}  // namespace mpath
