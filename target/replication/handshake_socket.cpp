#include "target/replication/handshake_socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>

#include "base/check.hpp"

namespace mpath::target::replication {

namespace asio = boost::asio;
using asio::awaitable;
using Descriptor = asio::posix::stream_descriptor;

namespace {

constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);

bool not_yet(int number) {
  return number == EAGAIN || number == EWOULDBLOCK;
}

}  // namespace

HandshakeSocket::HandshakeSocket(const asio::any_io_executor& executor, UniqueFd socket) : descriptor_(executor) {
  static_cast<void>(adopt(std::move(socket)));  // when that fails there is nothing to read from, as it turns out
}

error_code HandshakeSocket::adopt(UniqueFd socket) {
  constexpr int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  boost::system::error_code error;
  descriptor_.assign(socket.get(), error);
  if (!error) static_cast<void>(socket.release());
  return error;
}

awaitable<error_code> HandshakeSocket::connect(asio::ip::tcp::endpoint local, asio::ip::tcp::endpoint remote) {
  UniqueFd socket(::socket(remote.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) co_return errno_code(errno);
  if (!local.address().is_unspecified() &&
      ::bind(socket.get(), local.data(), static_cast<socklen_t>(local.size())) != 0) {
    co_return errno_code(errno);
  }
  const int result = ::connect(socket.get(), remote.data(), static_cast<socklen_t>(remote.size()));
  const int why = result == 0 ? 0 : errno;
  if (why != 0 && why != EINPROGRESS && why != EINTR) co_return errno_code(why);
  if (const error_code error = adopt(std::move(socket))) co_return error;
  if (why == 0) co_return error_code();
  const auto [error] = co_await descriptor_.async_wait(Descriptor::wait_write, as_tuple);
  if (error) co_return error;
  int pending = 0;
  socklen_t size = sizeof pending;
  if (::getsockopt(descriptor_.native_handle(), SOL_SOCKET, SO_ERROR, &pending, &size) != 0) pending = errno;
  co_return errno_code(pending);
}

awaitable<Result<std::vector<std::byte>>> HandshakeSocket::receive() {
  std::vector<std::byte> message(handshake_prefix_bytes);
  if (const error_code error = co_await receive_all(message)) co_return failure(error);
  const auto length = handshake_length(message);
  if (!length) co_return failure(length.error());
  message.resize(*length);
  if (const error_code error = co_await receive_all(std::span(message).subspan(handshake_prefix_bytes))) {
    co_return failure(error);
  }
  co_return message;
}

awaitable<error_code> HandshakeSocket::receive_all(std::span<std::byte> place) {
  while (!place.empty()) {
    if (!descriptor_.is_open()) co_return errno_code(ECONNABORTED);
    const ssize_t got = ::recv(descriptor_.native_handle(), place.data(), place.size(), MSG_DONTWAIT);
    if (got > 0) {
      place = place.subspan(static_cast<std::size_t>(got));
      continue;
    }
    if (got == 0) co_return errno_code(ECONNRESET);
    if (errno == EINTR) continue;
    if (!not_yet(errno)) co_return errno_code(errno);
    const auto [error] = co_await descriptor_.async_wait(Descriptor::wait_read, as_tuple);
    if (error) co_return error;
  }
  co_return error_code();
}

awaitable<error_code> HandshakeSocket::send(std::vector<std::byte> message) {
  std::span<const std::byte> rest(message);
  while (!rest.empty()) {
    if (!descriptor_.is_open()) co_return errno_code(ECONNABORTED);
    const ssize_t count = ::send(descriptor_.native_handle(), rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) {
      rest = rest.subspan(static_cast<std::size_t>(count));
      continue;
    }
    if (errno == EINTR) continue;
    if (!not_yet(errno)) co_return errno_code(errno);
    const auto [error] = co_await descriptor_.async_wait(Descriptor::wait_write, as_tuple);
    if (error) co_return error;
  }
  co_return error_code();
}

void HandshakeSocket::close() {
  boost::system::error_code ignored;
  descriptor_.close(ignored);
}

Nonce random_nonce() {
  Nonce nonce;
  CHECK(::getrandom(nonce.data(), nonce.size(), 0) == static_cast<ssize_t>(nonce.size()));
  return nonce;
}

}  // namespace mpath::target::replication
