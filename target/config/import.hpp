// Configurations of other targets as ours: ietd.conf of the iSCSI Enterprise Target, targets.conf of tgt.
//
// Nothing is dropped in silence: what cannot be expressed stands in the result as a comment with file and line.
//
// Pure.
#pragma once

#include <string>
#include <string_view>

namespace mpath::target {

struct Imported {
  std::string text;      // mptarget.conf
  unsigned lost = 0;     // lines that could not be expressed
  bool readable = true;  // false: nothing in it looked like such a file
};

// `file` is the name to show.
[[nodiscard]] Imported import_ietd(std::string_view text, const std::string& file);
[[nodiscard]] Imported import_tgt(std::string_view text, const std::string& file);

}  // namespace mpath::target
