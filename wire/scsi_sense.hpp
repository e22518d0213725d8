// Sense data, fixed and descriptor format (SPC-4, 4.5), both directions.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/result.hpp"
#include "wire/scsi.hpp"

namespace mpath::scsi {

struct SenseData {
  Sense sense;
  bool deferred = false;  // about an earlier command, not the one it came with
  bool descriptor_format = false;
  std::optional<std::uint64_t> information;  // for medium errors: the first LBA that failed
  // Sense-key specific, at most one of them is there: how far a long operation is (of 65536), or the byte that is at
  // fault in the CDB or in the parameter list.
  std::optional<std::uint16_t> progress;
  std::optional<std::uint16_t> field;
  bool field_in_cdb = true;
  friend bool operator==(const SenseData&, const SenseData&) = default;
};

// Any length from 1 byte on is taken as far as it goes: targets cut sense data short, and a key alone is worth having.
// Fails with truncated (nothing there) or bad_opcode (not sense data).
[[nodiscard]] Result<SenseData> decode_sense(std::span<const std::byte> bytes);

struct SenseBytes {
  std::array<std::byte, 28> bytes{};
  std::uint8_t length = 0;
  [[nodiscard]] std::span<const std::byte> view() const { return std::span(bytes).first(length); }
};
// In the format that `data` asks for. Information of more than 32 bits does not fit the fixed format and is left out
// there.
[[nodiscard]] SenseBytes encode_sense(const SenseData& data);

// The codes that this project gives or looks for.
namespace sense {
inline constexpr Sense none{};
inline constexpr Sense becoming_ready{SenseKey::not_ready, 0x04, 0x01};
inline constexpr Sense manual_intervention{SenseKey::not_ready, 0x04, 0x03};
inline constexpr Sense alua_transition{SenseKey::not_ready, 0x04, 0x0a};
inline constexpr Sense alua_standby{SenseKey::not_ready, 0x04, 0x0b};
inline constexpr Sense alua_unavailable{SenseKey::not_ready, 0x04, 0x0c};
inline constexpr Sense sanitize_in_progress{SenseKey::not_ready, 0x04, 0x1b};
inline constexpr Sense no_path{SenseKey::not_ready, 0x08, 0x00};  // logical unit communication failure
inline constexpr Sense no_medium{SenseKey::not_ready, 0x3a, 0x00};
inline constexpr Sense write_error{SenseKey::medium_error, 0x0c, 0x00};
inline constexpr Sense read_error{SenseKey::medium_error, 0x11, 0x00};
inline constexpr Sense sanitize_failed{SenseKey::medium_error, 0x31, 0x03};
inline constexpr Sense internal_failure{SenseKey::hardware_error, 0x44, 0x00};
inline constexpr Sense parameter_list_length{SenseKey::illegal_request, 0x1a, 0x00};
inline constexpr Sense invalid_opcode{SenseKey::illegal_request, 0x20, 0x00};
inline constexpr Sense lba_out_of_range{SenseKey::illegal_request, 0x21, 0x00};
inline constexpr Sense invalid_field_in_cdb{SenseKey::illegal_request, 0x24, 0x00};
inline constexpr Sense lun_not_supported{SenseKey::illegal_request, 0x25, 0x00};
inline constexpr Sense invalid_field_in_parameters{SenseKey::illegal_request, 0x26, 0x00};
inline constexpr Sense parameter_not_supported{SenseKey::illegal_request, 0x26, 0x01};
inline constexpr Sense invalid_release{SenseKey::illegal_request, 0x26, 0x04};
inline constexpr Sense saving_not_supported{SenseKey::illegal_request, 0x39, 0x00};
inline constexpr Sense invalid_message{SenseKey::illegal_request, 0x49, 0x00};
inline constexpr Sense no_registration_resources{SenseKey::illegal_request, 0x55, 0x04};
inline constexpr Sense set_port_groups_failed{SenseKey::illegal_request, 0x67, 0x0a};
inline constexpr Sense power_on{SenseKey::unit_attention, 0x29, 0x00};
inline constexpr Sense bus_reset{SenseKey::unit_attention, 0x29, 0x02};
inline constexpr Sense unit_reset{SenseKey::unit_attention, 0x29, 0x03};
inline constexpr Sense nexus_loss{SenseKey::unit_attention, 0x29, 0x07};
inline constexpr Sense mode_parameters_changed{SenseKey::unit_attention, 0x2a, 0x01};
inline constexpr Sense reservations_preempted{SenseKey::unit_attention, 0x2a, 0x03};
inline constexpr Sense reservations_released{SenseKey::unit_attention, 0x2a, 0x04};
inline constexpr Sense registrations_preempted{SenseKey::unit_attention, 0x2a, 0x05};
inline constexpr Sense alua_changed{SenseKey::unit_attention, 0x2a, 0x06};
inline constexpr Sense capacity_changed{SenseKey::unit_attention, 0x2a, 0x09};
inline constexpr Sense commands_cleared{SenseKey::unit_attention, 0x2f, 0x00};
inline constexpr Sense medium_may_have_changed{SenseKey::unit_attention, 0x28, 0x00};
inline constexpr Sense inquiry_changed{SenseKey::unit_attention, 0x3f, 0x03};
inline constexpr Sense luns_changed{SenseKey::unit_attention, 0x3f, 0x0e};
inline constexpr Sense thin_threshold{SenseKey::unit_attention, 0x38, 0x07};
inline constexpr Sense write_protected{SenseKey::data_protect, 0x27, 0x00};
inline constexpr Sense no_space{SenseKey::data_protect, 0x27, 0x07};
inline constexpr Sense command_lost{SenseKey::aborted_command, 0x08, 0x00};  // logical unit communication failure
inline constexpr Sense data_phase_error{SenseKey::aborted_command, 0x4b, 0x00};
inline constexpr Sense miscompare{SenseKey::miscompare, 0x1d, 0x00};
}  // namespace sense

[[nodiscard]] const char* name(SenseKey key);
[[nodiscard]] const char* name(Status status);
// For people and logs: "illegal request 05/24/00 (invalid field in CDB)"; codes without a name show the numbers alone.
[[nodiscard]] std::string describe(const Sense& sense);

}  // namespace mpath::scsi
