// A map as /dev/nbdN: our NBD server at one end of a pair of sockets, the kernel's client at the other.
//
//   kernel's nbdN ── socket pair ── NbdExport on the device's shard ── device
//
// One socket, so that a request is never sent again while we may still have it: with one, the kernel gives no request up
// for its age. When our end is gone (leave(), a killed process) the kernel keeps what was sent and not answered, and
// sends it on the socket that the next process gives it, at the latest an io_timeout (3 s) after it was sent first.
#pragma once

#include "exports/kernel_disk.hpp"

namespace mpath {

[[nodiscard]] std::unique_ptr<KernelDisk> make_nbd_disk(KernelDiskSetup setup);

}  // namespace mpath
