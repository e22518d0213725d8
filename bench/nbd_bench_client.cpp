#include "bench/nbd_bench_client.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "base/unix_socket.hpp"

namespace mpath::bench {
namespace {

constexpr std::size_t staging_bytes = std::size_t{1} << 20;
constexpr std::size_t vectors_max = 1024;

[[noreturn]] void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

void send_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) throw_errno("send");
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}

void receive_all(int fd, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (got < 0) throw_errno("recv");
    if (got == 0) throw std::runtime_error("the server closed the connection during the handshake");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

UniqueFd connect_tcp(const std::string& host_and_port) {
  const auto colon = host_and_port.rfind(':');
  if (colon == std::string::npos) throw std::runtime_error("--tcp wants HOST:PORT");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::stoul(host_and_port.substr(colon + 1))));
  if (::inet_pton(AF_INET, host_and_port.substr(0, colon).c_str(), &address.sin_addr) != 1) {
    throw std::runtime_error("--tcp wants a numeric IPv4 address");
  }
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw_errno("connect");
  }
  const int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

}  // namespace

UniqueFd connect_to(const std::string& unix_path, const std::string& host_and_port) {
  if (unix_path.empty()) return connect_tcp(host_and_port);
  Result<UniqueFd> socket = connect_unix(unix_path, std::chrono::seconds(5));
  if (!socket) throw std::system_error(socket.error(), unix_path);
  return std::move(*socket);
}

Client::Client(UniqueFd socket, const std::string& export_name, const Load& load, Totals& totals)
    : socket_(std::move(socket)),
      load_(load),
      totals_(totals),
      random_(load.seed * 0x9e3779b97f4a7c15 | 1),
      slots_(load.depth),
      staging_(staging_bytes),
      payload_(load.size, std::byte{0x5a}) {
  handshake(export_name);
  if (size_bytes_ < load.size) throw std::runtime_error("the export is smaller than one request");
  const int buffer = 4 << 20;
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  ::fcntl(socket_.get(), F_SETFL, ::fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
  to_send_.reserve(2 * load.depth);
}

void Client::handshake(const std::string& export_name) {
  std::array<std::byte, nbd::greeting_bytes> greeting;
  receive_all(fd(), greeting);
  if (!nbd::decode_greeting(greeting)) throw std::runtime_error("this is no fixed newstyle NBD server");
  std::array<std::byte, nbd::client_flags_bytes> flags;
  nbd::encode_client_flags(nbd::handshake_flag::fixed_newstyle | nbd::handshake_flag::no_zeroes, flags);
  send_all(fd(), flags);
  send_all(fd(), nbd::encode_option(nbd::Option::go, nbd::encode_info_request({.name = export_name})));
  for (;;) {
    std::array<std::byte, nbd::option_reply_header_bytes> bytes;
    receive_all(fd(), bytes);
    const auto header = nbd::decode_option_reply_header(bytes);
    if (!header || header->length > (1u << 20)) throw std::runtime_error("the server's handshake makes no sense");
    std::vector<std::byte> data(header->length);
    receive_all(fd(), data);
    if (header->reply == nbd::OptionReply::ack) return;
    if (nbd::is_error(header->reply)) {
      throw std::runtime_error(fmt::format("the server refuses export '{}': {}", export_name,
                                           std::string(reinterpret_cast<const char*>(data.data()), data.size())));
    }
    if (header->reply != nbd::OptionReply::info || nbd::decode_info_type(data) != nbd::InfoType::export_info) continue;
    const auto info = nbd::decode_info_export(data);
    if (info) size_bytes_ = info->size_bytes;
  }
}

void Client::start(std::uint64_t now) {
  for (std::uint32_t i = 0; i < load_.depth; ++i) ask(i, now);
  flush();
}

std::uint64_t Client::on_ready(std::uint64_t now, bool more) {
  const std::uint64_t answered = receive(now, more);
  flush();
  return answered;
}

void Client::ask(std::uint32_t index, std::uint64_t now) {
  Slot& slot = slots_[index];
  slot.started = now;
  slot.is_read = next_is_read();
  const nbd::Request request{.command = slot.is_read ? nbd::Command::read : nbd::Command::write,
                             .cookie = index,
                             .offset = next_offset(),
                             .length = load_.size};
  nbd::encode_request(request, std::span(slot.header));
  to_send_.push_back({slot.header, sizeof slot.header});
  if (!slot.is_read) to_send_.push_back({payload_.data(), payload_.size()});
  ++in_flight_;
}

std::uint64_t Client::receive(std::uint64_t now, bool more) {
  std::memmove(staging_.data(), staging_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  ++totals_.receives;
  const ssize_t got = ::recv(fd(), staging_.data() + end_, staging_.size() - end_, 0);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return 0;
    throw_errno("recv");
  }
  if (got == 0) throw std::runtime_error("the server closed the connection");
  end_ += static_cast<std::size_t>(got);

  std::uint64_t answered = 0;
  for (;;) {
    const std::uint64_t skipped = std::min<std::uint64_t>(skip_, end_ - begin_);
    begin_ += skipped;
    skip_ -= skipped;
    if (skip_ > 0 || end_ - begin_ < nbd::simple_reply_bytes) return answered;
    const auto reply = nbd::decode_simple_reply(
        std::span<const std::byte, nbd::simple_reply_bytes>(staging_.data() + begin_, nbd::simple_reply_bytes));
    if (!reply || reply->cookie >= slots_.size()) throw std::runtime_error("the server's reply makes no sense");
    begin_ += nbd::simple_reply_bytes;
    const auto index = static_cast<std::uint32_t>(reply->cookie);
    if (reply->error != nbd::Error::ok) {
      ++totals_.errors;
    } else if (slots_[index].is_read) {
      skip_ = load_.size;
    }
    totals_.latency.add(now - slots_[index].started);
    --in_flight_;
    ++answered;
    if (more) ask(index, now);
  }
}

void Client::flush() {
  while (want_write()) {
    msghdr message{};
    message.msg_iov = to_send_.data() + send_from_;
    message.msg_iovlen = std::min(to_send_.size() - send_from_, vectors_max);
    ++totals_.sends;
    const ssize_t result = ::sendmsg(fd(), &message, MSG_NOSIGNAL);
    if (result < 0) {
      if (errno == EAGAIN) return;
      throw_errno("sendmsg");
    }
    auto sent = static_cast<std::size_t>(result);
    while (sent > 0) {
      iovec& vector = to_send_[send_from_];
      const std::size_t part = std::min(sent, vector.iov_len);
      vector.iov_base = static_cast<std::byte*>(vector.iov_base) + part;
      vector.iov_len -= part;
      sent -= part;
      if (vector.iov_len == 0) ++send_from_;
    }
  }
  to_send_.clear();
  send_from_ = 0;
}

std::uint64_t Client::next_offset() {
  const std::uint64_t places = size_bytes_ / load_.size;
  if (load_.sequential) return position_++ % places * load_.size;
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return random_ % places * load_.size;
}

bool Client::next_is_read() {
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

}  // namespace mpath::bench
