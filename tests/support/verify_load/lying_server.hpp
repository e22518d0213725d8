// An NBD server over memory that can be told to lie, once (ghost_write: again and again): what the verifying load must
// notice.
//
// Threads:   serve() runs on a thread of its own from construction to destruction; plant() before a client connects.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/temporary_directory.hpp"

namespace mpath::verify {

enum class Lie : std::uint8_t {
  none,
  lose_write,        // acknowledged, never stored
  lose_half,         // acknowledged, only the second half of its last block stored: torn
  misplace_write,    // stored one block further on
  ghost_write,       // stored again after a newer write of the same block was acknowledged
  stale_read,        // a read returns what the block held before its last write
  flip_bit,          // one bit of the answer to a read
  error,             // EIO for a write
  hang,              // a write is never answered, nor is anything after it
  close_connection,  // instead of answering a write; accepts a new connection
};

class LyingServer {
 public:
  // Lies at the first opportunity after `after` writes.
  LyingServer(std::uint64_t size_bytes, Lie lie, unsigned after);
  ~LyingServer();
  LyingServer(const LyingServer&) = delete;
  LyingServer& operator=(const LyingServer&) = delete;

  [[nodiscard]] std::string socket_path() const { return directory_ / "nbd.sock"; }
  [[nodiscard]] bool lied() const { return lied_; }

 private:
  void serve();
  void serve_connection(int fd);
  bool answer_request(int fd);
  // What to do with a write: false to close the connection, nothing to stay silent.
  std::optional<bool> take_write(int fd, std::uint64_t cookie, std::uint64_t offset, std::vector<std::byte>& data);
  void take_read(std::uint64_t offset, std::span<std::byte> into);
  void store(std::uint64_t offset, std::span<const std::byte> data);
  bool lie_now(Lie lie);

  const test::TemporaryDirectory directory_;
  Lie lie_;
  unsigned after_;
  unsigned writes_ = 0;
  std::vector<std::byte> disk_;
  // ghost_write and stale_read: a block and what it held.
  std::optional<std::pair<std::uint64_t, std::vector<std::byte>>> kept_;
  bool silent_ = false;
  int listener_ = -1;
  std::atomic<int> connection_{-1};
  std::atomic<bool> lied_{false};
  std::atomic<bool> closing_{false};
  std::thread thread_;
};

}  // namespace mpath::verify
