// The words of SAM-5 and SPC-4 that initiator, target and maps share: status, sense, CDB, LUN.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>

namespace mpath::scsi {

// SAM-5, 5.3.1. On the wire: never renumber.
enum class Status : std::uint8_t {
  good = 0x00,
  check_condition = 0x02,
  condition_met = 0x04,
  busy = 0x08,
  reservation_conflict = 0x18,
  task_set_full = 0x28,
  aca_active = 0x30,
  task_aborted = 0x40,
};

// SPC-4, 4.5.6. On the wire: never renumber.
enum class SenseKey : std::uint8_t {
  no_sense = 0x0,
  recovered_error = 0x1,
  not_ready = 0x2,
  medium_error = 0x3,
  hardware_error = 0x4,
  illegal_request = 0x5,
  unit_attention = 0x6,
  data_protect = 0x7,
  blank_check = 0x8,
  vendor_specific = 0x9,
  copy_aborted = 0xa,
  aborted_command = 0xb,
  volume_overflow = 0xd,
  miscompare = 0xe,
  completed = 0xf,
};

// Decoded sense data, fixed or descriptor format.
struct Sense {
  SenseKey key = SenseKey::no_sense;
  std::uint8_t asc = 0;   // additional sense code
  std::uint8_t ascq = 0;  // its qualifier
  friend auto operator<=>(const Sense&, const Sense&) = default;
};

struct Cdb {
  std::array<std::byte, 16> bytes{};
  std::uint8_t length = 0;
  [[nodiscard]] std::span<const std::byte> view() const { return std::span(bytes).first(length); }
};

enum class DataDirection : std::uint8_t { none, in, out };

// A logical unit number as people write it (0, 1, 2 ...); the wire form is made by lun_field().
struct Lun {
  std::uint64_t value = 0;
  friend auto operator<=>(const Lun&, const Lun&) = default;
};

}  // namespace mpath::scsi
