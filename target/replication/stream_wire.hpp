// How the bytes of a TcpStream go over its socket: as they are, or as records of TLS.
//
// Threads: the shard. Calls: each send() and receive() is one system call at most.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <expected>
#include <memory>
#include <span>
#include <string>

#include "base/buffer_pool.hpp"
#include "base/gather.hpp"
#include "target/replication/tls_engine.hpp"

namespace mpath::target::replication {

class StreamWire {
 public:
  virtual ~StreamWire() = default;

  struct Sent {
    std::size_t taken = 0;  // of what was gathered: not referenced any more
    std::size_t bytes = 0;  // that the socket took
    bool full = false;      // it takes no more for now
  };
  [[nodiscard]] virtual std::expected<Sent, std::string> send(int socket, Gather& gather) = 0;
  // There is something to send even if nothing is gathered.
  [[nodiscard]] virtual bool unsent() const = 0;

  struct Received {
    std::size_t placed = 0;  // into the places, in their order
    std::size_t bytes = 0;   // from the socket
    bool asked = false;      // it: a system call
    bool ended = false;      // it has: nothing was placed
    bool more = false;       // may be there
  };
  [[nodiscard]] virtual std::expected<Received, std::string> receive(int socket, std::span<const iovec> places) = 0;
  // Something was received and not placed: it will come without the socket becoming readable.
  [[nodiscard]] virtual bool has_input() const = 0;
  // Part of what has to come together was received.
  [[nodiscard]] virtual bool in_record() const = 0;
  // What is held from the pool goes back: nothing is sent or received any more.
  virtual void release() = 0;
};

[[nodiscard]] std::unique_ptr<StreamWire> make_plain_wire();
// `engine` is past its handshake.
[[nodiscard]] std::unique_ptr<StreamWire> make_tls_wire(std::unique_ptr<TlsEngine> engine, BufferPool& buffers);

}  // namespace mpath::target::replication
