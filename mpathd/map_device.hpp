// One map: a block device whose requests travel down whichever of its paths is best, and are sent again on another when
// one fails. The heart of the daemon.
//
// Life of a request:  submit -> one or more commands -> a path of the active group -> answer -> done
//   no path, no room  waits in the backlog (or fails, as no_path_retry says)
//   path lost         reads move at once; what changes the medium waits until the old nexus is fenced, so that no copy
//                     of it can run later ("ghost write"): see start_fence()
//   error answers     judgement.hpp tells the command's own errors (to the caller) from the path's (another path)
//   takeover          paths that are connected but in standby or in transition (ALUA) are looked at again and again
//   while
//                     nothing else is left, and I/O waits for them for as long as the target's takeover may take (10 s
//                     where it does not say), whatever no_path_retry says; then no_path_retry decides
//
// Threads:    all members run on the map's shard.
// Ownership:  the device owns its MapPath entries; ports and path owners are borrowed and must be detached before they
// go.
//             Destroy only when close() has reported that it is idle.
// Allocation: none per request in steady state (slabs, intrusive queues).
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/block_device.hpp"
#include "base/buffer_pool.hpp"
#include "base/clock.hpp"
#include "base/intrusive.hpp"
#include "exports/scsi_door.hpp"
#include "initiator/scsi_port.hpp"
#include "mpathd/alua.hpp"
#include "mpathd/grouping.hpp"
#include "mpathd/judgement.hpp"
#include "mpathd/lu_facts.hpp"
#include "mpathd/policy.hpp"
#include "mpathd/selector.hpp"
#include "mpathd/snapshot.hpp"

namespace mpath {

class MapDevice;
class MapPath;

// The path object behind a MapPath: learns what the map noticed on the wire.
class MapPathOwner {
 public:
  virtual ~MapPathOwner() = default;
  virtual void on_command_bad(CheckerState how, bool by_access) = 0;
  // Access states may have changed, or the map needs a path badly: look at once. Called from the loop.
  virtual void on_look_wanted() = 0;
  virtual void on_unit_attention(const scsi::Sense& sense, bool reread_identity) = 0;
  [[nodiscard]] virtual PathSnapshot path_snapshot() const = 0;
};

// What the map tells its surroundings; each call is one line in the log.
class MapListener {
 public:
  virtual ~MapListener() = default;
  virtual void on_map_line(const std::string& line, bool warning) = 0;
};

// How one path did, since it was attached.
struct PathCounters {
  std::uint64_t failures = 0;
  std::uint64_t read_ios = 0, write_ios = 0;
  std::uint64_t read_bytes = 0, write_bytes = 0;
};

class MapDevice final : public BlockDevice, public ScsiDoor {
 public:
  struct Environment {
    Clock& clock;
    BufferPool& buffers;
    MapListener& listener;
  };

  MapDevice(std::string name, std::string wwid, const LuFacts& facts, const MapPolicy& policy, Environment environment);
  ~MapDevice() override;

  // BlockDevice
  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] const BlockLimits& limits() const override { return limits_; }
  void submit(BlockRequest& request) noexcept override;
  void add_observer(BlockDeviceObserver& observer) override;
  void remove_observer(BlockDeviceObserver& observer) override;
  [[nodiscard]] ScsiDoor* scsi_door() override { return this; }

  // ScsiDoor: commands that are no block requests go the same way, with the same rules (map_scsi.cpp).
  void submit_scsi(ScsiRequest& request) noexcept override;

  // Paths. attach() adds one that is not usable yet. detach() forgets owner and port at once; commands still on the
  // wire are waited for (abort the port's session before, when they must not be).
  MapPath& attach(ScsiPort& port, scsi::Lun lun, MapPathOwner& owner, std::string label, int priority);
  void detach(MapPath& path);
  void set_usable(MapPath& path, bool usable);
  // Its port is up and its LU is being read: as long as one path is pending, I/O waits rather than fails.
  void set_pending(MapPath& path, bool pending);
  // Its port is up, and its port group does not serve now.
  void set_standby(MapPath& path, bool standby);
  // The target port group that it leads to; and what the target, asked through it, told of all groups. `losses` is
  // losses() as it was when that was asked: a report says nothing about writes that were lost since.
  void set_port_group(MapPath& path, std::uint16_t id) const;
  void on_port_groups(MapPath& reporter, const scsi::PortGroupReport& report, std::uint64_t losses);
  [[nodiscard]] std::uint64_t losses() const { return losses_; }
  [[nodiscard]] TimePoint hungry_since() const;  // no usable path since then; never: there is one
  void port_up(MapPath& path);                   // its nexus logged in again: what was lost on it cannot run any more
  void port_room(MapPath& path);                 // it can take commands again
  [[nodiscard]] std::size_t path_count() const { return paths_.size(); }
  [[nodiscard]] std::size_t usable_count() const;
  [[nodiscard]] const PathCounters& counters(const MapPath& path) const;
  [[nodiscard]] std::uint32_t in_flight(const MapPath& path) const;

  // Administration.
  void set_policy(const MapPolicy& policy);
  [[nodiscard]] const MapPolicy& policy() const { return policy_; }
  // Group numbers count from 1 as shown; the choice holds until the group has no usable path (or immediate failback
  // finds a better one).
  [[nodiscard]] bool switch_group(unsigned number);
  void set_queueing_disabled(bool disabled);
  void reset_stats();
  // The LU as it is now: size, limits, write protection. The block size must be the same.
  void set_facts(const LuFacts& facts);
  [[nodiscard]] const LuFacts& facts() const { return facts_; }
  [[nodiscard]] MapSnapshot snapshot() const;
  [[nodiscard]] const std::string& wwid() const { return wwid_; }

  // Takes no more requests; what waits completes with `shutdown`. `idle` runs once nothing is in flight (maybe at
  // once).
  void close(std::function<void()> idle);

 private:
  friend class MapPath;
  struct Io;
  struct Command;

  // Building commands (map_io.cpp). A request is worked off in order, at most `commands_out_max` at a time.
  void begin(BlockRequest& request);
  void advance(Io& io);
  void next_transfer(Io& io);
  void next_zeroes(Io& io);
  void next_zeroes_by_writing(Io& io);
  void next_trim(Io& io);
  void next_extents(Io& io);
  void next_flush(Io& io);
  void next_prefetch(Io& io);
  Command& new_command(Io& io, std::uint64_t length);
  [[nodiscard]] std::uint64_t lba(std::uint64_t bytes) const { return bytes / facts_.block_size; }
  [[nodiscard]] BlockStatus check(const BlockRequest& request) const;

  // Sending.
  void dispatch(Command& command);
  [[nodiscard]] bool try_send(Command& command);
  void pump();
  [[nodiscard]] MapPath* pick_path();

  // Answers.
  static void on_task_done(ScsiTask& task) noexcept;
  void on_answer(Command& command, MapPath& path);
  void on_lost(Command& command, MapPath& path);
  void on_good(Command& command);
  void on_own_error(Command& command, BlockStatus status);
  void read_extents(Command& command);
  void retry(Command& command);
  void retry_later(Command& command);
  void finish(Command& command, BlockStatus status);
  void settle(Io& io);

  // SCSI commands as they came (map_scsi.cpp).
  void submit_command(ScsiRequest& request, MapPath* only);
  void on_scsi_answer(Command& command, MapPath& path);
  void end_scsi(Command& command, ScsiOutcome outcome);

  // Persistent reservations (map_reservation.cpp).
  [[nodiscard]] static bool is_reservation(const ScsiRequest& request);
  void reserve(ScsiRequest& request);
  [[nodiscard]] bool must_register(MapPath& path);
  void forget_registering(MapPath& path);
  void next_reservation();
  void set_reservation_step(const scsi::Cdb& cdb, DataDirection direction);
  void send_reservation_step(MapPath* path);
  void send_registration(MapPath& path);
  void on_reservation_step();
  void on_host_reserved();
  void next_other();
  void on_keys_read();
  void on_registered();
  void end_reservation();

  // Groups, and life without a path.
  void change_usable(MapPath& path, bool usable);
  void regroup(const MapPath* active = nullptr);
  void choose_active_group();
  [[nodiscard]] const MapPath* member_in_use() const;
  [[nodiscard]] bool may_queue() const;
  void on_last_path_gone();
  void decide_without_path();
  void on_first_path_back();
  void fail_waiting();

  // Port groups (map_access.cpp).
  [[nodiscard]] bool set_priority(MapPath& path) const;
  [[nodiscard]] bool takeover_expected() const;
  void look_soon();
  void on_grace_over(MapPath& path);

  // Fencing (map_fence.cpp).
  void park(Command& command, MapPath& lost);
  void start_fence(MapPath& lost);
  void advance_fence(MapPath& lost);
  void advance_fences();
  void lift_fences(const MapPath& reporter, const scsi::PortGroupReport& report, std::uint64_t losses);
  void ask_about(MapPath& lost);
  [[nodiscard]] MapPath* fence_helper(const MapPath& lost) const;
  void on_fence_alarm(MapPath& lost);
  void on_fence_result(MapPath& lost, MapPath& helper, bool fenced, bool whole_lu);
  void release_fence(MapPath& lost, const std::string& how, bool warning);
  void end_other_sessions(const MapPath& helper);
  [[nodiscard]] MapPath* ghost_owner() const;

  void forget_unused_paths();
  void update_limits();
  void check_idle();

  // Constant after construction.
  const std::string name_;
  const std::string wwid_;
  Environment environment_;

  LuFacts facts_;
  MapPolicy policy_;
  BlockLimits limits_;
  std::vector<BlockDeviceObserver*> observers_;

  std::vector<std::unique_ptr<MapPath>> paths_;    // attached, in order of attachment
  std::vector<std::unique_ptr<MapPath>> leaving_;  // detached, with commands or fences outstanding
  std::vector<Group> groups_;                      // indices into paths_
  std::optional<std::size_t> active_group_;
  std::vector<PathLoad> loads_;  // scratch of pick_path()
  Selector selector_;

  struct Reservations;
  std::unique_ptr<Reservations> reservations_;

  struct Pools;
  std::unique_ptr<Pools> pools_;  // slabs of Io and Command, backlog, paused commands

  bool write_same_refused_ = false;
  bool unmap_refused_ = false;
  bool extents_refused_ = false;
  bool queueing_disabled_ = false;
  bool gave_up_ = false;  // no_path_retry ran out; cleared by the first usable path
  TimePoint no_path_since_ = never;
  TimePoint gives_up_at_ = never;  // no_path_retry N: when
  Duration takeover_wait_ = takeover_wait_default;
  std::unique_ptr<Alarm> takeover_alarm_;
  std::unique_ptr<Alarm> look_alarm_;  // at once, but from the loop
  TimePoint looked_at_ = TimePoint::min();
  std::uint64_t losses_ = 0;  // writes that were lost, ever
  std::unique_ptr<Alarm> no_path_alarm_;
  std::unique_ptr<Alarm> pause_alarm_;
  bool pumping_ = false;
  bool closing_ = false;
  std::function<void()> idle_;

  std::uint64_t path_faults_ = 0;
  std::uint64_t switch_group_count_ = 0;
  std::uint64_t map_loads_ = 1;
  Duration total_queue_time_{};
  std::uint64_t queue_timeouts_ = 0;
};

}  // namespace mpath
