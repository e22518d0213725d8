// A shard that the test itself runs, and TCP connections on loopback with a stream, or the test's own bytes, at either
// end.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/shard.hpp"
#include "base/unique_fd.hpp"
#include "target/replication/tcp_stream.hpp"
#include "wire/crc32c.hpp"

namespace mpath::target::replication::test {

using Bytes = std::vector<std::byte>;

inline Bytes pattern(std::size_t size, unsigned seed = 1) {
  Bytes bytes(size);
  for (std::size_t at = 0; at < size; ++at) bytes[at] = static_cast<std::byte>((at * 31 + at / 253 + seed * 17) & 0xff);
  return bytes;
}

// Two ends of one connection, non-blocking.
struct Ends {
  UniqueFd near, far;
};

// `buffer_bytes`: what the kernel holds for either end; 0: as it likes.
inline Ends connect_on_loopback(int buffer_bytes = 0) {
  const auto must = [](int result) {
    if (result < 0) throw std::system_error(errno, std::generic_category());
    return result;
  };
  UniqueFd listener(must(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  if (buffer_bytes > 0) {
    must(::setsockopt(listener.get(), SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes));
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  must(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
  must(::listen(listener.get(), 1));
  socklen_t size = sizeof address;
  must(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size));
  Ends ends;
  ends.near.reset(must(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  if (buffer_bytes > 0) {
    must(::setsockopt(ends.near.get(), SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes));
  }
  must(::connect(ends.near.get(), reinterpret_cast<sockaddr*>(&address), size));
  ends.far.reset(must(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)));
  must(::fcntl(ends.near.get(), F_SETFL, O_NONBLOCK));
  return ends;
}

// What a stream's receiver was told.
struct Told : PeerStream::Receiver {
  struct Message {
    StreamHead head;
    Bytes body;
  };
  std::vector<Message> messages;
  std::vector<std::string> closed;
  bool keep = true;  // false: only counted
  std::size_t count = 0;
  std::function<void(const StreamHead&, std::span<const std::byte>)> on_each;
  std::function<void()> on_end;

  void on_message(const StreamHead& head, Buffer body) override {
    ++count;
    EXPECT_EQ(body.size(), head.body_bytes);
    if (keep) messages.push_back({head, Bytes(body.bytes().begin(), body.bytes().end())});
    if (on_each) on_each(head, body.bytes());
  }
  void on_closed(const std::string& why) override {
    closed.push_back(why);
    if (on_end) on_end();
  }
};

class StreamTest : public testing::Test {
 protected:
  // Runs the shard until `done`, or fails after half a minute.
  void run_until(const std::function<bool()>& done, const char* what = "it") {
    const auto end = shard.clock().now() + std::chrono::seconds(30);
    while (!done()) {
      if (shard.clock().now() > end) {
        FAIL() << "never came: " << what;
      }
      shard.context().run_one_for(std::chrono::milliseconds(20));
    }
  }
  // Everything that can be done without waiting.
  void settle() {
    while (shard.context().poll() > 0) {
    }
  }

  std::unique_ptr<TcpStream> stream_on(UniqueFd socket, const TcpStreamOptions& options = {},
                                       std::unique_ptr<TlsEngine> tls = nullptr) {
    return std::make_unique<TcpStream>(std::move(socket), shard, options, std::move(tls));
  }

  Shard shard{0};
};

// A message as it is on the wire, without a tag.
inline Bytes on_the_wire(const StreamHead& head, std::span<const std::byte> body) {
  Bytes bytes(stream_head_bytes(1));
  encode_stream_head(head, body.empty() ? 0 : crc32c(body), 1, bytes);
  bytes.insert(bytes.end(), body.begin(), body.end());
  return bytes;
}

inline void write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (count < 0) return;  // the stream has closed it: what the test then looks at
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

// What can be read without waiting.
inline Bytes read_some(int fd) {
  Bytes all;
  std::array<std::byte, 65536> block;
  for (;;) {
    const ssize_t count = ::recv(fd, block.data(), block.size(), MSG_DONTWAIT);
    if (count <= 0) return all;
    all.insert(all.end(), block.begin(), block.begin() + count);
  }
}

}  // namespace mpath::target::replication::test
