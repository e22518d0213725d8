// The name of a logical unit: the best designator of page 83h in the text form that scsi_id and multipath print. Pure.
#pragma once

#include <string>

#include "wire/scsi_data.hpp"

namespace mpath {

inline constexpr std::size_t wwid_length_max = 127;

// Rank: NAA 6 > NAA 5 > NAA 2 > EUI-64 > SCSI name string > T10 vendor > NAA 3; the first of equals; only designators of
// the logical unit, and only of the right length for their type. Text: '3' + NAA in hex, '2' + EUI in hex, '8' + name
// string (naa. and eui. become 3 and 2), '1' + T10 text with runs of blanks squeezed to '_'. Empty: nothing usable.
[[nodiscard]] std::string wwid_of(const scsi::DeviceId& page);

}  // namespace mpath
