// A TCP connection of which only the handshake's messages are read, byte by byte as long as they say they are: what
// comes behind the last one is left to the stream.
//
// Threads:      the control thread. Cancellation: every wait, as a coroutine; close() from outside.
// Time:         its user's business. Never throws but for cancellation.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "wire/replication_stream.hpp"

namespace mpath::target::replication {

using namespace mpath::replication;  // the words of the pair

class HandshakeSocket {
 public:
  // Of a connection that was accepted.
  HandshakeSocket(const boost::asio::any_io_executor& executor, UniqueFd socket);
  explicit HandshakeSocket(const boost::asio::any_io_executor& executor) : descriptor_(executor) {}

  // Unspecified `local`: as the routes say.
  [[nodiscard]] boost::asio::awaitable<error_code> connect(boost::asio::ip::tcp::endpoint local,
                                                           boost::asio::ip::tcp::endpoint remote);
  // One message, prefix and proof included. Fails with what handshake_length() says, or a socket error; ECONNRESET
  // also when the peer has closed.
  [[nodiscard]] boost::asio::awaitable<Result<std::vector<std::byte>>> receive();
  // Exactly as many bytes as there is place for.
  [[nodiscard]] boost::asio::awaitable<error_code> receive_all(std::span<std::byte> place);
  [[nodiscard]] boost::asio::awaitable<error_code> send(std::vector<std::byte> message);

  [[nodiscard]] UniqueFd release() { return UniqueFd(descriptor_.release()); }
  void close();

 private:
  [[nodiscard]] error_code adopt(UniqueFd socket);

  boost::asio::posix::stream_descriptor descriptor_;
};

[[nodiscard]] Nonce random_nonce();

}  // namespace mpath::target::replication
