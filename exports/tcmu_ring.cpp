#include "exports/tcmu_ring.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "wire/scsi_cdb.hpp"

namespace mpath {
namespace {

template <typename Number>
Number load(std::span<const std::byte> memory, std::size_t place) {
  Number number;
  std::memcpy(&number, memory.data() + place, sizeof(number));
  return number;
}
template <typename Number>
void store(std::span<std::byte> memory, std::size_t place, Number number) {
  std::memcpy(memory.data() + place, &number, sizeof(number));
}

// Head and tail are what both sides look at while the other writes.
std::atomic_ref<std::uint32_t> shared(std::span<std::byte> memory, std::size_t place) {
  return std::atomic_ref<std::uint32_t>(*reinterpret_cast<std::uint32_t*>(memory.data() + place));
}

}  // namespace

Result<TcmuRing> TcmuRing::open(std::span<std::byte> memory) {
  if (memory.size() < tcmu::mailbox_bytes) return failure(EBADMSG);
  const auto flags = load<std::uint16_t>(memory, tcmu::mailbox_flags);
  constexpr std::uint16_t needed = tcmu::flag_out_of_order | tcmu::flag_read_length;
  if (load<std::uint16_t>(memory, 0) != tcmu::mailbox_version || (flags & needed) != needed) {
    return failure(EPROTONOSUPPORT);
  }
  TcmuRing ring(memory);
  ring.ring_offset_ = load<std::uint32_t>(memory, tcmu::mailbox_ring_offset);
  ring.ring_bytes_ = load<std::uint32_t>(memory, tcmu::mailbox_ring_size);
  const bool inside = ring.ring_offset_ >= tcmu::mailbox_tail + sizeof(std::uint32_t) &&
                      ring.ring_offset_ <= memory.size() && ring.ring_bytes_ <= memory.size() - ring.ring_offset_;
  if (!inside || ring.ring_bytes_ < tcmu::entry_bytes_min || ring.ring_offset_ % 8 != 0 || ring.ring_bytes_ % 8 != 0) {
    return failure(EBADMSG);
  }
  ring.published_ = shared(memory, tcmu::mailbox_tail).load(std::memory_order_relaxed);
  if (ring.published_ >= ring.ring_bytes_ || ring.published_ % 8 != 0) return failure(EBADMSG);
  ring.tail_ = ring.taken_ = ring.published_;
  return ring;
}

TcmuRing::Taken TcmuRing::take(TcmuEntry& entry) {
  if (broken_) return Taken::broken;
  if (was_reset()) return Taken::reset;
  const std::uint32_t head = shared(memory_, tcmu::mailbox_head).load(std::memory_order_acquire);
  if (head >= ring_bytes_ || head % 8 != 0) return break_down();
  for (;;) {
    if (taken_ == head) return Taken::nothing;
    const std::uint32_t place = taken_;
    Head found{};
    if (!check(place, found)) return break_down();
    // An entry lies on one side of the head: one that reaches over it was never written.
    if (place < head && found.length > head - place) return break_down();
    advance(taken_, found);
    const auto bytes = memory_.subspan(ring_offset_ + place, found.length);
    switch (found.op) {
      case tcmu::op_pad:
        continue;
      case tcmu::op_task_management:
        entry.data_bytes = load<std::uint32_t>(bytes, tcmu::task_count);
        return Taken::aborts;
      default:
        ++unanswered_;
        entry.id = load<std::uint16_t>(bytes, tcmu::entry_id);
        return read_command(place, found, entry) ? Taken::command : Taken::malformed;
    }
  }
}

bool TcmuRing::answer(std::uint16_t id, std::uint64_t epoch, const TcmuAnswer& answer) {
  if (broken_ || epoch != epoch_ || unanswered_ == 0 || was_reset()) return false;
  Head found{};
  if (!skip_notices() || !check(tail_, found) || found.op != tcmu::op_command) {
    break_down();
    return false;
  }
  const auto bytes = memory_.subspan(ring_offset_ + tail_, found.length);
  store(bytes, tcmu::entry_id, id);
  store(bytes, tcmu::entry_user_flags, answer.read_length != 0 ? tcmu::user_flag_read_length : std::uint8_t{0});
  std::ranges::fill(bytes.subspan(tcmu::answer_status, tcmu::entry_bytes_min - tcmu::answer_status), std::byte{0});
  store(bytes, tcmu::answer_status, static_cast<std::uint8_t>(answer.status));
  store(bytes, tcmu::answer_read_length, answer.read_length);
  const auto sense = answer.sense.first(std::min(answer.sense.size(), tcmu::answer_sense_bytes));
  std::ranges::copy(sense, bytes.subspan(tcmu::answer_sense).begin());
  advance(tail_, found);
  --unanswered_;
  return true;
}

bool TcmuRing::publish() {
  if (broken_ || was_reset()) return false;
  if (!skip_notices()) {
    break_down();
    return false;
  }
  if (tail_ == published_) return false;
  shared(memory_, tcmu::mailbox_tail).store(tail_, std::memory_order_release);
  published_ = tail_;
  return true;
}

// The kernel moves the tail only when it empties the ring, which then starts at its beginning. (Where the tail was there
// already, the head tells: it went back behind what was taken.)
bool TcmuRing::was_reset() {
  const std::uint32_t tail = shared(memory_, tcmu::mailbox_tail).load(std::memory_order_relaxed);
  const std::uint32_t head = shared(memory_, tcmu::mailbox_head).load(std::memory_order_acquire);
  if (tail == published_ && (head >= ring_bytes_ || distance(head) >= distance(taken_))) return false;
  ++epoch_;
  unanswered_ = 0;
  published_ = tail_ = taken_ = 0;
  if (tail != 0) break_down();
  return true;
}

// Padding and task management take a place and no answer.
bool TcmuRing::skip_notices() {
  while (tail_ != taken_) {
    Head found{};
    if (!check(tail_, found)) return false;
    if (found.op == tcmu::op_command) return true;
    advance(tail_, found);
  }
  return true;
}

bool TcmuRing::check(std::uint32_t place, Head& head) const {
  const std::uint32_t room = ring_bytes_ - place;
  if (room < tcmu::entry_header_bytes) return false;
  const auto word = load<std::uint32_t>(memory_, ring_offset_ + place);
  head = {.op = word & tcmu::op_mask, .length = word & ~tcmu::op_mask};
  if (head.length > room) return false;
  switch (head.op) {
    case tcmu::op_pad:
      return head.length >= tcmu::entry_header_bytes;
    case tcmu::op_command:
      return head.length >= tcmu::entry_bytes_min;
    case tcmu::op_task_management:
      return head.length >= tcmu::task_bytes_min;
    default:
      return false;
  }
}

bool TcmuRing::read_command(std::uint32_t place, const Head& head, TcmuEntry& entry) const {
  entry.data.clear();
  entry.data_bytes = 0;
  entry.cdb = {};
  const std::size_t begin = ring_offset_ + place;
  const auto bytes = memory_.subspan(begin, head.length);
  const auto pieces = load<std::uint32_t>(bytes, tcmu::request_pieces);
  const std::size_t list_room = head.length - tcmu::request_piece_list;
  if (load<std::uint32_t>(bytes, tcmu::request_bidi_pieces) != 0 || pieces > list_room / sizeof(iovec)) return false;

  const auto cdb_place = load<std::uint64_t>(bytes, tcmu::request_cdb_offset);
  if (cdb_place < begin || cdb_place >= begin + head.length) return false;
  const auto cdb = memory_.subspan(cdb_place, begin + head.length - cdb_place);
  const std::size_t length = scsi::cdb_length(std::to_integer<std::uint8_t>(cdb[0]));
  if (length > cdb.size()) return false;
  entry.cdb.length = static_cast<std::uint8_t>(length != 0 ? length : std::min(cdb.size(), entry.cdb.bytes.size()));
  std::ranges::copy(cdb.first(entry.cdb.length), entry.cdb.bytes.begin());

  const std::uint64_t data_begin = std::uint64_t{ring_offset_} + ring_bytes_;
  for (std::uint32_t index = 0; index < pieces; ++index) {
    auto piece = load<iovec>(bytes, tcmu::request_piece_list + index * sizeof(iovec));
    const auto offset = reinterpret_cast<std::uintptr_t>(piece.iov_base);
    if (offset < data_begin || offset > memory_.size() || piece.iov_len > memory_.size() - offset) return false;
    piece.iov_base = memory_.data() + offset;
    entry.data_bytes += piece.iov_len;
    entry.data.push_back(piece);
  }
  return entry.data_bytes <= memory_.size();
}

TcmuRing::Taken TcmuRing::break_down() {
  broken_ = true;
  return Taken::broken;
}

}  // namespace mpath
