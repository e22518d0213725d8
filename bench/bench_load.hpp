// What the load generators have in common: what is asked for, what is counted, and what leaves in one piece.
//
// Threads: one.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/bench_histogram.hpp"

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

// Where the next request goes, and whether it reads.
class Pattern {
 public:
  explicit Pattern(const Load& load) : load_(load), random_(load.seed * 0x9e3779b97f4a7c15 | 1) {}
  // A multiple of the request's size, below `size_bytes`.
  std::uint64_t next_offset(std::uint64_t size_bytes);
  bool next_is_read();

 private:
  Load load_;
  std::uint64_t random_;
  std::uint64_t position_ = 0;
};

// Bytes on their way to a socket that does not block: one sendmsg for as much as it takes.
//
// Ownership: what is added is borrowed until it was sent.
class SendQueue {
 public:
  explicit SendQueue(std::uint64_t& sends) : sends_(sends) {}
  void reserve(std::size_t pieces) { pieces_.reserve(pieces); }
  void add(const void* bytes, std::size_t count) { pieces_.push_back({const_cast<void*>(bytes), count}); }
  [[nodiscard]] bool empty() const { return at_ == pieces_.size(); }
  // Throws std::system_error.
  void flush(int fd);

 private:
  std::vector<iovec> pieces_;
  std::size_t at_ = 0;
  std::uint64_t& sends_;
};

// A connected client with a queue to keep full. Errors are thrown as std::system_error or std::runtime_error.
class LoadClient {
 public:
  virtual ~LoadClient() = default;
  // Fills the queue. `now` in nanoseconds.
  virtual void start(std::uint64_t now) = 0;
  // To be called when the socket is readable, or writable after want_write(). Returns how many requests were answered;
  // those are replaced by new ones while `more`.
  virtual std::uint64_t on_ready(std::uint64_t now, bool more) = 0;
  [[nodiscard]] virtual bool want_write() const = 0;
  [[nodiscard]] virtual std::uint32_t in_flight() const = 0;
  [[nodiscard]] virtual int fd() const = 0;
};

[[noreturn]] void throw_errno(const char* what);
// On a blocking socket.
void send_all(int fd, const void* bytes, std::size_t count);
void receive_all(int fd, void* bytes, std::size_t count);
// HOST:PORT with a numeric IPv4 address; TCP_NODELAY is set.
[[nodiscard]] int connect_tcp(const std::string& host_and_port);
// Large buffers, and no blocking from here on.
void make_fast(int fd);

}  // namespace mpath::bench
