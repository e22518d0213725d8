#include "tests/support/verify_load/nbd_client.hpp"

#include <arpa/inet.h>
#include <endian.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace mpath::verify {
namespace {

constexpr std::uint64_t greeting_magic = 0x4e42444d41474943;  // "NBDMAGIC"
constexpr std::uint64_t option_magic = 0x49484156454f5054;    // "IHAVEOPT"
constexpr std::uint64_t option_reply_magic = 0x3e889045565a9;
constexpr std::uint32_t request_magic = 0x25609513;
constexpr std::uint32_t simple_reply_magic = 0x67446698;
constexpr std::uint32_t option_go = 7;
constexpr std::uint32_t reply_ack = 1, reply_info = 3;
constexpr std::size_t option_reply_max = 64 * 1024;
constexpr std::size_t reply_bytes = 16;

error_code last_error() {
  return {errno, std::generic_category()};
}
error_code error(int number) {
  return {number, std::generic_category()};
}

void put16(std::vector<std::byte>& out, std::uint16_t value) {
  value = htobe16(value);
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}
void put32(std::vector<std::byte>& out, std::uint32_t value) {
  value = htobe32(value);
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}
void put64(std::vector<std::byte>& out, std::uint64_t value) {
  value = htobe64(value);
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof value);
}
std::uint16_t get16(const std::byte* from) {
  std::uint16_t value;
  std::memcpy(&value, from, sizeof value);
  return be16toh(value);
}
std::uint32_t get32(const std::byte* from) {
  std::uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return be32toh(value);
}
std::uint64_t get64(const std::byte* from) {
  std::uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return be64toh(value);
}

// Blocking, with the socket's own time-outs (SO_RCVTIMEO, SO_SNDTIMEO): EAGAIN means too late.
error_code read_all(int fd, std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = ::recv(fd, into.data(), into.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == EAGAIN ? error(ETIMEDOUT) : last_error();
    if (got == 0) return error(ECONNRESET);
    into = into.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

error_code write_all(int fd, std::span<const std::byte> from) {
  while (!from.empty()) {
    const ssize_t put = ::send(fd, from.data(), from.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno == EAGAIN ? error(ETIMEDOUT) : last_error();
    from = from.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

void set_socket_timeout(int fd, std::chrono::milliseconds limit) {
  const timeval value{.tv_sec = limit.count() / 1000, .tv_usec = (limit.count() % 1000) * 1000};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &value, sizeof value);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &value, sizeof value);
}

Result<int> open_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return failure(ENAMETOOLONG);
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return failure(errno);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  const int cause = errno;
  ::close(fd);
  return failure(cause);
}

Result<int> open_tcp(const std::string& host, std::uint16_t port, std::chrono::milliseconds limit) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) return failure(EINVAL);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return failure(errno);
  set_socket_timeout(fd, limit);  // also bounds connect()
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  const int cause = errno == EINPROGRESS ? ETIMEDOUT : errno;
  ::close(fd);
  return failure(cause);
}

}  // namespace

error_code NbdClient::connect(const NbdAddress& address, std::chrono::milliseconds limit) {
  close();
  const Result<int> fd =
      address.unix_path.empty() ? open_tcp(address.host, address.port, limit) : open_unix(address.unix_path);
  if (!fd) return fd.error();
  fd_ = *fd;
  set_socket_timeout(fd_, limit);
  if (const error_code failed = shake_hands(address.export_name, limit)) {
    close();
    return failed;
  }
  if (::fcntl(fd_, F_SETFL, O_NONBLOCK) != 0) return last_error();
  in_.resize(std::size_t{256} << 10);
  return {};
}

void NbdClient::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  out_.clear();
  waiting_.clear();
  filling_cookie_.reset();
  filling_ = {};
  sent_ = begin_ = end_ = 0;
}

error_code NbdClient::shake_hands(const std::string& export_name, std::chrono::milliseconds) {
  std::array<std::byte, 18> greeting;
  if (const error_code failed = read_all(fd_, greeting)) return failed;
  if (get64(greeting.data()) != greeting_magic || get64(greeting.data() + 8) != option_magic) return error(EPROTO);
  const std::uint16_t server = get16(greeting.data() + 16);
  if ((server & 1U) == 0) return error(EPROTO);  // not fixed newstyle

  std::vector<std::byte> hello;
  put32(hello, server & 3U);  // fixed newstyle, no zeroes
  put64(hello, option_magic);
  put32(hello, option_go);
  put32(hello, static_cast<std::uint32_t>(4 + export_name.size() + 2));
  put32(hello, static_cast<std::uint32_t>(export_name.size()));
  const auto* name = reinterpret_cast<const std::byte*>(export_name.data());
  hello.insert(hello.end(), name, name + export_name.size());
  put16(hello, 0);  // no particular information wanted
  if (const error_code failed = write_all(fd_, hello)) return failed;

  for (;;) {
    std::array<std::byte, 20> head;
    if (const error_code failed = read_all(fd_, head)) return failed;
    const std::uint32_t type = get32(head.data() + 12), length = get32(head.data() + 16);
    if (get64(head.data()) != option_reply_magic || get32(head.data() + 8) != option_go) return error(EPROTO);
    if (length > option_reply_max) return error(EPROTO);
    std::vector<std::byte> body(length);
    if (const error_code failed = read_all(fd_, body)) return failed;
    if (type == reply_ack) return size_bytes_ == 0 ? error(EPROTO) : error_code{};
    if (type != reply_info) return error(type == ((std::uint32_t{1} << 31) + 6) ? ENOENT : EPROTO);
    if (const error_code failed = take_export_info(body)) return failed;
  }
}

error_code NbdClient::take_export_info(std::span<const std::byte> info) {
  if (info.size() < 2) return error(EPROTO);
  if (get16(info.data()) != 0) return {};  // NBD_INFO_EXPORT is the one we need
  if (info.size() < 12) return error(EPROTO);
  size_bytes_ = get64(info.data() + 2);
  flags_ = get16(info.data() + 10);
  return {};
}

void NbdClient::submit(const Request& request) {
  if (sent_ == out_.size()) {
    out_.clear();
    sent_ = 0;
  }
  put32(out_, request_magic);
  put16(out_, request.fua ? nbd_flag_fua : std::uint16_t{0});
  put16(out_, static_cast<std::uint16_t>(request.command));
  put64(out_, request.cookie);
  put64(out_, request.offset);
  put32(out_, request.length);
  out_.insert(out_.end(), request.from.begin(), request.from.end());
  waiting_.push_back(Waiting{.cookie = request.cookie, .into = request.into});
}

error_code NbdClient::flush_out() {
  while (sent_ < out_.size()) {
    const ssize_t put = ::send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno == EAGAIN ? error_code{} : last_error();
    sent_ += static_cast<std::size_t>(put);
  }
  return {};
}

error_code NbdClient::receive(std::vector<NbdReply>& replies) {
  for (;;) {
    // What is buffered first, then the socket.
    while (begin_ < end_) {
      if (filling_cookie_) {
        const std::size_t take = std::min(filling_.size(), end_ - begin_);
        std::memcpy(filling_.data(), in_.data() + begin_, take);
        begin_ += take;
        filling_ = filling_.subspan(take);
        if (!filling_.empty()) break;
        replies.push_back(NbdReply{.cookie = *filling_cookie_});
        filling_cookie_.reset();
        continue;
      }
      if (end_ - begin_ < reply_bytes) break;
      const std::byte* head = in_.data() + begin_;
      if (get32(head) != simple_reply_magic) return error(EPROTO);
      const NbdReply reply{.cookie = get64(head + 8), .error = get32(head + 4)};
      begin_ += reply_bytes;
      const auto it = std::ranges::find(waiting_, reply.cookie, &Waiting::cookie);
      if (it == waiting_.end()) return error(EPROTO);  // an answer nobody asked for, or a second one
      const std::span<std::byte> into = it->into;
      waiting_.erase(it);
      if (reply.error == 0 && !into.empty()) {
        filling_cookie_ = reply.cookie;
        filling_ = into;
      } else {
        replies.push_back(reply);
      }
    }
    std::memmove(in_.data(), in_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    const ssize_t got = ::recv(fd_, in_.data() + end_, in_.size() - end_, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == EAGAIN ? error_code{} : last_error();
    if (got == 0) return error(ECONNRESET);
    end_ += static_cast<std::size_t>(got);
  }
}

void NbdClient::disconnect() {
  if (fd_ < 0) return;
  submit(Request{.command = NbdCommand::disconnect});
  const error_code ignored = flush_out();  // the server learns it from the closing too
  static_cast<void>(ignored);
  close();
}

}  // namespace mpath::verify
