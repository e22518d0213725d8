// Checksums by which two copies find out what differs: strong enough that equal sums stand for equal data.
#pragma once

#include <cstddef>
#include <span>

#include "wire/replication_stream.hpp"

namespace mpath::replication {

[[nodiscard]] constexpr std::size_t sum_count(std::size_t data_bytes) {
  return (data_bytes + sum_block_bytes - 1) / sum_block_bytes;
}
// One for each sum_block_bytes of `data`; `sums` has sum_count() places.
void make_sums(std::span<const std::byte> data, std::span<Sum> sums);

// The answer to sums: a bit for each, the lowest of a byte first; set where the data differ.
[[nodiscard]] constexpr std::size_t difference_bytes(std::size_t sums) { return (sums + 7) / 8; }
[[nodiscard]] constexpr bool differs(std::span<const std::byte> differences, std::size_t at) {
  return (std::to_integer<unsigned>(differences[at / 8]) >> (at % 8) & 1U) != 0;
}
constexpr void set_differs(std::span<std::byte> differences, std::size_t at) {
  differences[at / 8] |= static_cast<std::byte>(1U << (at % 8));
}

}  // namespace mpath::replication
