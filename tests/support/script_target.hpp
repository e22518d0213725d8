// A scripted iSCSI target for tests: correct by default, and wrong exactly where a test asks for it.
//
//   ScriptTarget target({.chap = {"user", "secret-of-12+"}});
//   target.add_fault({.step = Step::login_response, .nth = 2, .action = Action::reset});
//   ... log in to target.portals()[0] ...
//   EXPECT_EQ(target.record().faults_fired, 1u);
//
// Threads:   one of its own, from construction to destruction. Every member may be called from any thread.
// Ownership: the disks are in memory; sockets are bound to 127.0.0.0/8, port 0 unless told otherwise.
// Time:      only Action::delay looks at a clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/script_disk.hpp"
#include "wire/iscsi_keys.hpp"
#include "wire/iscsi_pdu.hpp"

namespace mpath::test {

// Where a fault strikes.
enum class Step : std::uint8_t {
  accept,          // a connection was accepted
  login_request,   // a login request has come, nothing was answered
  login_response,  // a login response is about to go out
  text_request,
  text_response,
  command,       // a SCSI command has come (all of its data too), nothing was done yet
  response,      // a SCSI command was executed, its answer is about to go out
  data_in,       // half of the first Data-In PDU is out
  data_out,      // the first Data-Out PDU of a command has come
  ready,         // an R2T is about to go out
  nop_out,       // a NOP-Out that wants an answer has come
  task_request,  // a task management request has come
  logout,        // a logout request has come
};

// What happens there.
enum class Action : std::uint8_t {
  close,           // FIN. At *_response steps half of the PDU goes out before it
  reset,           // RST. The same
  hang,            // this one is never answered; everything else is
  silence,         // nothing is read or answered on this connection any more
  garbage,         // 512 bytes that are no PDU go out instead of an answer
  reject,          // a Reject PDU goes out instead of an answer
  bad_status,      // login: `login_status`; command, response: `status` with `sense`
  delay,           // the answer goes out `delay` later
  hold,            // command: kept unexecuted until release_held(), or aborted by what aborts tasks
  no_sense,        // command: CHECK CONDITION with an empty data segment
  short_residual,  // command: half of the data, the residual says so
  short_silent,    // command: half of the data, no residual
  wrong_stat_sn,   // the answer's StatSN is off by 1000
  zero_segment,    // login_response: MaxRecvDataSegmentLength=0
  wrong_itt,       // the answer carries a task tag that nobody used
  nop_in,          // a NOP-In that wants an answer goes out first
  async_event,     // an async message (`event`) goes out first
};

[[nodiscard]] const char* name(Step step);
[[nodiscard]] const char* name(Action action);

struct Fault {
  Step step = Step::accept;
  unsigned nth = 1;    // strikes when the step is reached for the nth time since the fault was added
  unsigned times = 1;  // and that often in a row; 0: from then on
  Action action = Action::close;
  std::chrono::milliseconds delay{0};
  iscsi::LoginStatus login_status = iscsi::LoginStatus::service_unavailable;
  scsi::Status status = scsi::Status::check_condition;
  scsi::Sense sense = scsi::sense::read_error;
  iscsi::AsyncEvent event = iscsi::AsyncEvent::logout_request;
  std::optional<scsi::Opcode> opcode;  // command, response, data_*: counts commands with this opcode only
};
// "login_response:2:reset": step, nth, action. Throws std::invalid_argument.
[[nodiscard]] Fault parse_fault(std::string_view text);
[[nodiscard]] std::string name(const Fault& fault);
// Each way to fail each step of discovery, login and logout: for tests that go through all of them.
[[nodiscard]] std::vector<Fault> login_sweep();

struct Account {
  std::string name;
  std::string secret;
};

struct PortalConfig {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  std::uint16_t group = 1;
};

struct ScriptConfig {
  std::string target_name = "iqn.2025-11.test.mpath:script";
  std::vector<PortalConfig> portals = {{}};
  std::vector<DiskConfig> disks = {{}};
  std::optional<Account> chap;         // who may log in, to the target and to discovery
  std::optional<Account> chap_mutual;  // what we show when the initiator asks
  std::string header_digests = "CRC32C,None";
  std::string data_digests = "CRC32C,None";
  std::uint32_t segment_max = 262144;  // our MaxRecvDataSegmentLength
  std::uint32_t max_burst = 262144;
  std::uint32_t first_burst = 65536;
  bool initial_r2t = false;
  bool immediate_data = true;
  std::uint32_t window = 64;         // commands
  unsigned response_keys_a_pdu = 0;  // > 0: login answers are cut into PDUs with the C bit, so many keys each
};

struct Portal {
  std::string address;
  std::uint16_t port;
  std::uint16_t group;
};

struct SeenLogin {
  std::size_t portal;
  std::string initiator_name;
  std::string target_name;  // empty: discovery
  iscsi::Isid isid;
  std::uint16_t tsih;      // given to it
  bool reinstated;         // it ended an older session of the same nexus
  unsigned tasks_aborted;  // that were still with that one
};

struct SeenCommand {
  std::size_t portal;
  iscsi::Isid isid;
  std::uint64_t lun;
  std::uint8_t opcode;
  std::uint64_t lba;  // 0 where it has none
  std::uint32_t blocks;
  bool fua;
  bool executed;  // false: held, aborted, or refused by a fault
};

// What the target has seen since it was made or forget() was called.
struct Record {
  unsigned connections = 0;
  unsigned disconnections = 0;
  std::vector<SeenLogin> logins;  // that succeeded
  unsigned logins_refused = 0;
  unsigned logouts = 0;
  unsigned text_requests = 0;
  unsigned nops_out = 0;       // asked by the initiator
  unsigned nops_answered = 0;  // answers to our own NOP-In
  std::vector<SeenCommand> commands;
  std::vector<iscsi::TaskFunction> task_requests;
  unsigned tasks_aborted = 0;    // by reinstatement, reset, abort or a lost connection
  unsigned cmd_sn_gaps = 0;      // commands out of order or twice
  unsigned protocol_errors = 0;  // PDUs that no initiator may send
  unsigned faults_fired = 0;
  std::vector<std::string> errors;  // about the two above, for the failing test's output
};

class ScriptTarget {
 public:
  explicit ScriptTarget(ScriptConfig config = {});
  ~ScriptTarget();
  ScriptTarget(const ScriptTarget&) = delete;
  ScriptTarget& operator=(const ScriptTarget&) = delete;

  [[nodiscard]] std::vector<Portal> portals() const;
  [[nodiscard]] std::string portal_text(std::size_t portal = 0) const;  // "127.0.0.1:40000"
  [[nodiscard]] const std::string& target_name() const;

  void add_fault(Fault fault);
  void clear_faults();

  // Changes that initiators must notice. `disk` counts in the order of the configuration.
  void set_identity(std::size_t disk, const std::string& naa);
  void resize(std::size_t disk, std::uint64_t blocks);
  void set_write_protected(std::size_t disk, bool on);
  void set_access(std::size_t disk, scsi::AccessState access);
  // The next command of every session there is now gets CHECK CONDITION with this.
  void raise_unit_attention(const scsi::Sense& sense);

  // To every session in full feature phase.
  void send_nop_in();
  void send_async(iscsi::AsyncEvent event, const scsi::Sense& sense = {});

  // A portal that reads and answers nothing, its listener included (connections are made by the kernel alone).
  void set_silent(std::size_t portal, bool on);
  // Ends all connections of a portal, by RST or FIN.
  void drop_connections(std::size_t portal, bool reset = true);
  // Refuses new connections (the port stays reserved), or takes them again.
  void set_listening(std::size_t portal, bool on);
  // Executes what Action::hold kept, where its session is still there.
  void release_held();

  [[nodiscard]] Record record() const;
  void forget();
  // True as soon as `condition` holds for the record; false after `limit`.
  [[nodiscard]] bool wait_for(const std::function<bool(const Record&)>& condition,
                              std::chrono::milliseconds limit = std::chrono::seconds(20)) const;
  [[nodiscard]] std::size_t sessions() const;  // in full feature phase now
  [[nodiscard]] std::vector<std::byte> disk_bytes(std::size_t disk, std::uint64_t offset, std::size_t length) const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace mpath::test
