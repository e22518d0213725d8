#include "target/iscsi/listeners.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>

#include "base/result.hpp"
#include "base/sleep.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::target {

namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;

namespace {

constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);
constexpr int accepts_per_wake = 16;
constexpr std::chrono::milliseconds out_of_files_pause{100};

std::string text_of(const Portal& portal) {
  return iscsi::format_target_address({.host = portal.address, .port = portal.port});
}

void set_option(int fd, int level, int name) {
  constexpr int on = 1;
  ::setsockopt(fd, level, name, &on, sizeof on);
}

std::string reason(int number) {
  return std::generic_category().message(number);
}

}  // namespace

struct Listeners::Listener {
  Portal asked;
  Portal bound;  // with the port that the kernel gave
  Descriptor descriptor;

  Listener(const asio::any_io_executor& executor, Portal portal) : asked(std::move(portal)), descriptor(executor) {}
  void end() {
    boost::system::error_code ignored;
    descriptor.close(ignored);
  }
};

Listeners::Listeners(asio::any_io_executor control, Clock& clock, const Log& log, Welcome welcome)
    : control_(std::move(control)), clock_(clock), log_(log), welcome_(std::move(welcome)), tasks_(control_) {}

Listeners::~Listeners() = default;

std::expected<void, std::string> Listeners::listen(std::span<const Portal> portals) {
  std::vector<ListenerPtr> staying;
  std::vector<ListenerPtr> leaving;
  for (const ListenerPtr& listener : listeners_) {
    const bool wanted = std::ranges::find(portals, listener->asked) != portals.end();
    (wanted ? staying : leaving).push_back(listener);
  }
  std::vector<ListenerPtr> opened;
  std::vector<Portal> stopped;  // gave their address to one that is opened
  const auto is_there = [&](const Portal& portal) {
    const auto asked = [&](const ListenerPtr& listener) { return listener->asked == portal; };
    return std::ranges::any_of(staying, asked) || std::ranges::any_of(opened, asked);
  };
  for (const Portal& portal : portals) {
    if (is_there(portal)) continue;
    auto listener = open(portal);
    if (!listener && listener.error().number == EADDRINUSE) {
      // 10.0.0.1 after 0.0.0.0, say: one of our own that is to go anyway is in the way.
      std::erase_if(leaving, [&](const ListenerPtr& old) {
        if (old->bound.port != portal.port) return false;
        stopped.push_back(old->bound);
        old->end();
        return true;
      });
      listener = open(portal);
    }
    if (listener) {
      opened.push_back(*std::move(listener));
      continue;
    }
    const std::string text = listener.error().text;
    opened.clear();  // their addresses may be those of the ones that come back
    std::erase_if(listeners_, [](const ListenerPtr& old) { return !old->descriptor.is_open(); });
    for (const Portal& old : stopped) {
      if (auto again = open(old)) {
        listeners_.push_back(*again);
        tasks_.spawn(accept_loop(*std::move(again)));
      } else {
        log_.error("cannot listen any more on={} reason={}", text_of(old), quoted(again.error().text));
      }
    }
    return std::unexpected(text);
  }
  for (const ListenerPtr& listener : leaving) listener->end();
  for (const ListenerPtr& listener : opened) {
    log_.info("listening on={}", text_of(listener->bound));
    tasks_.spawn(accept_loop(listener));
    staying.push_back(listener);
  }
  listeners_ = std::move(staying);
  return {};
}

std::vector<Portal> Listeners::listening() const {
  std::vector<Portal> portals;
  for (const ListenerPtr& listener : listeners_) portals.push_back(listener->bound);
  return portals;
}

asio::awaitable<void> Listeners::close() {
  for (const ListenerPtr& listener : listeners_) listener->end();
  listeners_.clear();
  co_await tasks_.close();
}

std::expected<Listeners::ListenerPtr, Listeners::OpenError> Listeners::open(const Portal& portal) const {
  const auto fail = [&](int number, const std::string& why) {
    return std::unexpected(OpenError{number, "cannot listen on " + text_of(portal) + ": " + why});
  };
  boost::system::error_code error;
  const auto address = asio::ip::make_address(portal.address, error);
  if (error) return fail(EINVAL, "not a numeric address");
  const asio::ip::tcp::endpoint wanted(address, portal.port);
  UniqueFd socket(::socket(wanted.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail(errno, reason(errno));
  set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR);
  // :: next to 0.0.0.0, each for its own kind.
  if (address.is_v6()) set_option(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY);
  if (portal.moving) {
    set_option(socket.get(), address.is_v6() ? IPPROTO_IPV6 : IPPROTO_IP,
               address.is_v6() ? IPV6_FREEBIND : IP_FREEBIND);
  }
  if (::bind(socket.get(), wanted.data(), static_cast<socklen_t>(wanted.size())) != 0) {
    return fail(errno, reason(errno));
  }
  if (::listen(socket.get(), SOMAXCONN) != 0) return fail(errno, reason(errno));
  asio::ip::tcp::endpoint bound;
  auto size = static_cast<socklen_t>(bound.capacity());
  if (::getsockname(socket.get(), bound.data(), &size) != 0) return fail(errno, reason(errno));
  bound.resize(size);
  auto listener = std::make_shared<Listener>(control_, portal);
  listener->bound = portal;
  listener->bound.port = bound.port();
  listener->descriptor.assign(socket.get(), error);
  if (error) return fail(error.value(), error.message());
  static_cast<void>(socket.release());
  return listener;
}

asio::awaitable<void> Listeners::accept_loop(ListenerPtr listener) {
  while (listener->descriptor.is_open()) {
    const auto [error] = co_await listener->descriptor.async_wait(Descriptor::wait_read, as_tuple);
    if (error || !listener->descriptor.is_open()) co_return;
    const int shortage = accept_some(*listener);
    if (shortage == 0) continue;
    log_.warning("cannot accept reason={}", quoted(reason(shortage)));
    // The backlog holds the clients until something was closed.
    if (co_await sleep_for(clock_, out_of_files_pause)) co_return;
  }
}

// Accepts what waits. Returns the errno of a shortage, else 0.
int Listeners::accept_some(Listener& listener) {
  for (int i = 0; i < accepts_per_wake; ++i) {
    UniqueFd socket(::accept4(listener.descriptor.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      welcome_(std::move(socket));
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) return errno;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    // Another: that client went away while it waited.
  }
  return 0;
}

}  // namespace mpath::target
