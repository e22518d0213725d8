// What kernel disks have in common in /sys and /dev. Everything here may block: call through offload().
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace mpath {

// One line of an attribute, without its end. Fails with the errno of reading.
[[nodiscard]] Result<std::string> read_attribute(const std::filesystem::path& file);
// An attribute that begins with a decimal number; EINVAL where it does not.
[[nodiscard]] Result<std::uint64_t> read_number(const std::filesystem::path& file);
[[nodiscard]] error_code write_attribute(const std::filesystem::path& file, std::string_view value);
// Writes it unless it is so already. For attributes of a queue: from Linux 6.12 on the kernel lets a writer wait, uninterruptibly,
// until all requests of the disk are done. A process that is killed in there stays, with its sockets, and nobody answers
// the requests any more that it waits for.
[[nodiscard]] error_code set_attribute(const std::filesystem::path& file, std::string_view value);

// Sees to it that the module is loaded, or part of the kernel. ENODEV: it is not, and modprobe cannot load it.
[[nodiscard]] error_code load_module(const std::string& name);
[[nodiscard]] bool module_is_loaded(const std::string& name);

// Somebody uses /dev/NAME or one of its partitions: the kernel has it for itself (a mount, swap, a volume group, a RAID),
// or a process has it open.
[[nodiscard]] bool is_in_use(const std::string& device);

}  // namespace mpath
