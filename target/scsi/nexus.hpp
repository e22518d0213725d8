// Who speaks to a logical unit: names of ports, and the unit's side of one I_T_L nexus.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "target/scsi/unit_attention.hpp"
#include "wire/iscsi_pdu.hpp"

namespace mpath::target {

// SCSI initiator port of iSCSI (RFC 7143, 4.4.1): name and ISID. What persistent reservations are bound to.
struct InitiatorPort {
  std::string name;
  iscsi::Isid isid{};
  friend auto operator<=>(const InitiatorPort&, const InitiatorPort&) = default;
};

// SCSI target port: target name and portal group tag. `relative_id` and `alua_group` are what SCSI calls it.
struct TargetPort {
  std::string target;
  std::uint16_t portal_group = 1;
  std::uint16_t relative_id = 1;  // relative target port identifier, unique within the target device
  std::uint16_t alua_group = 1;   // target port group of REPORT TARGET PORT GROUPS
  friend auto operator<=>(const TargetPort&, const TargetPort&) = default;
};

struct NexusName {
  InitiatorPort initiator;
  TargetPort target;
  friend auto operator<=>(const NexusName&, const NexusName&) = default;
};

// Made by LogicalUnit::attach(), ended by LogicalUnit::detach(). Lives on the unit's shard; a session only keeps the
// pointer.
struct Nexus {
  NexusName name;
  std::uint64_t id = 0;  // never used twice in the life of the unit
  UnitAttentions attentions;
  bool prevents_removal = false;  // PREVENT ALLOW MEDIUM REMOVAL
  std::uint32_t tasks = 0;        // submitted and not done
  bool leaving = false;           // detach() was called
  // A copy of another unit speaks. What it asks is refused rather than kept while the unit is held: the other unit may
  // be held too, and would wait for it.
  bool of_copy = false;
};

}  // namespace mpath::target
