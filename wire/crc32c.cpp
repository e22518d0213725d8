#include "wire/crc32c.hpp"

#include <isa-l/crc.h>

#include <algorithm>

namespace mpath {

void Crc32c::add(std::span<const std::byte> bytes) {
  constexpr std::size_t step = std::size_t{1} << 30;  // the library counts in int
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), step));
    // The library does not write, it only forgot to say so.
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(part.data()));
    state_ = crc32_iscsi(data, static_cast<int>(part.size()), state_);
    bytes = bytes.subspan(part.size());
  }
}

}  // namespace mpath
