#include "target/iscsi/login_connection.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <utility>

#include "base/within.hpp"
#include "target/iscsi/reset_socket.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::target {

namespace asio = boost::asio;
using asio::awaitable;
using Descriptor = asio::posix::stream_descriptor;

namespace {

constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);
// How long, and for how much of what is still on its way, a refused connection is kept so that the refusal arrives:
// closing a socket with unread bytes takes back what was sent.
constexpr std::chrono::milliseconds linger_time{1000};
constexpr std::size_t linger_bytes = std::size_t{256} << 10;

using GetName = int (*)(int, sockaddr*, socklen_t*);

iscsi::TargetAddress end_of(int fd, GetName get) {
  asio::ip::tcp::endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (get(fd, endpoint.data(), &size) != 0) return {};
  endpoint.resize(size);
  auto address = endpoint.address();
  if (address.is_v6()) {  // a scope means something on one machine only
    auto without_scope = address.to_v6();
    without_scope.scope_id(0);
    address = without_scope;
  }
  return {.host = address.to_string(), .port = endpoint.port()};
}

LoginOrigin origin_of(int fd) {
  const auto remote = end_of(fd, ::getpeername);
  return {.remote = iscsi::format_target_address(remote),
          .remote_address = remote.host,
          .local = end_of(fd, ::getsockname)};
}

}  // namespace

LoginConnection::LoginConnection(const asio::any_io_executor& executor, UniqueFd socket, LoginServices services,
                                 std::shared_ptr<const TargetsView> targets, const Log& log)
    : services_(services),
      origin_(origin_of(socket.get())),
      log_(log.about("login " + origin_.remote)),
      deadline_(services.clock.now() + services.limits.login_timeout),
      descriptor_(executor),
      fsm_(std::move(targets), origin_, services.issued),
      silent_since_(services.clock.now()) {
  constexpr int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  boost::system::error_code error;
  descriptor_.assign(socket.get(), error);
  if (!error) static_cast<void>(socket.release());  // otherwise run() finds nothing to read from
  alarm_ = services_.clock.make_alarm([this] { close("timeout"); });
}

awaitable<void> LoginConnection::run() {
  heard();
  for (;;) {
    auto step = co_await next_step();
    if (auto* sent = std::get_if<LoginFsm::Send>(&step)) {
      if (locked_out()) {
        step = fsm_.refused(iscsi::LoginStatus::authentication_failure, "locked out after wrong CHAP responses");
      } else {
        if (!co_await send(std::move(sent->pdu))) break;
        continue;
      }
    }
    if (auto* refusal = std::get_if<LoginFsm::Refuse>(&step)) {
      co_await refuse(std::move(*refusal));
      co_return;
    }
    if (const auto* admission = std::get_if<LoginFsm::Admit>(&step)) {
      const Admission admitted = admission->admission;
      co_await admit(admitted);
      co_return;
    }
    if (const auto* ended = std::get_if<LoginFsm::HangUp>(&step)) close(ended->why);
    break;
  }
  log_.info("ended reason={} initiator={}", quoted(why_closed_.empty() ? "connection lost" : why_closed_),
            quoted(fsm_.initiator_name()));
}

// What the next whole request leads to.
awaitable<LoginFsm::Step> LoginConnection::next_step() {
  const LoginFsm::HangUp gone{};
  if (!co_await fill(iscsi::bhs_bytes)) co_return gone;
  LoginFsm::Step step = fsm_.begin(std::span(in_).first<iscsi::bhs_bytes>());
  const auto* need = std::get_if<LoginFsm::NeedData>(&step);
  if (need == nullptr) co_return step;
  const std::size_t bytes = need->bytes;
  const std::size_t whole = iscsi::bhs_bytes + iscsi::padded(bytes);
  if (!co_await fill(whole)) co_return gone;
  step = fsm_.take(std::span(in_).subspan(iscsi::bhs_bytes, bytes));
  in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(whole));
  heard();
  co_return step;
}

awaitable<void> LoginConnection::admit(const Admission& admission) {
  if (fsm_.authenticated()) services_.lockout.succeeded(fsm_.initiator_name(), origin_.remote_address);
  admitting_ = true;
  alarm_->cancel();
  auto seat = co_await within(services_.clock, deadline_, services_.registry.admit(admission));
  admitting_ = false;
  if (!seat) {
    log_.warning("ended reason=\"timeout while older sessions end\" initiator={}", quoted(fsm_.initiator_name()));
    co_return;
  }
  if (!descriptor_.is_open()) {
    log_.info("ended reason={} initiator={}", quoted(why_closed_), quoted(fsm_.initiator_name()));
    co_return;
  }
  heard();
  if (!*seat) {
    co_await refuse(fsm_.refused(seat->error(), "by the sessions there are"));
    co_return;
  }
  auto last = fsm_.admitted((**seat)->tsih, (**seat)->numbers);
  Established established{.last_response = std::move(last.pdu),
                          .leftover = std::move(in_),
                          .stat_sn = fsm_.stat_sn(),
                          .cmd_sn = fsm_.cmd_sn()};
  alarm_->cancel();
  established.socket.reset(descriptor_.release());
  log_.info("done initiator={} target={}", quoted(fsm_.initiator_name()), quoted(fsm_.target_name()));
  services_.registry.establish(std::move(**seat), std::move(established));
}

awaitable<void> LoginConnection::refuse(LoginFsm::Refuse refusal) {
  log_.notice("refused status={:04x} reason={} initiator={} target={}", std::to_underlying(refusal.status),
              quoted(refusal.why), quoted(fsm_.initiator_name()), quoted(fsm_.target_name()));
  if (fsm_.proof_failed() &&
      services_.lockout.failed(fsm_.initiator_name(), origin_.remote_address, services_.clock.now())) {
    log_.warning("locked out initiator={} address={} reason=\"too many wrong CHAP responses\"",
                 quoted(fsm_.initiator_name()), origin_.remote_address);
  }
  alarm_->set(services_.clock.now() + linger_time);
  if (!co_await send(std::move(refusal.pdu))) co_return;
  ::shutdown(descriptor_.native_handle(), SHUT_WR);
  for (std::size_t dropped = 0; dropped < linger_bytes;) {
    in_.clear();
    if (!co_await fill(1)) co_return;
    dropped += in_.size();
  }
}

// ---- the socket ----------------------------------------------------------------------------------------------------

// False: the connection is gone.
awaitable<bool> LoginConnection::fill(std::size_t bytes) {
  while (in_.size() < bytes) {
    if (!descriptor_.is_open()) co_return false;
    const ssize_t got = ::recv(descriptor_.native_handle(), block_.data(), block_.size(), MSG_DONTWAIT);
    if (got > 0) {
      in_.insert(in_.end(), block_.begin(), block_.begin() + got);
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) co_return false;
    if (!co_await wait(Descriptor::wait_read)) co_return false;
  }
  co_return true;
}

awaitable<bool> LoginConnection::send(std::vector<std::byte> pdu) {
  std::size_t sent = 0;
  while (sent < pdu.size()) {
    if (!descriptor_.is_open()) co_return false;
    const ssize_t count =
        ::send(descriptor_.native_handle(), pdu.data() + sent, pdu.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) {
      sent += static_cast<std::size_t>(count);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) co_return false;
    if (!co_await wait(Descriptor::wait_write)) co_return false;
  }
  co_return true;
}

awaitable<bool> LoginConnection::wait(Descriptor::wait_type what) {
  const auto [error] = co_await descriptor_.async_wait(what, as_tuple);
  co_return !error && descriptor_.is_open();
}

bool LoginConnection::locked_out() const {
  return fsm_.must_authenticate() && !fsm_.authenticated() &&
         services_.lockout.locked(fsm_.initiator_name(), origin_.remote_address, services_.clock.now());
}

void LoginConnection::heard() {
  const TimePoint now = services_.clock.now();
  silent_since_ = now;
  alarm_->set(std::min(now + services_.limits.stage_timeout, deadline_));
}

void LoginConnection::give_way(std::string_view why) {
  close(why);
}

void LoginConnection::reset(std::string_view why) {
  if (descriptor_.is_open()) close_with_reset(descriptor_.native_handle());
  close(why);
}

bool LoginConnection::came_to(const IpAddress& local) const {
  return parse_ip_address(origin_.local.host) == local;
}

void LoginConnection::close(std::string_view why) {
  if (why_closed_.empty()) why_closed_ = why;
  boost::system::error_code ignored;
  descriptor_.close(ignored);
}

}  // namespace mpath::target
