#include "exports/nbd_connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>

#include "base/check.hpp"
#include "base/gather.hpp"

namespace mpath {
namespace {

constexpr std::size_t staging_bytes = std::size_t{256} << 10;
constexpr std::size_t bulk_staging_bytes = 4096;             // staging while large payloads come in: headers only
constexpr std::size_t direct_bytes = std::size_t{16} << 10;  // payloads from here on should not pass through staging
constexpr int receive_rounds_max = 8;      // receives per wake, so that one client cannot hold the shard
constexpr std::size_t chunk_requests = 64;

}  // namespace

struct NbdConnection::Request : BlockRequest {
  NbdConnection* connection = nullptr;
  std::uint64_t cookie = 0;
  bool one_extent = false;
  bool structured = false;         // this command is answered with a structured reply
  std::uint64_t budget_bytes = 0;  // what retire() gives back
  Buffer buffer;                   // payload, of the request or of the reply
  iovec payload{};                 // the device's view of `buffer`
  std::vector<BlockExtent> extent_list;
  // The reply: header bytes, then body.
  std::array<std::byte, nbd::data_chunk_prefix_bytes> header{};
  std::size_t header_bytes = 0;
  nbd::Bytes whole;  // replies that are rare are made in one piece, and are the body
  std::span<const std::byte> body;

  [[nodiscard]] std::size_t reply_bytes() const { return header_bytes + body.size(); }
};

NbdCounters& NbdCounters::operator+=(const NbdCounters& other) {
  requests += other.requests;
  errors += other.errors;
  bytes_read += other.bytes_read;
  bytes_written += other.bytes_written;
  wakes += other.wakes;
  receives += other.receives;
  sends += other.sends;
  return *this;
}

NbdConnection::NbdConnection(UniqueFd socket, const NbdConnectionHome& home, const NbdRules& rules,
                             const NbdConnectionLimits& limits, Ended ended)
    : home_(home), rules_(rules), limits_(limits), ended_(std::move(ended)), socket_(home.context.get_executor()) {
  rules_.payload_max = limits.payload_max;
  boost::system::error_code error;
  socket_.assign(socket.get(), error);
  if (error) {
    close(error);
  } else {
    static_cast<void>(socket.release());
  }
}

NbdConnection::~NbdConnection() {
  CHECK(submitted_ == 0);  // the device would write into freed memory
  close({});
}

void NbdConnection::start(std::span<const std::byte> already) {
  if (!already.empty()) {
    CHECK(already.size() <= staging_bytes);
    staging_ = home_.buffers.take(staging_bytes);
    std::ranges::copy(already, staging_.data());
    end_ = already.size();
    parse();
  }
  if (!paused_) arm_read();
  finish_if_idle();
}

void NbdConnection::drain() {
  if (draining_) return;
  draining_ = true;
  finish_if_idle();
}

void NbdConnection::leave() {
  if (input_ != Input::open) return;
  input_ = Input::ended;
  paused_ = false;
  home_.budget.forget(*this);
  finish_if_idle();
}

void NbdConnection::abort(error_code why) {
  close(why);
  finish_if_idle();
}

// ---- event loop handlers -------------------------------------------------------------------------------------------

void NbdConnection::arm_read() {
  if (reading_ || (input_ != Input::open && input_ != Input::discard)) return;
  reading_ = true;
  socket_.async_wait(Socket::wait_read,
                     in_memory(read_memory_, [this](const boost::system::error_code& error) { on_readable(error); }));
}

void NbdConnection::arm_write() {
  if (writing_ || input_ == Input::closed) return;
  writing_ = true;
  socket_.async_wait(Socket::wait_write,
                     in_memory(write_memory_, [this](const boost::system::error_code& error) { on_writable(error); }));
}

void NbdConnection::post_pump() {
  if (pump_posted_) return;
  pump_posted_ = true;
  boost::asio::post(home_.context, in_memory(pump_memory_, [this] {
                      pump_posted_ = false;
                      pump();
                    }));
}

void NbdConnection::on_readable(error_code error) {
  ++counters_.wakes;
  reading_ = false;
  if (!error && !paused_ && input_ != Input::ended) receive_rounds();
  finish_if_idle();
}

void NbdConnection::on_writable(error_code error) {
  ++counters_.wakes;
  writing_ = false;
  if (!error) pump();
  finish_if_idle();
}

// Sends what is ready; the room this makes may let a paused connection go on.
void NbdConnection::pump() {
  ++counters_.wakes;
  if (!writing_) flush();
  if (paused_) {
    paused_ = false;
    home_.budget.forget(*this);
    parse();
    if (!paused_) arm_read();
  }
  finish_if_idle();
}

void NbdConnection::on_budget() noexcept {
  post_pump();
}

// ---- input

void NbdConnection::receive_rounds() {
  for (int round = 0; round < receive_rounds_max; ++round) {
    const std::size_t missing = receive_once();
    parse();
    if (paused_ || (input_ != Input::open && input_ != Input::discard)) return;
    if (missing > 0) break;  // the socket had no more
  }
  arm_read();
}

// Receives once. Returns how many bytes of the room offered were left over.
std::size_t NbdConnection::receive_once() {
  std::array<iovec, 2> vectors{};
  std::size_t count = 0;
  std::size_t direct = 0;
  if (filling_ != nullptr) {
    direct = static_cast<std::size_t>(filling_->length) - filled_;
    vectors[count++] = {filling_->buffer.data() + filled_, direct};
  }
  if (!staging_) staging_ = home_.buffers.take(staging_bytes);
  if (begin_ > 0) {  // part of a header
    std::memmove(staging_.data(), staging_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  std::size_t room = staging_bytes - end_;
  if (bulk_) room = std::min(room, bulk_staging_bytes);
  bulk_ = bulk_ && filling_ != nullptr;  // stays while large payloads keep coming
  vectors[count++] = {staging_.data() + end_, room};

  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = count;
  ssize_t received = 0;
  do {
    ++counters_.receives;
    received = ::recvmsg(socket_.native_handle(), &message, MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 1;
    close(errno_code(errno));
    return 1;
  }
  if (received == 0) {
    if (input_ == Input::discard) {
      close({});
    } else {
      input_ = Input::ended;
      if (filling_ != nullptr || skipping_ != nullptr || end_ > begin_) why_ = errno_code(ECONNRESET);
    }
    return 1;
  }
  const auto got = static_cast<std::size_t>(received);
  const std::size_t placed = std::min(got, direct);
  filled_ += placed;
  end_ += got - placed;
  return direct + room - got;
}

void NbdConnection::parse() {
  while (!paused_ && parse_one()) {
  }
  if (begin_ == end_) {
    begin_ = end_ = 0;
    staging_.reset();
  }
}

// One step. False when more bytes, or more room, are needed.
bool NbdConnection::parse_one() {
  if (input_ == Input::discard) {
    discard_staging(end_ - begin_);
    return false;
  }
  if (input_ != Input::open) return false;
  if (skipping_ != nullptr) {
    discard_staging(static_cast<std::size_t>(std::min<std::uint64_t>(skip_, end_ - begin_)));
    if (skip_ > 0) return false;
    // Not sooner: clients look a reply up among the requests they have sent in full.
    answer(*std::exchange(skipping_, nullptr), skipping_error_);
  }
  if (filling_ != nullptr) {
    if (filled_ < filling_->length) return false;
    submit(*std::exchange(filling_, nullptr));
    return true;
  }
  const std::span staged = staging_.bytes().subspan(begin_, end_ - begin_);
  if (staged.size() < nbd::request_bytes) return false;
  const Result<nbd::Request> request = nbd::decode_request(staged.first<nbd::request_bytes>());
  if (!request) {
    close(request.error());
    return false;
  }
  if (request->command == nbd::Command::disconnect) {
    input_ = Input::ended;
    return false;
  }
  return take(*request);
}

// Takes the request at the front of staging. False when it has to wait there.
bool NbdConnection::take(const nbd::Request& wire) {
  const NbdVerdict verdict =
      draining_ ? NbdVerdict{.error = nbd::Error::shutdown} : judge(wire, home_.device.limits(), rules_);
  const bool refused = verdict.error != nbd::Error::ok;
  const bool is_write = wire.command == nbd::Command::write;
  if (refused && is_write && wire.length > 2 * std::uint64_t{limits_.payload_max}) {
    close(errno_code(EMSGSIZE));  // not worth reading on: the client does not keep to any limit
    return false;
  }
  const bool carries = verdict.op == BlockOp::read || verdict.op == BlockOp::write;
  const std::uint64_t bytes = !refused && carries ? wire.length : 0;
  const bool full =
      in_flight_ > 0 && (in_flight_ >= limits_.requests_max || bytes_in_flight_ + bytes > limits_.bytes_max);
  if (full || !home_.budget.take(bytes, *this)) {
    paused_ = true;
    return false;
  }
  begin_ += nbd::request_bytes;
  ++counters_.requests;

  Request& request = claim();
  request.cookie = wire.cookie;
  request.budget_bytes = bytes;
  bytes_in_flight_ += bytes;
  request.structured =
      rules_.structured_replies && (wire.command == nbd::Command::read || wire.command == nbd::Command::block_status);
  if (refused) {
    if (is_write && wire.length > 0) {
      skip_ = wire.length;
      skipping_ = &request;
      skipping_error_ = verdict.error;
    } else {
      answer(request, verdict.error);
    }
    return true;
  }
  request.op = verdict.op;
  request.fua = verdict.fua;
  request.may_unmap = verdict.may_unmap;
  request.fast_only = verdict.fast_only;
  request.one_extent = verdict.one_extent;
  request.offset = wire.offset;
  request.length = wire.length;
  request.data = {};
  if (carries) {
    request.buffer = home_.buffers.take(wire.length);
    request.payload = {request.buffer.data(), wire.length};
    request.data = {&request.payload, 1};
  }
  if (verdict.op == BlockOp::extents) {
    request.extent_list.clear();
    request.extents = &request.extent_list;
    request.extents_max = verdict.one_extent ? 1 : nbd::limits::extents_max;
  }
  if (is_write) {
    fill(request);
  } else {
    submit(request);
  }
  return true;
}

// Moves what has come of the payload; the rest is received straight into the request's buffer.
void NbdConnection::fill(Request& request) {
  const std::size_t present = std::min<std::size_t>(end_ - begin_, request.length);
  std::memcpy(request.buffer.data(), staging_.data() + begin_, present);
  begin_ += present;
  if (request.length >= direct_bytes) bulk_ = true;
  if (present == request.length) {
    submit(request);
  } else {
    filling_ = &request;
    filled_ = present;
  }
}

void NbdConnection::submit(Request& request) {
  ++submitted_;
  home_.device.submit(request);
}

void NbdConnection::discard_staging(std::size_t count) {
  begin_ += count;
  skip_ -= std::min<std::uint64_t>(skip_, count);
}

// ---- output

void NbdConnection::done(BlockRequest& base) noexcept {
  auto& request = static_cast<Request&>(base);
  NbdConnection& self = *request.connection;
  --self.submitted_;
  if (self.input_ == Input::closed) {
    self.retire(request);
    self.finish_if_idle();
    return;
  }
  const nbd::Error error = error_of(request.status, request.op);
  const bool unknown_extents = request.op == BlockOp::extents && request.status == BlockStatus::not_supported;
  if (request.op == BlockOp::extents && (error == nbd::Error::ok || unknown_extents)) {
    self.answer_extents(request);
  } else {
    self.answer(request, error);
  }
}

void NbdConnection::answer(Request& request, nbd::Error error) {
  const bool with_data = error == nbd::Error::ok && request.op == BlockOp::read && request.budget_bytes > 0;
  if (error != nbd::Error::ok) ++counters_.errors;
  if (with_data) counters_.bytes_read += request.length;
  if (error == nbd::Error::ok && request.op == BlockOp::write) counters_.bytes_written += request.length;
  if (!with_data) request.buffer.reset();
  request.body = request.buffer.bytes();
  const std::span header(request.header);
  if (!request.structured) {
    nbd::encode_simple_reply({.error = error, .cookie = request.cookie}, header.first<nbd::simple_reply_bytes>());
    request.header_bytes = nbd::simple_reply_bytes;
  } else if (with_data) {
    nbd::encode_data_chunk_prefix(request.cookie, true, request.offset, static_cast<std::uint32_t>(request.length),
                                  header);
    request.header_bytes = nbd::data_chunk_prefix_bytes;
  } else {
    answer_whole(request, nbd::encode_error_chunk(request.cookie, true, error, nbd::name(error)));
    return;
  }
  enqueue(request);
}

// Runs of equal state are joined, and nothing is said about what lies behind the range that was asked for.
void NbdConnection::answer_extents(Request& request) {
  const std::size_t count_max = request.one_extent ? 1 : nbd::limits::extents_max;
  nbd::BlockStatus status{.context_id = nbd_base_allocation_id};
  std::uint64_t left = request.length;
  if (request.status == BlockStatus::ok) {
    for (const BlockExtent& extent : request.extent_list) {
      const auto length = static_cast<std::uint32_t>(std::min(extent.length, left));
      if (length == 0) continue;
      const std::uint32_t flags =
          (extent.hole ? nbd::extent_flag::hole : 0) | (extent.zero ? nbd::extent_flag::zero : 0);
      if (!status.extents.empty() && status.extents.back().flags == flags) {
        status.extents.back().length += length;
      } else if (status.extents.size() < count_max) {
        status.extents.push_back({.length = length, .flags = flags});
      } else {
        break;
      }
      left -= length;
    }
  }
  if (status.extents.empty()) {  // the device cannot tell: all of it may hold data
    status.extents.push_back({.length = static_cast<std::uint32_t>(request.length), .flags = 0});
  }
  answer_whole(request, nbd::encode_block_status_chunk(request.cookie, true, status));
}

void NbdConnection::answer_whole(Request& request, nbd::Bytes reply) {
  request.whole = std::move(reply);
  request.header_bytes = 0;
  request.body = request.whole;
  enqueue(request);
}

void NbdConnection::enqueue(Request& request) {
  request.next = nullptr;
  if (out_last_ == nullptr) {
    out_first_ = &request;
  } else {
    out_last_->next = &request;
  }
  out_last_ = &request;
  if (!writing_) post_pump();
}

void NbdConnection::flush() {
  while (out_first_ != nullptr && input_ != Input::closed) {
    Gather gather(sent_);
    for (const BlockRequest* base = out_first_; base != nullptr && !gather.full(); base = base->next) {
      const auto& request = static_cast<const Request&>(*base);
      gather.add(std::span(request.header).first(request.header_bytes));
      gather.add(request.body);
    }
    ++counters_.sends;
    const Result<std::size_t> taken = gather.send(socket_.native_handle());
    if (!taken) return close(taken.error());
    sent(*taken);
    if (*taken < gather.bytes()) return arm_write();
  }
}

void NbdConnection::sent(std::size_t count) {
  sent_ += count;
  while (out_first_ != nullptr) {
    auto& request = static_cast<Request&>(*out_first_);
    if (sent_ < request.reply_bytes()) return;
    sent_ -= request.reply_bytes();
    out_first_ = request.next;
    if (out_first_ == nullptr) out_last_ = nullptr;
    retire(request);
  }
}

// ---- requests

NbdConnection::Request& NbdConnection::claim() {
  if (free_ == nullptr) {
    Request* const chunk = chunks_.emplace_back(std::make_unique<Request[]>(chunk_requests)).get();
    for (std::size_t i = 0; i < chunk_requests; ++i) {
      chunk[i].connection = this;
      chunk[i].done = &NbdConnection::done;
      chunk[i].next = free_;
      free_ = &chunk[i];
    }
  }
  auto& request = static_cast<Request&>(*free_);
  free_ = request.next;
  request.next = nullptr;
  request.status = BlockStatus::ok;
  ++in_flight_;
  return request;
}

void NbdConnection::retire(Request& request) {
  request.buffer.reset();
  --in_flight_;
  bytes_in_flight_ -= request.budget_bytes;
  home_.budget.give_back(request.budget_bytes);
  request.next = free_;
  free_ = &request;
}

// ---- end

// Every handler ends here: takes the next step of an orderly end when nothing is left to do before it.
void NbdConnection::finish_if_idle() {
  const std::uint32_t unfinished = (filling_ != nullptr ? 1 : 0) + (skipping_ != nullptr ? 1 : 0);
  const bool answered = in_flight_ == 0;
  if (input_ == Input::ended && in_flight_ == unfinished) close(why_);
  if (input_ == Input::open && draining_ && answered) {
    ::shutdown(socket_.native_handle(), SHUT_WR);
    input_ = Input::discard;
    paused_ = false;
    parse();
    arm_read();
  }
  if (input_ != Input::closed || end_posted_) return;
  if (in_flight_ > 0 || reading_ || writing_ || pump_posted_) return;
  end_posted_ = true;
  boost::asio::post(home_.context, in_memory(pump_memory_, [this] { ended_(*this, why_); }));
}

void NbdConnection::close(error_code why) {
  if (input_ == Input::closed) return;
  input_ = Input::closed;
  if (!why_) why_ = why;
  home_.budget.forget(*this);
  boost::system::error_code ignored;
  socket_.close(ignored);
  paused_ = false;
  begin_ = end_ = 0;
  staging_.reset();
  if (filling_ != nullptr) retire(*std::exchange(filling_, nullptr));
  if (skipping_ != nullptr) retire(*std::exchange(skipping_, nullptr));
  while (out_first_ != nullptr) {
    auto& request = static_cast<Request&>(*out_first_);
    out_first_ = request.next;
    retire(request);
  }
  out_last_ = nullptr;
}

}  // namespace mpath
