// What a path needs from below: a nexus that takes SCSI commands while it is up and says when that changes.
// initiator/nexus.hpp is the real one; tests put simulated ones in its place.
//
// Threads: one shard. Observers are called from the shard's loop, never from within submit().
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "initiator/scsi_task.hpp"

namespace mpath {

// Why a session ended or could not be made. Shown to administrators and mapped to iscsiadm's exit codes.
enum class SessionEnd : std::uint8_t {
  logged_out,         // we asked for it
  link_down,          // the iface lost its carrier, its address or itself
  bind_failed,        // the iface is not there, or SO_BINDTODEVICE was refused
  connect_failed,     // refused, unreachable, reset while connecting
  connect_timeout,
  login_timeout,
  login_rejected,     // class 2 status that no retry cures (not found, removed, forbidden ...)
  auth_failed,        // class 2, authentication or authorization
  target_unavailable, // class 3 status: try again
  redirect_failed,    // class 1 that led nowhere
  peer_closed,        // FIN, RST or socket error in full feature phase
  protocol_error,     // the peer said what it must not say
  nop_timeout,        // silence
  task_timeout,       // a command passed its deadline
  asked_to_leave,     // async message: logout or drop
  aborted,            // ended on our side without logout: fencing, identity, administrator
};

struct SessionFailure {
  SessionEnd end = SessionEnd::logged_out;
  std::string text;  // one line for people, with the first real cause
};

class ScsiPortObserver {
 public:
  virtual ~ScsiPortObserver() = default;
  // Logged in, and anything learnt in an earlier session must be learnt again (identity before I/O).
  virtual void on_port_up() = 0;
  // Every task of the session has completed already. A new session is being made in the background.
  virtual void on_port_down(const SessionFailure& failure) = 0;
  // room() grew from zero.
  virtual void on_port_room() = 0;
  // The target told that something changed outside a command (SCSI async event): sense may be empty.
  virtual void on_port_event(const scsi::Sense& sense) = 0;
};

// Says that the earlier nexus is gone: a write that was lost on it cannot run any more.
using FenceDone = std::function<void(bool fenced)>;

class ScsiPort {
 public:
  virtual ~ScsiPort() = default;
  [[nodiscard]] virtual bool up() const = 0;
  // Commands that may be submitted now without overrunning the command window. 0 when down.
  [[nodiscard]] virtual std::uint32_t room() const = 0;
  // Takes the task and returns true, or returns false at once and leaves it alone (down, or no room).
  [[nodiscard]] virtual bool submit(ScsiTask& task) noexcept = 0;
  // Ends the session without logout; tasks come back as lost or not_sent, a new session is made in the background.
  virtual void abort_session(SessionEnd why, const std::string& text) = 0;

  // Counts sessions: grows with every successful login. A task lost in generation N cannot run once the same
  // initiator port has logged in again, so generation() > N fences it.
  [[nodiscard]] virtual std::uint64_t generation() const = 0;
  // Target portal group that the last session was in; session reinstatement works only within one. 0 before any.
  [[nodiscard]] virtual std::uint16_t portal_group() const = 0;
  // Ends `lost`'s dead nexus from here: logs in over this port's NIC and portal with the ISID of `lost` (reinstatement),
  // or resets the logical unit. Both ports must be of the same target. `done` runs once, later, on the loop.
  virtual void fence_by_reinstatement(ScsiPort& lost, TimePoint deadline, FenceDone done) = 0;
  virtual void fence_by_lu_reset(scsi::Lun lun, TimePoint deadline, FenceDone done) = 0;

  // Observers must outlive the port or be removed first; both calls are allowed from callbacks.
  virtual void add_observer(ScsiPortObserver& observer) = 0;
  virtual void remove_observer(ScsiPortObserver& observer) = 0;
};

}  // namespace mpath
