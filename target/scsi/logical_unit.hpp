// A logical unit: the device server and task manager of SAM-5 in front of one store, with all of its SCSI state in
// one place.
//
// Threads:    one shard, the unit's home. submit() alone may be called from any shard.
// Order:      tasks of one nexus are taken in the order of submit(). SIMPLE tasks run side by side; ORDERED and HEAD OF
//             QUEUE as SAM-5 8.2 says. Commands that read and then write (COMPARE AND WRITE, ORWRITE ...) exclude every
//             overlapping command while they run.
// State:      reservations, ALUA, mode pages, sanitize: `LuState`, changed only through the StateLog: first durable
//             (on both nodes of a pair), then in force, then answered. What a nexus was not told yet is with the nexus.
// Pair:       a unit with LuOptions::serving is on two nodes. It begins as the one that stands by: it takes the state
//             that the other sends and changes none itself. What only the node that serves may say is said while it
//             leads and `serving` lets it; else the command is sent to the other node (02/04/0A or 0B).
// Ownership:  store, clock, log and `serving` are borrowed and outlive the unit. Destroy after close().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/block_device.hpp"
#include "base/buffer_pool.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"
#include "target/scsi/identity.hpp"
#include "target/scsi/lu_state.hpp"
#include "target/scsi/nexus.hpp"
#include "target/scsi/task.hpp"

namespace mpath {
class Shard;
}

namespace mpath::target {

class CopyPeers;  // target/scsi/copy_peers.hpp
class Serving;    // target/scsi/serving.hpp

struct LuOptions {
  std::string name;  // what administrators call it
  Uuid uuid{};
  std::string product = "VIRTUAL-DISK";  // 16 characters at most
  std::string revision;                  // 4 characters at most
  std::uint8_t physical_exponent = 3;    // a physical block is 2^n logical ones
  bool thin = true;                      // LBPME and what follows from it
  bool removable = false;
  bool no_medium = false;                       // a removable unit whose medium is out
  bool read_only = false;                       // by configuration; SWP may add to it
  bool write_cache = true;                      // WCE when nobody changed it
  std::uint32_t threshold_percent = 0;          // thin provisioning soft threshold (UA 38/07); 0: none
  std::uint64_t sanitize_bytes_per_second = 0;  // 0: as fast as the store goes
  std::uint32_t transfer_bytes_max = 8 << 20;   // MAXIMUM TRANSFER LENGTH
  std::uint32_t copy_bytes_max = 16 << 20;      // EXTENDED COPY, one segment
  CopyPeers* copy_peers = nullptr;              // the units that it can reach beside this one; null: none
  const Serving* serving = nullptr;             // until when this node of a pair may answer; null: there is no pair
  // The target port groups through which the unit is reached, with their ports: for REPORT TARGET PORT GROUPS.
  std::vector<scsi::PortGroup> port_groups;
  std::vector<TargetPort> ports;
};

// The state of a unit that never had one: mode values as configured.
[[nodiscard]] inline LuState first_state(const LuOptions& options) {
  LuState state;
  state.modes.write_cache = options.write_cache;
  state.saved_modes = state.modes;
  return state;
}

// Where changes of the state go before they take effect. One node: a file. A pair: the replicated log, which fails
// with UnitErrc::elsewhere (target/scsi/unit_error.hpp) when this node does not lead any more: the command is then sent
// to the other node.
class StateLog {
 public:
  using Done = std::function<void(error_code)>;
  virtual ~StateLog() = default;
  // Makes `after` durable and then calls done() on the unit's shard. The unit waits with its next change until then.
  virtual void commit(const LuState& after, Done done) = 0;
};

struct NexusStatus {
  NexusName name;
  std::uint32_t tasks = 0;
};
struct LuStatus {
  std::string name;
  Uuid uuid{};
  std::uint64_t size_bytes = 0;
  std::uint32_t block_bytes = 0;
  bool online = true;
  std::string trouble;  // why it is not online, or what is degraded
  LuState state;        // its access states are those that initiators see
  std::vector<NexusStatus> nexuses;
  std::uint64_t reads = 0, writes = 0, read_bytes = 0, write_bytes = 0, errors = 0;
};

class LogicalUnit {
 public:
  LogicalUnit(Shard& shard, LuOptions options, BlockDevice& store, StateLog& state_log, LuState state, const Log& log);
  ~LogicalUnit();
  LogicalUnit(const LogicalUnit&) = delete;
  LogicalUnit& operator=(const LogicalUnit&) = delete;

  // --- from any shard -----------------------------------------------------------------------------------------------
  // Hands the task over. When the caller is on the unit's shard the task may be done before this returns.
  void submit(Task& task) noexcept;
  [[nodiscard]] Shard& shard() const;
  [[nodiscard]] std::uint32_t block_bytes() const;         // constant
  [[nodiscard]] std::uint32_t transfer_bytes_max() const;  // constant

  // --- on the unit's shard: nexuses and task management -------------------------------------------------------------
  // A session reaches the unit. The nexus starts with a unit attention (power on, or nexus loss after an earlier one).
  [[nodiscard]] Nexus& attach(const NexusName& name);
  // The session is gone: its tasks are aborted; RESERVE(6) and PREVENT are released, persistent reservations stay.
  // `ended` is called when none of its tasks can touch the medium any more; the nexus is no more by then.
  void detach(Nexus& nexus, std::function<void()> ended);
  // ABORT TASK (by `tag`), ABORT TASK SET, CLEAR TASK SET, CLEAR ACA, LOGICAL UNIT RESET. `done` is called when the
  // aborted tasks have ended: nothing they wrote comes after it. A reset on a node that does not serve the unit ends
  // this node's tasks and says `rejected`: those of the other node may still write.
  void manage(iscsi::TaskFunction function, Nexus& nexus, std::uint32_t tag,
              std::function<void(iscsi::TaskResult)> done);
  // A target reset that came in on another unit or session, power being cycled (`cold`).
  void reset(bool cold);

  // --- on the unit's shard: administration --------------------------------------------------------------------------
  [[nodiscard]] LuStatus status() const;
  // States of the target port groups; unit attentions follow. `done` when durable.
  void set_access_state(std::uint16_t alua_group, scsi::AccessState state, std::function<void(error_code)> done);
  // The ports or groups changed: configuration was reloaded.
  void set_ports(std::vector<scsi::PortGroup> groups, std::vector<TargetPort> ports);
  void report_luns_changed();  // UA 3F/0E to all nexuses
  // The session answered REPORT LUNS: this nexus need not be told 3F/0E any more (SPC-4 6.33).
  void luns_reported(Nexus& nexus);
  void set_medium(bool present);
  void clear_reservations(std::function<void(error_code)> done);  // by the administrator
  // Called for a unit attention that a nexus should hear of at once: the session sends an asynchronous message.
  std::function<void(Nexus&)> on_attention;

  // --- on the unit's shard: the two nodes of a pair -----------------------------------------------------------------
  // States of the target port groups by who serves; empty: the pair has no say any more. They lie over LuState::access
  // and are neither durable nor replicated. When they change, every nexus hears of it. As long as there are any,
  // initiators and administrators cannot set states. A standby whose copy is not kept up to date is to be
  // `unavailable`: what it knows of reservations is old.
  void set_cluster_access(ClusterAccess states);
  // Another node leads from here on: until take_over() nothing of the state is changed here. Implied by adopt_state().
  void stand_by();
  // The state that the leading node sent: in force at once, not written down here. Nexuses hear of what concerns them.
  void adopt_state(LuState state);
  // This node leads; before its groups are said to be optimized. Ends what went with the other node, by the state log:
  // a RESERVE(6) whose nexus is not here. `done` when that is durable; with an error everything is as before, and the
  // unit still stands by.
  void take_over(std::function<void(error_code)> done);
  // Writes that the other node answered may be lost with it: initiators learn of it by a flush that fails.
  void cache_lost();
  // For a planned hand-over: commands that only the leading node can carry out are kept in the task set instead of
  // started. `held` is called, perhaps before this returns, when none of them runs any more, a sanitize operation
  // rests, and the log is idle. Keep it short: initiators wait. Everything else goes on, task management too.
  void hold(std::function<void()> held);
  // What was kept is judged anew and goes on or is refused. When `held` was not called yet, it never is.
  void release();

  // No task is taken any more; `closed` when those under way have ended and the store was flushed.
  void close(std::function<void()> closed);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// How much data a command moves, by its CDB alone: what a session gathers and makes room for before submit().
struct TransferNeed {
  enum class Direction : std::uint8_t { none, in, out };
  Direction direction = Direction::none;
  std::uint64_t bytes = 0;  // of parameter lists and allocation lengths, or blocks * block_bytes
};
// Commands that are not known need nothing.
[[nodiscard]] TransferNeed transfer_need(std::span<const std::byte> cdb, std::uint32_t block_bytes);

}  // namespace mpath::target
