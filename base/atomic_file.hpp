// A small file replaced as a whole: a reader, and a machine that lost its power, find the old text or the new one.
//
// Blocks: call through offload() or in tools.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string_view>

#include "base/result.hpp"

namespace mpath {

// Written beside `file`, synchronised, renamed over it, and the directory synchronised. An existing file keeps its mode
// and, where the process may give files away, its owner; a new one gets `mode`. A missing parent directory is made.
[[nodiscard]] error_code replace_file(const std::filesystem::path& file, std::string_view text, mode_t mode = 0600);

// Durable too. Nothing to remove is no failure.
[[nodiscard]] error_code remove_file(const std::filesystem::path& file);

// The whole text. Fails with the errno of reading, EISDIR, or EFBIG.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& file, std::size_t bytes_max);

}  // namespace mpath
