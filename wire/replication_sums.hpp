// Checksums by which two copies find out what differs: strong enough that equal sums stand for equal data.
#pragma once

#include <span>

#include "wire/replication_stream.hpp"

namespace mpath::replication {

[[nodiscard]] constexpr std::size_t sum_count(std::size_t data_bytes) {
  return (data_bytes + sum_block_bytes - 1) / sum_block_bytes;
}
// One for each sum_block_bytes of `data`; `sums` has sum_count() places.
void make_sums(std::span<const std::byte> data, std::span<Sum> sums);

}  // namespace mpath::replication
