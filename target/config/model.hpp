// The configuration of the target as values: what mptarget.conf says, checked as a whole, before anything is made of
// it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/config_text.hpp"
#include "target/iscsi/portals.hpp"
#include "target/iscsi/target_view.hpp"
#include "target/store/store.hpp"

namespace mpath::target {

// `fingerprint` of an object: everything that was written about it, so that equal ones need no work when the files are
// read again.

struct LuConfig {
  std::string name;
  StoreOptions store;
  LuOptions unit;     // name, uuid (all zero: made at the first start and kept in the state directory) ...
  std::string drill;  // filters of base/filter_device.hpp; "" none
  Origin origin;
  bool managed = false;  // made by mptargetctl, may be changed by it
  std::string fingerprint;
};

struct PortalGroupConfig {
  std::uint16_t tag = 1;
  std::vector<Portal> portals;
  bool peer = false;
  std::uint16_t alua_group = 1;
  std::uint16_t relative_id = 1;
  Origin origin;
  bool managed = false;
  std::string fingerprint;
};

struct TargetConfig {
  std::string name;
  std::string alias;
  std::map<std::uint64_t, std::string> luns;  // LUN -> name of the unit
  std::vector<std::uint16_t> portal_groups;   // tags; empty: all
  Authentication authentication;
  AccessList access;
  iscsi::Wishes wishes;
  std::uint32_t window = 128;
  std::uint32_t sessions_max = 0;
  std::uint32_t nop_interval_ms = 5000;
  std::uint32_t nop_timeout_ms = 5000;
  Redirect redirect = Redirect::none;
  iscsi::TargetAddress redirect_to;
  Origin origin;
  bool managed = false;
  std::string fingerprint;
};

struct AccountConfig {
  Account account;
  Origin origin;
  bool managed = false;
};

struct TargetdConfig {
  unsigned shards = 0;  // 0: the cores, at most 4
  LoginLimits login;
  Authentication discovery;
  std::vector<AccountConfig> accounts;
  std::vector<PortalGroupConfig> portal_groups;  // never none: group 1 on all IPv4 addresses when none was named
  std::vector<LuConfig> units;
  std::vector<TargetConfig> targets;
};

}  // namespace mpath::target
