// A PeerStream over one TCP connection, past its handshake.
//
//    readable ── recvmsg into staging ── head ── body, straight into its own buffer ── on_message()
//                                                                                        │ send()
//    end of the wake, or a posted pump ── one sendmsg for all messages ◄── queue ◄───────┘
//
// Threads:    made and, until start(), destroyed on any thread; everything else on the shard. The shard outlives it.
// Allocation: none per message in steady state.
// Payloads:   a body that lies whole in staging with many others is handed over where it lies; else what lies there is
//             copied, and the rest received straight into the buffer that is handed over. Once one of 16 KiB or more
//             was seen, staging is kept short so that such bodies arrive there whole.
// Pressure:   what is queued is bounded by the sender, which waits for answers; what is received is always taken.
// Trust:      each head and each body has a checksum, and with StreamKeys a tag that only the peer can make, over the
//             number of the message on this connection too; with a TlsEngine everything is sealed, some 256 KiB at a
//             time for one system call. Whatever is wrong ends the stream. So does an answer to a message that has not
//             left yet: its body would be given back while it is still being sent.
// Links:      from version 2 on it is one of the links of a BondedStream, which numbers what is sent, and lends bodies
//             until the number was seen by the peer: then own() is said here before they are given back.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/clock.hpp"
#include "base/shard.hpp"
#include "base/unique_fd.hpp"
#include "target/replication/peer_stream.hpp"
#include "target/replication/tls_engine.hpp"

namespace mpath::target::replication {

// StreamAuth::hmac: from Transcript::derive().
struct StreamKeys {
  Key sending{}, receiving{};
};

struct TcpStreamOptions {
  // The peer's machine must acknowledge what was sent, and make room for more, within this, or the stream ends
  // (TCP_USER_TIMEOUT). When nothing is sent, keepalive finds out, in seconds.
  std::chrono::milliseconds silence_max{1000};
  std::optional<StreamKeys> keys;
  std::uint16_t version = 1;  // of the heads
};

struct StreamCounters {
  StreamAuth auth = StreamAuth::none;  // that is in force
  std::uint64_t messages_sent = 0, messages_received = 0;
  std::uint64_t bytes_sent = 0, bytes_received = 0;  // on the wire
  std::uint64_t wakes = 0;                           // waits that returned
  std::uint64_t receives = 0, sends = 0;             // system calls
  std::uint64_t bodies_in_place = 0;                 // handed over where they were received, not copied
};

class TcpStream final : public PeerStream {
 public:
  // `socket` is connected and non-blocking; `tls`, if there is one, past its handshake.
  TcpStream(UniqueFd socket, Shard& shard, const TcpStreamOptions& options, std::unique_ptr<TlsEngine> tls = nullptr);
  ~TcpStream() override;
  TcpStream(const TcpStream&) = delete;
  TcpStream& operator=(const TcpStream&) = delete;

  [[nodiscard]] std::uint16_t version() const override;
  void start(Receiver& receiver) override;
  void send(const StreamHead& head, std::span<const iovec> body) override;
  // What the kernel has not sent yet is dropped too; the peer sees a reset.
  void close() override;

  // Bodies of messages up to `number` that are still to be sent are not referenced any more after it. Version 2.
  void own(std::uint64_t number);
  // What the kernel says: how many of the bytes that have left the peer's machine has acknowledged, and how long that
  // takes. Two system calls.
  struct Progress {
    std::uint64_t acknowledged_bytes = 0;
    Duration round_trip{};
  };
  [[nodiscard]] Progress progress() const;
  [[nodiscard]] const StreamCounters& counters() const;

 private:
  class Connection;
  std::shared_ptr<Connection> connection_;  // shared with its handlers: a callback may destroy the stream
};

}  // namespace mpath::target::replication
