// What the fuzz targets have in common: an input that gives its first byte as a choice and the rest as bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.hpp"

namespace mpath::fuzz {

struct Input {
  Input(const std::uint8_t* data, std::size_t size) : bytes(reinterpret_cast<const std::byte*>(data), size) {}
  unsigned choice() {
    if (bytes.empty()) return 0;
    const auto first = std::to_integer<unsigned>(bytes.front());
    bytes = bytes.subspan(1);
    return first;
  }
  std::span<const std::byte> bytes;
};

}  // namespace mpath::fuzz
