#include "tests/support/verify_load/lying_server.hpp"

#include <endian.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/check.hpp"
#include "tests/support/verify_load/block_stamp.hpp"

namespace mpath::verify {
namespace {

constexpr std::uint32_t nbd_eio = 5;

template <typename Number>
Number big_endian(Number value) {
  if constexpr (sizeof value == 2) return htobe16(value);
  if constexpr (sizeof value == 4) return htobe32(value);
  if constexpr (sizeof value == 8) return htobe64(value);
}

bool read_all(int fd, void* into, std::size_t size) {
  return ::recv(fd, into, size, MSG_WAITALL) == static_cast<ssize_t>(size);
}
bool write_all(int fd, const void* from, std::size_t size) {
  const auto* bytes = static_cast<const char*>(from);
  while (size != 0) {
    const ssize_t put = ::send(fd, bytes, size, MSG_NOSIGNAL);
    if (put <= 0) return false;
    bytes += put;
    size -= static_cast<std::size_t>(put);
  }
  return true;
}
template <typename Number>
bool put(int fd, Number value) {
  value = big_endian(value);
  return write_all(fd, &value, sizeof value);
}
template <typename Number>
bool get(int fd, Number& value) {
  if (!read_all(fd, &value, sizeof value)) return false;
  value = big_endian(value);
  return true;
}

// Fixed newstyle with GO, of any export name.
bool shake_hands(int fd, std::uint64_t size) {
  if (!put<std::uint64_t>(fd, 0x4e42444d41474943) || !put<std::uint64_t>(fd, 0x49484156454f5054)) return false;
  std::uint32_t flags, option, length;
  std::uint64_t magic;
  if (!put<std::uint16_t>(fd, 3) || !get(fd, flags) || !get(fd, magic) || !get(fd, option) || !get(fd, length))
    return false;
  std::vector<std::byte> body(length);
  if (!read_all(fd, body.data(), length) || option != 7) return false;
  constexpr std::uint64_t reply_magic = 0x3e889045565a9;
  constexpr std::uint16_t transmission_flags = 1 | 4 | 8;  // has flags, flush, FUA
  return put<std::uint64_t>(fd, reply_magic) && put<std::uint32_t>(fd, 7) && put<std::uint32_t>(fd, 3) &&
         put<std::uint32_t>(fd, 12) && put<std::uint16_t>(fd, 0) && put<std::uint64_t>(fd, size) &&
         put<std::uint16_t>(fd, transmission_flags) && put<std::uint64_t>(fd, reply_magic) &&
         put<std::uint32_t>(fd, 7) && put<std::uint32_t>(fd, 1) && put<std::uint32_t>(fd, 0);
}

bool put_reply(int fd, std::uint64_t cookie, std::uint32_t error) {
  return put<std::uint32_t>(fd, 0x67446698) && put(fd, error) && put(fd, cookie);
}

}  // namespace

LyingServer::LyingServer(std::uint64_t size_bytes, Lie lie, unsigned after)
    : lie_(lie), after_(after), disk_(size_bytes) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket_path();
  CHECK(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  CHECK(::listen(listener_, 4) == 0);
  thread_ = std::thread([this] { serve(); });
}

LyingServer::~LyingServer() {
  closing_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  if (const int fd = connection_; fd >= 0) ::shutdown(fd, SHUT_RDWR);
  thread_.join();
  ::close(listener_);
}

void LyingServer::serve() {
  while (!closing_) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    connection_ = fd;
    if (!closing_) serve_connection(fd);
    connection_ = -1;
    ::close(fd);
  }
}

void LyingServer::serve_connection(int fd) {
  if (!shake_hands(fd, disk_.size())) return;
  while (answer_request(fd)) {
  }
}

bool LyingServer::answer_request(int fd) {
  std::uint32_t magic, length;
  std::uint16_t flags, command;
  std::uint64_t cookie, offset;
  if (!get(fd, magic) || !get(fd, flags) || !get(fd, command) || !get(fd, cookie) || !get(fd, offset) ||
      !get(fd, length)) {
    return false;
  }
  std::vector<std::byte> data;
  switch (command) {
    case 0:
      data.resize(length);
      take_read(offset, data);
      return silent_ || (put_reply(fd, cookie, 0) && write_all(fd, data.data(), data.size()));
    case 1: {
      data.resize(length);
      if (!read_all(fd, data.data(), data.size())) return false;
      const std::optional<bool> answer = take_write(fd, cookie, offset, data);
      return answer.value_or(true);
    }
    case 3:
      return silent_ || put_reply(fd, cookie, 0);
    default:
      return false;
  }
}

bool LyingServer::lie_now(Lie lie) {
  if (lie_ != lie || lied_ || writes_ <= after_) return false;
  lied_ = true;
  return true;
}

std::optional<bool> LyingServer::take_write(int fd, std::uint64_t cookie, std::uint64_t offset,
                                            std::vector<std::byte>& data) {
  ++writes_;
  if (silent_) return std::nullopt;
  std::span<const std::byte> body(data);
  // A newer write of the kept block: the old value comes back after it.
  const bool ghost = lie_ == Lie::ghost_write && kept_ && kept_->first >= offset && kept_->first < offset + data.size();
  if (lie_now(Lie::error)) return put_reply(fd, cookie, nbd_eio);
  if (lie_now(Lie::close_connection)) return false;
  if (lie_now(Lie::hang)) {
    silent_ = true;
    return std::nullopt;
  }
  if (lie_now(Lie::misplace_write)) {
    offset += offset + data.size() < disk_.size() ? block_bytes : -block_bytes;
  } else if (lie_now(Lie::lose_half)) {
    body = body.last(block_bytes / 2);
    offset += data.size() - body.size();
  }
  const auto old = disk_.begin() + static_cast<std::ptrdiff_t>(offset);
  if (lie_ == Lie::stale_read && !kept_ && writes_ > after_) kept_.emplace(offset, std::vector(old, old + block_bytes));
  if (lie_ == Lie::ghost_write && !kept_ && writes_ > after_) {
    kept_.emplace(offset, std::vector(data.begin(), data.begin() + block_bytes));
  }
  if (!lie_now(Lie::lose_write)) store(offset, body);
  if (ghost) {
    store(kept_->first, kept_->second);
    kept_.reset();
    lied_ = true;
  }
  return put_reply(fd, cookie, 0);
}

void LyingServer::take_read(std::uint64_t offset, std::span<std::byte> into) {
  std::memcpy(into.data(), disk_.data() + offset, into.size());
  if (lie_ == Lie::stale_read && kept_ && kept_->first >= offset && kept_->first < offset + into.size()) {
    if (lie_now(Lie::stale_read))
      std::ranges::copy(kept_->second, into.begin() + static_cast<std::ptrdiff_t>(kept_->first - offset));
  }
  // Unwritten places are nobody's business: flip where something is.
  if (lie_ == Lie::flip_bit && into[100] != std::byte{} && lie_now(Lie::flip_bit)) into[100] ^= std::byte{0x10};
}

void LyingServer::store(std::uint64_t offset, std::span<const std::byte> data) {
  std::memcpy(disk_.data() + offset, data.data(), data.size());
}

}  // namespace mpath::verify
