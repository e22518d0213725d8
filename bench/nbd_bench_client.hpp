// One NBD connection that keeps a number of requests in flight and costs as little as it can: what comes is received in
// one piece, what is to be asked next leaves in one piece.
//
// Threads: one. Errors of the connection and of the protocol are thrown as std::system_error or std::runtime_error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "bench/bench_load.hpp"
#include "wire/nbd.hpp"

namespace mpath::bench {

// A connected blocking socket: PATH of a unix socket, or HOST:PORT (numeric).
UniqueFd connect_nbd(const std::string& unix_path, const std::string& host_and_port);

class NbdClient final : public LoadClient {
 public:
  // Does the handshake for `export_name`.
  NbdClient(UniqueFd socket, const std::string& export_name, const Load& load, Totals& totals);

  void start(std::uint64_t now) override;
  std::uint64_t on_ready(std::uint64_t now, bool more) override;
  [[nodiscard]] bool want_write() const override { return !to_send_.empty(); }
  [[nodiscard]] std::uint32_t in_flight() const override { return in_flight_; }
  [[nodiscard]] int fd() const override { return socket_.get(); }
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

  UniqueFd socket_;
  Load load_;
  Totals& totals_;
  std::uint64_t size_bytes_ = 0;
  Pattern pattern_;
  std::vector<Slot> slots_;
  std::uint32_t in_flight_ = 0;

  std::vector<std::byte> staging_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t skip_ = 0;  // of a read's data

  std::vector<std::byte> payload_;  // what every write carries
  SendQueue to_send_;
};

}  // namespace mpath::bench
