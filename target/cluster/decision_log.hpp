// What this node saw and decided, and why, with times: the file behind `mptargetctl explain`.
//
// A line of JSON each, appended; two files of at most `lines_max`, of which the older is dropped. Not synchronised: a
// crash of the machine may take the last lines with it, and a torn one is passed over.
//
// Threads: the control thread. Writing a line is a copy into the page cache.
#pragma once

#include <chrono>
#include <deque>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "target/cluster/status.hpp"

namespace mpath::target::cluster {

class DecisionLog {
 public:
  using WallClock = std::function<std::chrono::system_clock::time_point()>;
  static constexpr std::size_t lines_max = 1000;

  // Reads what is there. A file that cannot be read or written costs only its lines: see trouble(). Blocks.
  explicit DecisionLog(std::filesystem::path file, WallClock now = std::chrono::system_clock::now);

  // `view` is the one in force now: with the line that tells of a takeover, the new one.
  void add(const View& view, std::string what);
  // The latest `most`, oldest first.
  [[nodiscard]] std::vector<Decision> recent(std::size_t most = lines_max) const;
  // Why lines are not kept over a restart; empty: they are.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }

 private:
  [[nodiscard]] std::filesystem::path older() const;
  void read(const std::filesystem::path& file);
  void open();
  void rotate();

  std::filesystem::path file_;
  WallClock now_;
  std::deque<Decision> lines_;
  UniqueFd fd_;
  std::size_t in_file_ = 0;
  std::string trouble_;
};

}  // namespace mpath::target::cluster
