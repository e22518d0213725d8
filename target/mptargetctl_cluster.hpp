// The words of mptargetctl about the pair: cluster ..., explain, what-if.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "target/mptargetctl_control.hpp"

namespace mpath::target {

// What stands on the command line.
struct ClusterWords {
  std::vector<std::string> units;
  std::string event;
  std::string on_or_off;
  std::size_t last = 0;
  bool yes = false;
  bool force = false;
  bool discard = false;
  bool repair = false;
  bool watch = false;
  bool brief = false;
};

// All are borrowed until the command line was taken.
void add_cluster_words(CLI::App& app, const Control& control, ClusterWords& words);

}  // namespace mpath::target
