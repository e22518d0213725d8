// The scattered data of a task, looked at as one run of bytes. Pure.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace mpath::target {

[[nodiscard]] std::uint64_t byte_count(std::span<const iovec> parts);
// `length` bytes from `offset` on; they must be there.
[[nodiscard]] std::vector<iovec> slice(std::span<const iovec> parts, std::uint64_t offset, std::uint64_t length);
void copy_from(std::span<const iovec> parts, std::uint64_t offset, std::span<std::byte> out);
// Where `bytes` and the data from `offset` on differ first, counted from the start of `bytes`.
[[nodiscard]] std::optional<std::uint64_t> first_difference(std::span<const iovec> parts, std::uint64_t offset,
                                                            std::span<const std::byte> bytes);
[[nodiscard]] bool all_zero(std::span<const std::byte> bytes);

}  // namespace mpath::target
