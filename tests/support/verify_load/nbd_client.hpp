// A lean NBD client for one connection: blocking handshake, then requests and replies without blocking.
//
// It shares no code with the server under test, so that a mistake in a common codec cannot hide itself.
//
// Threads:   one.
// Ownership: read buffers are borrowed from submit() until the reply; write payload is copied by submit().
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace mpath::verify {

enum class NbdCommand : std::uint16_t { read = 0, write = 1, disconnect = 2, flush = 3 };
inline constexpr std::uint16_t nbd_flag_fua = 1;

struct NbdReply {
  std::uint64_t cookie = 0;
  std::uint32_t error = 0;  // NBD's errno values; 0 = done
};

struct NbdAddress {
  std::string unix_path;  // or
  std::string host;       // numeric
  std::uint16_t port = 10809;
  std::string export_name;
};

class NbdClient {
 public:
  struct Request {
    NbdCommand command = NbdCommand::read;
    bool fua = false;
    std::uint64_t cookie = 0;
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::span<std::byte> into;        // read
    std::span<const std::byte> from;  // write
  };

  NbdClient() = default;
  ~NbdClient() { close(); }
  NbdClient(const NbdClient&) = delete;
  NbdClient& operator=(const NbdClient&) = delete;

  // Connects and agrees on the export within `limit`. Fails with the errno of the socket, ETIMEDOUT, or EPROTO.
  [[nodiscard]] error_code connect(const NbdAddress& address, std::chrono::milliseconds limit);
  void close();
  [[nodiscard]] bool connected() const { return fd_ >= 0; }
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
  [[nodiscard]] bool can_flush() const { return (flags_ & 4U) != 0; }
  [[nodiscard]] bool can_fua() const { return (flags_ & 8U) != 0; }

  void submit(const Request& request);
  [[nodiscard]] bool wants_write() const { return sent_ < out_.size(); }
  // Sends what the socket takes.
  [[nodiscard]] error_code flush_out();
  // Receives what is there and appends the finished replies. EOF is ECONNRESET.
  [[nodiscard]] error_code receive(std::vector<NbdReply>& replies);
  // Says goodbye in the protocol's way, then closes.
  void disconnect();

 private:
  struct Waiting {
    std::uint64_t cookie;
    std::span<std::byte> into;
  };
  [[nodiscard]] error_code shake_hands(const std::string& export_name, std::chrono::milliseconds limit);
  [[nodiscard]] error_code take_export_info(std::span<const std::byte> info);

  int fd_ = -1;
  std::uint64_t size_bytes_ = 0;
  std::uint16_t flags_ = 0;
  std::vector<std::byte> out_;
  std::size_t sent_ = 0;
  std::vector<std::byte> in_;  // unread bytes are [begin_, end_)
  std::size_t begin_ = 0, end_ = 0;
  std::vector<Waiting> waiting_;  // requests without a reply
  // The read whose payload is arriving.
  std::optional<std::uint64_t> filling_cookie_;
  std::span<std::byte> filling_;
};

}  // namespace mpath::verify
