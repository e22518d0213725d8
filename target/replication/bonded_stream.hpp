// A PeerStream over several TCP connections at once, its links: what is sent goes over one of them, and again over
// another when that one ends or stalls. It ends when its last link does.
//
//   send() ──► Bond: number, link ──► TcpStream of the link ═══► TcpStream ──► InOrder ──► on_message()
//                 ▲                                                               │
//                 └──────────────────── seen, in each head ◄──────────────────────┘
//
// Threads:    made on any; everything else on the shard, which outlives it.
// Allocation: none per message in steady state.
// Trust:      as for TcpStream. A peer that answers what it has not seen, or has seen what was not sent, ends the
//             stream.
// Bounds:     BondOptions::window_max messages on their way in each direction; more end the stream. What is kept is
//             what the sender lends (bodies of what is answered) or, for answers, small copies.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "base/shard.hpp"
#include "target/replication/bond.hpp"
#include "target/replication/tcp_stream.hpp"

namespace mpath::target::replication {

struct BondCounters {
  std::array<StreamCounters, stream_links_max> links;  // of the connection that is up, or was last
  Bond::Links up = 0;
  std::uint64_t sent_again = 0;  // messages
  std::uint64_t came_twice = 0;  // and were dropped
  std::uint64_t came_early = 0;  // and waited for others
  std::uint64_t links_lost = 0;
};

class BondedStream final : public PeerStream {
 public:
  explicit BondedStream(Shard& shard, const BondOptions& options = {});
  ~BondedStream() override;
  BondedStream(const BondedStream&) = delete;
  BondedStream& operator=(const BondedStream&) = delete;

  // `tcp` speaks version 2 or later and was not started. A connection that is there for this link gives way. False: the
  // stream has ended.
  bool add_link(std::size_t link, std::unique_ptr<TcpStream> tcp);
  // A link came (`why` is empty) or was lost, but not by close(). Called from the loop; must not call back.
  std::function<void(std::size_t link, const std::string& why)> on_link;

  // That of its first link: both ends of the others are the same programs.
  [[nodiscard]] std::uint16_t version() const override;
  void start(Receiver& receiver) override;
  void send(const StreamHead& head, std::span<const iovec> body) override;
  void close() override;

  [[nodiscard]] bool ended() const;
  [[nodiscard]] BondCounters counters() const;

 private:
  class Core;
  std::shared_ptr<Core> core_;  // shared with its handlers: a callback may destroy the stream
};

}  // namespace mpath::target::replication
