// What kernel disks have in common in /sys and /dev. Everything here may block: call through offload().
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace mpath {

// One line of an attribute, without its end. Fails with the errno of reading.
[[nodiscard]] Result<std::string> read_attribute(const std::filesystem::path& file);
[[nodiscard]] error_code write_attribute(const std::filesystem::path& file, std::string_view value);

// Sees to it that the module is loaded, or part of the kernel. ENODEV: it is not, and modprobe cannot load it.
[[nodiscard]] error_code load_module(const std::string& name);
[[nodiscard]] bool module_is_loaded(const std::string& name);

// Somebody uses /dev/NAME or one of its partitions: the kernel has it for itself (a mount, swap, a volume group, a RAID),
// or a process has it open.
[[nodiscard]] bool is_in_use(const std::string& device);

}  // namespace mpath
