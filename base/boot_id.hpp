// The kernel's name for the time from this boot to the next shutdown: what a file says of processes and devices counts only
// in the boot it was written in.
#pragma once

#include <string>

namespace mpath {

// Empty when the kernel does not say.
[[nodiscard]] std::string read_boot_id();

}  // namespace mpath
