// Who does not take over by itself, over restarts: one line, `3 ab`. Nothing of the data rests on it.
//
// Threads: blocks; through offload().
#pragma once

#include <expected>
#include <filesystem>
#include <string>

#include "base/result.hpp"
#include "wire/replication.hpp"

namespace mpath::target::cluster {

// No file: nobody is. The error is a line for people: a file that cannot be read, or says something else.
[[nodiscard]] std::expected<mpath::replication::HeldBack, std::string> read_held_back(
    const std::filesystem::path& file);
[[nodiscard]] error_code write_held_back(const std::filesystem::path& file, const mpath::replication::HeldBack& word);

}  // namespace mpath::target::cluster
