// What the commands about the unit itself see of it besides UnitCore: its nexuses and their tasks. Inside target/scsi
// only.
//
// Threads: the unit's shard.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "target/scsi/unit_core.hpp"

namespace mpath::target {

// What of the unit matters to every command besides its state.
struct UnitFacts {
  bool read_only = false;  // by configuration or by the medium
  bool medium_present = true;
  bool gone = false;                           // the store takes no request any more
  std::uint64_t sanitize_bytes = 0;            // that a sanitize under way has to write altogether
  bool may_answer = true;                      // false: another node of the pair may be answering by now
  const ClusterAccess* pair_access = nullptr;  // states of port groups as the pair has them; null: it has no say
};

class UnitSeat : public UnitCore {
 public:
  [[nodiscard]] virtual UnitFacts facts() = 0;
  [[nodiscard]] virtual const Log& log() const = 0;
  // Aborts the tasks of these nexuses (by name); `ended` when none of them touches the medium any more.
  virtual void abort_tasks(std::span<const NexusName> of, const Task& but, std::function<void()> ended) = 0;
  // The initiator ports that are logged in.
  [[nodiscard]] virtual std::vector<InitiatorPort> initiators() const = 0;
  // The state of a target port group, as the pair has it or as it was set.
  [[nodiscard]] virtual scsi::AccessState access(std::uint16_t alua_group) const = 0;
  [[nodiscard]] virtual bool pair_decides_access() const = 0;
  // Does any task but this one run, or wait, that came by a port of this target port group?
  [[nodiscard]] virtual bool group_busy(std::uint16_t alua_group, const Task& but) const = 0;
  // A unit attention for the nexuses of that name.
  virtual void attention_for(const NexusName& name, const scsi::Sense& condition) = 0;
};

}  // namespace mpath::target
