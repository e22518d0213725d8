// Makes the configuration out of the sections of all files, and notes what is wrong with them.
// Inside target/config only.
//
// The files by section of the grammar: parse.cpp (how sections come together), parse_accounts.cpp, parse_cluster.cpp,
// parse_portals.cpp, parse_units.cpp and parse_targets.cpp. A section that is wrong is complained about and left out;
// building goes on, so that one reading tells of everything.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "target/config/parse.hpp"

namespace mpath::target {

class ConfigBuilder {
 public:
  ConfigBuilder(const ReadSecret& read_secret, const NodeChoice& choice) : read_secret_(read_secret), choice_(choice) {}

  void take_file(const ConfigFile& file);
  // Once, when all files were taken.
  [[nodiscard]] ParsedConfig finish();

 private:
  struct Item {
    ConfigSection section;
    std::size_t object;
  };
  struct Claim {
    Portal portal;
    Origin origin;
  };

  void complain(const Origin& origin, std::string what);
  void warn(const Origin& origin, std::string what);
  const SettingValues& values_of(const Item& item) const { return result_.objects[item.object].values; }
  // Everything that was written about an object, secrets too.
  static std::string fingerprint(const SettingValues& values);

  // --- sections as such (parse.cpp) ---------------------------------------------------------------------------------
  void add_object(const ConfigSection& section, bool managed);
  void refuse_repetition(const ConfigSection& section);
  void build(const Item& item);
  void build_global(const Item& item);
  void cross_check();

  // --- accounts (parse_accounts.cpp) --------------------------------------------------------------------------------
  void build_accounts();
  std::optional<Account> account_of(const ConfigEntry& entry);
  void build_authentication(const Item& item, Authentication& authentication);

  // --- the pair (parse_cluster.cpp) ---------------------------------------------------------------------------------
  void build_cluster(const Item& item);
  [[nodiscard]] mpath::replication::Member which_node(const Item& item);
  void build_links(const Item& item, ClusterConfig& cluster);
  std::vector<Portal> addresses(const Item& item, std::string_view key, std::uint16_t port);
  void build_times(const SettingValues& values, ClusterConfig& cluster);
  void build_peer_loss(const Item& item, ClusterConfig& cluster);
  void build_virtual_ip(const ConfigEntry& entry, ClusterConfig& cluster);
  void build_resync(const SettingValues& values, ClusterConfig& cluster);
  void take_node(const SettingValues& values, PortalGroupConfig& group);
  void take_replicated(const SettingValues& values, LuConfig& unit);
  void cross_check_cluster();

  // --- portal groups (parse_portals.cpp) ----------------------------------------------------------------------------
  void build_group(const Item& item);
  void claim(const Portal& portal, std::uint16_t tag, const Origin& origin);

  // --- units (parse_units.cpp) --------------------------------------------------------------------------------------
  void build_unit(const Item& item);
  void build_unit_options(const SettingValues& values, LuConfig& unit);
  void remember_path(const std::string& path, const std::string& unit, const Origin& origin);
  static std::string ietd_unit_name(const std::string& target, std::uint64_t lun);
  // Path=/x,Type=fileio,IOMode=wb: a unit of its own. False when it was refused.
  bool take_ietd_lun(const ConfigEntry& entry, const std::string& target, std::uint64_t lun);

  // --- targets (parse_targets.cpp) ----------------------------------------------------------------------------------
  void build_target(const Item& item);
  void take_lun(const ConfigEntry& entry, TargetConfig& target);
  void take_redirect(const SettingValues& values, TargetConfig& target);
  void build_wishes(const SettingValues& values, TargetConfig& target);
  std::string digests(const SettingValues& values, const char* key);

  const ReadSecret& read_secret_;
  const NodeChoice& choice_;
  ParsedConfig result_;
  std::vector<Item> items_;
  std::map<std::string, std::string> accounts_;  // user -> secret; not empty once they were built
  std::map<std::string, std::string> paths_;     // canonical path -> unit
  std::vector<Claim> claims_;
  std::vector<std::pair<std::string, Origin>> unit_uses_;
  std::vector<std::pair<std::uint16_t, Origin>> group_uses_;
};

}  // namespace mpath::target
