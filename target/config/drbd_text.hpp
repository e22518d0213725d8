// The grammar of drbd.conf (8.3 and 8.4): statements of words that end with ; or hold others in braces. What the words
// mean is not known here.
//
// Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mpath::target {

struct DrbdStatement {
  std::vector<std::string> words;  // never none; quotes taken off
  unsigned line = 0;
  bool block = false;  // braces followed, and `inner` is what stood in them
  std::vector<DrbdStatement> inner;
};

struct DrbdText {
  std::vector<DrbdStatement> statements;
  unsigned broken_line = 0;  // where the braces stopped to fit; 0: nowhere
};

// Reads as much as there is sense in.
[[nodiscard]] DrbdText parse_drbd(std::string_view text);

}  // namespace mpath::target
