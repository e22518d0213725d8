// mpathctl: the shell of mpathd, with the grammar of multipathd -k and the output of multipath -ll.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <sstream>

#include "base/layout.hpp"
#include "mpathd/mpathctl_client.hpp"
#include "mpathd/mpathctl_editor.hpp"
#include "mpathd/mpathctl_options.hpp"

namespace {

using namespace mpath;

void print(std::FILE* stream, std::string_view text) { std::fwrite(text.data(), 1, text.size(), stream); }

bool on_terminal(int descriptor) { return ::isatty(descriptor) == 1; }

// Scripts find the word `fail` on stdout, people the reason on stderr.
int show(const std::expected<CommandReply, std::string>& answer) {
  if (!answer) {
    print(stderr, fmt::format("mpathctl: {}\n", answer.error()));
    return 1;
  }
  const ShownReply shown = take_apart(*answer);
  print(stdout, shown.text);
  if (!shown.reason.empty()) print(stderr, fmt::format("mpathctl: {}\n", shown.reason));
  return answer->code == 0 ? 0 : 1;
}

std::string with_json(std::string line, bool json) { return json ? line + " json" : line; }

bool leaves(const std::string& line) {
  const auto command = parse_command(line);
  return command && command->id == CommandId::quit;
}

std::vector<std::string> lines_of(const std::expected<CommandReply, std::string>& answer) {
  std::vector<std::string> lines;
  if (!answer || answer->code != 0) return lines;
  std::istringstream text(answer->text);
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

std::filesystem::path history_file() {
  const char* home = std::getenv("HOME");
  return home == nullptr || *home == '\0' ? std::filesystem::path() : std::filesystem::path(home) / ".mpathctl_history";
}

int run_shell(const MpathctlClient& client, bool json) {
  const auto names = [&client] {
    return KnownNames{.maps = lines_of(client.command("show maps raw format %n", false)),
                      .paths = lines_of(client.command("show paths raw format %d", false))};
  };
  LineEditor editor("mpathctl> ", history_file(), names);
  while (const auto line = editor.read()) {
    if (line->empty()) continue;
    if (leaves(*line)) return 0;
    show(client.command(with_json(*line, json), true));
    std::fflush(stdout);
  }
  print(stdout, "\n");
  return 0;
}

// One command a line; the exit status is 1 when any of them failed.
int run_lines(const MpathctlClient& client, bool json) {
  int status = 0;
  for (std::string line; std::getline(std::cin, line);) {
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    if (leaves(line)) break;
    if (show(client.command(with_json(line, json), false)) != 0) status = 1;
    std::fflush(stdout);
  }
  return status;
}

int run(const MpathctlOptions& options) {
  const bool tty = on_terminal(STDOUT_FILENO);
  const MpathctlClient client(make_layout(options.root).control_socket(), options.timeout);
  switch (options.mode) {
    case MpathctlOptions::Mode::line: {
      if (leaves(options.line)) return 0;
      return show(client.command(with_json(options.line, options.json), tty));
    }
    case MpathctlOptions::Mode::topology: {
      const auto level = options.brief ? TopologyRequest::Level::brief : TopologyRequest::Level::full;
      return show(client.topology({.level = level, .map = options.map, .tty = tty, .json = options.json}));
    }
    case MpathctlOptions::Mode::shell:
      return tty && on_terminal(STDIN_FILENO) ? run_shell(client, options.json) : run_lines(client, options.json);
    case MpathctlOptions::Mode::finished: print(options.status == 0 ? stdout : stderr, options.text); return options.status;
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
    const int status = run(parse_mpathctl_options(arguments, MPATHD_VERSION));
    if (std::fflush(stdout) != 0) return 1;  // the reader went away, or the disk is full
    return status;
  } catch (const std::exception& error) {
    print(stderr, fmt::format("mpathctl: {}\n", error.what()));
    return 1;
  }
}
