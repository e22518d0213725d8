// Everything that a logical unit and its target are called, derived from the UUID that was made with the unit. Pure.
//
// Never a constant and never the host's: two nodes that hold the same unit give the same names.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/scsi_data.hpp"

namespace mpath::target {

using Uuid = std::array<std::uint8_t, 16>;
[[nodiscard]] Uuid make_uuid();  // version 4, from the kernel's random source
[[nodiscard]] std::optional<Uuid> parse_uuid(std::string_view text);
[[nodiscard]] std::string format_uuid(const Uuid& uuid);

inline constexpr std::string_view vendor_id = "MPATH";  // eight characters, padded with blanks on the wire

// NAA 6 (16 bytes): NAA 3 is what SPC calls "locally assigned", but initiators key on NAA 6 and take it for unique. So
// the form is NAA 6, with the company id 02-4D-50 from the locally administered range (bit 0x02 of the first octet,
// which is never given to a company), and 100 random bits of the UUID for vendor specific identifier and extension.
[[nodiscard]] std::array<std::byte, 16> naa6(const Uuid& uuid);
// EUI-64 based, the 16-byte form: 8 octets of extension, the same company id, 5 octets; 104 random bits of the UUID.
[[nodiscard]] std::array<std::byte, 16> eui64(const Uuid& uuid);
// The UUID without its dashes: 32 digits.
[[nodiscard]] std::string serial_number(const Uuid& uuid);

}  // namespace mpath::target
