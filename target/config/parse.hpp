// The texts of mptarget.conf and conf.d as one checked configuration.
//
// Everything that is wrong is said, with file and line, before anything is made of it. What was read is kept beside the
// values, so that the settings in force can be shown with where they came from.
#pragma once

#include <expected>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/settings.hpp"
#include "target/config/model.hpp"

namespace mpath::target {

struct ConfigFile {
  std::string name;  // as errors show it
  std::string text;
  bool managed = false;      // mptargetctl's own
  bool others_read = false;  // its mode lets others read it
};

// The content of a file named by secret_file, or why it cannot be had.
using ReadSecret = std::function<std::expected<std::string, std::string>(const std::string& path)>;

struct ConfigObject {
  std::string kind;   // the section: "lu", "target" ...
  std::string label;  // empty for global and discovery
  Origin origin;
  bool managed = false;
  SettingValues values;
};

struct ParsedConfig {
  TargetdConfig config;  // to be used only when there are no errors
  ConfigProblems problems;
  std::vector<ConfigObject> objects;
};

// What tells the nodes of a pair apart when both read the same file.
struct NodeChoice {
  std::optional<mpath::replication::Member> node = {};  // mptargetd --node: counts before anything else
  std::string host_name = {};
};

[[nodiscard]] ParsedConfig parse_targetd_config(std::span<const ConfigFile> files, const ReadSecret& read_secret,
                                                const NodeChoice& choice = {});

// Names of units are names of files: letters, digits, . _ -, at most 64 of them.
[[nodiscard]] bool valid_unit_name(std::string_view name);
// ADDRESS[:PORT], numeric, IPv6 in brackets.
[[nodiscard]] std::expected<Portal, std::string> parse_portal(std::string_view text, std::uint16_t default_port = 3260);
[[nodiscard]] std::string format_portal(const Portal& portal);

// The settings in force as a file of the same grammar: values with their origin behind them, secrets masked.
[[nodiscard]] std::string show_settings(std::span<const ConfigObject> objects);

}  // namespace mpath::target
