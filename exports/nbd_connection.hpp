// One NBD connection in its transmission phase: requests in, block device, replies out, in batches.
//
//    readable ── recvmsg into staging ── parse all ── submit to the device
//                                                         │ done()
//    posted pump ── one sendmsg for all replies ◄── reply queue
//
// Threads:     the export's shard only.
// Allocation:  none per I/O in steady state. Requests live in a slab, payloads in the shard's buffer pool, handlers in
//              memory of the connection.
// Payloads:    what lies in staging is copied; the rest of a payload is received straight into its final buffer. Once a
//              payload of direct_bytes or more was seen, staging is kept short so that such payloads arrive there
//              whole.
// Pressure:    a connection that has its share of requests or bytes in flight (replies not yet sent count) stops
// reading. End:         disconnect and end of file let what was taken finish and be answered; errors drop the replies.
// Requests the
//              device still holds are waited for in any case, then `ended` is called, from the event loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <system_error>
#include <vector>

#include "base/block_device.hpp"
#include "base/buffer_pool.hpp"
#include "base/handler_memory.hpp"
#include "base/unique_fd.hpp"
#include "exports/nbd_budget.hpp"
#include "exports/nbd_rules.hpp"

namespace mpath {

struct NbdConnectionLimits {
  std::uint32_t payload_max = nbd::limits::payload_bytes_max;
  std::uint32_t requests_max = 1024;
  std::uint64_t bytes_max = std::uint64_t{64} << 20;
};

struct NbdCounters {
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;  // replies that carry an error
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t wakes = 0;     // every event loop handler of the connection
  std::uint64_t receives = 0;  // recvmsg calls
  std::uint64_t sends = 0;     // sendmsg calls
  NbdCounters& operator+=(const NbdCounters& other);
};

// What the connections of one export have in common; all of it outlives them.
struct NbdConnectionHome {
  boost::asio::io_context& context;
  BufferPool& buffers;
  BlockDevice& device;
  NbdBudget& budget;
};

class NbdConnection final : private NbdBudget::Waiter {
 public:
  using Ended = std::function<void(NbdConnection&, error_code why)>;

  // `socket` is connected, non-blocking, and past the handshake.
  NbdConnection(UniqueFd socket, const NbdConnectionHome& home, const NbdRules& rules,
                const NbdConnectionLimits& limits, Ended ended);
  ~NbdConnection();
  NbdConnection(const NbdConnection&) = delete;
  NbdConnection& operator=(const NbdConnection&) = delete;

  // Begins to serve. `already` was received behind the handshake's last option.
  void start(std::span<const std::byte> already = {});
  // The device is going away: new requests are answered with ESHUTDOWN, those taken are finished and answered; then the
  // sending side is closed, and the client is expected to close its own.
  void drain();
  // Takes no more from the client, finishes and answers what was taken whole, then closes: for a client that will send
  // again, to our successor, what was not answered.
  void leave();
  // Closes at once; replies that were not sent are lost.
  void abort(error_code why);

  [[nodiscard]] const NbdCounters& counters() const { return counters_; }
  [[nodiscard]] std::uint32_t in_flight() const { return in_flight_; }
  [[nodiscard]] bool paused() const { return paused_; }

 private:
  using Socket = boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type>;
  struct Request;
  enum class Input : std::uint8_t {
    open,     // requests are parsed
    ended,    // disconnect or end of file: nothing more is read, what was taken is finished
    discard,  // drained and answered: bytes are thrown away until the client closes
    closed,   // the socket is closed
  };

  // Event loop handlers.
  void arm_read();
  void arm_write();
  void post_pump();
  void on_readable(error_code error);
  void on_writable(error_code error);
  void pump();
  void on_budget() noexcept override;

  // Input.
  void receive_rounds();
  std::size_t receive_once();
  void parse();
  bool parse_one();
  bool take(const nbd::Request& wire);
  void fill(Request& request);
  void submit(Request& request);
  void discard_staging(std::size_t count);

  // Output.
  static void done(BlockRequest& base) noexcept;
  void answer(Request& request, nbd::Error error);
  void answer_extents(Request& request);
  void answer_whole(Request& request, nbd::Bytes reply);
  void enqueue(Request& request);
  void flush();
  void sent(std::size_t count);

  // Requests.
  Request& claim();
  void retire(Request& request);

  void finish_if_idle();
  void close(error_code why);

  // Constant after construction.
  NbdConnectionHome home_;
  NbdRules rules_;
  NbdConnectionLimits limits_;
  Ended ended_;

  Socket socket_;
  Input input_ = Input::open;
  bool draining_ = false;
  bool paused_ = false;   // a request waits in staging for its share
  bool reading_ = false;  // a wait for input is outstanding
  bool writing_ = false;  // a wait for room to send is outstanding
  bool pump_posted_ = false;
  bool end_posted_ = false;
  bool bulk_ = false;  // large payloads are coming in
  error_code why_;     // the first cause of the end

  // Input: unparsed bytes are staging_[begin_, end_). The buffer is held only while there are some.
  Buffer staging_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t skip_ = 0;       // bytes of a refused write's payload still to be thrown away,
  Request* skipping_ = nullptr;  // and that write, answered when they are gone
  nbd::Error skipping_error_ = nbd::Error::ok;
  Request* filling_ = nullptr;  // a write whose payload is still arriving
  std::size_t filled_ = 0;

  // Output: replies in the order they go out; the first `sent_` bytes of the first one are gone.
  BlockRequest* out_first_ = nullptr;
  BlockRequest* out_last_ = nullptr;
  std::size_t sent_ = 0;

  // Slab.
  std::vector<std::unique_ptr<Request[]>> chunks_;
  BlockRequest* free_ = nullptr;
  std::uint32_t in_flight_ = 0;  // taken and not yet answered in full
  std::uint32_t submitted_ = 0;  // of those, held by the device
  std::uint64_t bytes_in_flight_ = 0;

  NbdCounters counters_;
  HandlerMemory read_memory_;
  HandlerMemory write_memory_;
  HandlerMemory pump_memory_;
};

}  // namespace mpath
