// One I_T nexus that the administrator asked for: a node record logged in through one iface. It makes session after
// session, for ever, with back-off and jitter, always with the same ISID, until it is told to stop.
//
//            start()                    up                        any failure
//   idle ------------> connecting ------------> logged in ----------------------> waiting (back-off)
//                          ^                                                        | timer, link up, kick()
//                          +--------------------------------------------------------+
//   stop(): logs out from wherever it is, then on_stopped.
//
// Threads:   one shard.
// Ownership: clock, shard, factory borrowed. Destroy only after stopped.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "initiator/reconnect_policy.hpp"
#include "initiator/scsi_port.hpp"
#include "initiator/session.hpp"

namespace mpath {

enum class NexusState : std::uint8_t { idle, connecting, logged_in, waiting, stopping, stopped };

class Nexus final : public ScsiPort, private SessionListener {
 public:
  // `id` is the SID shown by `mpathadm -m session`.
  Nexus(unsigned id, Shard& shard, SessionConfig config, ReconnectPolicy policy, SessionFactory factory);
  ~Nexus() override;

  // Its state changes are written there from now on, as "session N: ..."; silent without.
  void log_to(const Log& log);
  void start();
  // The first login attempt's outcome, once: success or its failure. Later attempts go on regardless (unless stopped).
  void on_first_attempt(std::function<void(const std::optional<SessionFailure>&)> done);
  // Logs out and makes no new session. `done` runs once stopped; calling again only adds another `done`.
  void stop(std::function<void()> done);
  // The iface lost its link: ends the session at once. The iface is back: tries at once, back-off forgotten.
  void link_changed(bool usable);
  // Settings for the next session (the node record was updated). The ISID stays.
  void reconfigure(SessionConfig config, ReconnectPolicy policy);

  [[nodiscard]] unsigned id() const { return id_; }
  [[nodiscard]] NexusState state() const { return state_; }
  [[nodiscard]] const SessionConfig& config() const { return config_; }
  [[nodiscard]] const SessionInfo* info() const;          // null unless logged in
  [[nodiscard]] SessionCounters counters() const;          // summed over sessions
  [[nodiscard]] const std::optional<SessionFailure>& last_failure() const { return last_failure_; }
  // Before any session: one that an earlier process had was in this group, so that it can be ended from another nexus.
  void had_session_in(std::uint16_t portal_group) {
    if (portal_group_ == 0) portal_group_ = portal_group;
  }

  // ScsiPort
  [[nodiscard]] bool up() const override;
  [[nodiscard]] std::uint32_t room() const override;
  [[nodiscard]] bool submit(ScsiTask& task) noexcept override;
  void abort_session(SessionEnd why, const std::string& text) override;
  [[nodiscard]] std::uint64_t generation() const override { return generation_; }
  [[nodiscard]] std::uint16_t portal_group() const override { return portal_group_; }
  void fence_by_reinstatement(ScsiPort& lost, TimePoint deadline, FenceDone done) override;
  void fence_by_lu_reset(scsi::Lun lun, TimePoint deadline, FenceDone done) override;
  void add_observer(ScsiPortObserver& observer) override;
  void remove_observer(ScsiPortObserver& observer) override;

 private:
  class Helper;  // a session of a few moments that fences for another nexus

  // SessionListener
  void on_session_up(Session& session) override;
  void on_session_end(Session& session, const SessionFailure& failure) override;
  void on_session_room(Session& session) override;
  void on_session_event(Session& session, const scsi::Sense& sense) override;

  void connect();
  void retry();
  void retry_later();
  void tell_first_attempt(const std::optional<SessionFailure>& outcome);
  void fence(SessionConfig config, std::optional<scsi::Lun> reset, Nexus* lost, TimePoint deadline, FenceDone done);
  void reinstated(bool fenced);
  void helper_ended(Helper& helper);
  void finish_stop();
  template <typename Function>
  void tell_observers(Function tell);

  // Constant after construction.
  unsigned id_;
  Shard& shard_;
  SessionFactory factory_;
  // Owned by the shard's thread.
  SessionConfig config_;
  ReconnectPolicy policy_;
  NexusState state_ = NexusState::idle;
  std::optional<SessionFailure> last_failure_;
  std::uint64_t generation_ = 0;
  std::uint16_t portal_group_ = 0;
  std::optional<Log> log_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Alarm> alarm_;
  unsigned attempt_ = 0;           // failures in a row
  std::uint32_t random_;           // state of the jitter
  TimePoint up_since_{};
  bool announced_up_ = false;      // observers have been told
  bool link_usable_ = true;
  bool stop_posted_ = false;
  SessionCounters past_;
  std::vector<std::function<void(const std::optional<SessionFailure>&)>> first_attempt_;
  bool first_attempt_over_ = false;
  std::optional<SessionFailure> first_outcome_;
  std::vector<std::function<void()>> stop_waiters_;
  std::vector<ScsiPortObserver*> observers_;  // null: removed while they were being told
  unsigned telling_ = 0;
  std::vector<std::unique_ptr<Helper>> helpers_;  // fencing for others
  bool being_reinstated_ = false;                 // some other nexus logs in with our ISID
  std::vector<FenceDone> reinstated_waiters_;
  unsigned resets_ = 0;
  std::shared_ptr<Nexus*> self_;  // how a helper of another nexus knows that this one is still there
};

}  // namespace mpath
