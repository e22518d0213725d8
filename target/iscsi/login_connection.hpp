// One connection on its way through the login: receives what the state machine asks for, sends what it says, and ends
// in the hands of the session registry, or closed.
//
// Threads:      the control thread.
// Memory:       one request and one answer, both bounded by the state machine; never more is read than it asked for and
//               one small block.
// Time:         a whole request per stage timeout, the login within the login timeout; both close the connection.
// Cancellation: by give_way() or reset() from outside, or as a coroutine.
#pragma once

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/unique_fd.hpp"
#include "target/iscsi/login_fsm.hpp"
#include "target/iscsi/login_lockout.hpp"
#include "target/iscsi/portals.hpp"
#include "target/iscsi/session_registry.hpp"

namespace mpath::target {

// What all logins share. Borrowed.
struct LoginServices {
  Clock& clock;
  SessionRegistry& registry;
  const LoginLimits& limits;
  LoginLockout& lockout;
  IssuedChallenges& issued;
};

class LoginConnection {
 public:
  LoginConnection(const boost::asio::any_io_executor& executor, UniqueFd socket, LoginServices services,
                  std::shared_ptr<const TargetsView> targets, const Log& log);

  // Call once.
  [[nodiscard]] boost::asio::awaitable<void> run();

  // Ends it now, for somebody else. `why` is a literal.
  void give_way(std::string_view why);
  // The same, and the peer sees RST. Also while the registry has it: what comes of that is given back.
  void reset(std::string_view why);
  [[nodiscard]] bool came_to(const IpAddress& local) const;
  // Since when nothing whole has come from it.
  [[nodiscard]] TimePoint silent_since() const { return silent_since_; }
  // False while the registry has it: then it does not give way.
  [[nodiscard]] bool may_give_way() const { return !admitting_; }

 private:
  [[nodiscard]] boost::asio::awaitable<bool> fill(std::size_t bytes);
  [[nodiscard]] boost::asio::awaitable<bool> send(std::vector<std::byte> pdu);
  [[nodiscard]] boost::asio::awaitable<bool> wait(boost::asio::posix::stream_descriptor::wait_type what);
  [[nodiscard]] boost::asio::awaitable<LoginFsm::Step> next_step();
  [[nodiscard]] boost::asio::awaitable<void> admit(const Admission& admission);
  [[nodiscard]] boost::asio::awaitable<void> refuse(LoginFsm::Refuse refusal);
  [[nodiscard]] bool locked_out() const;
  void heard();
  void close(std::string_view why);

  // Constant after construction.
  LoginServices services_;
  LoginOrigin origin_;
  Log log_;
  TimePoint deadline_;  // of the whole login

  boost::asio::posix::stream_descriptor descriptor_;
  std::unique_ptr<Alarm> alarm_;
  LoginFsm fsm_;
  std::vector<std::byte> in_;  // received and not consumed
  std::array<std::byte, 4096> block_;
  TimePoint silent_since_;
  bool admitting_ = false;
  std::string_view why_closed_;  // empty: the peer did
};

}  // namespace mpath::target
