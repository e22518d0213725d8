// The grammar of iscsiadm: words in, a command or the reason why not out. Reads and writes nothing.
//
// Threads: getopt_long keeps its place in globals: one call at a time.
#pragma once

#include <expected>
#include <span>
#include <string>
#include <vector>

#include "base/exit_codes.hpp"
#include "initiator/mpathadm_command.hpp"

namespace mpath::adm {

struct UsageError {
  ExitCode code = ExitCode::invalid_argument;
  std::string line;         // without the program's name in front
  bool offer_help = false;  // "Try `mpathadm --help' ..." follows
};

// `words` as main() got them, the program's name first.
[[nodiscard]] std::expected<CommandLine, UsageError> parse(std::span<const std::string> words);

// What --help prints.
[[nodiscard]] std::string help_text();

// Every option that is taken, for the test that holds the manual page to it.
struct OptionName {
  char letter = 0;  // 0: long form only
  std::string name;
};
[[nodiscard]] std::vector<OptionName> option_names();

// The letters that a mode takes, besides -h and -V; empty for an unknown mode.
[[nodiscard]] std::string_view letters_of_mode(std::string_view mode);

}  // namespace mpath::adm
