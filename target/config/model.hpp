// The configuration of the target as values: what mptarget.conf says, checked as a whole, before anything is made of
// it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/config_text.hpp"
#include "target/iscsi/portals.hpp"
#include "target/iscsi/target_view.hpp"
#include "target/replication/node_fsm.hpp"
#include "target/store/store.hpp"
#include "wire/replication_stream.hpp"

namespace mpath::target {

// `fingerprint` of an object: everything that was written about it, so that equal ones need no work when the files are
// read again.

struct LuConfig {
  std::string name;
  StoreOptions store;
  LuOptions unit;           // name, uuid (all zero: made at the first start and kept in the state directory) ...
  bool replicated = false;  // each node of the pair has a copy; the uuid is set then
  std::string drill;        // filters of base/filter_device.hpp; "" none
  Origin origin;
  bool managed = false;  // made by mptargetctl, may be changed by it
  std::string fingerprint;
};

struct PortalGroupConfig {
  std::uint16_t tag = 1;
  std::vector<Portal> portals;
  bool peer = false;                               // another's: listed, not served here
  bool is_virtual = false;                         // on a virtual IP of the pair
  std::optional<mpath::replication::Member> node;  // whose it is, in a pair; not this one: peer is set too
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

struct VirtualIp {
  std::string address;  // numeric
  unsigned prefix = 0;
  std::string interface;  // empty: the one that has the subnet
  Origin origin;
  friend bool operator==(const VirtualIp&, const VirtualIp&) = default;
};

enum class AutoFailback : std::uint8_t { off, on };

inline constexpr std::uint16_t cluster_port = 7788;
inline constexpr std::uint16_t etcd_port = 2379;
inline constexpr std::size_t cluster_links_max = 8;

// The pair that this node is one of. Links: address i of a leads to address i of b, and of the witness if it has as
// many.
struct ClusterConfig {
  std::string name;
  mpath::replication::Member self = mpath::replication::Member::a;
  std::string key_file;
  std::array<std::vector<Portal>, 2> addresses;  // of a and b, equally many, at least one
  std::vector<Portal> witness;                   // empty: there is none, or it is in etcd
  std::vector<Portal> etcd;                      // endpoints of the etcd that votes instead of a witness
  std::chrono::milliseconds keepalive{100}, warntime{300}, deadtime{600}, initdead{10'000}, lease{400};
  unsigned drift_percent = 2;
  replication::PeerLoss on_peer_loss = replication::PeerLoss::freeze;
  std::vector<std::string> fence;  // the command and its words; empty unless on_peer_loss is fence
  std::chrono::milliseconds fence_timeout{10'000};
  AutoFailback auto_failback = AutoFailback::off;
  std::optional<mpath::replication::Member> preferred;  // set when auto_failback is on
  std::vector<VirtualIp> virtual_ips;
  std::uint64_t resync_bytes_per_second_max = 0;  // 0: no limit
  std::uint64_t resync_bytes_per_second_min = 0;
  mpath::replication::Protocol protocol = mpath::replication::Protocol::c;
  std::uint64_t send_window_bytes = 4 << 20;  // answered with A and B and not confirmed, of a unit, at most
  mpath::replication::StreamAuth stream_auth = mpath::replication::StreamAuth::none;
  std::chrono::milliseconds verify_interval{0};    // 0: never by itself
  std::chrono::milliseconds disk_timeout{10'000};  // 0: none
  Origin origin;
  std::string fingerprint;

  [[nodiscard]] bool has_witness() const { return !witness.empty() || !etcd.empty(); }
  [[nodiscard]] const std::vector<Portal>& addresses_of(mpath::replication::Member member) const {
    return member == mpath::replication::Member::witness ? witness : addresses[static_cast<std::size_t>(member)];
  }
};

// For the agreement.
[[nodiscard]] replication::NodeOptions node_options(const ClusterConfig& cluster);

struct TargetdConfig {
  unsigned shards = 0;  // 0: the cores, at most 4
  LoginLimits login;
  Authentication discovery;
  std::vector<AccountConfig> accounts;
  std::vector<PortalGroupConfig> portal_groups;  // never none: group 1 on all IPv4 addresses when none was named
  std::vector<LuConfig> units;
  std::vector<TargetConfig> targets;
  std::optional<ClusterConfig> cluster;  // none: this node stands alone
};

}  // namespace mpath::target
