// OpenSSL's newer interface allocates for every tag; what it calls deprecated does not.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "wire/hmac.hpp"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

#include "base/check.hpp"

namespace mpath {
namespace {

constexpr std::size_t block_bytes = SHA256_CBLOCK;
static_assert(std::tuple_size_v<HmacTag> == SHA256_DIGEST_LENGTH);

void add_to(SHA256_CTX& context, std::span<const std::byte> bytes) {
  CHECK(SHA256_Update(&context, bytes.data(), bytes.size()) == 1);
}

HmacTag end_of(SHA256_CTX& context) {
  HmacTag digest{};
  CHECK(SHA256_Final(reinterpret_cast<unsigned char*>(digest.data()), &context) == 1);
  return digest;
}

// Begun with the key and the constant of RFC 2104, section 2.
SHA256_CTX begun(std::span<const std::byte, block_bytes> key, std::byte constant) {
  std::array<std::byte, block_bytes> block;
  std::ranges::transform(key, block.begin(), [&](std::byte byte) { return byte ^ constant; });
  SHA256_CTX context;
  CHECK(SHA256_Init(&context) == 1);
  add_to(context, block);
  OPENSSL_cleanse(block.data(), block.size());
  return context;
}

}  // namespace

struct Hmac::State {
  SHA256_CTX inner_begun, outer_begun;
  SHA256_CTX inner;  // with what was added
  ~State() { OPENSSL_cleanse(this, sizeof *this); }
};

Hmac::Hmac(std::span<const std::byte> key) : state_(std::make_unique<State>()) {
  std::array<std::byte, block_bytes> block{};
  if (key.size() <= block.size()) {
    std::ranges::copy(key, block.begin());
  } else {
    SHA256_CTX context;
    CHECK(SHA256_Init(&context) == 1);
    add_to(context, key);
    std::ranges::copy(end_of(context), block.begin());
  }
  state_->inner_begun = begun(block, std::byte{0x36});
  state_->outer_begun = begun(block, std::byte{0x5c});
  state_->inner = state_->inner_begun;
  OPENSSL_cleanse(block.data(), block.size());
}

Hmac::~Hmac() = default;
Hmac::Hmac(Hmac&&) noexcept = default;
Hmac& Hmac::operator=(Hmac&&) noexcept = default;

void Hmac::add(std::span<const std::byte> bytes) {
  add_to(state_->inner, bytes);
}

HmacTag Hmac::finish() {
  const HmacTag digest = end_of(state_->inner);
  SHA256_CTX outer = state_->outer_begun;
  add_to(outer, digest);
  state_->inner = state_->inner_begun;
  return end_of(outer);
}

HmacTag hmac_sha256(std::span<const std::byte> key, std::initializer_list<std::span<const std::byte>> parts) {
  Hmac hmac(key);
  for (const auto part : parts) hmac.add(part);
  return hmac.finish();
}

HmacTag hkdf_sha256(std::span<const std::byte> salt, std::span<const std::byte> key,
                    std::initializer_list<std::span<const std::byte>> info) {
  Hmac expand(hmac_sha256(salt, {key}));
  for (const auto part : info) expand.add(part);
  constexpr std::array first_block{std::byte{1}};
  expand.add(first_block);
  return expand.finish();
}

bool same_secret(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace mpath
