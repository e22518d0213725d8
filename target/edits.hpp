// Changes of managed objects, as text: what mptargetctl asks for becomes a new section of conf.d.
//
// Hand-written files are never changed: the refusal names file and line.
#pragma once

#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "target/daemon.hpp"

namespace mpath::target {

struct EditRequest {
  enum class Op : std::uint8_t {
    create,  // the object must not be there
    remove,  // the whole object
    add,     // adds `entries`, one of which may be there already only for keys that are not repeatable: it is replaced
    drop     // takes away the entries whose words begin with those given
  };
  Op op = Op::create;
  std::string kind;
  std::string label;
  bool create_missing = false;       // add: makes the object when it is not there
  std::vector<ConfigEntry> entries;  // key and words
};

struct Edit {
  std::filesystem::path file;
  std::optional<std::string> text;  // none: the file goes
};

// Blocks: reads the file of the object.
[[nodiscard]] Outcome<Edit> plan_edit(const Layout& layout, const ParsedConfig& now, const EditRequest& request);

}  // namespace mpath::target
