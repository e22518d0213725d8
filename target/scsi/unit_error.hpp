// Why a unit does not change its state when it is asked to: for administrators, and for commands, which say it in sense
// codes.
#pragma once

#include <system_error>

#include "base/result.hpp"

namespace mpath::target {

enum class UnitErrc {
  elsewhere = 1,  // the other node of the pair serves the unit, or may do so by now
  pair_decides,   // states of port groups follow from which node serves
};

[[nodiscard]] const std::error_category& unit_category();
[[nodiscard]] inline error_code make_error_code(UnitErrc code) {
  return {static_cast<int>(code), unit_category()};
}

}  // namespace mpath::target

template <>
struct std::is_error_code_enum<mpath::target::UnitErrc> : std::true_type {};
