// Where the fields of a basic header segment are (RFC 7143, 11.2 and following): accessors on the 48 raw bytes, for code
// that watches PDUs go by and must not pay for decoding each. No I/O, no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mpath::bhs {

inline constexpr std::size_t size = 48;
inline constexpr std::size_t digest_size = 4;
inline constexpr std::uint32_t no_tag = 0xffffffff;

using View = std::span<const std::byte, size>;
using Edit = std::span<std::byte, size>;

enum class Opcode : std::uint8_t {
  nop_out = 0x00,
  scsi_command = 0x01,
  task_management_request = 0x02,
  login_request = 0x03,
  text_request = 0x04,
  data_out = 0x05,
  logout_request = 0x06,
  nop_in = 0x20,
  scsi_response = 0x21,
  task_management_response = 0x22,
  login_response = 0x23,
  text_response = 0x24,
  data_in = 0x25,
  logout_response = 0x26,
  r2t = 0x31,
  async_message = 0x32,
  reject = 0x3f,
};

// Byte 1 of the PDUs that have these flags.
inline constexpr std::uint8_t flag_final = 0x80;         // SCSI, Data-In, Text; Transit in login
inline constexpr std::uint8_t flag_continue = 0x40;      // Text and Login
inline constexpr std::uint8_t flag_overflow = 0x04;      // SCSI Response, Data-In
inline constexpr std::uint8_t flag_underflow = 0x02;
inline constexpr std::uint8_t flag_has_status = 0x01;    // Data-In
inline constexpr std::uint8_t immediate_bit = 0x40;      // byte 0 of requests

[[nodiscard]] inline std::uint8_t get8(View h, std::size_t at) { return static_cast<std::uint8_t>(h[at]); }
[[nodiscard]] inline std::uint16_t get16(View h, std::size_t at) {
  return static_cast<std::uint16_t>(get8(h, at) << 8 | get8(h, at + 1));
}
[[nodiscard]] inline std::uint32_t get32(View h, std::size_t at) {
  return std::uint32_t{get16(h, at)} << 16 | get16(h, at + 2);
}
inline void set32(Edit h, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) h[at + i] = static_cast<std::byte>(value >> (24 - 8 * i));
}

// Common to all (11.2.1).
[[nodiscard]] inline Opcode opcode(View h) { return static_cast<Opcode>(get8(h, 0) & 0x3f); }
[[nodiscard]] inline bool immediate(View h) { return (get8(h, 0) & immediate_bit) != 0; }
[[nodiscard]] inline std::uint8_t flags(View h) { return get8(h, 1); }
[[nodiscard]] inline std::uint8_t ahs_words(View h) { return get8(h, 4); }
[[nodiscard]] inline std::uint32_t segment_length(View h) { return get32(h, 4) & 0x00ffffff; }
[[nodiscard]] inline std::uint32_t padded(std::uint32_t length) { return (length + 3) & ~std::uint32_t{3}; }
[[nodiscard]] inline std::uint32_t itt(View h) { return get32(h, 16); }
[[nodiscard]] inline std::uint32_t ttt(View h) { return get32(h, 20); }  // NOP, R2T, Data-In, Text

// Requests.
[[nodiscard]] inline std::uint32_t cmd_sn(View h) { return get32(h, 24); }
inline void set_exp_stat_sn(Edit h, std::uint32_t value) { set32(h, 28, value); }

// Replies.
[[nodiscard]] inline std::uint32_t stat_sn(View h) { return get32(h, 24); }
[[nodiscard]] inline std::uint32_t exp_cmd_sn(View h) { return get32(h, 28); }
[[nodiscard]] inline std::uint32_t max_cmd_sn(View h) { return get32(h, 32); }
[[nodiscard]] inline std::uint8_t response(View h) { return get8(h, 2); }        // SCSI Response, Reject: reason
[[nodiscard]] inline std::uint8_t scsi_status(View h) { return get8(h, 3); }     // SCSI Response, Data-In with status
[[nodiscard]] inline std::uint32_t buffer_offset(View h) { return get32(h, 40); }  // R2T, Data-In
[[nodiscard]] inline std::uint32_t residual_count(View h) { return get32(h, 44); }
[[nodiscard]] inline std::uint32_t desired_length(View h) { return get32(h, 44); }  // R2T
[[nodiscard]] inline std::uint8_t async_event(View h) { return get8(h, 36); }
[[nodiscard]] inline std::uint16_t async_parameter3(View h) { return get16(h, 42); }

// Login (11.12, 11.13).
[[nodiscard]] inline std::uint8_t csg(View h) { return (flags(h) >> 2) & 3; }
[[nodiscard]] inline std::uint8_t nsg(View h) { return flags(h) & 3; }
[[nodiscard]] inline std::uint16_t tsih(View h) { return get16(h, 14); }
[[nodiscard]] inline std::uint8_t login_status_class(View h) { return get8(h, 36); }
[[nodiscard]] inline std::uint8_t login_status_detail(View h) { return get8(h, 37); }

// RFC 1982 order of the 32-bit sequence numbers.
[[nodiscard]] inline bool serial_less(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; }

}  // namespace mpath::bhs
