// The journal of atomic writes: a small file beside the medium, with slots.
//
//   slot i at (1 + i) * slot_bytes:  header (4096 bytes, in one sector: magic, version, sequence, offset, length,
//   checksum of the body, checksum of the header), then the body, at most `body_bytes_max`. Little-endian; never
//   renumber. At 0: a header that says version, slots and body_bytes_max.
//
// One write:  body and header into a free slot, durable; then in place, durable; then the slot is cleared, durable;
//             then it is answered. So a cut at any point leaves either no whole entry (and the medium untouched) or one
//             that is written again at opening; and no entry lives longer than its write, so that it can never undo a
//             later one.
// Threads:    any; one at a time for each slot. Everything blocks.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.hpp"

namespace mpath::target {

// The few operations that the journal needs: of a file, or of a test's disk that can lose power.
class DurableFile {
 public:
  virtual ~DurableFile() = default;
  // All of it, or an error. Durable when it returns without one.
  [[nodiscard]] virtual error_code write(std::uint64_t offset, std::span<const iovec> data) = 0;
  // Past the end: zeroes.
  [[nodiscard]] virtual error_code read(std::uint64_t offset, std::span<std::byte> data) = 0;
};

struct JournalEntry {
  std::uint64_t sequence = 0;
  std::uint64_t offset = 0;  // in the medium
  std::uint32_t length = 0;
  std::uint32_t body_checksum = 0;  // CRC32C
  friend bool operator==(const JournalEntry&, const JournalEntry&) = default;
};

inline constexpr std::size_t journal_header_bytes = 4096;
using JournalHeader = std::array<std::byte, journal_header_bytes>;
[[nodiscard]] JournalHeader encode_journal_entry(const JournalEntry& entry);
// Nothing when the header is not whole, or cleared.
[[nodiscard]] std::optional<JournalEntry> decode_journal_entry(std::span<const std::byte> header);

class Journal {
 public:
  static constexpr unsigned slots = 4;

  explicit Journal(std::uint32_t body_bytes_max) : body_bytes_max_(body_bytes_max) {}

  [[nodiscard]] std::uint64_t file_bytes() const { return (1 + slots) * slot_bytes(); }
  // Writes whole entries into the medium, oldest first, and clears them. `medium_bytes` bounds them. How many there
  // were. A journal of another shape is taken with its own shape and then made anew.
  [[nodiscard]] Result<unsigned> recover(DurableFile& journal, DurableFile& medium, std::uint64_t medium_bytes);
  // Whether recover() would write anything.
  [[nodiscard]] static Result<bool> has_entries(DurableFile& journal);

  // What an error leaves behind. `journal`: nothing, neither in the medium nor in the slot. `medium`, `clear`: the slot
  // may hold an entry that the next opening writes again: it must not be used any more, and the store is in doubt.
  enum class Stage : std::uint8_t { journal, medium, clear };
  struct Outcome {
    error_code error;
    Stage stage = Stage::journal;
  };
  [[nodiscard]] Outcome write(DurableFile& journal, DurableFile& medium, unsigned slot, std::uint64_t sequence,
                              std::uint64_t offset, std::span<const iovec> data) const;

 private:
  [[nodiscard]] std::uint64_t slot_bytes() const { return journal_header_bytes + body_bytes_max_; }

  std::uint32_t body_bytes_max_;
};

}  // namespace mpath::target
