// The socket beneath libiscsi. The library wants one recv and one send for every header; this gives it the bytes from one
// large receive and turns everything it sends into one sendmsg.
//
//   receive: fill() reads up to 256 KiB at once; the library's recv/readv are served from there. With nothing staged in the
//            middle of a large payload its readv goes straight to the kernel, the staging memory as last element.
//   send:    headers are copied, payload is referenced; flush() sends them with sendmsg, up to 1024 pieces a call.
//   tap:     every PDU is shown before the library sees it (whole: header, and data segment unless it is Data-In), and every
//            header on its way out; both may be corrected, with the header digest made anew.
//
// How it gets there: the library's archive is linked with its socket calls renamed (initiator/CMakeLists.txt). While a
// BatchSocket::Scope lives, such calls of this thread belong to its socket: no table, no lock.
//
// Threads:   one. Different sockets may be used on different threads.
// Lifetime:  payload given to send must stay valid until flushed() has passed the appended() it was given at.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "ifaces/binding.hpp"
#include "initiator/bhs.hpp"

namespace mpath {

class PduTap {
 public:
  virtual ~PduTap() = default;
  // `segment` is without padding, and empty for Data-In. False refuses the PDU: the library sees a broken connection.
  [[nodiscard]] virtual bool on_pdu_in(bhs::Edit header, std::span<const std::byte> segment) noexcept = 0;
  // `segment` is what the library sends in one piece with the header (login and text keys), not payload.
  virtual void on_pdu_out(bhs::Edit header, std::span<const std::byte> segment) noexcept = 0;
};

struct PeerAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

// A numeric address, IPv6 with or without scope (fe80::1%eth0), no brackets. Fails with EINVAL, or ENODEV for the scope.
[[nodiscard]] Result<PeerAddress> parse_peer(const std::string& address, std::uint16_t port);

class BatchSocket {
 public:
  static constexpr std::size_t staging_bytes = 262144;
  static constexpr std::size_t direct_bytes_min = 16384;  // payload left from which a read goes straight to its place

  BatchSocket(PduTap& tap, Binding binding, PeerAddress peer);
  ~BatchSocket();
  BatchSocket(const BatchSocket&) = delete;
  BatchSocket& operator=(const BatchSocket&) = delete;

  // The library's calls on this thread are ours while it lives.
  class Scope {
   public:
    explicit Scope(BatchSocket& socket);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    BatchSocket* outer_;
  };

  [[nodiscard]] int fd() const { return fd_; }  // -1 before connect and after close
  // Why connect failed on our side before the kernel was asked to connect (binding); empty otherwise.
  [[nodiscard]] error_code bind_error() const { return bind_error_; }
  [[nodiscard]] error_code connect_error() const { return connect_error_; }

  // One receive into the staging memory. Sets drained() when the kernel had no more, and failure() on error or end of stream.
  void fill();
  // The socket may have become readable again.
  void expect_more() { drained_ = false; }
  [[nodiscard]] bool drained() const { return drained_; }
  // Bytes the library has taken so far: it got no further when this stands still.
  [[nodiscard]] std::uint64_t delivered() const { return delivered_; }
  [[nodiscard]] std::uint64_t received() const { return received_; }
  // The next bytes are better read by the library's own readv.
  [[nodiscard]] bool wants_direct_read() const { return begin_ == end_ && segment_left_ >= direct_bytes_min; }
  [[nodiscard]] bool has_staged() const { return begin_ != end_; }
  // End of stream or an error from the kernel, once everything before it was staged; ECONNRESET for end of stream.
  [[nodiscard]] error_code failure() const { return failure_; }
  // Why a PDU was refused here (digest, AHS, size); null when it was the tap or nothing.
  [[nodiscard]] const char* refusal() const { return refusal_; }

  // Sends what was appended. True when nothing is left; false when the kernel takes no more now, or failure() is set.
  bool flush();
  [[nodiscard]] std::uint64_t appended() const { return appended_; }  // bytes, since connect
  [[nodiscard]] std::uint64_t flushed() const { return flushed_; }
  // A PDU of our own; sent with the next flush in the order given. Its segment length is set from `segment`.
  void inject(std::array<std::byte, bhs::size> header, std::span<const std::byte> segment = {});

  // Headers carry a digest from the next PDU on, in both directions.
  void use_header_digest(bool on) { digest_ = on; }

  // Closes; `reset` drops what is unsent and lets the peer see RST at once.
  void close(bool reset);

  [[nodiscard]] std::uint64_t system_calls() const { return system_calls_; }

  // The library's calls (by way of the renamed symbols).
  [[nodiscard]] bool owns(int fd) const { return fd == library_fd_; }
  [[nodiscard]] bool connected() const { return library_fd_ != -1; }
  int library_connect(int fd);
  ssize_t library_recv(void* data, std::size_t size);
  ssize_t library_readv(const iovec* parts, int count);
  ssize_t library_send(const void* data, std::size_t size);
  ssize_t library_writev(const iovec* parts, int count);
  static BatchSocket* current();

 private:
  struct Block {
    static constexpr std::size_t size = 16384;
    std::array<std::byte, size> bytes;
    std::size_t used = 0;
    std::uint64_t ends_at = 0;  // appended() after the last byte put here
  };

  [[nodiscard]] ssize_t refuse(const char* why);
  [[nodiscard]] ssize_t begin_pdu(void* data, std::size_t size);
  [[nodiscard]] std::size_t take(std::byte* to, std::size_t size);
  std::byte* append_copy(const void* data, std::size_t size);
  void append_reference(const void* data, std::size_t size);
  void seal_header(std::byte* header) const;
  void recycle();

  // Constant after construction.
  PduTap& tap_;
  Binding binding_;
  PeerAddress peer_;
  // Owned by the thread that runs the session.
  int fd_ = -1;
  int library_fd_ = -1;  // the number the library knows, kept after close() so that no later call of it reaches a stranger
  bool digest_ = false;
  bool drained_ = false;
  error_code bind_error_, connect_error_, failure_;
  const char* refusal_ = nullptr;
  std::unique_ptr<std::byte[]> staging_;
  std::size_t begin_ = 0, end_ = 0;
  std::size_t segment_left_ = 0;  // of the PDU being delivered, with padding
  std::uint64_t delivered_ = 0, received_ = 0;
  std::vector<iovec> out_;
  std::size_t out_head_ = 0;
  std::vector<std::unique_ptr<Block>> blocks_, spare_;
  std::byte* copy_end_ = nullptr;  // end of the last piece when that was a copy: the next copy may join it
  std::uint64_t appended_ = 0, flushed_ = 0;
  std::vector<iovec> scratch_;
  std::uint64_t system_calls_ = 0;
};

}  // namespace mpath
