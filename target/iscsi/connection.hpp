// One iSCSI connection in full feature phase as a stream of PDUs, both ways, in batches.
//
//    readable ── recvmsg into staging ── header ── where does its data go? ── data ── act
//                                                                                     │ send()
//    end of the wake, or a posted pump ── one sendmsg for all PDUs ◄── queue ◄────────┘
//
// It knows framing and digests; what a PDU means is its user's business.
//
// Threads:    the session's shard only.
// Allocation: none per PDU in steady state.
// Payloads:   what lies in staging is copied; the rest of a payload is received straight to where it belongs. Once one
//             of direct_bytes or more was seen, staging is kept short so that such payloads arrive there whole.
// Pressure:   when more than backlog_max PDUs wait to be sent, or the user asks for it, nothing more is received.
// End:        close() or reset() at once, finish() when everything is sent. `closed` is then called from the event
// loop, once,
//             when no handler is left.
#pragma once

#include <sys/uio.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "base/buffer_pool.hpp"
#include "base/handler_memory.hpp"
#include "base/intrusive.hpp"
#include "base/unique_fd.hpp"
#include "target/iscsi/out_pdu.hpp"
#include "wire/crc32c.hpp"
#include "wire/iscsi_pdu.hpp"

namespace mpath::target {

class Connection;

// The PDU that is being received.
struct Incoming {
  iscsi::Head head;
  std::array<std::byte, iscsi::bhs_bytes> bhs;
  std::span<const std::byte> ahs;  // valid during on_header() only
  // Set by on_header(): where the data segment goes, in order; what is left over is thrown away.
  std::array<std::span<std::byte>, 2> places;
  [[nodiscard]] iscsi::Bhs header() const { return bhs; }
};

class ConnectionUser {
 public:
  // A whole header with a digest that is right; the opcode may be one without a name. May close the connection.
  virtual void on_header(Connection& connection, Incoming& pdu) = 0;
  // Its data is where on_header() said; `intact` is false when the data digest is wrong. May close the connection.
  virtual void on_pdu(Connection& connection, Incoming& pdu, bool intact) = 0;
  // A PDU has left, or will never leave.
  virtual void on_sent(OutPdu& pdu) noexcept = 0;
  virtual void on_closed(Connection& connection, error_code why) = 0;

 protected:
  ~ConnectionUser() = default;
};

struct ConnectionCounters {
  std::uint64_t wakes = 0;  // event loop handlers
  std::uint64_t receives = 0;
  std::uint64_t sends = 0;
  std::uint64_t digest_errors = 0;
};

class Connection {
 public:
  static constexpr std::size_t backlog_max = 4096;
  struct Options {
    bool header_digest = false;
    bool data_digest = false;
    std::uint32_t receive_segment_max = 8192;  // what we declared: more ends the connection
  };

  // `socket` is connected and non-blocking.
  Connection(UniqueFd socket, boost::asio::io_context& context, BufferPool& buffers, const Options& options,
             ConnectionUser& user);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Begins to receive. `first` goes out before everything else; `already` was received behind the last login request.
  void start(std::vector<std::byte> first, std::span<const std::byte> already);
  // Adds the digests and queues it. The header must not change any more.
  void send(OutPdu& pdu);
  // The data segment that is being received, if any, goes nowhere from here on.
  void discard_rest() { pdu_.places = {}; }

  // Sends now what the socket takes: before close().
  void send_now() {
    if (!writing_ && !closed_) flush();
  }
  void close(error_code why);
  // Nothing is received or sent any more, what waits to be sent included: the peer hears nothing until close() or
  // reset(), which must follow soon.
  void mute();
  // The same as close(), and the peer sees RST instead of an orderly end.
  void reset(error_code why);
  // Nothing is received any more; closes when all is sent.
  void finish();

  [[nodiscard]] bool open() const { return !closed_ && !finishing_; }
  [[nodiscard]] bool was_active() { return std::exchange(active_, false); }  // something came since the last call
  [[nodiscard]] const ConnectionCounters& counters() const { return counters_; }
  [[nodiscard]] const Options& options() const { return options_; }

 private:
  using Socket = boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type>;
  enum class Part : std::uint8_t { header, data, trailer };

  void arm_read();
  void arm_write();
  void post_pump();
  void on_readable(error_code error);
  void on_writable(error_code error);
  void pump();

  void receive_rounds();
  std::size_t receive_once();
  void parse();
  bool parse_header();
  bool parse_data();
  bool parse_trailer();
  std::span<std::byte> staged() { return staging_.bytes().subspan(begin_, end_ - begin_); }
  [[nodiscard]] std::size_t places_left(std::span<iovec> vectors) const;
  [[nodiscard]] bool congested() const { return out_.size() > backlog_max; }

  void flush();
  void sent(std::size_t count);
  void end_if_idle();

  // Constant after construction.
  boost::asio::io_context& context_;
  BufferPool& buffers_;
  Options options_;
  ConnectionUser& user_;

  Socket socket_;
  bool closed_ = false;
  bool finishing_ = false;
  bool muted_ = false;
  bool active_ = false;
  bool reading_ = false;  // a wait is outstanding
  bool writing_ = false;
  bool pump_posted_ = false;
  bool end_posted_ = false;
  bool receiving_ = false;  // the queue is flushed at the end of the wake
  bool bulk_ = false;       // large payloads are coming in
  error_code why_;

  // Input: unparsed bytes are staging_[begin_, end_). The buffer is held only while there are some.
  Buffer staging_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  Part part_ = Part::header;
  Incoming pdu_;
  std::uint32_t filled_ = 0;  // of the data segment
  Crc32c data_crc_;

  // Output, in order; the first `sent_` bytes of the first one are gone.
  std::vector<std::byte> first_;
  OutPdu login_;  // carries `first_`
  IntrusiveQueue<OutPdu, &OutPdu::next> out_;
  std::size_t sent_ = 0;

  ConnectionCounters counters_;
  HandlerMemory read_memory_;
  HandlerMemory write_memory_;
  HandlerMemory pump_memory_;
};

}  // namespace mpath::target
