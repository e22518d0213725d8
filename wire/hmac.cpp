#include "wire/hmac.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/check.hpp"

namespace mpath {
namespace {

struct FreeMac {
  void operator()(EVP_MAC* mac) const { EVP_MAC_free(mac); }
};

}  // namespace

void Hmac::Free::operator()(evp_mac_ctx_st* context) const {
  EVP_MAC_CTX_free(context);
}

Hmac::Hmac(std::span<const std::byte> key) {
  const std::unique_ptr<EVP_MAC, FreeMac> mac(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
  CHECK(mac != nullptr);
  context_.reset(EVP_MAC_CTX_new(mac.get()));
  char digest[] = "SHA256";
  const std::array<OSSL_PARAM, 2> parameters{OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                             OSSL_PARAM_construct_end()};
  CHECK(context_ != nullptr && EVP_MAC_init(context_.get(), reinterpret_cast<const unsigned char*>(key.data()),
                                            key.size(), parameters.data()) == 1);
}

void Hmac::add(std::span<const std::byte> bytes) {
  CHECK(EVP_MAC_update(context_.get(), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()) == 1);
}

HmacTag Hmac::finish() {
  HmacTag tag{};
  std::size_t length = 0;
  CHECK(EVP_MAC_final(context_.get(), reinterpret_cast<unsigned char*>(tag.data()), &length, tag.size()) == 1 &&
        length == tag.size());
  // Without a key: the one it has.
  CHECK(EVP_MAC_init(context_.get(), nullptr, 0, nullptr) == 1);
  return tag;
}

HmacTag hmac_sha256(std::span<const std::byte> key, std::initializer_list<std::span<const std::byte>> parts) {
  Hmac hmac(key);
  for (const auto part : parts) hmac.add(part);
  return hmac.finish();
}

bool same_secret(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace mpath
