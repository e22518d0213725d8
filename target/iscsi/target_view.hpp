// What sessions and logins know of a target: an immutable picture, replaced whole when the configuration changes.
//
// Threads: shared by all, never changed after it was made.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "target/scsi/logical_unit.hpp"
#include "wire/chap.hpp"
#include "wire/iscsi_keys.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::target {

struct LunEntry {
  scsi::Lun lun;
  std::shared_ptr<LogicalUnit> unit;  // destroyed by the directory, after its close()
};

// Secrets are bytes as configured: a text, or what 0x... stands for.
struct Account {
  std::string user;
  std::string secret;
};

struct Authentication {
  std::vector<Account> incoming;    // empty: nobody needs to authenticate
  std::optional<Account> outgoing;  // we prove who we are when the initiator asks
  std::vector<iscsi::ChapAlgorithm> algorithms = {iscsi::ChapAlgorithm::sha3_256, iscsi::ChapAlgorithm::sha256,
                                                  iscsi::ChapAlgorithm::sha1, iscsi::ChapAlgorithm::md5};
};

// An address prefix, or a name; empty lists allow everybody.
struct AccessList {
  std::vector<std::string> initiators;  // iSCSI names, `*` at the end as a wildcard
  std::vector<std::string> addresses;   // 10.0.0.0/8, 10.1.2.3, fe80::/10
  [[nodiscard]] bool allows(std::string_view initiator, std::string_view address) const;
};

struct PortalGroupView {
  std::uint16_t tag = 1;
  std::vector<iscsi::TargetAddress> portals;
  bool peer = false;    // the other node's: listed in discovery, not served here
  bool moving = false;  // on addresses that the other node may have next
  std::uint16_t alua_group = 1;
  std::uint16_t relative_id = 1;
};

enum class Redirect : std::uint8_t { none, temporary, permanent };

struct TargetView {
  std::string name;
  std::string alias;
  std::vector<LunEntry> luns;  // by LUN
  std::vector<PortalGroupView> groups;
  Authentication authentication;
  AccessList access;
  iscsi::Wishes wishes;                  // negotiation: what the target would like
  std::uint32_t window = 128;            // MaxCmdSN ahead of ExpCmdSN at most
  std::uint32_t sessions_max = 0;        // 0: no limit
  std::uint32_t nop_interval_ms = 5000;  // idle time before a NOP-In asks; 0: never
  std::uint32_t nop_timeout_ms = 5000;   // without any answer the connection is dropped
  Redirect redirect = Redirect::none;
  iscsi::TargetAddress redirect_to;
  bool ready = true;  // false: logins are answered with 03/01
  [[nodiscard]] const LunEntry* find(scsi::Lun lun) const;
  [[nodiscard]] const PortalGroupView* group(std::uint16_t tag) const;
  // The group of ours that a connection to this numeric address belongs to: one that names the address, else one that
  // listens on all. Null: the target is not served there.
  [[nodiscard]] const PortalGroupView* group_at(std::string_view host, std::uint16_t port) const;
};

// All targets by name, and what discovery asks for. The daemon replaces it whole.
struct TargetsView {
  std::vector<std::shared_ptr<const TargetView>> targets;
  Authentication discovery;  // for discovery sessions
  [[nodiscard]] std::shared_ptr<const TargetView> find(std::string_view name) const;
};

}  // namespace mpath::target
