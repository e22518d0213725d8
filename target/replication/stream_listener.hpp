// Where the peer's streams come in: connections are accepted, greeted, and told apart from strangers before the rest of
// the node hears of them.
//
//   accept ── Hello ── Welcome ── Proof, checked ── admit(): the owner's decision ── Ready ── TLS, if either end wants
//                                                                                      it ── attach(), on the shard
//
// Threads:      the control thread; `attach` runs on the shard that `admit` named.
// Strangers:    whoever has not proved the key costs one socket of `half_open_max` for at most `handshake_max`, and
//               changes nothing. When there are more of them, the oldest gives way.
// Cancellation: close(); streams that were attached are not touched.
#pragma once

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/shard.hpp"
#include "base/task_group.hpp"
#include "base/unique_fd.hpp"
#include "target/replication/tcp_stream.hpp"

namespace mpath::target::replication {

class HandshakeSocket;

// What becomes of a leader that has proved the key.
struct Admission {
  Ready ready;             // refused: nothing else is looked at
  Shard* shard = nullptr;  // where the unit lives
  // There; perhaps not, when the leader has gone. From version 2 on it is a link of a BondedStream.
  std::function<void(std::unique_ptr<TcpStream>, std::uint16_t version)> attach{};
};

struct StreamListenerOptions {
  Member self = Member::b;
  std::array<std::byte, 16> cluster{};
  std::string cluster_name;  // for tls_key_name()
  std::uint64_t incarnation = 0;
  StreamAuth auth = StreamAuth::none;  // wanted at least
  std::chrono::milliseconds handshake_max{2000};
  std::size_t half_open_max = 64;
  std::chrono::milliseconds silence_max{1000};  // of the streams: TcpStreamOptions
  std::chrono::milliseconds retry{500};         // an address that is not there yet
  std::uint16_t version_max = stream_version;   // to speak
};

struct StreamAddress {
  std::string address;     // numeric
  std::uint16_t port = 0;  // 0: any
  friend bool operator==(const StreamAddress&, const StreamAddress&) = default;
};

class StreamListener {
 public:
  // Asked about each leader that has proved the key and is of this cluster; takes the time it needs. `hello` is valid
  // until it has ended.
  using Admit = std::function<boost::asio::awaitable<Admission>(const Hello& hello)>;

  // `clock` is borrowed. The first of `keys` is proved with, all are accepted.
  StreamListener(boost::asio::any_io_executor control, Clock& clock, const Log& log,
                 const StreamListenerOptions& options, std::vector<Key> keys, Admit admit);
  ~StreamListener();

  // Once. An address that cannot be bound yet is tried again until it can.
  void listen(std::vector<StreamAddress> addresses);
  void set_keys(std::vector<Key> keys);
  // Those that are bound, with the ports that they have.
  [[nodiscard]] std::vector<StreamAddress> listening() const;
  [[nodiscard]] std::size_t half_open() const { return half_open_.size(); }
  [[nodiscard]] boost::asio::awaitable<void> close();

 private:
  using SocketPtr = std::shared_ptr<HandshakeSocket>;
  struct Door;
  struct Proved;

  [[nodiscard]] boost::asio::awaitable<void> keep_open(std::shared_ptr<Door> door);
  [[nodiscard]] error_code open(Door& door) const;
  [[nodiscard]] bool accept_some(Door& door);
  void welcome(UniqueFd socket);
  [[nodiscard]] boost::asio::awaitable<void> serve(SocketPtr socket, std::string remote);
  [[nodiscard]] boost::asio::awaitable<std::expected<Proved, std::string>> greet(SocketPtr socket);
  [[nodiscard]] boost::asio::awaitable<Admission> decide(const Proved& proved);
  [[nodiscard]] std::unique_ptr<TlsEngine> make_tls(const Proved& proved) const;
  void complain(const std::string& remote, const std::string& why);

  // Constant after construction.
  boost::asio::any_io_executor control_;
  Clock& clock_;
  Log log_;
  StreamListenerOptions options_;
  Admit admit_;

  std::vector<Key> keys_;
  std::vector<std::shared_ptr<Door>> doors_;
  std::list<SocketPtr> half_open_;              // oldest first
  std::map<std::string, std::string> refused_;  // by unit, why the last time
  TimePoint complain_again_ = TimePoint::min();
  std::uint64_t complaints_kept_back_ = 0;
  TaskGroup tasks_;
};

}  // namespace mpath::target::replication
