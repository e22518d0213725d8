#include "target/scsi/task_data.hpp"

#include <algorithm>
#include <cstring>

#include "base/check.hpp"

namespace mpath::target {
namespace {

// Calls visit(pointer, bytes) for the pieces of the run; visit returns false to end the walk.
template <typename Visit>
void each_piece(std::span<const iovec> parts, std::uint64_t offset, std::uint64_t length, Visit visit) {
  for (const iovec& part : parts) {
    if (length == 0) return;
    if (offset >= part.iov_len) {
      offset -= part.iov_len;
      continue;
    }
    const std::uint64_t bytes = std::min<std::uint64_t>(part.iov_len - offset, length);
    if (!visit(static_cast<std::byte*>(part.iov_base) + offset, static_cast<std::size_t>(bytes))) return;
    offset = 0;
    length -= bytes;
  }
  CHECK(length == 0);
}

}  // namespace

std::uint64_t byte_count(std::span<const iovec> parts) {
  std::uint64_t sum = 0;
  for (const iovec& part : parts) sum += part.iov_len;
  return sum;
}

std::vector<iovec> slice(std::span<const iovec> parts, std::uint64_t offset, std::uint64_t length) {
  std::vector<iovec> pieces;
  each_piece(parts, offset, length, [&pieces](std::byte* piece, std::size_t bytes) {
    pieces.push_back({.iov_base = piece, .iov_len = bytes});
    return true;
  });
  return pieces;
}

void copy_from(std::span<const iovec> parts, std::uint64_t offset, std::span<std::byte> out) {
  std::size_t at = 0;
  each_piece(parts, offset, out.size(), [&](const std::byte* piece, std::size_t bytes) {
    std::memcpy(out.data() + at, piece, bytes);
    at += bytes;
    return true;
  });
}

std::optional<std::uint64_t> first_difference(std::span<const iovec> parts, std::uint64_t offset,
                                              std::span<const std::byte> bytes) {
  std::optional<std::uint64_t> found;
  std::size_t at = 0;
  each_piece(parts, offset, bytes.size(), [&](const std::byte* piece, std::size_t count) {
    if (std::memcmp(piece, bytes.data() + at, count) != 0) {
      std::size_t same = 0;
      while (piece[same] == bytes[at + same]) ++same;
      found = at + same;
      return false;
    }
    at += count;
    return true;
  });
  return found;
}

bool all_zero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace mpath::target
