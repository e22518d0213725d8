// The memory that the kernel's TCMU (target_core_user) shares with the process that serves a backstore, from the
// process's side: what was asked, and how answers are given.
//
//   ┌ mailbox ┬ command ring ─────────────────────────────────────────────────┬ data area ───────────────┐
//   │ tail, head │ free │ tail: answered up to here ... taken ... head: asked │ 4 KiB blocks of payloads │
//
// Order:    commands may be answered in any order. An answer goes into the place at the tail, whoever stood there, and
//           says by its id which command it is for: what was taken is therefore copied, all but its payload.
// Trust:    the memory is the kernel's, and checked nevertheless: nothing in it leads outside of it. A ring that
//           contradicts itself is `broken` for good.
// Reset:    an administrator (action/reset_ring) and our own takeover empty the ring. What was taken before may not be
//           answered any more: take() says so once, and answers for an older epoch() are dropped.
//
// Pure logic over a span: no file, no log. Layout: linux/target_core_user.h, mailbox version 2, in the byte order and the
// word size of the machine.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "wire/scsi.hpp"

namespace mpath {

// Places and numbers of the layout, in bytes. The kernel's: never renumber.
namespace tcmu {
inline constexpr std::uint16_t mailbox_version = 2;
inline constexpr std::uint16_t flag_out_of_order = 1 << 0;
inline constexpr std::uint16_t flag_read_length = 1 << 1;
inline constexpr std::size_t mailbox_flags = 2;
inline constexpr std::size_t mailbox_ring_offset = 4;
inline constexpr std::size_t mailbox_ring_size = 8;
inline constexpr std::size_t mailbox_head = 12;
inline constexpr std::size_t mailbox_tail = 64;
inline constexpr std::size_t mailbox_bytes = 128;

inline constexpr std::uint32_t op_mask = 0x7;  // the rest is the entry's length
inline constexpr std::uint32_t op_pad = 0;
inline constexpr std::uint32_t op_command = 1;
inline constexpr std::uint32_t op_task_management = 2;
inline constexpr std::size_t entry_id = 4;
inline constexpr std::size_t entry_user_flags = 7;
inline constexpr std::uint8_t user_flag_read_length = 0x2;
inline constexpr std::size_t entry_header_bytes = 8;
inline constexpr std::size_t entry_bytes_min = 112;  // of a command: room for an answer
inline constexpr std::size_t request_pieces = 8;
inline constexpr std::size_t request_bidi_pieces = 12;
inline constexpr std::size_t request_cdb_offset = 24;
inline constexpr std::size_t request_piece_list = 48;
inline constexpr std::size_t answer_status = 8;
inline constexpr std::size_t answer_read_length = 12;
inline constexpr std::size_t answer_sense = 16;
inline constexpr std::size_t answer_sense_bytes = 96;
inline constexpr std::size_t task_type = 8;
inline constexpr std::size_t task_count = 12;
inline constexpr std::size_t task_bytes_min = 32;
}  // namespace tcmu

// What was taken. Keeps its capacity, so that one that is used again allocates nothing.
struct TcmuEntry {
  std::uint16_t id = 0;
  scsi::Cdb cdb;
  std::vector<iovec> data;  // in the shared memory; data-out and data-in look the same
  std::uint64_t data_bytes = 0;
};

struct TcmuAnswer {
  scsi::Status status = scsi::Status::good;
  std::span<const std::byte> sense;    // with check_condition; what is too long is cut
  std::uint32_t read_length = 0;       // bytes of data-in that are there; 0: all that was asked for
};

class TcmuRing {
 public:
  enum class Taken : std::uint8_t {
    nothing,   // the ring holds no more
    command,   // `entry` has it
    malformed, // `entry` has its id: refuse it
    aborts,    // the kernel tells that it gives up entry.data_bytes commands (task management): nothing to answer
    reset,     // the ring was emptied: forget what was taken
    broken,
  };

  // Fails with EPROTONOSUPPORT (another version, no answers out of order) or EBADMSG. The memory is borrowed.
  [[nodiscard]] static Result<TcmuRing> open(std::span<std::byte> memory);

  [[nodiscard]] Taken take(TcmuEntry& entry);
  // Answers a command that was taken in this epoch and not answered yet. False: the ring is not in this state any more.
  bool answer(std::uint16_t id, std::uint64_t epoch, const TcmuAnswer& answer);
  // Shows the kernel what was answered. True: ring the doorbell.
  [[nodiscard]] bool publish();

  [[nodiscard]] std::uint64_t epoch() const { return epoch_; }
  [[nodiscard]] std::uint32_t unanswered() const { return unanswered_; }  // of those taken
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  struct Head {
    std::uint32_t op;
    std::uint32_t length;
  };

  explicit TcmuRing(std::span<std::byte> memory) : memory_(memory) {}
  [[nodiscard]] bool was_reset();
  // From what the kernel has seen answered to `place`.
  [[nodiscard]] std::uint32_t distance(std::uint32_t place) const {
    return place >= published_ ? place - published_ : place + ring_bytes_ - published_;
  }
  [[nodiscard]] bool check(std::uint32_t place, Head& head) const;
  [[nodiscard]] bool read_command(std::uint32_t place, const Head& head, TcmuEntry& entry) const;
  void advance(std::uint32_t& place, const Head& head) const { place = (place + head.length) % ring_bytes_; }
  bool skip_notices();
  Taken break_down();

  // Constant after open().
  std::span<std::byte> memory_;
  std::uint32_t ring_offset_ = 0;
  std::uint32_t ring_bytes_ = 0;

  std::uint32_t taken_ = 0;      // up to here entries were taken
  std::uint32_t tail_ = 0;       // up to here places are answers
  std::uint32_t published_ = 0;  // the tail as the kernel sees it
  std::uint32_t unanswered_ = 0;
  std::uint64_t epoch_ = 0;
  bool broken_ = false;
};

}  // namespace mpath
