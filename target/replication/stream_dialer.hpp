// How the node that leads gets a stream to the peer's copy of a unit: over the first link that leads there, with proof
// on both sides.
//
// Threads:      the control thread; the stream that comes out belongs to its unit's shard, where it is to be started.
// Time:         each link has `connect_max` to connect and `handshake_max` to be greeted.
// Cancellation: as a coroutine; nothing is left.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/shard.hpp"
#include "target/replication/tcp_stream.hpp"

namespace mpath::target::replication {

struct StreamLink {
  std::string local;   // numeric; empty: as the routes say
  std::string remote;  // numeric
  std::uint16_t port = 0;
  std::uint8_t index = 0;  // Hello::link
};

struct StreamDialOptions {
  std::chrono::milliseconds connect_max{300}, handshake_max{1000};
  std::chrono::milliseconds silence_max{1000};  // of the stream: TcpStreamOptions
  std::string cluster_name;                     // for tls_key_name()
};

struct Dialed {
  std::unique_ptr<TcpStream> stream;  // from version 2 on a link of a BondedStream
  Welcome welcome;                    // who the peer is, in which life
  std::size_t link = 0;               // StreamLink::index of the one that leads there
};

struct DialFailure {
  // What the peer said, with proof; none: nobody could be asked, and `error` is why. `version` and `cluster` are also
  // said here when there is no common version, or when no link led to one who has the key.
  StreamRefusal refusal = StreamRefusal::none;
  error_code error;  // of the last link; none when it was refused
  std::string text;  // for people: of every link that was tried
};

class StreamDialer {
 public:
  // `clock` is borrowed.
  StreamDialer(boost::asio::any_io_executor control, Clock& clock, const StreamDialOptions& options = {})
      : control_(std::move(control)), clock_(clock), options_(options) {}

  // Links are tried in their order: those first that the peer is heard on. What a peer refuses with proof is not tried
  // elsewhere. The nonce and the link of `hello` are set here. The first key is what we prove with, the peer may prove
  // with any.
  [[nodiscard]] boost::asio::awaitable<std::expected<Dialed, DialFailure>> connect(std::vector<StreamLink> links,
                                                                                   Hello hello, std::vector<Key> keys,
                                                                                   Shard& shard) const;

 private:
  [[nodiscard]] boost::asio::awaitable<std::expected<Dialed, DialFailure>> try_link(StreamLink link, Hello hello,
                                                                                    std::vector<Key> keys,
                                                                                    Shard& shard) const;

  // Constant after construction.
  boost::asio::any_io_executor control_;
  Clock& clock_;
  StreamDialOptions options_;
};

}  // namespace mpath::target::replication
