// What can be wrong with bytes that a peer sent.
#pragma once

#include <system_error>

#include "base/result.hpp"

namespace mpath {

enum class WireErrc {
  truncated = 1,  // it ends before the format does
  trailing,       // bytes after the end of the format
  bad_opcode,     // a kind this codec does not know
  bad_field,      // a value that the format forbids
  bad_length,     // lengths that contradict each other, or are above our limits
  bad_digest,
  bad_version,    // of a format that this program writes down
};

[[nodiscard]] const std::error_category& wire_category();
[[nodiscard]] inline error_code make_error_code(WireErrc code) {
  return {static_cast<int>(code), wire_category()};
}
[[nodiscard]] inline std::unexpected<error_code> failure(WireErrc code) {
  return std::unexpected(make_error_code(code));
}

}  // namespace mpath

template <>
struct std::is_error_code_enum<mpath::WireErrc> : std::true_type {};
