// The multipathd grammar as one table: keywords, and the commands that may be made of them. The parser, the completion of
// the shell and `help` all read this. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mpath {

enum class Keyword : std::uint8_t {
  end,  // pads the rows of the table
  show, add, del, switch_, suspend, resume, reinstate, fail, resize, reset, reload, forcequeueing, disablequeueing,
  restorequeueing, reconfigure, export_, unexport, shutdown, quit, help, getprstatus, setprstatus, unsetprstatus, getprkey, setprkey,
  unsetprkey, getprhold, setprhold, unsetprhold, setmarginal, unsetmarginal,
  paths, maps, path, map, group, as, key, pathlist, daemon, status, stats, topology, config, blacklist, devices, wildcards,
  raw, format, json, local, origin, all,
};

enum class CommandId : std::uint8_t {
  show_paths, show_path, show_maps, show_maps_status, show_maps_stats, show_maps_topology, show_maps_json,
  show_map, show_map_topology, show_map_json, show_status, show_daemon, show_config, show_config_local,
  show_config_origin, show_wildcards, show_devices, show_blacklist,
  add_path, del_path, add_map, del_map, del_maps, fail_path, reinstate_path, resize_map, switch_group,
  disable_queueing_map, disable_queueing_maps, restore_queueing_map, restore_queueing_maps, reset_map_stats,
  reset_maps_stats, export_map, unexport_map, reconfigure, shutdown, quit, help,
  not_supported,  // commands of multipathd that have no meaning here, or not yet
};

// Which argument follows a keyword; also what the shell completes there.
enum class Argument : std::uint8_t { none, map_name, path_name, export_kind, number, text };

struct KeywordSpelling {
  std::string_view word;
  Keyword keyword;
  Argument argument = Argument::none;
};

struct CommandForm {
  CommandId id;
  std::array<Keyword, 5> words;
  bool changes = false;  // not only shows: needs the right to administer
  [[nodiscard]] std::size_t size() const;
};

// The first spelling of a keyword is the one that `help` prints; further ones are its other names.
[[nodiscard]] std::span<const KeywordSpelling> keyword_spellings();
[[nodiscard]] std::span<const CommandForm> command_forms();
[[nodiscard]] Argument argument_of(Keyword keyword);

struct ParsedCommand {
  CommandId id = CommandId::help;
  bool changes = false;
  bool json = false;
  bool raw = false;
  std::string path, map, group, as;
  std::optional<std::string> format;
};

struct ParseProblem {
  std::string text;  // one line: what is wrong with which word
};

// Words may be shortened as long as one keyword is meant at their place. Quotes keep blanks together; `format` takes the
// rest of the line. `json` may end every command.
[[nodiscard]] std::expected<ParsedCommand, ParseProblem> parse_command(std::string_view line);

struct KnownNames {
  std::vector<std::string> maps, paths;
};

// What may stand for the last word of `line` (the empty word after a blank), sorted, each once.
[[nodiscard]] std::vector<std::string> complete_command(std::string_view line, const KnownNames& names);

// What TAB does: `insert` goes in at the cursor (the rest of the word and a blank when only one fits, what all have in
// common otherwise); `choices` are all that fit.
struct Completion {
  std::string insert;
  std::vector<std::string> choices;
};
[[nodiscard]] Completion complete_line(std::string_view before_cursor, const KnownNames& names);

[[nodiscard]] std::string help_text();

}  // namespace mpath
