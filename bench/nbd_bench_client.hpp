// One NBD connection that keeps a number of requests in flight and costs as little as it can: what comes is received in
// one piece, what is to be asked next leaves in one piece.
//
// Threads: one. Errors of the connection and of the protocol are thrown as std::system_error or std::runtime_error.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "bench/nbd_bench_histogram.hpp"
#include "wire/nbd.hpp"

namespace mpath::bench {

enum class Op : std::uint8_t { read, write, mixed };  // mixed: 70 % reads

struct Load {
  Op op = Op::read;
  std::uint32_t size = 4096;
  std::uint32_t depth = 32;
  bool sequential = false;
  std::uint64_t seed = 1;
};

struct Totals {
  Histogram latency;
  std::uint64_t errors = 0;
  std::uint64_t receives = 0;
  std::uint64_t sends = 0;
};

// A connected blocking socket: PATH of a unix socket, or HOST:PORT (numeric).
UniqueFd connect_to(const std::string& unix_path, const std::string& host_and_port);

class Client {
 public:
  // Does the handshake for `export_name`.
  Client(UniqueFd socket, const std::string& export_name, const Load& load, Totals& totals);

  // Fills the queue. `now` in nanoseconds.
  void start(std::uint64_t now);
  // To be called when the socket is readable, or writable after want_write(). Returns how many requests were answered.
  std::uint64_t on_ready(std::uint64_t now, bool more);
  [[nodiscard]] bool want_write() const { return send_from_ < to_send_.size(); }
  [[nodiscard]] std::uint32_t in_flight() const { return in_flight_; }
  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  struct Slot {
    std::uint64_t started = 0;
    bool is_read = true;
    std::byte header[nbd::request_bytes];
  };

  void handshake(const std::string& export_name);
  void ask(std::uint32_t index, std::uint64_t now);
  std::uint64_t receive(std::uint64_t now, bool more);
  void flush();
  std::uint64_t next_offset();
  bool next_is_read();

  UniqueFd socket_;
  Load load_;
  Totals& totals_;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t random_;
  std::uint64_t position_ = 0;
  std::vector<Slot> slots_;
  std::uint32_t in_flight_ = 0;

  std::vector<std::byte> staging_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t skip_ = 0;  // of a read's data

  std::vector<std::byte> payload_;  // what every write carries
  std::vector<iovec> to_send_;
  std::size_t send_from_ = 0;
};

}  // namespace mpath::bench
