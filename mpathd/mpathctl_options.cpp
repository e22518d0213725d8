#include "mpathd/mpathctl_options.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>

namespace mpath {
namespace {

constexpr double timeout_seconds_max = 86400;

class ThreeUsages : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App*, std::string name) const override {
    return fmt::format("Usage: {0} [OPTIONS] [COMMAND...]\n       {0} [OPTIONS] -l|-ll [MAP]\n       {0} [OPTIONS] -k[COMMAND]\n",
                       name.empty() ? "mpathctl" : name);
  }
};

MpathctlOptions finished(std::string text, int status) {
  MpathctlOptions options;
  options.mode = MpathctlOptions::Mode::finished;
  options.text = std::move(text);
  options.status = status;
  return options;
}

MpathctlOptions mistake(std::string_view what) { return finished(fmt::format("mpathctl: {}\n", what), 1); }

}  // namespace

std::string join_words(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty()) line += ' ';
    const bool plain = !word.empty() && word.find_first_of(" \t%\"'") == word.npos;
    const char quote = word.find('"') == word.npos ? '"' : '\'';
    line += plain ? word : quote + word + quote;
  }
  return line;
}

MpathctlOptions parse_mpathctl_options(const std::vector<std::string>& arguments, std::string_view version) {
  MpathctlOptions options;
  CLI::App app{"Shows and changes the maps and paths of mpathd.", "mpathctl"};
  app.formatter(std::make_shared<ThreeUsages>());
  app.footer("Without a command: an interactive shell on a terminal, otherwise one command a line from standard input.\n"
             "'mpathctl help' lists the commands.");
  std::string root, shell_line;
  double timeout_seconds = 30;
  int level = 0;
  app.add_flag("-l", level, "the topology of all maps, or of MAP; -ll also what the checkers found");
  CLI::Option* shell = app.add_option("-k", shell_line, "the interactive shell, or COMMAND and out, as multipathd -k")
                           ->expected(0, 1)
                           ->type_name("[COMMAND]");
  app.add_flag("--json,-j", options.json, "the answer as JSON");
  app.add_option("--root", root, "where etc, var and run are (default: MPATHD_ROOT, then /)")->type_name("DIR");
  app.add_option("--timeout", timeout_seconds, "how long to wait for an answer, in seconds (default: 30)")
      ->type_name("SECONDS");
  app.set_help_flag("--help,-h", "prints this and exits");
  app.set_version_flag("--version", fmt::format("mpathctl {}", version), "prints the version and exits");
  app.prefix_command();
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    return finished(app.help(), 0);
  } catch (const CLI::CallForVersion&) {
    return finished(app.version() + "\n", 0);
  } catch (const CLI::Error& error) {
    return mistake(error.what());
  }
  if (!(timeout_seconds > 0 && timeout_seconds <= timeout_seconds_max))
    return mistake("--timeout must be more than 0 and at most 86400 seconds");
  options.timeout = std::chrono::milliseconds(std::llround(std::ceil(timeout_seconds * 1000)));
  options.root = root;

  std::vector<std::string> words = app.remaining();
  if (!words.empty() && words.back() == "--json") {  // said after the command
    options.json = true;
    words.pop_back();
  }
  if (!words.empty() && words.front().starts_with('-'))
    return mistake(fmt::format("unknown option '{}' (try: mpathctl --help)", words.front()));
  if (level > 0) {
    if (level > 2 || shell->count() > 0 || words.size() > 1) return mistake("-l and -ll take at most one map, and no command");
    options.mode = MpathctlOptions::Mode::topology;
    options.brief = level == 1;
    if (!words.empty()) options.map = words.front();
    return options;
  }
  options.line = shell_line;  // a command line of its own, with its own quotes
  if (!words.empty()) options.line += (options.line.empty() ? "" : " ") + join_words(words);
  options.mode = options.line.empty() ? MpathctlOptions::Mode::shell : MpathctlOptions::Mode::line;
  return options;
}

}  // namespace mpath
