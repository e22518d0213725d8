// One iSCSI session, from connect to its end. Disposable: any anomaly ends it, its tasks go back, and its owner (the
// Nexus) makes a new one. Two engines implement it; libiscsi_session.hpp is the first.
//
// Threads:   all members and callbacks run on the shard given to the factory.
// Ownership: the listener must outlive the session. A session is destroyed only after on_session_end(), and never from
//            within one of its own callbacks (post it).
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/shard.hpp"
#include "ifaces/binding.hpp"
#include "initiator/scsi_port.hpp"

namespace mpath {

using Isid = std::array<std::uint8_t, 6>;  // RFC 7143, 11.12.5

struct ChapAccount {
  std::string name;    // empty: not used
  std::string secret;
};

enum class Digest : std::uint8_t { none, crc32c, crc32c_preferred, none_preferred };

struct SessionConfig {
  std::string initiator_name;
  std::string target_name;
  std::string address;         // numeric; an IPv6 link-local address carries its scope: fe80::1%eth0
  std::uint16_t port = 3260;
  Binding binding;             // which NIC it leaves by
  Isid isid{};                 // fixed per nexus: a new login ends what the earlier session left (reinstatement)
  bool chap_required = false;  // authmethod CHAP: a target that does not ask for it is refused
  ChapAccount chap;            // how we show who we are
  ChapAccount chap_in;         // how the target must show who it is (mutual)
  Digest header_digest = Digest::none;
  bool immediate_data = true;
  bool initial_r2t = false;
  std::uint32_t tasks_max = 128;  // commands in flight, at most; the engine stays below the window too
  std::chrono::milliseconds connect_timeout{5000};
  std::chrono::milliseconds login_timeout{15000};
  std::chrono::milliseconds logout_timeout{5000};
  // Silence: with commands on the wire (or every nop_interval when idle) nothing heard for `silence_limit` sends a
  // NOP-Out; nothing heard for another `nop_timeout` ends the session. 0 = off.
  std::chrono::milliseconds silence_limit{500};
  std::chrono::milliseconds nop_interval{5000};
  std::chrono::milliseconds nop_timeout{700};
};

// What was negotiated and who is connected to whom, for show.
struct SessionInfo {
  std::string local_address;
  std::string net_ifacename;
  std::uint16_t portal_group = 0;
  std::string header_digest = "None";
  std::string data_digest = "None";
  std::uint32_t max_recv_data_segment_length = 262144;
  std::uint32_t max_xmit_data_segment_length = 0;  // 0: not known to the engine
  std::uint32_t first_burst_length = 0;
  std::uint32_t max_burst_length = 0;
  bool immediate_data = true;
  bool initial_r2t = false;
  std::uint32_t max_outstanding_r2t = 1;
};

// iscsiadm -s counts, as far as the engine can tell; and what the data plane costs.
struct SessionCounters {
  std::uint64_t tx_bytes = 0;
  std::uint64_t rx_bytes = 0;
  std::uint64_t commands = 0;
  std::uint64_t responses = 0;
  std::uint64_t nop_out = 0;
  std::uint64_t nop_in = 0;
  std::uint64_t task_management = 0;
  std::uint64_t timeouts = 0;
  std::uint64_t system_calls = 0;
};

class Session;

class SessionListener {
 public:
  virtual ~SessionListener() = default;
  virtual void on_session_up(Session& session) = 0;
  // Once, last; every task has completed. Also when the login failed.
  virtual void on_session_end(Session& session, const SessionFailure& failure) = 0;
  virtual void on_session_room(Session& session) = 0;
  virtual void on_session_event(Session& session, const scsi::Sense& sense) = 0;
};

class Session {
 public:
  virtual ~Session() = default;
  virtual void start() = 0;  // connect and log in; once
  [[nodiscard]] virtual bool logged_in() const = 0;
  [[nodiscard]] virtual std::uint32_t room() const = 0;
  [[nodiscard]] virtual bool submit(ScsiTask& task) noexcept = 0;
  // LOGICAL UNIT RESET. Engines may end every other task of the session with it: use a session of its own.
  virtual void reset_lun(scsi::Lun lun, std::function<void(bool ok)> done) = 0;
  // Logs out (bounded by logout_timeout), then ends. Tasks still on the wire are ended with it.
  virtual void log_out() = 0;
  // Ends now: the socket is reset, nothing more is said to the target.
  virtual void abort(SessionEnd why, const std::string& text) = 0;
  [[nodiscard]] virtual const SessionInfo& info() const = 0;
  [[nodiscard]] virtual const SessionCounters& counters() const = 0;
};

using SessionFactory = std::function<std::unique_ptr<Session>(Shard& shard, SessionConfig config, SessionListener& listener)>;

}  // namespace mpath
