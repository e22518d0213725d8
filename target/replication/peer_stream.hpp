// The way from one copy of a unit to the other, as the copies see it: ordered, reliable until it is closed. Implemented
// over TCP by target/replication/tcp_stream.hpp, and in the simulator.
//
// Threads:    the unit's shard.
// Ownership:  a body that is sent is borrowed (array and memory) until the message was answered by the peer or the
//             stream is closed; those of answers (sums_answer, map; small) are copied. A received body is handed over.
// Re-entry:   send() and close() may be called from inside the callbacks; callbacks never come from inside them.
#pragma once

#include <sys/uio.h>

#include <span>

#include "base/buffer_pool.hpp"
#include "wire/replication_stream.hpp"

namespace mpath::target::replication {

using namespace mpath::replication;  // the words of the pair

class PeerStream {
 public:
  class Receiver {
   public:
    virtual ~Receiver() = default;
    // One message, whole and with a good checksum.
    virtual void on_message(const StreamHead& head, Buffer body) = 0;
    // The stream has ended by itself: cut, silent for too long, damaged. Nothing that was sent is referenced any more.
    virtual void on_closed(const std::string& why) = 0;
  };

  virtual ~PeerStream() = default;  // closes
  // Of what may be sent over it.
  [[nodiscard]] virtual std::uint16_t version() const { return stream_version; }
  // Once, before anything else; messages that came before are delivered after it, from the loop.
  virtual void start(Receiver& receiver) = 0;
  // `head.body_bytes` is the sum of the lengths in `body`.
  virtual void send(const StreamHead& head, std::span<const iovec> body) = 0;
  // No callback comes any more, and nothing that was sent is referenced.
  virtual void close() = 0;
};

}  // namespace mpath::target::replication
