#include "target/iscsi/connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>

#include "base/bytes.hpp"
#include "base/check.hpp"
#include "base/gather.hpp"
#include "target/iscsi/reset_socket.hpp"
#include "wire/error.hpp"

namespace mpath::target {
namespace {

constexpr std::size_t staging_bytes = std::size_t{256} << 10;
constexpr std::size_t bulk_staging_bytes = 4096;             // staging while large payloads come in: headers only
constexpr std::size_t direct_bytes = std::size_t{16} << 10;  // payloads from here on should not pass through staging
constexpr int receive_rounds_max = 8;      // receives per wake, so that one initiator cannot hold the shard

std::span<std::byte> digest_into(std::span<std::byte> place, std::uint32_t digest) {
  Writer writer(place);
  writer.u32_le(digest);
  return writer.written();
}

}  // namespace

Connection::Connection(UniqueFd socket, boost::asio::io_context& context, BufferPool& buffers, const Options& options,
                       ConnectionUser& user)
    : context_(context), buffers_(buffers), options_(options), user_(user), socket_(context.get_executor()) {
  boost::system::error_code error;
  socket_.assign(socket.get(), error);
  if (error) {
    close(error);
  } else {
    static_cast<void>(socket.release());
  }
}

Connection::~Connection() {
  CHECK(closed_ && !reading_ && !writing_ && !pump_posted_);  // their handlers' memory is in here
}

void Connection::start(std::vector<std::byte> first, std::span<const std::byte> already) {
  receiving_ = true;
  if (!first.empty() && !closed_) {
    first_ = std::move(first);
    login_.body = first_;
    out_.push_back(login_);
  }
  if (!already.empty() && !closed_) {
    CHECK(already.size() <= staging_bytes);
    staging_ = buffers_.take(staging_bytes);
    std::ranges::copy(already, staging_.data());
    end_ = already.size();
    parse();
  }
  receiving_ = false;
  flush();
  if (!congested()) arm_read();
  end_if_idle();
}

// ---- event loop handlers -------------------------------------------------------------------------------------------

void Connection::arm_read() {
  if (reading_ || closed_ || finishing_ || muted_) return;
  reading_ = true;
  socket_.async_wait(Socket::wait_read,
                     in_memory(read_memory_, [this](const boost::system::error_code& error) { on_readable(error); }));
}

void Connection::arm_write() {
  if (writing_ || closed_) return;
  writing_ = true;
  socket_.async_wait(Socket::wait_write,
                     in_memory(write_memory_, [this](const boost::system::error_code& error) { on_writable(error); }));
}

void Connection::post_pump() {
  if (pump_posted_) return;
  pump_posted_ = true;
  boost::asio::post(context_, in_memory(pump_memory_, [this] {
                      pump_posted_ = false;
                      pump();
                    }));
}

void Connection::on_readable(error_code error) {
  ++counters_.wakes;
  reading_ = false;
  if (!error && !closed_ && !finishing_ && !muted_) {
    receiving_ = true;
    receive_rounds();
    receiving_ = false;
    if (!writing_) flush();
    if (!congested()) arm_read();
  }
  end_if_idle();
}

void Connection::on_writable(error_code error) {
  ++counters_.wakes;
  writing_ = false;
  if (!error) pump();
  end_if_idle();
}

// Sends what is ready; the room this makes may let a congested connection go on.
void Connection::pump() {
  const bool was_congested = congested();
  if (!writing_) flush();
  if (was_congested && !congested() && !closed_ && !finishing_) {
    receiving_ = true;
    parse();
    receiving_ = false;
    if (!writing_) flush();
    if (!congested()) arm_read();
  }
  end_if_idle();
}

// ---- input ---------------------------------------------------------------------------------------------------------

void Connection::receive_rounds() {
  for (int round = 0; round < receive_rounds_max; ++round) {
    const std::size_t missing = receive_once();
    parse();
    if (closed_ || finishing_ || muted_ || congested()) return;
    if (missing > 0) return;  // the socket had no more
  }
}

// The parts of the data segment that still belong somewhere.
std::size_t Connection::places_left(std::span<iovec> vectors) const {
  std::size_t count = 0;
  std::size_t gone = filled_;
  for (const std::span<std::byte> place : pdu_.places) {
    const std::size_t skipped = std::min(gone, place.size());
    gone -= skipped;
    if (skipped < place.size()) vectors[count++] = {place.data() + skipped, place.size() - skipped};
  }
  return gone > 0 ? 0 : count;
}

// Receives once. Returns how many bytes of the room offered were left over.
std::size_t Connection::receive_once() {
  std::array<iovec, 3> vectors{};
  std::size_t count = 0;
  std::size_t direct = 0;
  if (part_ == Part::data) {
    count = places_left(vectors);
    for (std::size_t index = 0; index < count; ++index) direct += vectors[index].iov_len;
  }
  const std::size_t direct_count = count;
  if (!staging_) staging_ = buffers_.take(staging_bytes);
  if (begin_ > 0) {  // part of a header
    std::memmove(staging_.data(), staging_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  std::size_t room = staging_bytes - end_;
  if (bulk_) room = std::min(room, bulk_staging_bytes);
  bulk_ = bulk_ && part_ == Part::data;  // stays while large payloads keep coming
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
    if (errno != EAGAIN && errno != EWOULDBLOCK) close(errno_code(errno));
    return 1;
  }
  if (received == 0) {
    close(errno_code(ECONNRESET));
    return 1;
  }
  active_ = true;
  const auto got = static_cast<std::size_t>(received);
  const std::size_t placed = std::min(got, direct);
  if (options_.data_digest) {
    std::size_t left = placed;
    for (std::size_t index = 0; index < direct_count && left > 0; ++index) {
      const std::size_t part = std::min(left, vectors[index].iov_len);
      data_crc_.add({static_cast<const std::byte*>(vectors[index].iov_base), part});
      left -= part;
    }
  }
  filled_ += static_cast<std::uint32_t>(placed);
  end_ += got - placed;
  return direct + room - got;
}

void Connection::parse() {
  bool more = true;
  while (more && !closed_ && !finishing_ && !muted_ && !congested()) {
    switch (part_) {
      case Part::header:
        more = parse_header();
        break;
      case Part::data:
        more = parse_data();
        break;
      case Part::trailer:
        more = parse_trailer();
        break;
    }
  }
  if (begin_ == end_) {
    begin_ = end_ = 0;
    staging_.reset();
  }
}

bool Connection::parse_header() {
  const std::span<std::byte> bytes = staged();
  if (bytes.size() < iscsi::bhs_bytes) return false;
  const auto bhs = bytes.first<iscsi::bhs_bytes>();
  Reader reader(bhs);
  const std::uint8_t first = reader.u8();
  reader.skip(3);
  // Unlike decode_head(), codes without a name pass: such a PDU is rejected, and the next one is read.
  pdu_.head = {.opcode = static_cast<iscsi::Opcode>(first & 0x3f), .immediate = (first & 0x40) != 0};
  pdu_.head.ahs_length = static_cast<std::uint16_t>(reader.u8() * 4);
  pdu_.head.data_length = reader.u24();
  reader.skip(8);
  pdu_.head.itt = reader.u32();
  const iscsi::Layout layout = iscsi::pdu_layout(pdu_.head, options_.header_digest, options_.data_digest);
  if (bytes.size() < layout.data_at) return false;
  if (options_.header_digest) {
    Reader digest(bytes.subspan(layout.header_bytes, iscsi::digest_bytes));
    if (digest.u32_le() != crc32c(bytes.first(layout.header_bytes))) {
      // The length may be what is damaged, so nobody knows where the next PDU begins (RFC 7143, 7.7).
      ++counters_.digest_errors;
      close(make_error_code(WireErrc::bad_digest));
      return false;
    }
  }
  std::ranges::copy(bhs, pdu_.bhs.begin());
  pdu_.ahs = bytes.subspan(iscsi::bhs_bytes, pdu_.head.ahs_length);
  pdu_.places = {};
  filled_ = 0;
  data_crc_ = {};
  user_.on_header(*this, pdu_);
  if (closed_ || finishing_) return false;
  pdu_.ahs = {};
  begin_ += layout.data_at;
  if (pdu_.head.data_length >= direct_bytes) bulk_ = true;
  part_ = Part::data;
  return true;
}

bool Connection::parse_data() {
  const std::size_t missing = pdu_.head.data_length - filled_;
  const std::span<std::byte> bytes = staged().first(std::min(missing, end_ - begin_));
  if (!bytes.empty()) {
    std::array<iovec, 2> places{};
    const std::size_t count = places_left(places);
    std::size_t copied = 0;
    for (std::size_t index = 0; index < count && copied < bytes.size(); ++index) {
      const std::size_t part = std::min(places[index].iov_len, bytes.size() - copied);
      std::memcpy(places[index].iov_base, bytes.data() + copied, part);
      copied += part;
    }
    if (options_.data_digest) data_crc_.add(bytes);
    begin_ += bytes.size();
    filled_ += static_cast<std::uint32_t>(bytes.size());
  }
  if (filled_ < pdu_.head.data_length) return false;
  part_ = Part::trailer;
  return true;
}

bool Connection::parse_trailer() {
  const std::size_t padding = iscsi::padded(pdu_.head.data_length) - pdu_.head.data_length;
  const bool digest = options_.data_digest && pdu_.head.data_length > 0;
  const std::span<std::byte> bytes = staged();
  if (bytes.size() < padding + (digest ? iscsi::digest_bytes : 0)) return false;
  bool intact = true;
  if (digest) {
    data_crc_.add(bytes.first(padding));
    Reader reader(bytes.subspan(padding, iscsi::digest_bytes));
    intact = reader.u32_le() == data_crc_.value();
    if (!intact) ++counters_.digest_errors;
  }
  begin_ += padding + (digest ? iscsi::digest_bytes : 0);
  part_ = Part::header;
  user_.on_pdu(*this, pdu_, intact);
  pdu_.places = {};
  return true;
}

// ---- output --------------------------------------------------------------------------------------------------------

void Connection::send(OutPdu& pdu) {
  if (closed_ || muted_) {
    user_.on_sent(pdu);
    return;
  }
  pdu.head_bytes = iscsi::bhs_bytes;
  if (options_.header_digest) {
    const std::uint32_t digest = crc32c(std::span(pdu.head).first(iscsi::bhs_bytes));
    static_cast<void>(digest_into(std::span(pdu.head).subspan(iscsi::bhs_bytes), digest));
    pdu.head_bytes += iscsi::digest_bytes;
  }
  const std::size_t padding = iscsi::padded(pdu.body.size()) - pdu.body.size();
  pdu.tail_bytes = static_cast<std::uint8_t>(padding);
  std::ranges::fill(std::span(pdu.tail).first(padding), std::byte{0});
  if (options_.data_digest && !pdu.body.empty()) {
    Crc32c crc;
    crc.add(pdu.body);
    crc.add(std::span(pdu.tail).first(padding));
    static_cast<void>(digest_into(std::span(pdu.tail).subspan(padding, iscsi::digest_bytes), crc.value()));
    pdu.tail_bytes += iscsi::digest_bytes;
  }
  out_.push_back(pdu);
  if (!receiving_ && !writing_) post_pump();
}

void Connection::flush() {
  while (!out_.empty() && !closed_) {
    Gather gather(sent_);
    for (const OutPdu* pdu = out_.front(); pdu != nullptr && !gather.full(); pdu = pdu->next) {
      gather.add(std::span(pdu->head).first(pdu->head_bytes));
      gather.add(pdu->body);
      gather.add(std::span(pdu->tail).first(pdu->tail_bytes));
    }
    ++counters_.sends;
    const Result<std::size_t> taken = gather.send(socket_.native_handle());
    if (!taken) return close(taken.error());
    sent(*taken);
    if (*taken < gather.bytes()) return arm_write();
  }
  if (!finishing_ || closed_) return;
  // What the initiator has sent meanwhile is read off, or closing would take back what was just sent to it.
  ::shutdown(socket_.native_handle(), SHUT_WR);
  std::array<std::byte, 16384> nowhere;
  for (int round = 0; round < 64 && ::recv(socket_.native_handle(), nowhere.data(), nowhere.size(), MSG_DONTWAIT) > 0;
       ++round) {
  }
  close({});
}

void Connection::sent(std::size_t count) {
  sent_ += count;
  while (OutPdu* const pdu = out_.front()) {
    if (sent_ < pdu->bytes()) return;
    sent_ -= pdu->bytes();
    static_cast<void>(out_.pop_front());
    if (pdu != &login_) user_.on_sent(*pdu);
  }
}

// ---- end -----------------------------------------------------------------------------------------------------------

void Connection::finish() {
  if (closed_ || finishing_) return;
  finishing_ = true;
  if (!receiving_ && !writing_) post_pump();
}

void Connection::close(error_code why) {
  if (closed_) return;
  closed_ = true;
  why_ = why;
  boost::system::error_code ignored;
  socket_.close(ignored);
  begin_ = end_ = 0;
  if (!receiving_) staging_.reset();  // parse() may be looking at it
  pdu_.places = {};
  while (OutPdu* const pdu = out_.pop_front()) {
    if (pdu != &login_) user_.on_sent(*pdu);
  }
  end_if_idle();
}

void Connection::mute() {
  if (closed_ || muted_) return;
  muted_ = true;
  sent_ = 0;
  while (OutPdu* const pdu = out_.pop_front()) {
    if (pdu != &login_) user_.on_sent(*pdu);
  }
}

void Connection::reset(error_code why) {
  if (!closed_) close_with_reset(socket_.native_handle());
  close(why);
}

// Every handler ends here.
void Connection::end_if_idle() {
  if (!closed_ || end_posted_ || receiving_ || reading_ || writing_ || pump_posted_) return;
  end_posted_ = true;
  staging_.reset();
  boost::asio::post(context_, in_memory(pump_memory_, [this] { user_.on_closed(*this, why_); }));
}

}  // namespace mpath::target
