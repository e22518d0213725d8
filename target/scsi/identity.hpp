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

// NAA 6 (16 bytes), its OUI from the locally administered range; EUI-64 of 16 bytes; T10 vendor id; serial number.
[[nodiscard]] std::array<std::byte, 16> naa6(const Uuid& uuid);
[[nodiscard]] std::string serial_number(const Uuid& uuid);

}  // namespace mpath::target
