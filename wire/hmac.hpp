// HMAC-SHA256 (RFC 2104): who has the key has said this. HKDF (RFC 5869): a key for another purpose.
//
// Allocation: a Hmac allocates when it is made, and not for what it is used for afterwards.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>

namespace mpath {

using HmacTag = std::array<std::byte, 32>;

class Hmac {
 public:
  explicit Hmac(std::span<const std::byte> key);
  ~Hmac();
  Hmac(Hmac&&) noexcept;
  Hmac& operator=(Hmac&&) noexcept;
  void add(std::span<const std::byte> bytes);
  // Of what was added since the last one.
  [[nodiscard]] HmacTag finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Over the parts as if they were one.
[[nodiscard]] HmacTag hmac_sha256(std::span<const std::byte> key,
                                  std::initializer_list<std::span<const std::byte>> parts);

// The first 32 bytes of HKDF-SHA256; `info`: the parts as if they were one.
[[nodiscard]] HmacTag hkdf_sha256(std::span<const std::byte> salt, std::span<const std::byte> key,
                                  std::initializer_list<std::span<const std::byte>> info);

// Takes as long for a wrong byte at the front as for one at the end.
[[nodiscard]] bool same_secret(std::span<const std::byte> a, std::span<const std::byte> b);

}  // namespace mpath
