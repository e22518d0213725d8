#include "bench/null_target.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace mpath::bench {
namespace {

constexpr std::size_t staging_bytes = std::size_t{512} << 10;

int checked(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

sockaddr_in local_name(int fd) {
  sockaddr_in name{};
  socklen_t size = sizeof name;
  checked(::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size), "getsockname");
  return name;
}

std::string text_of(const sockaddr_in& name) {
  std::array<char, INET_ADDRSTRLEN> text{};
  ::inet_ntop(AF_INET, &name.sin_addr, text.data(), text.size());
  return fmt::format("{}:{}", text.data(), ntohs(name.sin_port));
}

void add(int epoll_fd, int fd, void* who) {
  epoll_event event{.events = EPOLLIN, .data = {.ptr = who}};
  checked(::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

}  // namespace

NullTarget::NullTarget(const NullDisk& disk, const std::string& address, std::uint16_t port) : disk_(disk) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  if (::inet_pton(AF_INET, address.c_str(), &name.sin_addr) != 1)
    throw std::invalid_argument("not an IPv4 address: " + address);
  listen_fd_ = checked(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  const int on = 1;
  ::setsockopt(listen_fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  checked(::bind(listen_fd_, reinterpret_cast<const sockaddr*>(&name), sizeof name), "bind");
  checked(::listen(listen_fd_, 128), "listen");
  port_ = ntohs(local_name(listen_fd_).sin_port);

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  signal_fd_ = checked(::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd");
  epoll_fd_ = checked(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  add(epoll_fd_, listen_fd_, &listen_fd_);
  add(epoll_fd_, signal_fd_, &signal_fd_);
}

NullTarget::~NullTarget() {
  for (const Connection& connection : connections_) ::close(connection.fd);
  for (const int fd : {epoll_fd_, listen_fd_, signal_fd_}) {
    if (fd >= 0) ::close(fd);
  }
}

void NullTarget::run() {
  std::array<epoll_event, 64> events{};
  for (;;) {
    const int count = ::epoll_wait(epoll_fd_, events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      if (event.data.ptr == &signal_fd_) return;
      if (event.data.ptr == &listen_fd_) {
        accept_all();
        continue;
      }
      auto& connection = *static_cast<Connection*>(event.data.ptr);
      bool alive = (event.events & EPOLLERR) == 0;
      if (alive && connection.waits_to_send) alive = answer(connection);
      if (alive && !connection.waits_to_send && (event.events & (EPOLLIN | EPOLLHUP)) != 0) alive = receive(connection);
      if (!alive) drop(&connection);
    }
  }
}

void NullTarget::accept_all() {
  for (;;) {
    const int fd = ::accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Connection& connection = connections_.emplace_back(fd, NullSession(disk_, text_of(local_name(fd))),
                                                       std::vector<std::byte>(staging_bytes));
    add(epoll_fd_, fd, &connection);
  }
}

bool NullTarget::receive(Connection& connection) {
  auto& staging = connection.staging;
  if (connection.begin > 0) {
    std::memmove(staging.data(), staging.data() + connection.begin, connection.end - connection.begin);
    connection.end -= connection.begin;
    connection.begin = 0;
  }
  const ssize_t count = ::recv(connection.fd, staging.data() + connection.end, staging.size() - connection.end, 0);
  if (count == 0) return false;
  if (count < 0) return errno == EAGAIN || errno == EINTR;
  connection.end += static_cast<std::size_t>(count);
  return answer(connection);
}

bool NullTarget::answer(Connection& connection) {
  NullSession& session = connection.session;
  for (;;) {
    connection.begin += session.take(
        std::span<const std::byte>(connection.staging).subspan(connection.begin, connection.end - connection.begin));
    const auto output = session.output();
    if (output.empty()) break;
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(output.data());
    message.msg_iovlen = output.size();
    const ssize_t sent = ::sendmsg(connection.fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      if (errno != EAGAIN) return false;
      watch(connection, true);
      return true;
    }
    session.sent(static_cast<std::size_t>(sent));
  }
  if (session.finished()) return false;
  watch(connection, false);
  return true;
}

void NullTarget::watch(Connection& connection, bool to_send) {
  if (connection.waits_to_send == to_send) return;
  connection.waits_to_send = to_send;
  epoll_event event{.events = to_send ? static_cast<std::uint32_t>(EPOLLOUT) : static_cast<std::uint32_t>(EPOLLIN),
                    .data = {.ptr = &connection}};
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, connection.fd, &event);
}

void NullTarget::drop(Connection* connection) {
  ::close(connection->fd);
  connections_.remove_if([connection](const Connection& each) { return &each == connection; });
}

}  // namespace mpath::bench
