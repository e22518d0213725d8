// Listens, and takes every connection through its login.
//
// Threads:      the control thread: a flood of logins does not disturb the shards.
// Limits:       half-open logins are bounded in number (the one that was silent for longest gives way), in bytes, and
//               in time per stage and altogether.
// Ownership:    clock and registry are borrowed. Destroy after close(), or with an executor that will not run again.
// Cancellation: close() stops listening and breaks logins off.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "target/iscsi/ip_address.hpp"
#include "target/iscsi/session_registry.hpp"

namespace mpath::target {

struct LoginLimits {
  std::chrono::milliseconds stage_timeout{15000};  // without a whole request
  std::chrono::milliseconds login_timeout{30000};  // altogether
  std::size_t half_open_max = 256;
  // CHAP failures in a row of one initiator name from one address; many more of one address (login_lockout.hpp). 0:
  // never.
  unsigned failures_before_lockout = 5;
  std::chrono::milliseconds lockout{30000};
};

// One address we listen on, and the portal group it belongs to in each target that uses it.
struct Portal {
  std::string address;  // numeric; 0.0.0.0 and :: listen on all
  std::uint16_t port = 3260;
  // The address comes and goes with a role: it is listened on also while no interface has it.
  bool moving = false;
  friend auto operator<=>(const Portal&, const Portal&) = default;
};

class Portals {
 public:
  Portals(boost::asio::any_io_executor control, Clock& clock, SessionRegistry& registry, LoginLimits limits,
          const Log& log);
  ~Portals();

  // Which targets there are; logins under way finish with the picture they began with.
  void set_targets(std::shared_ptr<const TargetsView> targets);
  // Listens on exactly these from now on; those already listened on are left alone. The first error that prevents it is
  // returned with a line for the administrator, and then nothing has changed.
  [[nodiscard]] std::expected<void, std::string> listen(std::span<const Portal> portals);
  // Port 0 was replaced by what the kernel gave.
  [[nodiscard]] std::vector<Portal> listening() const;
  [[nodiscard]] std::size_t half_open() const;
  // Before an address leaves this machine: logins that came to it end now, with RST. In this order: listen() without
  // its portals, this, Sessions::drop_local(), and then the address goes; nobody is left waiting in silence.
  void drop_local(const IpAddress& address);
  [[nodiscard]] boost::asio::awaitable<void> close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mpath::target
