// Bytes for tests: written as hex, and held in heap blocks of exactly their size so that sanitizers see one byte too
// many.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mpath::test {

inline std::vector<std::byte> hex(std::string_view text) {
  std::vector<std::byte> bytes;
  unsigned value = 0;
  bool half = false;
  for (const char c : text) {
    unsigned digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else {
      continue;
    }
    value = half ? value << 4 | digit : digit;
    if (half) bytes.push_back(static_cast<std::byte>(value));
    half = !half;
  }
  return bytes;
}

inline std::string to_hex(std::span<const std::byte> bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += digits[std::to_integer<unsigned>(byte) >> 4];
    text += digits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

inline std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// A copy in a heap block of exactly that many bytes.
class Exact {
 public:
  explicit Exact(std::span<const std::byte> bytes) : data_(new std::byte[bytes.size()]), size_(bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), data_.get());
  }
  [[nodiscard]] std::span<const std::byte> view() const { return {data_.get(), size_}; }

 private:
  std::unique_ptr<std::byte[]> data_;
  std::size_t size_;
};

// Calls `decode` with every shorter form of `bytes`, and with one byte more.
template <typename Decode>
void at_every_length(std::span<const std::byte> bytes, Decode decode) {
  for (std::size_t length = 0; length <= bytes.size(); ++length) {
    const Exact exact(bytes.first(length));
    decode(exact.view());
  }
  std::vector<std::byte> longer(bytes.begin(), bytes.end());
  longer.push_back(std::byte{0xa5});
  const Exact exact(longer);
  decode(exact.view());
}

}  // namespace mpath::test
