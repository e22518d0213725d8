// Reading and writing integers at fixed places: what every codec of wire/ is made of.
//
// Both are sticky: an access past the end yields zeroes (or writes nothing), turns ok() false for good, and needs no check
// of its own; the caller asks ok() once, at the end. Big-endian unless the name ends in _le.
//
// Ownership: both borrow their bytes.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace mpath {

namespace detail {

// There and back. A whole word at a time: a loop over its bytes costs ten times as much, and every head has many.
constexpr std::uint64_t big_endian(std::uint64_t word) {
  return std::endian::native == std::endian::big ? word : std::byteswap(word);
}
constexpr std::uint64_t little_endian(std::uint64_t word) {
  return std::endian::native == std::endian::little ? word : std::byteswap(word);
}

}  // namespace detail

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : all_(bytes), rest_(bytes) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::size_t remaining() const { return rest_.size(); }
  [[nodiscard]] std::size_t position() const { return all_.size() - rest_.size(); }
  [[nodiscard]] bool at_end() const { return ok_ && rest_.empty(); }

  std::uint8_t u8() { return static_cast<std::uint8_t>(big<1>()); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(big<2>()); }
  std::uint32_t u24() { return static_cast<std::uint32_t>(big<3>()); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(big<4>()); }
  std::uint64_t u48() { return big<6>(); }
  std::uint64_t u64() { return big<8>(); }
  std::uint16_t u16_le() { return static_cast<std::uint16_t>(little<2>()); }
  std::uint32_t u32_le() { return static_cast<std::uint32_t>(little<4>()); }
  std::uint64_t u64_le() { return little<8>(); }

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
  // The bytes as they lie there, then zeroes.
  template <std::size_t width>
  std::uint64_t word() {
    std::uint64_t word = 0;
    if (const auto taken = bytes(width); !taken.empty()) std::memcpy(&word, taken.data(), width);
    return word;
  }
  template <std::size_t width>
  std::uint64_t big() {
    return detail::big_endian(word<width>()) >> (64 - 8 * width);
  }
  template <std::size_t width>
  std::uint64_t little() {
    return detail::little_endian(word<width>());
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

  void u8(std::uint8_t value) { big<1>(value); }
  void u16(std::uint16_t value) { big<2>(value); }
  void u24(std::uint32_t value) { big<3>(value); }
  void u32(std::uint32_t value) { big<4>(value); }
  void u48(std::uint64_t value) { big<6>(value); }
  void u64(std::uint64_t value) { big<8>(value); }
  void u16_le(std::uint16_t value) { little<2>(value); }
  void u32_le(std::uint32_t value) { little<4>(value); }
  void u64_le(std::uint64_t value) { little<8>(value); }

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
  template <std::size_t width>
  void put(std::uint64_t word) {
    if (const auto place = claim(width); !place.empty()) std::memcpy(place.data(), &word, width);
  }
  template <std::size_t width>
  void big(std::uint64_t value) {
    put<width>(detail::big_endian(value << (64 - 8 * width)));
  }
  template <std::size_t width>
  void little(std::uint64_t value) {
    put<width>(detail::little_endian(value));
  }

  std::span<std::byte> out_;
  std::size_t size_ = 0;
  bool ok_ = true;
};

}  // namespace mpath
