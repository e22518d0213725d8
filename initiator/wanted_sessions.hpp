// The file that lets sessions outlive their daemon: the node keys that were logged in by hand since the machine booted.
//
// A record's node.startup says what is logged in at boot; this says what else was there when the daemon ended, whether it
// was stopped, killed, or crashed. It counts only for the boot it was written in, as kernel sessions do.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "db/records.hpp"

namespace mpath {

// The form of the file. Pure.
[[nodiscard]] std::string format_wanted(const std::set<db::NodeKey>& keys, std::string_view boot_id);
// Empty for another boot; EPROTO for what is not such a file.
[[nodiscard]] Result<std::set<db::NodeKey>> parse_wanted(std::string_view text, std::string_view boot_id);

// No file: nothing is wanted.
[[nodiscard]] Result<std::set<db::NodeKey>> load_wanted(const std::filesystem::path& file, std::string_view boot_id);

}  // namespace mpath
