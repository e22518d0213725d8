// Reading and writing integers at fixed places: what every codec of wire/ is made of.
//
// Both are sticky: an access past the end yields zeroes (or writes nothing), turns ok() false for good, and needs no check
// of its own; the caller asks ok() once, at the end. Big-endian unless the name ends in _le.
//
// Ownership: both borrow their bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace mpath {

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : all_(bytes), rest_(bytes) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::size_t remaining() const { return rest_.size(); }
  [[nodiscard]] std::size_t position() const { return all_.size() - rest_.size(); }
  [[nodiscard]] bool at_end() const { return ok_ && rest_.empty(); }

  std::uint8_t u8() { return static_cast<std::uint8_t>(big(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(big(2)); }
  std::uint32_t u24() { return static_cast<std::uint32_t>(big(3)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(big(4)); }
  std::uint64_t u48() { return big(6); }
  std::uint64_t u64() { return big(8); }
  std::uint16_t u16_le() { return static_cast<std::uint16_t>(little(2)); }
  std::uint32_t u32_le() { return static_cast<std::uint32_t>(little(4)); }
  std::uint64_t u64_le() { return little(8); }

  void skip(std::size_t count) { static_cast<void>(bytes(count)); }
  // The next `count` bytes, or an empty span (and !ok) when there are fewer.
  std::span<const std::byte> bytes(std::size_t count) {
    if (count > rest_.size()) {
      fail();
      return {};
    }
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  std::span<const std::byte> rest() { return bytes(rest_.size()); }
  std::string_view text(std::size_t count) {
    const auto taken = bytes(count);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  // Copies into `out`; zeroes it when there are fewer bytes.
  void copy_to(std::span<std::byte> out) {
    const auto taken = bytes(out.size());
    if (taken.size() == out.size()) {
      std::copy(taken.begin(), taken.end(), out.begin());
    } else {
      std::fill(out.begin(), out.end(), std::byte{0});
    }
  }
  // For lengths that contradict each other: everything after this reads as zero.
  void fail() {
    ok_ = false;
    rest_ = {};
  }

 private:
  std::uint64_t big(std::size_t width) {
    std::uint64_t value = 0;
    for (const std::byte byte : bytes(width)) value = value << 8 | std::to_integer<std::uint64_t>(byte);
    return value;
  }
  std::uint64_t little(std::size_t width) {
    std::uint64_t value = 0;
    unsigned shift = 0;
    for (const std::byte byte : bytes(width)) {
      value |= std::to_integer<std::uint64_t>(byte) << shift;
      shift += 8;
    }
    return value;
  }

  std::span<const std::byte> all_;
  std::span<const std::byte> rest_;
  bool ok_ = true;
};

class Writer {
 public:
  explicit Writer(std::span<std::byte> out) : out_(out) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::size_t remaining() const { return out_.size() - size_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::span<std::byte> written() const { return out_.first(size_); }

  void u8(std::uint8_t value) { big(value, 1); }
  void u16(std::uint16_t value) { big(value, 2); }
  void u24(std::uint32_t value) { big(value, 3); }
  void u32(std::uint32_t value) { big(value, 4); }
  void u48(std::uint64_t value) { big(value, 6); }
  void u64(std::uint64_t value) { big(value, 8); }
  void u16_le(std::uint16_t value) { little(value, 2); }
  void u32_le(std::uint32_t value) { little(value, 4); }
  void u64_le(std::uint64_t value) { little(value, 8); }

  // Writes `count` zeroes: reserved fields and padding.
  void skip(std::size_t count) {
    const auto place = claim(count);
    std::fill(place.begin(), place.end(), std::byte{0});
  }
  // All of it or nothing.
  void bytes(std::span<const std::byte> source) {
    const auto place = claim(source.size());
    if (place.size() == source.size()) std::copy(source.begin(), source.end(), place.begin());
  }
  void text(std::string_view source) { bytes(std::as_bytes(std::span(source))); }
  void fail() { ok_ = false; }

 private:
  std::span<std::byte> claim(std::size_t count) {
    if (!ok_ || count > remaining()) {
      ok_ = false;
      return {};
    }
    const auto place = out_.subspan(size_, count);
    size_ += count;
    return place;
  }
  void big(std::uint64_t value, std::size_t width) {
    std::size_t shift = 8 * width;
    for (std::byte& byte : claim(width)) {
      shift -= 8;
      byte = static_cast<std::byte>(value >> shift);
    }
  }
  void little(std::uint64_t value, std::size_t width) {
    for (std::byte& byte : claim(width)) {
      byte = static_cast<std::byte>(value);
      value >>= 8;
    }
  }

  std::span<std::byte> out_;
  std::size_t size_ = 0;
  bool ok_ = true;
};

}  // namespace mpath
