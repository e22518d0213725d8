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
  unsigned id_;
  Shard& shard_;
  SessionConfig config_;
  NexusState state_ = NexusState::idle;
  std::optional<SessionFailure> last_failure_;
  std::uint64_t generation_ = 0;
  std::uint16_t portal_group_ = 0;
  // ... the implementer's members
};

}  // namespace mpath
