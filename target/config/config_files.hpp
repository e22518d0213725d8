// Where the configuration lies: etc/mptarget/mptarget.conf, which people write, and conf.d/*.conf, of which mptargetctl
// has its own, one object a file.
//
// Blocks: call through offload() or at start.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/layout.hpp"
#include "target/config/parse.hpp"

namespace mpath::target {

// The first line of the files that mptargetctl may change.
inline constexpr std::string_view managed_mark = "# Made by mptargetctl, which may change it.";

// mptarget.conf first (or `instead` of it, which must be there), then conf.d by name. No file at all is an empty
// configuration. The error names the file that cannot be read.
[[nodiscard]] std::expected<std::vector<ConfigFile>, std::string> read_config_files(
    const Layout& layout, const std::filesystem::path& instead = {});

// The file of a managed object: conf.d/KIND-LABEL.conf.
[[nodiscard]] std::filesystem::path managed_file(const Layout& layout, std::string_view kind, std::string_view label);

// A section as text of the grammar, with the mark above it.
[[nodiscard]] std::string managed_text(const ConfigSection& section);
// A section as text alone.
[[nodiscard]] std::string section_text(const ConfigSection& section);

}  // namespace mpath::target
