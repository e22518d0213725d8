// What has to be done to come from one configuration to another: shown to people before it is done, and nothing else is
// touched.
//
// Pure.
#pragma once

#include <string>
#include <vector>

#include "target/config/model.hpp"

namespace mpath::target {

struct ConfigPlan {
  // Units by name. `adjusted` ones keep their store and their sessions: only the size or the drills changed.
  std::vector<std::string> units_added, units_removed, units_reopened, units_adjusted;
  std::vector<std::string> targets_added, targets_removed, targets_changed;
  bool groups_changed = false;     // portal groups: portals, ALUA groups
  bool discovery_changed = false;  // who may discover
  std::string cluster_made;        // at the start: "store: this is node a"
  bool cluster_changed = false;    // only the next start takes it
  bool needs_restart = false;      // something that only the next start takes: shards, limits of logins

  [[nodiscard]] bool empty() const;
  [[nodiscard]] std::vector<std::string> lines() const;  // "+ target X", "- lu Y", "~ lu Z (reopened)"
};

[[nodiscard]] ConfigPlan make_plan(const TargetdConfig& before, const TargetdConfig& after);

// The target port groups and ports through which a unit is reached.
struct UnitPorts {
  std::vector<scsi::PortGroup> groups;
  std::vector<TargetPort> ports;
  friend bool operator==(const UnitPorts&, const UnitPorts&) = default;
};
[[nodiscard]] UnitPorts ports_of(const TargetdConfig& config, std::string_view unit);

// The portal groups of a target: those it names, or all.
[[nodiscard]] std::vector<const PortalGroupConfig*> groups_of(const TargetdConfig& config, const TargetConfig& target);

}  // namespace mpath::target
