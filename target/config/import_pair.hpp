// A pair of DRBD and Heartbeat as ours: drbd.conf, ha.cf and haresources become a cluster section, units, and portal
// groups. Inside target/config and for mptargetctl.
//
// Nothing is dropped in silence: what cannot be expressed, and what is not needed here, is a comment with file and
// line.
//
// Pure, but for the identities, which the caller makes.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "target/config/import.hpp"

namespace mpath::target {

struct PairFile {
  std::string name;  // as comments show it
  std::string text;
};

struct PairFiles {
  PairFile drbd;
  std::optional<PairFile> ha = {};
  std::optional<PairFile> haresources = {};
};

// `fresh_uuid` makes the identity of each unit: equal files of two sites are not equal disks. `readable` is false
// without a resource that two nodes hold.
[[nodiscard]] Imported import_pair(const PairFiles& files, const std::function<std::string()>& fresh_uuid);

}  // namespace mpath::target
