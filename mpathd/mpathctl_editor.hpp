// Lines from a terminal, with history and completion (libedit). The history is kept in a file of bounded length.
//
// Threads: one. Blocks while the user thinks.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "mpathd/command_table.hpp"

namespace mpath {

class LineEditor {
 public:
  // `names` is asked for the maps and paths to offer whenever the user presses TAB. An empty history path: none is kept.
  LineEditor(std::string prompt, std::filesystem::path history, std::function<KnownNames()> names);
  ~LineEditor();  // writes the history
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // The next line without its end; nothing at end of input.
  [[nodiscard]] std::optional<std::string> read();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mpath
