#include "initiator/batch_socket.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.hpp"
#include "wire/crc32c.hpp"

namespace mpath {
namespace {

thread_local BatchSocket* current_socket = nullptr;

constexpr std::size_t parts_max = 1024;  // IOV_MAX on Linux

std::uint32_t header_crc(const std::byte* header) { return crc32c(std::span(header, bhs::size)); }

std::uint32_t read_crc(const std::byte* at) {  // RFC 7143, 13.1: the digest travels in little-endian order
  std::uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<std::uint32_t>(at[i]);
  return value;
}

void write_crc(std::byte* at, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<std::byte>(value >> (8 * i));
}

}  // namespace

Result<PeerAddress> parse_peer(const std::string& address, std::uint16_t port) {
  PeerAddress peer;
  sockaddr_in v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&peer.storage, &v4, sizeof v4);
    peer.size = sizeof v4;
    return peer;
  }
  sockaddr_in6 v6{};
  const std::size_t percent = address.find('%');
  if (inet_pton(AF_INET6, address.substr(0, percent).c_str(), &v6.sin6_addr) != 1) return failure(EINVAL);
  if (percent != std::string::npos) {
    v6.sin6_scope_id = if_nametoindex(address.c_str() + percent + 1);
    if (v6.sin6_scope_id == 0) return failure(ENODEV);
  }
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  std::memcpy(&peer.storage, &v6, sizeof v6);
  peer.size = sizeof v6;
  return peer;
}

BatchSocket::BatchSocket(PduTap& tap, Binding binding, PeerAddress peer)
    : tap_(tap), binding_(std::move(binding)), peer_(peer), staging_(new std::byte[staging_bytes]) {
  out_.reserve(256);
  scratch_.reserve(64);
}

BatchSocket::~BatchSocket() { close(true); }

BatchSocket::Scope::Scope(BatchSocket& socket) : outer_(std::exchange(current_socket, &socket)) {}
BatchSocket::Scope::~Scope() { current_socket = outer_; }

BatchSocket* BatchSocket::current() { return current_socket; }

// ---- receive

void BatchSocket::fill() {
  if (fd_ == -1 || failure_) {
    drained_ = true;
    return;
  }
  if (begin_ == end_) {
    begin_ = end_ = 0;
  } else if (begin_ > 0) {  // what is left is at most one PDU that has not come whole
    std::memmove(staging_.get(), staging_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  const std::size_t room = staging_bytes - end_;
  if (room == 0) return;
  ++system_calls_;
  const ssize_t got = ::recv(fd_, staging_.get() + end_, room, 0);
  if (got > 0) {
    end_ += static_cast<std::size_t>(got);
    received_ += static_cast<std::uint64_t>(got);
    drained_ = static_cast<std::size_t>(got) < room;
    return;
  }
  drained_ = true;
  if (got == 0) {
    failure_ = error_code(ECONNRESET, std::generic_category());
  } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
    failure_ = error_code(errno, std::generic_category());
  }
}

ssize_t BatchSocket::refuse(const char* why) {
  if (why != nullptr) refusal_ = why;
  errno = EPROTO;
  return -1;
}

std::size_t BatchSocket::take(std::byte* to, std::size_t size) {
  const std::size_t n = std::min({size, end_ - begin_, segment_left_});
  std::memcpy(to, staging_.get() + begin_, n);
  begin_ += n;
  segment_left_ -= n;
  delivered_ += n;
  return n;
}

// The library is at a PDU boundary and asks for a header. It gets it only whole, and only after the tap has seen it.
ssize_t BatchSocket::begin_pdu(void* data, std::size_t size) {
  const std::size_t header_size = bhs::size + (digest_ ? bhs::digest_size : 0);
  if (size != header_size) return refuse("the library and we disagree about header digests");
  const std::size_t staged = end_ - begin_;
  if (staged < header_size) {
    errno = EAGAIN;
    return -1;
  }
  std::byte* const raw = staging_.get() + begin_;
  const bhs::Edit header(raw, bhs::size);
  if (digest_ && header_crc(raw) != read_crc(raw + bhs::size)) return refuse("header digest error");
  if (bhs::ahs_words(header) != 0) return refuse("additional header segment in a reply");
  const std::uint32_t length = bhs::segment_length(header);
  const std::size_t padded = bhs::padded(length);
  std::span<const std::byte> segment;
  if (bhs::opcode(header) != bhs::Opcode::data_in) {
    if (header_size + padded > staging_bytes) return refuse("data segment longer than announced");
    if (staged < header_size + padded) {
      errno = EAGAIN;
      return -1;
    }
    segment = {raw + header_size, length};
  }
  if (!tap_.on_pdu_in(header, segment)) return refuse(nullptr);
  if (header_size > bhs::size) write_crc(raw + bhs::size, header_crc(raw));
  std::memcpy(data, raw, header_size);
  begin_ += header_size;
  delivered_ += header_size;
  segment_left_ = padded;
  return static_cast<ssize_t>(header_size);
}

ssize_t BatchSocket::library_recv(void* data, std::size_t size) {
  if (fd_ == -1) return refuse(nullptr);
  if (segment_left_ == 0) return begin_pdu(data, size);
  if (begin_ == end_) {
    errno = EAGAIN;
    return -1;
  }
  return static_cast<ssize_t>(take(static_cast<std::byte*>(data), size));
}

ssize_t BatchSocket::library_readv(const iovec* parts, int count) {
  if (fd_ == -1) return refuse(nullptr);
  CHECK(segment_left_ != 0 && count > 0);
  const std::span all(parts, static_cast<std::size_t>(count));
  if (begin_ != end_) {
    std::size_t total = 0;
    for (const iovec& part : all) {
      const std::size_t n = take(static_cast<std::byte*>(part.iov_base), part.iov_len);
      total += n;
      if (n < part.iov_len) break;
    }
    return static_cast<ssize_t>(total);
  }
  if (drained_ || failure_ || segment_left_ < direct_bytes_min) {
    errno = EAGAIN;
    return -1;
  }
  const std::span head = all.first(std::min(all.size(), parts_max - 1));
  std::size_t wanted = 0;
  scratch_.assign(head.begin(), head.end());
  for (const iovec& part : head) wanted += part.iov_len;
  CHECK(wanted <= segment_left_);
  begin_ = end_ = 0;
  if (head.size() == all.size()) scratch_.push_back({staging_.get(), staging_bytes});
  const std::size_t asked = wanted + (head.size() == all.size() ? staging_bytes : 0);
  ++system_calls_;
  const ssize_t got = ::readv(fd_, scratch_.data(), static_cast<int>(scratch_.size()));
  if (got <= 0) {
    drained_ = true;
    if (got == 0) {
      failure_ = error_code(ECONNRESET, std::generic_category());
    } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      failure_ = error_code(errno, std::generic_category());
    }
    errno = EAGAIN;  // the session ends by failure(), after everything that came before it
    return -1;
  }
  const std::size_t bytes = static_cast<std::size_t>(got);
  received_ += bytes;
  drained_ = bytes < asked;
  const std::size_t placed = std::min(bytes, wanted);
  end_ = bytes - placed;
  segment_left_ -= placed;
  delivered_ += placed;
  return static_cast<ssize_t>(placed);
}

// ---- send

std::byte* BatchSocket::append_copy(const void* data, std::size_t size) {
  CHECK(size <= Block::size);
  if (blocks_.empty() || Block::size - blocks_.back()->used < size) {
    if (spare_.empty()) {
      blocks_.push_back(std::make_unique<Block>());
    } else {
      blocks_.push_back(std::move(spare_.back()));
      spare_.pop_back();
    }
    blocks_.back()->used = 0;
  }
  Block& block = *blocks_.back();
  std::byte* const at = block.bytes.data() + block.used;
  std::memcpy(at, data, size);
  block.used += size;
  appended_ += size;
  block.ends_at = appended_;
  if (copy_end_ == at && out_.size() > out_head_) {
    out_.back().iov_len += size;
  } else {
    out_.push_back({at, size});
  }
  copy_end_ = at + size;
  return at;
}

void BatchSocket::append_reference(const void* data, std::size_t size) {
  if (size == 0) return;
  out_.push_back({const_cast<void*>(data), size});  // sendmsg only reads
  appended_ += size;
  copy_end_ = nullptr;
}

void BatchSocket::seal_header(std::byte* header) const {
  if (digest_) write_crc(header + bhs::size, header_crc(header));
}

// The library sends a header (with keys or a digest behind it) in one call; anything shorter is padding.
ssize_t BatchSocket::library_send(const void* data, std::size_t size) {
  if (fd_ == -1) return refuse(nullptr);
  if (size > Block::size) return refuse("request too long");
  std::byte* const at = append_copy(data, size);
  if (size >= bhs::size) {
    const std::size_t header_size = bhs::size + (digest_ && size > bhs::size ? bhs::digest_size : 0);
    tap_.on_pdu_out(bhs::Edit(at, bhs::size), std::span(at + header_size, size - header_size));
    if (header_size > bhs::size) seal_header(at);
  }
  return static_cast<ssize_t>(size);
}

ssize_t BatchSocket::library_writev(const iovec* parts, int count) {
  if (fd_ == -1) return refuse(nullptr);
  std::size_t total = 0;
  for (const iovec& part : std::span(parts, static_cast<std::size_t>(count))) {
    append_reference(part.iov_base, part.iov_len);
    total += part.iov_len;
  }
  return static_cast<ssize_t>(total);
}

void BatchSocket::inject(std::array<std::byte, bhs::size> header, std::span<const std::byte> segment) {
  CHECK(segment.size() <= 8192);
  bhs::set32(header, 4, static_cast<std::uint32_t>(segment.size()));
  std::array<std::byte, bhs::size + bhs::digest_size> whole{};
  std::copy(header.begin(), header.end(), whole.begin());
  std::byte* const at = append_copy(whole.data(), digest_ ? whole.size() : header.size());
  tap_.on_pdu_out(bhs::Edit(at, bhs::size), segment);
  seal_header(at);
  if (segment.empty()) return;
  append_copy(segment.data(), segment.size());
  const std::array<std::byte, 4> zeroes{};
  if (const std::size_t padding = -segment.size() & 3; padding != 0) append_copy(zeroes.data(), padding);
}

bool BatchSocket::flush() {
  while (out_head_ < out_.size()) {
    if (fd_ == -1 || failure_) return false;
    msghdr message{};
    message.msg_iov = out_.data() + out_head_;
    message.msg_iovlen = std::min(out_.size() - out_head_, parts_max);
    ++system_calls_;
    const ssize_t sent = ::sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) failure_ = error_code(errno, std::generic_category());
      recycle();
      return false;
    }
    flushed_ += static_cast<std::uint64_t>(sent);
    std::size_t left = static_cast<std::size_t>(sent);
    while (left > 0) {
      iovec& part = out_[out_head_];
      const std::size_t n = std::min(left, part.iov_len);
      part.iov_base = static_cast<std::byte*>(part.iov_base) + n;
      part.iov_len -= n;
      left -= n;
      if (part.iov_len == 0) ++out_head_;
    }
  }
  recycle();
  return true;
}

void BatchSocket::recycle() {
  if (out_head_ == out_.size()) {
    out_.clear();
    out_head_ = 0;
    copy_end_ = nullptr;
    if (!blocks_.empty()) blocks_.back()->used = 0;
  } else if (out_head_ >= parts_max) {  // the peer reads slowly: drop what is gone
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(out_head_));
    out_head_ = 0;
  }
  std::size_t done = 0;
  while (done + 1 < blocks_.size() && blocks_[done]->ends_at <= flushed_) ++done;
  for (std::size_t i = 0; i < done; ++i) spare_.push_back(std::move(blocks_[i]));
  blocks_.erase(blocks_.begin(), blocks_.begin() + static_cast<std::ptrdiff_t>(done));
}

// ---- connect and close

int BatchSocket::library_connect(int fd) {
  library_fd_ = fd;
  fd_ = fd;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  bind_error_ = bind_socket(fd, binding_);
  if (bind_error_) {
    errno = bind_error_.value();
    return -1;
  }
  ++system_calls_;
  const int result = ::connect(fd, reinterpret_cast<const sockaddr*>(&peer_.storage), peer_.size);
  if (result != 0 && errno != EINPROGRESS) connect_error_ = error_code(errno, std::generic_category());
  return result;
}

void BatchSocket::close(bool reset) {
  if (fd_ == -1) return;
  if (reset) {
    const linger now{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  ::close(std::exchange(fd_, -1));
}

}  // namespace mpath

// What libiscsi calls instead of the C library. Descriptors that are not the current socket's pass through.
extern "C" {

int mpath_libiscsi_connect(int fd, const sockaddr* address, socklen_t size) {
  mpath::BatchSocket* const socket = mpath::BatchSocket::current();
  return socket != nullptr && !socket->connected() ? socket->library_connect(fd) : ::connect(fd, address, size);
}

int mpath_libiscsi_close(int fd) {
  mpath::BatchSocket* const socket = mpath::BatchSocket::current();
  return socket != nullptr && socket->owns(fd) ? 0 : ::close(fd);  // the BatchSocket closes its own
}

ssize_t mpath_libiscsi_recv(int fd, void* data, std::size_t size, int flags) {
  mpath::BatchSocket* const socket = mpath::BatchSocket::current();
  return socket != nullptr && socket->owns(fd) ? socket->library_recv(data, size) : ::recv(fd, data, size, flags);
}

ssize_t mpath_libiscsi_readv(int fd, const iovec* parts, int count) {
  mpath::BatchSocket* const socket = mpath::BatchSocket::current();
  return socket != nullptr && socket->owns(fd) ? socket->library_readv(parts, count) : ::readv(fd, parts, count);
}

ssize_t mpath_libiscsi_send(int fd, const void* data, std::size_t size, int flags) {
  mpath::BatchSocket* const socket = mpath::BatchSocket::current();
  return socket != nullptr && socket->owns(fd) ? socket->library_send(data, size) : ::send(fd, data, size, flags);
}

ssize_t mpath_libiscsi_writev(int fd, const iovec* parts, int count) {
  mpath::BatchSocket* const socket = mpath::BatchSocket::current();
  return socket != nullptr && socket->owns(fd) ? socket->library_writev(parts, count) : ::writev(fd, parts, count);
}

char* mpath_libiscsi_getenv(const char*) { return nullptr; }

// Unlike rand() it is no secret to nobody: libiscsi draws the challenge of mutual CHAP from it.
int mpath_libiscsi_rand() {
  unsigned value = 0;
  CHECK(getrandom(&value, sizeof value, 0) == sizeof value);
  return static_cast<int>(value & RAND_MAX);
}

void mpath_libiscsi_srand(unsigned) {}
}
