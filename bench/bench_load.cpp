#include "bench/bench_load.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

#include "base/unique_fd.hpp"

namespace mpath::bench {
namespace {

constexpr std::size_t pieces_max = 1024;  // the kernel's limit for one sendmsg

}  // namespace

std::uint64_t Pattern::next_offset(std::uint64_t size_bytes) {
  const std::uint64_t places = size_bytes / load_.size;
  if (load_.sequential) return position_++ % places * load_.size;
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return random_ % places * load_.size;
}

bool Pattern::next_is_read() {
  switch (load_.op) {
    case Op::read:
      return true;
    case Op::write:
      return false;
    case Op::mixed:
      return (random_ >> 40) % 10 < 7;
  }
  return true;
}

void SendQueue::flush(int fd) {
  while (!empty()) {
    msghdr message{};
    message.msg_iov = pieces_.data() + at_;
    message.msg_iovlen = std::min(pieces_.size() - at_, pieces_max);
    ++sends_;
    const ssize_t result = ::sendmsg(fd, &message, MSG_NOSIGNAL);
    if (result < 0) {
      if (errno == EAGAIN) return;
      throw_errno("sendmsg");
    }
    auto sent = static_cast<std::size_t>(result);
    while (sent > 0) {
      iovec& piece = pieces_[at_];
      const std::size_t part = std::min(sent, piece.iov_len);
      piece.iov_base = static_cast<std::byte*>(piece.iov_base) + part;
      piece.iov_len -= part;
      sent -= part;
      if (piece.iov_len == 0) ++at_;
    }
  }
  pieces_.clear();
  at_ = 0;
}

void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

void send_all(int fd, const void* bytes, std::size_t count) {
  const auto* from = static_cast<const std::byte*>(bytes);
  while (count > 0) {
    const ssize_t sent = ::send(fd, from, count, MSG_NOSIGNAL);
    if (sent < 0) throw_errno("send");
    from += sent;
    count -= static_cast<std::size_t>(sent);
  }
}

void receive_all(int fd, void* bytes, std::size_t count) {
  auto* to = static_cast<std::byte*>(bytes);
  while (count > 0) {
    const ssize_t got = ::recv(fd, to, count, 0);
    if (got < 0) throw_errno("recv");
    if (got == 0) throw std::runtime_error("the server closed the connection before the load began");
    to += got;
    count -= static_cast<std::size_t>(got);
  }
}

int connect_tcp(const std::string& host_and_port) {
  const auto colon = host_and_port.rfind(':');
  if (colon == std::string::npos) throw std::runtime_error("the address is HOST:PORT");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::stoul(host_and_port.substr(colon + 1))));
  if (::inet_pton(AF_INET, host_and_port.substr(0, colon).c_str(), &address.sin_addr) != 1) {
    throw std::runtime_error("the address is a numeric IPv4 one");
  }
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw_errno("connect");
  }
  const int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket.release();
}

void make_fast(int fd) {
  const int buffer = 4 << 20;
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

}  // namespace mpath::bench
