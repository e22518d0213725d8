// The two familiar configuration grammars, read into one small tree that remembers where everything stood.
//
// Flat (iscsid.conf, initiatorname.iscsi): `key = value`, the value to the end of the line; a line that begins with # is a comment.
// Sections (multipath.conf): `name { ... }` nested, `keyword value` lines, "quoted values" in which "" stands for a quote;
// # or ! outside quotes begin a comment.
// Blocks (mptarget.conf): the same with a label, `name LABEL { ... }`, and with values of several words: `keyword word
// word`. Only a # at the beginning of a word begins a comment; a ; at the end of a word ends the line before its end.
//
// A parser never stops at an error: it says what is wrong with file and line, and goes on with the next line.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace mpath {

struct Origin {
  std::string file;   // empty: built in
  unsigned line = 0;  // 0: not from a line (command line, built in)
  [[nodiscard]] std::string text() const;  // "file:12", "file", "default"
  friend bool operator==(const Origin&, const Origin&) = default;
};

struct ConfigProblem {
  enum class Severity : std::uint8_t { warning, error };
  Severity severity = Severity::error;
  Origin origin;
  std::string what;
  [[nodiscard]] std::string text() const;  // "file:12: what"
};
using ConfigProblems = std::vector<ConfigProblem>;
[[nodiscard]] bool has_errors(const ConfigProblems& problems);

struct ConfigEntry {
  std::string key;
  std::string value;  // in the blocks grammar the words, with a blank between them
  Origin origin;
  std::vector<std::string> words = {};  // of the value, in the blocks grammar
};

struct ConfigSection {
  std::string name;  // empty for the root
  Origin origin;
  std::vector<ConfigEntry> entries;     // in the order of the file
  std::vector<ConfigSection> sections;  // in the order of the file; names may repeat
  std::string label = {};               // in the blocks grammar; empty: none

  // All sections at `path` ("devices.device"), in order; "" is this one.
  [[nodiscard]] std::vector<const ConfigSection*> at(std::string_view path) const;
  // Puts another file's contents behind these: later wins.
  void append(ConfigSection&& later);
};

struct ConfigTree {
  ConfigSection root;
  ConfigProblems problems;
};

enum class ConfigGrammar : std::uint8_t { flat, sections, blocks };

inline constexpr std::size_t config_bytes_max = std::size_t{4} << 20;
inline constexpr unsigned config_depth_max = 16;

// `file` is only the name to show.
[[nodiscard]] ConfigTree parse_config(ConfigGrammar grammar, std::string_view text, const std::string& file);
// Reads and parses. Fails with the errno of reading, EISDIR, or EFBIG.
[[nodiscard]] Result<ConfigTree> read_config(ConfigGrammar grammar, const std::filesystem::path& file);

// A value as the section grammar reads it back: in quotes when it needs them.
[[nodiscard]] std::string config_quoted(std::string_view value);

}  // namespace mpath
