// The two failure words of the project: error_code, and Result<T> = a value or an error_code.
//
// Expected outcomes (a SCSI status, a lost path) are values of their own types and never travel here; bugs are CHECK()s.
#pragma once

#include <expected>
#include <system_error>

namespace mpath {

using std::error_code;

template <typename T>
using Result = std::expected<T, error_code>;

// An errno value as a failure, and as the failure of a Result.
[[nodiscard]] inline error_code errno_code(int error_number) { return {error_number, std::generic_category()}; }
[[nodiscard]] inline std::unexpected<error_code> failure(int error_number) {
  return std::unexpected(errno_code(error_number));
}
[[nodiscard]] inline std::unexpected<error_code> failure(error_code error) { return std::unexpected(error); }

}  // namespace mpath
