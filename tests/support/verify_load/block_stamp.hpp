// What the verifying load writes: 4 KiB blocks in which every 512-byte sector says which write it belongs to.
//
// A sector carries volume, block, sequence number, writer and its own place, filler that depends on all of them, and a
// CRC32C. So a block that is old, misplaced, from another volume, mixed from two writes or damaged is told apart from a
// good one, and from each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>

namespace mpath::verify {

inline constexpr std::size_t block_bytes = 4096;
inline constexpr std::size_t sector_bytes = 512;
inline constexpr std::size_t sectors_per_block = block_bytes / sector_bytes;

struct Stamp {
  std::uint64_t volume = 0;  // drawn anew for every run
  std::uint64_t block = 0;
  std::uint64_t seq = 0;     // counts the writes of this block, from 1
  std::uint32_t writer = 0;  // the connection it was written through
  friend bool operator==(const Stamp&, const Stamp&) = default;
};

void stamp_block(std::span<std::byte, block_bytes> block, const Stamp& stamp);

struct Whole {
  Stamp stamp;
};                // one write, complete, where it belongs
struct Alien {};  // no sector is of this run: never written by us
struct Misplaced {
  Stamp stamp;
};  // complete, but it belongs to another block
struct Torn {
  std::uint64_t one_seq;
  std::uint64_t other_seq;
  unsigned sector;
};  // two writes mixed; other begins at sector
struct Damaged {
  unsigned sector;
};  // a CRC is wrong, or only part of it is ours
using Finding = std::variant<Whole, Alien, Misplaced, Torn, Damaged>;

[[nodiscard]] Finding inspect_block(std::span<const std::byte, block_bytes> data, std::uint64_t volume,
                                    std::uint64_t block);

// For messages: "holds write 7 of writer 0".
[[nodiscard]] std::string describe(const Finding& finding);

}  // namespace mpath::verify
