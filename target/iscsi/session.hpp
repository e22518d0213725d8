// A session in full feature phase: commands in their order, their data, task management, and the connections they use.
//
//    Member (connection) ── Command ── window ── memory ── data ── order of the LUN ── LogicalUnit
//         ▲                                                                                │
//         └────────────────────────────── answer ◄─────────────────────────────────────────┘
//
// Threads:    one shard. Everything but the constructor is called there; `Host` is called there too.
// Memory:     no allocation per SCSI command in steady state. Data in flight is bounded by data_bytes_max beyond what
//             the initiator may send unasked (window * FirstBurstLength).
// Ownership:  shared with the posts that are under way. It has ended when Host::ended() is called: then it holds no
//             connection, no nexus and no task, and may be destroyed on any thread.
// Errors:     whatever a peer does wrong ends at most its connection; the session ends with the last one.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/intrusive.hpp"
#include "base/log.hpp"
#include "base/mailbox.hpp"
#include "target/iscsi/cmd_window.hpp"
#include "target/iscsi/command.hpp"
#include "target/iscsi/connection.hpp"
#include "target/iscsi/ip_address.hpp"
#include "target/iscsi/session_registry.hpp"
#include "target/iscsi/sessions.hpp"
#include "target/iscsi/text_exchange.hpp"
#include "target/scsi/logical_unit.hpp"

namespace mpath::target {

struct SessionLimits {
  std::uint64_t data_bytes_max = std::uint64_t{32} << 20;
  std::uint32_t immediate_max = 64;         // immediate commands at a time
  std::uint32_t unacknowledged_max = 4096;  // answers kept for SNACK
  std::uint32_t discovery_idle_ms = 30000;
  std::uint32_t hush_ms = 1000;  // from mute to reset, when nobody resets it before
};

// A LUN of the session. Lives as long as the session, also when nobody is there any more.
struct LunSlot {
  enum class State : std::uint8_t { absent, attaching, attached, detaching };
  scsi::Lun lun;
  State state = State::absent;
  std::shared_ptr<LogicalUnit> unit;
  std::shared_ptr<LogicalUnit> wanted;  // what the view says; differs from `unit` while that is being left
  Nexus* nexus = nullptr;
  std::uint32_t unordered = 0;  // commands that gather data outside of the queue
  // From the first ORDERED command that had to wait on: nothing may pass.
  IntrusiveQueue<Command, &Command::queue_next> ordered;
};

// A connection of the session.
struct Member final : ConnectionUser {
  Member(Session& owner, UniqueFd socket, boost::asio::io_context& context, BufferPool& buffers,
         const Connection::Options& options)
      : session(owner), link(std::move(socket), context, buffers, options, *this) {}
  void on_header(Connection& connection, Incoming& pdu) override;
  void on_pdu(Connection& connection, Incoming& pdu, bool intact) override;
  void on_sent(OutPdu& pdu) noexcept override;
  void on_closed(Connection& connection, error_code why) override;

  Session& session;
  Connection link;
  std::uint16_t cid = 0;
  std::string remote;
  std::string local;
  std::uint32_t send_segment_max = 8192;
  std::uint32_t stat_sn = 0;
  std::uint32_t commands = 0;  // that refer to it
  bool gone = false;           // its socket is closed
  bool leaving = false;        // logged out or told to go: nothing is taken any more
  Command* logout = nullptr;   // answered when its tasks have ended
  std::vector<std::function<void()>> when_gone;

  // The PDU that is being received.
  Command* target = nullptr;  // whose data it brings
  iscsi::DataOut data_out;
  bool ignored = false;
  Buffer small;  // data of PDUs that are not SCSI commands

  IntrusiveQueue<OutPdu, &OutPdu::next> unacknowledged;  // ErrorRecoveryLevel 1
  TextExchange text;
  std::unique_ptr<Alarm> alarm;
  bool pinged = false;
  bool hushed = false;  // its initiator hears nothing more, and is reset soon
  std::uint32_t ping_tag = 0;
};

class Session final : public std::enable_shared_from_this<Session> {
 public:
  struct Host {
    std::function<void()> ended;
    std::function<void(std::uint16_t cid)> connection_gone;
    std::function<void()> cold_reset;  // all sessions of the target are to go
  };
  struct Options {
    std::uint32_t sid = 0;
    std::uint16_t tsih = 0;
    Admission admission;  // of the first connection
    std::shared_ptr<const TargetsView> targets;
    std::uint32_t cmd_sn = 0;  // the first to expect
    SessionLimits limits;
  };
  Session(Shard& shard, Options options, Host host, const Log& log);
  ~Session();

  // Reaches the units, then serves. Call first.
  void start();
  void add(const Admission& admission, Established connection);
  // Ends a connection with its tasks; `done` when they have ended.
  void drop_connection(std::uint16_t cid, std::function<void()> done);
  // Ends the connections that came to this address, or all: their sockets are closed, with RST, when it returns. The
  // session goes with its last one. Returns how many there were. `why` is for the log.
  std::size_t reset_connections(const std::optional<IpAddress>& local, const char* why);
  // Their initiators hear nothing more, until they are reset: by the above, or in a while.
  void mute_connections(const IpAddress& local);
  // `targets` holds the session's target still. `done` when units that left are detached.
  void update(std::shared_ptr<const TargetsView> targets, std::function<void()> done);
  void set_targets(std::shared_ptr<const TargetsView> targets) { options_.targets = std::move(targets); }
  // Drops everything now.
  void end(const char* why);
  void ask_logout(std::uint16_t seconds);
  void announce_end();  // async message: the session is dropped
  void attention(const LogicalUnit* unit, const scsi::Sense& sense);
  [[nodiscard]] SessionStatus status() const;
  [[nodiscard]] CommandNumbers numbers() const { return {.expected = window_.expected(), .max = window_.max()}; }

 private:
  friend struct Member;
  enum class State : std::uint8_t { starting, running, leaving, ended };
  struct Management;

  // --- input (session_input.cpp)
  void on_header(Member& member, Incoming& pdu);
  void on_pdu(Member& member, Incoming& pdu, bool intact);
  void take_command(Member& member, Incoming& pdu);
  bool open_command(Command& command, Incoming& pdu);
  void take_data_out(Member& member, Incoming& pdu);
  void take_other(Member& member, Incoming& pdu);
  void finish_data_out(Member& member, Incoming& pdu, bool intact);
  void arrived(Member& member, Incoming& pdu, bool intact);
  void snack(Member& member, const iscsi::SnackRequest& pdu, iscsi::Bhs bhs);
  void acknowledge(Member& member, std::uint32_t exp_stat_sn);

  // --- commands (session.cpp)
  void deliver_ready();
  void deliver(Command& command);
  void begin(Command& command);
  bool grant(Command& command);
  void feed();
  void gather(Command& command);
  void gathered(Command& command);
  void pump(LunSlot& slot);
  void submit(Command& command);
  void set_buffers(Command& command);
  void done(Command& command) noexcept;
  static void on_done(Task& task) noexcept;
  static void on_mail(void* owner, Task& task) noexcept;

  Command& claim(Member& member);
  void retire(Command& command) noexcept;
  void release(Command& command);  // its place in the window
  void kill(Command& command);
  [[nodiscard]] Command* find(std::uint32_t itt) const;
  void insert(Command& command);
  template <typename Match>
  void kill_if(Match match);

  // --- output (session_output.cpp)
  template <typename Pdu>
  OutPdu& send(Member& member, Pdu pdu, bool numbered, Command* command, std::span<const std::byte> body,
               Buffer own = {});
  void respond(Command& command);
  void send_data(Command& command, std::uint32_t bytes, bool with_status, std::uint32_t first_sn, std::uint32_t run);
  void send_r2t(Command& command, const WriteSequence::Burst& burst);
  void fail(Command& command, const scsi::Sense& sense);
  void reject(Member& member, iscsi::RejectReason reason, iscsi::Bhs bhs);
  void answer_nop(Command& command);
  void answer_text(Command& command);
  void send_async(Member& member, const iscsi::AsyncMessage& message, std::span<const std::byte> data = {});
  void ping(Member& member);
  void run_local(Command& command);
  void on_sent(OutPdu& pdu) noexcept;
  [[nodiscard]] std::span<std::byte> take_small(Member& member, std::size_t bytes);

  // --- task management and logout (session_management.cpp)
  void manage(Command& command);
  void manage_waiting();
  void run_management(Command& command);
  void abort_task(Command& command, const iscsi::TaskRequest& request);
  void abort_many(Command& command, const iscsi::TaskRequest& request);
  void manage_unit(LunSlot& slot, iscsi::TaskFunction function, std::uint32_t tag,
                   std::function<void(iscsi::TaskResult)> then);
  void answer_management(Command& command, iscsi::TaskResult result);
  void log_out(Command& command);
  void answer_logout(Command& command, iscsi::LogoutResult result);
  void abort_member(Member& member);

  // --- life (session_life.cpp)
  [[nodiscard]] std::vector<Member*> members_at(const std::optional<IpAddress>& local);
  [[nodiscard]] bool better_unsaid(const Command& command) const;
  void hush(Member& member);
  void apply_view();
  void attach(LunSlot& slot);
  void detach(LunSlot& slot);
  void settle();
  void on_closed(Member& member, error_code why);
  void check(Member& member);
  void sweep();
  void advance_end();
  void arm(Member& member);
  void on_alarm(Member& member);
  [[nodiscard]] LunSlot* slot_of(iscsi::LunField field);
  [[nodiscard]] Member* member_of(std::uint16_t cid);
  [[nodiscard]] bool recovers() const { return parameters_.error_recovery_level >= 1; }
  [[nodiscard]] NexusName nexus_name() const;

  // Constant after construction.
  Shard& shard_;
  Options options_;
  Host host_;
  Log log_;
  iscsi::Parameters parameters_;

  State state_ = State::starting;
  std::shared_ptr<const TargetView> view_;
  std::list<std::unique_ptr<LunSlot>> slots_;
  std::list<std::unique_ptr<Member>> members_;
  std::vector<std::pair<Member*, Established>> waiting_;  // for the units
  std::vector<std::function<void()>> settled_;            // called when no LUN is on its way in or out
  Command* farewell_ = nullptr;                           // the logout that ends the session
  bool delivering_ = false;
  bool feeding_ = false;
  bool sweeping_ = false;

  CmdWindow<Command> window_;
  Slab<Command, &Command::queue_next> commands_;
  Slab<OutPdu, &OutPdu::next> pdus_;
  std::vector<Command*> table_;  // by task tag
  Command* list_ = nullptr;      // all commands, newest first
  IntrusiveQueue<Command, &Command::queue_next> starved_;
  IntrusiveQueue<Command, &Command::queue_next> managements_;  // wait for commands before them
  std::uint64_t data_bytes_ = 0;
  std::uint32_t immediate_ = 0;
  std::uint32_t working_ = 0;  // with units and their task managers
  std::uint32_t ttt_ = 0;
  Mailbox<Task, &Task::next> mailbox_;

  struct {
    std::uint64_t commands = 0, data_in = 0, data_out = 0, protocol_errors = 0, digest_errors = 0, receives = 0,
                  sends = 0, wakes = 0;
  } counters_;
};

}  // namespace mpath::target
