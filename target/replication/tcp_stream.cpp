#include "target/replication/tcp_stream.hpp"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "base/check.hpp"
#include "base/gather.hpp"
#include "base/handler_memory.hpp"
#include "base/intrusive.hpp"
#include "target/replication/body_copy.hpp"
#include "target/replication/stream_tagger.hpp"
#include "target/replication/stream_wire.hpp"
#include "wire/crc32c.hpp"
#include "wire/error.hpp"
#include "wire/hmac.hpp"

namespace mpath::target::replication {
namespace {

constexpr std::size_t staging_bytes = std::size_t{256} << 10;
constexpr std::size_t bulk_staging_bytes = 4096;             // staging while large bodies come in: heads only
constexpr std::size_t direct_bytes = std::size_t{16} << 10;  // bodies from here on should not pass through staging
// A body keeps all of staging as long as it is held: only where others share it, and not without bound.
constexpr std::size_t in_place_bytes_min = staging_bytes / 8;
constexpr std::size_t in_place_blocks_max = 32;  // 8 MiB a shard
constexpr int receive_rounds_max = 8;            // receives per wake, so that one stream cannot hold the shard
constexpr int keepalive_idle_seconds = 5, keepalive_interval_seconds = 1, keepalive_probes = 3;

template <typename Value>
void set_option(int fd, int level, int name, const Value& value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

std::span<const std::byte> bytes_of(const iovec& part) {
  return {static_cast<const std::byte*>(part.iov_base), part.iov_len};
}

}  // namespace

class TcpStream::Connection : public std::enable_shared_from_this<TcpStream::Connection> {
 public:
  Connection(UniqueFd socket, Shard& shard, const TcpStreamOptions& options, std::unique_ptr<TlsEngine> tls)
      : context_(shard.context()), buffers_(shard.buffers()), fd_(std::move(socket)), socket_(context_.get_executor()) {
    if (tls != nullptr) {
      counters_.auth = StreamAuth::tls;
      wire_ = make_tls_wire(std::move(tls), buffers_);
    } else {
      wire_ = make_plain_wire();
    }
    if (options.keys) {
      counters_.auth = StreamAuth::hmac;
      tag_sent_.emplace(options.keys->sending);
      tag_received_.emplace(options.keys->receiving);
    }
    silence_max_ = options.silence_max;
    version_ = options.version;
  }
  ~Connection() { close(); }

  void start(Receiver& receiver);
  void send(const StreamHead& head, std::span<const iovec> body);
  void close();
  void own(std::uint64_t number);
  [[nodiscard]] std::uint16_t version() const { return version_; }
  [[nodiscard]] Progress progress() const;
  [[nodiscard]] const StreamCounters& counters() const { return counters_; }

 private:
  using Socket = boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type>;

  // A message on its way out.
  struct Out {
    std::array<std::byte, stream_head_bytes_max + stream_tag_bytes> head;
    std::size_t head_bytes = 0;  // with its tag
    std::uint64_t asks = 0;      // the sequence that an answer to it has; 0: none
    std::uint64_t number = 0;
    std::span<const iovec> body;
    std::size_t bytes = 0;  // of all of it
    BodyCopy copy;          // of a body that is not borrowed, or not any more
    Out* next = nullptr;
  };

  void arm_read();
  void read_again();
  void arm_write();
  void post_pump();
  void on_readable(bool failed);
  void on_writable(bool failed);
  void pump();
  void tell_end();

  void receive_rounds();
  [[nodiscard]] bool receive_once();
  void parse();
  [[nodiscard]] bool parse_head();
  [[nodiscard]] bool parse_body();
  [[nodiscard]] bool may_stay_in_place() const;
  void make_room();
  void deliver();
  void body_came(std::span<const std::byte> bytes);
  [[nodiscard]] bool is_unsent(std::uint64_t sequence) const;
  [[nodiscard]] std::span<std::byte> staged() { return staging_.bytes().subspan(begin_, end_ - begin_); }
  [[nodiscard]] std::size_t whole_head_bytes() const {
    return stream_head_bytes(version_) + (tag_received_ ? stream_tag_bytes : 0);
  }

  void copy_body(Out& out) { out.body = out.copy.make(buffers_, out.body, out.bytes - out.head_bytes); }
  void flush();
  void taken(std::size_t count);
  void drop_front();
  void fail(std::string why);

  // Constant after construction.
  boost::asio::io_context& context_;
  BufferPool& buffers_;
  std::chrono::milliseconds silence_max_{};
  std::uint16_t version_ = 1;

  UniqueFd fd_;         // until start()
  int fd_number_ = -1;  // from then on: of socket_
  Socket socket_;
  std::unique_ptr<StreamWire> wire_;
  Receiver* receiver_ = nullptr;
  bool started_ = false;
  bool closed_ = false;
  bool reading_ = false;  // a wait is outstanding
  bool writing_ = false;
  bool pump_posted_ = false;
  bool receiving_ = false;  // the queue is flushed at the end of the wake, and staging is being looked at
  bool bulk_ = false;       // large bodies are coming in
  std::string why_;         // the receiver is to be told at the end of the handler

  // Input: unparsed bytes are staging_[begin_, end_). The buffer is held only while there are some.
  Buffer staging_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool in_body_ = false;
  DecodedStreamHead incoming_;
  std::array<std::byte, stream_tag_bytes> incoming_tag_{};
  Buffer body_;
  std::size_t filled_ = 0;  // of body_
  Crc32c body_crc_;
  std::optional<StreamTagger> tag_received_;

  // Output, in order; the first `sent_` bytes of the first one are gone.
  Slab<Out, &Out::next> slab_;
  IntrusiveQueue<Out, &Out::next> out_;
  std::size_t sent_ = 0;
  std::uint64_t lowest_ = 0;  // no number in the queue is lower
  std::optional<StreamTagger> tag_sent_;

  StreamCounters counters_;
  HandlerMemory read_memory_;
  HandlerMemory write_memory_;
  HandlerMemory pump_memory_;
};

void TcpStream::Connection::start(Receiver& receiver) {
  CHECK(!started_);
  started_ = true;
  if (closed_) return;
  receiver_ = &receiver;
  constexpr int on = 1;
  const int fd = fd_.get();
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, on);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<unsigned>(silence_max_.count()));
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, on);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, keepalive_idle_seconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, keepalive_interval_seconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, keepalive_probes);
  // Nothing of this stream shall reach the peer after it was closed.
  set_option(fd, SOL_SOCKET, SO_LINGER, linger{.l_onoff = 1, .l_linger = 0});
  boost::system::error_code error;
  socket_.assign(fd, error);
  if (error) {
    fail(error.message());
    post_pump();  // which tells it
    return;
  }
  fd_number_ = fd_.release();
  arm_read();
}

void TcpStream::Connection::close() {
  receiver_ = nullptr;
  if (closed_) return;
  closed_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);
  fd_.reset();
  begin_ = end_ = 0;
  if (!receiving_) staging_.reset();  // parse() may be looking at it
  body_.reset();
  in_body_ = false;
  while (!out_.empty()) drop_front();
  wire_->release();
}

// What went wrong; the receiver is told at the end of the handler.
void TcpStream::Connection::fail(std::string why) {
  if (closed_) return;
  Receiver* const receiver = receiver_;
  close();
  receiver_ = receiver;
  why_ = std::move(why);
}

// ---- event loop handlers -------------------------------------------------------------------------------------------

void TcpStream::Connection::arm_read() {
  if (reading_ || closed_) return;
  reading_ = true;
  socket_.async_wait(Socket::wait_read,
                     in_memory(read_memory_, [self = shared_from_this()](const boost::system::error_code& error) {
                       self->on_readable(error.failed());
                     }));
}

// Others first.
void TcpStream::Connection::read_again() {
  if (closed_) return;
  reading_ = true;
  boost::asio::post(context_, in_memory(read_memory_, [self = shared_from_this()] { self->on_readable(false); }));
}

void TcpStream::Connection::arm_write() {
  if (writing_ || closed_) return;
  writing_ = true;
  socket_.async_wait(Socket::wait_write,
                     in_memory(write_memory_, [self = shared_from_this()](const boost::system::error_code& error) {
                       self->on_writable(error.failed());
                     }));
}

void TcpStream::Connection::post_pump() {
  if (pump_posted_) return;
  pump_posted_ = true;
  boost::asio::post(context_, in_memory(pump_memory_, [self = shared_from_this()] {
                      self->pump_posted_ = false;
                      self->pump();
                      self->tell_end();
                    }));
}

void TcpStream::Connection::on_readable(bool failed) {
  ++counters_.wakes;
  reading_ = false;
  if (!failed && !closed_) {
    receiving_ = true;
    receive_rounds();
    receiving_ = false;
    if (closed_) staging_.reset();
    pump();
    if (wire_->has_input()) {
      read_again();
    } else {
      arm_read();
    }
  }
  tell_end();
}

void TcpStream::Connection::on_writable(bool failed) {
  ++counters_.wakes;
  writing_ = false;
  if (!failed) pump();
  tell_end();
}

void TcpStream::Connection::pump() {
  if (!writing_) flush();
}

// Every handler ends here.
void TcpStream::Connection::tell_end() {
  if (!closed_ || receiver_ == nullptr) return;
  std::exchange(receiver_, nullptr)->on_closed(why_);
}

// ---- input ---------------------------------------------------------------------------------------------------------

void TcpStream::Connection::receive_rounds() {
  for (int round = 0; round < receive_rounds_max; ++round) {
    const bool more = receive_once();
    parse();
    if (closed_ || !more) return;
  }
}

// Receives once. False: there is no more for now.
bool TcpStream::Connection::receive_once() {
  std::array<iovec, 2> vectors{};
  std::size_t count = 0;
  std::size_t direct = 0;
  if (in_body_) {
    direct = body_.size() - filled_;
    vectors[count++] = {body_.data() + filled_, direct};
  }
  if (!staging_) staging_ = buffers_.take(staging_bytes);
  if (begin_ > 0) make_room();
  std::size_t room = staging_bytes - end_;
  if (bulk_) room = std::min(room, bulk_staging_bytes);
  bulk_ = bulk_ && in_body_;  // stays while large bodies keep coming
  vectors[count++] = {staging_.data() + end_, room};

  const auto received = wire_->receive(socket_.native_handle(), std::span(vectors).first(count));
  if (!received) {
    fail(received.error());
    return false;
  }
  counters_.receives += received->asked ? 1 : 0;
  counters_.bytes_received += received->bytes;
  if (received->ended) {
    fail(in_body_ || end_ > begin_ || wire_->in_record() ? "the peer closed the connection in the middle of a message"
                                                         : "the peer closed the connection");
    return false;
  }
  const std::size_t placed = std::min(received->placed, direct);
  if (placed > 0) body_came(body_.bytes().subspan(filled_, placed));
  end_ += received->placed - placed;
  return received->more;
}

// What is left, part of a head, goes to the front.
void TcpStream::Connection::make_room() {
  const std::span<std::byte> left = staged();
  Buffer before;
  if (staging_.has_parts()) before = std::exchange(staging_, buffers_.take(staging_bytes));
  std::memmove(staging_.data(), left.data(), left.size());
  begin_ = 0;
  end_ = left.size();
}

void TcpStream::Connection::parse() {
  bool more = true;
  while (more && !closed_) more = in_body_ ? parse_body() : parse_head();
  if (begin_ == end_ && !closed_) {
    begin_ = end_ = 0;
    staging_.reset();
  }
}

bool TcpStream::Connection::parse_head() {
  const std::span<std::byte> bytes = staged();
  if (bytes.size() < whole_head_bytes()) return false;
  const auto head = bytes.first(stream_head_bytes(version_));
  const auto decoded = decode_stream_head(head, version_);
  if (!decoded) {
    fail("the head of a message is wrong: " + decoded.error().message());
    return false;
  }
  incoming_ = *decoded;
  if (tag_received_) {
    tag_received_->begin(head);
    std::ranges::copy(bytes.subspan(head.size(), stream_tag_bytes), incoming_tag_.begin());
  }
  begin_ += whole_head_bytes();
  body_crc_ = {};
  filled_ = 0;
  if (incoming_.head.body_bytes == 0) {
    deliver();
    return true;
  }
  in_body_ = true;
  if (may_stay_in_place()) {
    body_ = staging_.part(begin_, incoming_.head.body_bytes);
    begin_ += body_.size();
    ++counters_.bodies_in_place;
    body_came(body_.bytes());
  } else {
    body_ = buffers_.take(incoming_.head.body_bytes);
  }
  if (incoming_.head.body_bytes >= direct_bytes) bulk_ = true;
  return true;
}

bool TcpStream::Connection::may_stay_in_place() const {
  if (end_ - begin_ < incoming_.head.body_bytes || end_ < in_place_bytes_min) return false;
  return staging_.has_parts() || buffers_.blocks_in_parts() < in_place_blocks_max;
}

bool TcpStream::Connection::parse_body() {
  const std::span<std::byte> bytes = staged().first(std::min(body_.size() - filled_, end_ - begin_));
  if (!bytes.empty()) {
    std::memcpy(body_.data() + filled_, bytes.data(), bytes.size());
    begin_ += bytes.size();
    body_came(body_.bytes().subspan(filled_, bytes.size()));
  }
  if (filled_ < body_.size()) return false;
  if (body_crc_.value() != incoming_.body_checksum) {
    fail("the body of a message is damaged");
    return false;
  }
  in_body_ = false;
  deliver();
  return true;
}

void TcpStream::Connection::body_came(std::span<const std::byte> bytes) {
  body_crc_.add(bytes);
  if (tag_received_) tag_received_->add(bytes);
  filled_ += bytes.size();
}

void TcpStream::Connection::deliver() {
  if (tag_received_) {
    const HmacTag tag = tag_received_->end();
    if (!same_secret(std::span(tag).first(stream_tag_bytes), incoming_tag_)) return fail("a message is not the peer's");
  }
  const StreamHead& head = incoming_.head;
  // A BondedStream judges this itself: what was asked here may be answered over another link.
  const bool answers = version_ == 1 && is_answer(head);
  if (answers && is_unsent(head.sequence)) return fail("the peer answered what it cannot have received");
  ++counters_.messages_received;
  receiver_->on_message(head, std::move(body_));
}

bool TcpStream::Connection::is_unsent(std::uint64_t sequence) const {
  for (const Out* out = out_.front(); out != nullptr; out = out->next) {
    if (out->asks != 0 && out->asks == sequence) return true;
  }
  return false;
}

// ---- output --------------------------------------------------------------------------------------------------------

void TcpStream::Connection::send(const StreamHead& head, std::span<const iovec> body) {
  if (closed_) return;
  CHECK(started_);
  Crc32c crc;
  std::size_t body_bytes = 0;
  for (const iovec& part : body) {
    crc.add(bytes_of(part));
    body_bytes += part.iov_len;
  }
  CHECK(body_bytes == head.body_bytes);
  Out& out = slab_.get();
  const auto encoded = std::span(out.head).first(stream_head_bytes(version_));
  encode_stream_head(head, body_bytes > 0 ? crc.value() : 0, version_, encoded);
  out.asks = asks_for_answer(head) ? head.sequence : 0;
  out.number = head.number;
  out.body = body;
  out.head_bytes = encoded.size();
  if (tag_sent_) {
    tag_sent_->begin(encoded);
    for (const iovec& part : body) tag_sent_->add(bytes_of(part));
    const HmacTag tag = tag_sent_->end();
    std::copy_n(tag.begin(), stream_tag_bytes, out.head.begin() + static_cast<std::ptrdiff_t>(encoded.size()));
    out.head_bytes += stream_tag_bytes;
  }
  out.bytes = out.head_bytes + body_bytes;
  if (version_ == 1 && out.asks == 0 && body_bytes > 0) copy_body(out);
  if (out_.empty()) lowest_ = std::numeric_limits<std::uint64_t>::max();
  if (out.number > 0) lowest_ = std::min(lowest_, out.number);
  out_.push_back(out);
  if (!receiving_ && !writing_) post_pump();
}

void TcpStream::Connection::own(std::uint64_t number) {
  if (out_.empty() || number < lowest_) return;
  for (Out* out = out_.front(); out != nullptr; out = out->next) {
    if (out->number <= number && !out->copy && out->bytes > out->head_bytes) copy_body(*out);
  }
}

TcpStream::Progress TcpStream::Connection::progress() const {
  Progress progress{.acknowledged_bytes = counters_.bytes_sent};
  if (closed_ || !started_) return progress;
  int queued = 0;
  if (::ioctl(fd_number_, SIOCOUTQ, &queued) == 0) progress.acknowledged_bytes -= static_cast<std::uint64_t>(queued);
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd_number_, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
    progress.round_trip = std::chrono::microseconds(info.tcpi_rtt);
  }
  return progress;
}

void TcpStream::Connection::flush() {
  while ((!out_.empty() || wire_->unsent()) && !closed_) {
    Gather gather(sent_);
    for (const Out* out = out_.front(); out != nullptr && !gather.full(); out = out->next) {
      gather.add(std::span(out->head).first(out->head_bytes));
      for (const iovec& part : out->body) gather.add(bytes_of(part));
    }
    ++counters_.sends;
    const auto sent = wire_->send(socket_.native_handle(), gather);
    if (!sent) return fail(sent.error());
    counters_.bytes_sent += sent->bytes;
    taken(sent->taken);
    if (sent->full) return arm_write();
  }
}

// By the wire, in order.
void TcpStream::Connection::taken(std::size_t count) {
  sent_ += count;
  while (!out_.empty() && sent_ >= out_.front()->bytes) {
    sent_ -= out_.front()->bytes;
    ++counters_.messages_sent;
    drop_front();
  }
}

void TcpStream::Connection::drop_front() {
  Out& out = *out_.pop_front();
  out.copy.reset();
  out.body = {};
  slab_.put(out);
}

// ---- the handle ----------------------------------------------------------------------------------------------------

TcpStream::TcpStream(UniqueFd socket, Shard& shard, const TcpStreamOptions& options, std::unique_ptr<TlsEngine> tls)
    : connection_(std::make_shared<Connection>(std::move(socket), shard, options, std::move(tls))) {}

TcpStream::~TcpStream() {
  connection_->close();
}

void TcpStream::start(Receiver& receiver) {
  connection_->start(receiver);
}

void TcpStream::send(const StreamHead& head, std::span<const iovec> body) {
  connection_->send(head, body);
}

void TcpStream::close() {
  connection_->close();
}

void TcpStream::own(std::uint64_t number) {
  connection_->own(number);
}

std::uint16_t TcpStream::version() const {
  return connection_->version();
}

TcpStream::Progress TcpStream::progress() const {
  return connection_->progress();
}

const StreamCounters& TcpStream::counters() const {
  return connection_->counters();
}

}  // namespace mpath::target::replication
