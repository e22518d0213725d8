// Where logins end and sessions begin.
//
// Threads: the control thread. The registry moves an established connection to its session's shard.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "target/iscsi/target_view.hpp"
#include "wire/iscsi_keys.hpp"
#include "wire/iscsi_pdu.hpp"

namespace mpath::target {

// What a login knows when only its last response is missing.
struct Admission {
  bool discovery = false;
  std::shared_ptr<const TargetView> target;  // null for discovery
  std::uint16_t portal_group = 1;
  std::string initiator_name;
  std::string initiator_alias;
  iscsi::Isid isid{};
  std::uint16_t tsih = 0;  // not 0: a connection to add to, or to reinstate in, this session
  std::uint16_t cid = 0;
  std::string user;    // of CHAP; empty without
  std::string remote;  // address:port
  std::string local;
  iscsi::Parameters parameters;  // agreed; of a connection that joins only digests and segment lengths count
};

// ExpCmdSN and MaxCmdSN that login responses carry.
struct CommandNumbers {
  std::uint32_t expected = 0;
  std::uint32_t max = 0;
};
inline constexpr std::uint32_t discovery_window = 16;  // of a session without a target, which would say

// A place in a session, kept until establish() or until it is destroyed (a login that broke off in its last step).
class Seat {
 public:
  virtual ~Seat() = default;
  std::uint16_t tsih = 0;
  // Of the session that a connection joins. None for a new one: it begins with the CmdSN of its login, and MaxCmdSN is
  // that plus the window of the target less one.
  std::optional<CommandNumbers> numbers;
};

// A connection whose login has succeeded.
struct Established {
  UniqueFd socket;                       // non-blocking, TCP_NODELAY
  std::vector<std::byte> last_response;  // the login response that says so, encoded and not sent yet
  std::vector<std::byte> leftover;       // what the initiator sent behind its last login request
  std::uint32_t stat_sn = 0;             // the next one
  std::uint32_t cmd_sn = 0;              // the initiator's next one
};

class SessionRegistry {
 public:
  virtual ~SessionRegistry() = default;
  // Session reinstatement (RFC 7143, 6.3.5): an old session with the same initiator port and target port is ended
  // first, its tasks included, and only then is the seat given. Connection reinstatement (6.3.4) and joining (MC/S)
  // likewise. Fails with the login status to answer: too_many_connections, session_does_not_exist,
  // cannot_include_in_session, out_of_resources.
  [[nodiscard]] virtual boost::asio::awaitable<std::expected<std::unique_ptr<Seat>, iscsi::LoginStatus>> admit(
      const Admission& admission) = 0;
  virtual void establish(std::unique_ptr<Seat> seat, Established connection) = 0;
};

}  // namespace mpath::target
