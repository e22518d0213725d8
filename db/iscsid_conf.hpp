// iscsid.conf: the values that new records start with, and the daemon's own keys.
//
// Threads: any; blocks for reading the file.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/config_text.hpp"
#include "base/result.hpp"
#include "db/records.hpp"

namespace mpath::db {

struct IscsidConf {
  Settings record_defaults;  // node.* and discovery.*, as the file gives them; for Store::open()
  Settings daemon;           // iscsid.* and isns.*, complete
  ConfigProblems problems;   // unknown key: a warning; a value that is refused: an error, the default stays in force
};

// A file that is not there is an empty one. Fails with the errno of reading.
[[nodiscard]] Result<IscsidConf> read_iscsid_conf(const std::filesystem::path& file);

// `name` is only the file name that problems show.
[[nodiscard]] IscsidConf parse_iscsid_conf(std::string_view text, const std::string& name);

}  // namespace mpath::db
