// Builds the text of an imported configuration: units and accounts first, then the targets that use them.
//
// Pure.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "target/config/import.hpp"

namespace mpath::target {

class ImportWriter {
 public:
  explicit ImportWriter(std::string file) : file_(std::move(file)) {}

  // A unit with the lines of its section, the path first; answers with the name it got ("disk", "disk-2" ...).
  std::string unit(unsigned line, std::string_view wanted, const std::vector<std::string>& lines);
  void discovery(std::string line) { discovery_.push_back(std::move(line)); }
  void portal(std::string address) { portals_.push_back(std::move(address)); }
  void begin_target(const std::string& name);
  void in_target(std::string line);
  // Something that cannot be said, or need not be: a comment where it stood.
  void lost(unsigned line, std::string_view what, std::string_view why);
  void note(unsigned line, std::string_view what, std::string_view why);
  [[nodiscard]] bool in_target() const { return !targets_.empty(); }

  [[nodiscard]] Imported finish();

 private:
  void comment(unsigned line, std::string_view what, std::string_view why);

  std::string file_;
  std::set<std::string> names_;
  struct Medium {
    std::string name;
    std::vector<std::string> lines;
  };
  std::map<std::string, Medium> media_;  // by their path line
  std::string units_;
  std::vector<std::string> comments_, discovery_, portals_;
  struct Target {
    std::string name;
    std::vector<std::string> lines;
  };
  std::vector<Target> targets_;
  unsigned lost_ = 0;
};

// Words of a line, quotes taken off; a # at the beginning of a word ends it.
[[nodiscard]] std::vector<std::string> import_words(std::string_view line);
[[nodiscard]] std::string import_lower(std::string_view text);
// A name for the unit that holds `path`.
[[nodiscard]] std::string unit_name_of_path(std::string_view path);

}  // namespace mpath::target
