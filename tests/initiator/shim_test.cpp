// The batching socket with a peer that sends what the test says, and the library's calls made by hand.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "initiator/batch_socket.hpp"

extern "C" {
int mpath_libiscsi_connect(int fd, const sockaddr* address, socklen_t size);
int mpath_libiscsi_close(int fd);
ssize_t mpath_libiscsi_recv(int fd, void* data, std::size_t size, int flags);
ssize_t mpath_libiscsi_readv(int fd, const iovec* parts, int count);
ssize_t mpath_libiscsi_send(int fd, const void* data, std::size_t size, int flags);
ssize_t mpath_libiscsi_writev(int fd, const iovec* parts, int count);
char* mpath_libiscsi_getenv(const char* name);
}

namespace mpath::test {
namespace {

struct Tap final : PduTap {
  bool on_pdu_in(bhs::Edit header, std::span<const std::byte> segment) noexcept override {
    headers_in.push_back(bhs::itt(header));
    segments_in.emplace_back(reinterpret_cast<const char*>(segment.data()), segment.size());
    if (edit_status) header[3] = std::byte{0};
    return !refuse;
  }
  void on_pdu_out(bhs::Edit header, std::span<const std::byte>) noexcept override { headers_out.push_back(bhs::itt(header)); }
  std::vector<std::uint32_t> headers_in, headers_out;
  std::vector<std::string> segments_in;
  bool refuse = false;
  bool edit_status = false;
};

std::string header_of(bhs::Opcode opcode, std::uint32_t itt, std::uint32_t length) {
  std::array<std::byte, bhs::size> raw{};
  raw[0] = static_cast<std::byte>(opcode);
  raw[3] = std::byte{2};
  bhs::set32(raw, 4, length);
  bhs::set32(raw, 16, itt);
  return {reinterpret_cast<const char*>(raw.data()), raw.size()};
}

class Shim : public testing::Test {
 protected:
  void SetUp() override {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    ASSERT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    socklen_t size = sizeof address;
    ASSERT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    ASSERT_EQ(::listen(listener_, 1), 0);
    const auto peer = parse_peer("127.0.0.1", ntohs(address.sin_port));
    ASSERT_TRUE(peer);
    socket_ = std::make_unique<BatchSocket>(tap_, Binding{}, *peer);
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const BatchSocket::Scope scope(*socket_);
    mpath_libiscsi_connect(fd_, nullptr, 0);  // it knows where to
    peer_ = ::accept(listener_, nullptr, nullptr);
    ASSERT_GE(peer_, 0);
    wait(POLLOUT);
  }
  void TearDown() override {
    socket_.reset();
    ::close(peer_);
    ::close(listener_);
  }
  void wait(short events) const {
    pollfd ready{fd_, events, 0};
    ASSERT_EQ(::poll(&ready, 1, 20000), 1);
  }
  // The peer sends `text`, and all of it is staged.
  void arrive(const std::string& text) {
    const std::uint64_t target = socket_->received() + text.size();
    std::size_t sent = 0;
    while (socket_->received() < target) {
      if (sent < text.size()) {
        const ssize_t n = ::send(peer_, text.data() + sent, text.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) sent += static_cast<std::size_t>(n);
      }
      wait(POLLIN);
      socket_->fill();
    }
  }
  ssize_t recv(void* data, std::size_t size) {
    const BatchSocket::Scope scope(*socket_);
    return mpath_libiscsi_recv(fd_, data, size, 0);
  }
  std::string heard(std::size_t size) const {
    std::string text(size, '\0');
    std::size_t got = 0;
    while (got < size) {
      const ssize_t n = ::recv(peer_, text.data() + got, size - got, 0);
      if (n <= 0) break;
      got += static_cast<std::size_t>(n);
    }
    text.resize(got);
    return text;
  }

  Tap tap_;
  int listener_ = -1, peer_ = -1, fd_ = -1;
  std::unique_ptr<BatchSocket> socket_;
};

TEST_F(Shim, HeadersAreDeliveredWholeOrNotAtAll) {
  const std::string pdu = header_of(bhs::Opcode::scsi_response, 7, 5) + "sense" + std::string(3, '\0');
  char buffer[64];
  for (std::size_t cut = 0; cut < pdu.size(); ++cut) {
    if (cut > 0) arrive(pdu.substr(cut - 1, 1));
    EXPECT_EQ(recv(buffer, bhs::size), -1) << cut;
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_TRUE(tap_.headers_in.empty());
  }
  tap_.edit_status = true;
  arrive(pdu.substr(pdu.size() - 1));
  ASSERT_EQ(recv(buffer, bhs::size), 48);
  EXPECT_EQ(buffer[3], 0);
  EXPECT_EQ(tap_.segments_in, std::vector<std::string>{"sense"});
  EXPECT_EQ(recv(buffer, 8), 8);
  EXPECT_EQ(std::string(buffer, 5), "sense");
  EXPECT_EQ(recv(buffer, bhs::size), -1);
}

TEST_F(Shim, RefusedPdusBreakTheConnection) {
  char buffer[64];
  tap_.refuse = true;
  arrive(header_of(bhs::Opcode::nop_in, 1, 0));
  EXPECT_EQ(recv(buffer, bhs::size), -1);
  EXPECT_EQ(errno, EPROTO);
}

TEST_F(Shim, DigestsAreCheckedAndMadeAnew) {
  socket_->use_header_digest(true);
  char buffer[64];
  arrive(header_of(bhs::Opcode::nop_in, 1, 0) + "abcd");
  EXPECT_EQ(recv(buffer, bhs::size + 4), -1);
  EXPECT_EQ(errno, EPROTO);
  EXPECT_STREQ(socket_->refusal(), "header digest error");
}

TEST_F(Shim, AdditionalHeadersAreRefused) {
  std::string pdu = header_of(bhs::Opcode::scsi_response, 7, 0);
  pdu[4] = 1;
  char buffer[64];
  arrive(pdu + "xxxx");
  EXPECT_EQ(recv(buffer, bhs::size), -1);
  EXPECT_NE(socket_->refusal(), nullptr);
}

TEST_F(Shim, LargePayloadGoesStraightToItsPlace) {
  const std::string data(200000, 'd');
  const std::string next = header_of(bhs::Opcode::nop_in, 9, 0);
  char buffer[64];
  arrive(header_of(bhs::Opcode::data_in, 8, static_cast<std::uint32_t>(data.size())));
  ASSERT_EQ(recv(buffer, bhs::size), 48);
  EXPECT_TRUE(socket_->wants_direct_read());
  std::string all = data + next, got(data.size(), ' ');
  std::size_t sent = 0, filled = 0;
  while (filled < got.size()) {
    if (sent < all.size()) {
      const ssize_t n = ::send(peer_, all.data() + sent, all.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n > 0) sent += static_cast<std::size_t>(n);
    }
    wait(POLLIN);
    socket_->expect_more();
    const iovec parts[2] = {{got.data() + filled, (got.size() - filled) / 2},
                            {got.data() + filled + (got.size() - filled) / 2, got.size() - filled - (got.size() - filled) / 2}};
    const BatchSocket::Scope scope(*socket_);
    if (!socket_->wants_direct_read()) socket_->fill();
    const ssize_t n = mpath_libiscsi_readv(fd_, parts, 2);
    if (n > 0) filled += static_cast<std::size_t>(n);
  }
  EXPECT_EQ(got, data);
  while (sent < all.size()) {
    const ssize_t n = ::send(peer_, all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
    ASSERT_GT(n, 0);
    sent += static_cast<std::size_t>(n);
  }
  while (socket_->received() < bhs::size + all.size()) {
    wait(POLLIN);
    socket_->fill();
  }
  ASSERT_EQ(recv(buffer, bhs::size), 48);
  EXPECT_EQ(tap_.headers_in.back(), 9U);
}

TEST_F(Shim, WhatIsSentLeavesInOneCall) {
  std::string expected;
  std::string payload(5000, 'p');
  {
    const BatchSocket::Scope scope(*socket_);
    for (std::uint32_t i = 0; i < 300; ++i) {
      std::string header = header_of(bhs::Opcode::scsi_command, i, 5000);
      ASSERT_EQ(mpath_libiscsi_send(fd_, header.data(), header.size(), 0), 48);
      expected += header;
      std::fill(header.begin(), header.end(), '!');  // it was copied
      if (i % 100 != 0) continue;
      const iovec part{payload.data(), payload.size()};
      ASSERT_EQ(mpath_libiscsi_writev(fd_, &part, 1), 5000);
      expected += payload;
    }
  }
  EXPECT_EQ(socket_->appended(), expected.size());
  EXPECT_EQ(socket_->flushed(), 0U);
  const std::uint64_t calls = socket_->system_calls();
  EXPECT_TRUE(socket_->flush());
  EXPECT_EQ(socket_->system_calls(), calls + 1);
  EXPECT_EQ(socket_->flushed(), expected.size());
  EXPECT_EQ(heard(expected.size()), expected);
  EXPECT_EQ(tap_.headers_out.size(), 300U);
}

TEST_F(Shim, APeerThatDoesNotReadHoldsNothingUpForEver) {
  std::string payload(1 << 20, 'q');
  std::size_t total = 0;
  const auto append = [&] {
    const BatchSocket::Scope scope(*socket_);
    const std::string header = header_of(bhs::Opcode::data_out, 1, static_cast<std::uint32_t>(payload.size()));
    mpath_libiscsi_send(fd_, header.data(), header.size(), 0);
    const iovec part{payload.data(), payload.size()};
    mpath_libiscsi_writev(fd_, &part, 1);
    total += 48 + payload.size();
  };
  for (int i = 0; i < 40; ++i) append();
  EXPECT_FALSE(socket_->flush());
  EXPECT_FALSE(socket_->failure());
  std::size_t got = 0;
  while (got < total) {
    got += heard(std::min<std::size_t>(total - got, 65536)).size();
    static_cast<void>(socket_->flush());
  }
  EXPECT_EQ(socket_->flushed(), total);
}

TEST_F(Shim, EndOfStreamComesAfterWhatCameBefore) {
  arrive(header_of(bhs::Opcode::nop_in, 5, 0));
  ::shutdown(peer_, SHUT_WR);
  wait(POLLIN);
  socket_->fill();
  EXPECT_TRUE(socket_->failure());
  char buffer[64];
  EXPECT_EQ(recv(buffer, bhs::size), 48);
}

TEST_F(Shim, ResetIsSeenAtOnce) {
  socket_->close(true);
  char byte = 0;
  EXPECT_EQ(::recv(peer_, &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_EQ(recv(&byte, 1), -1) << "a closed socket's number must not reach whoever has it now";
}

TEST_F(Shim, StrangersPassThrough) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const BatchSocket::Scope scope(*socket_);
  const char text[] = "abc";
  const iovec out{const_cast<char*>(text), 3};
  EXPECT_EQ(mpath_libiscsi_writev(pipe_ends[1], &out, 1), 3);
  char buffer[4];
  const iovec in{buffer, 3};
  EXPECT_EQ(mpath_libiscsi_readv(pipe_ends[0], &in, 1), 3);
  EXPECT_EQ(mpath_libiscsi_close(pipe_ends[0]), 0);
  EXPECT_EQ(mpath_libiscsi_close(pipe_ends[1]), 0);
  EXPECT_EQ(mpath_libiscsi_close(fd_), 0);
  EXPECT_NE(socket_->fd(), -1) << "ours is closed by its owner";
  EXPECT_EQ(mpath_libiscsi_getenv("PATH"), nullptr);
}

TEST(PeerAddress, NumericFormsOnly) {
  EXPECT_TRUE(parse_peer("192.0.2.1", 1));
  EXPECT_TRUE(parse_peer("2001:db8::1", 1));
  const auto scoped = parse_peer("fe80::1%lo", 1);
  ASSERT_TRUE(scoped);
  EXPECT_NE(reinterpret_cast<const sockaddr_in6&>(scoped->storage).sin6_scope_id, 0U);
  EXPECT_FALSE(parse_peer("fe80::1%nosuchnic", 1));
  EXPECT_FALSE(parse_peer("localhost", 1));
  EXPECT_FALSE(parse_peer("", 1));
  EXPECT_FALSE(parse_peer("1.2.3", 1));
}

}  // namespace
}  // namespace mpath::test
