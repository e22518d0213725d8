// What a SCSI response says about bytes that were announced and not moved, or could not be (RFC 7143, 11.4.5). Pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace mpath::target {

struct Residual {
  bool underflow = false;
  bool overflow = false;
  std::uint32_t count = 0;
  friend bool operator==(const Residual&, const Residual&) = default;
};

// `expected`: what the initiator announced. `wanted`: what the command moves when nobody limits it.
[[nodiscard]] constexpr Residual residual(std::uint32_t expected, std::uint64_t wanted) {
  if (wanted == expected) return {};
  const std::uint64_t difference = wanted > expected ? wanted - expected : expected - wanted;
  return {.underflow = wanted<expected, .overflow = wanted> expected,
          .count = static_cast<std::uint32_t>(std::min<std::uint64_t>(difference, 0xffffffff))};
}

}  // namespace mpath::target
