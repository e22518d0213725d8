// The command line of mpathctl, which is that of `multipathd -k` and of `multipath -l` and `-ll` in one. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mpath {

struct MpathctlOptions {
  enum class Mode : std::uint8_t { shell, line, topology, finished } mode = Mode::shell;
  std::string line;                // line: the command
  bool brief = false;              // topology: -l
  std::optional<std::string> map;  // topology: only this one
  bool json = false;
  std::filesystem::path root;      // --root; empty: not given
  std::chrono::milliseconds timeout{30000};
  // finished: --help, --version or a mistake; what to print, and the exit status. A mistake goes to stderr.
  std::string text;
  int status = 0;
};

// `arguments` without the program's name. Never throws for what a user can type.
[[nodiscard]] MpathctlOptions parse_mpathctl_options(const std::vector<std::string>& arguments, std::string_view version);

// Words of a shell's command line as one line of the grammar: what has blanks or % in it is put in quotes.
[[nodiscard]] std::string join_words(const std::vector<std::string>& words);

}  // namespace mpath
