// CRC32C as iSCSI digests use it (RFC 7143, 13.1), on the machine's own instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mpath {

class Crc32c {
 public:
  void add(std::span<const std::byte> bytes);
  [[nodiscard]] std::uint32_t value() const { return ~state_; }

 private:
  std::uint32_t state_ = 0xffffffff;
};

[[nodiscard]] inline std::uint32_t crc32c(std::span<const std::byte> bytes) {
  Crc32c crc;
  crc.add(bytes);
  return crc.value();
}

// On the wire the digest stands in little-endian order: Writer::u32_le(), Reader::u32_le().

}  // namespace mpath
