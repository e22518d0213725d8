#include "wire/chap.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/check.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::iscsi {
namespace {

// Strongest first.
constexpr std::array algorithms = {ChapAlgorithm::sha3_256, ChapAlgorithm::sha256, ChapAlgorithm::sha1,
                                   ChapAlgorithm::md5};

const EVP_MD* digest(ChapAlgorithm algorithm) {
  switch (algorithm) {
    case ChapAlgorithm::md5:
      return EVP_md5();
    case ChapAlgorithm::sha1:
      return EVP_sha1();
    case ChapAlgorithm::sha256:
      return EVP_sha256();
    case ChapAlgorithm::sha3_256:
      return EVP_sha3_256();
  }
  return nullptr;
}

// A host in FIPS mode has no MD5: not a bug, but an algorithm less.
bool available(ChapAlgorithm algorithm) {
  EVP_MD* fetched = EVP_MD_fetch(nullptr, EVP_MD_get0_name(digest(algorithm)), nullptr);
  EVP_MD_free(fetched);
  return fetched != nullptr;
}

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

std::optional<ChapAlgorithm> chap_algorithm(std::uint64_t number) {
  for (const ChapAlgorithm algorithm : algorithms) {
    if (static_cast<std::uint64_t>(algorithm) == number) return algorithm;
  }
  return std::nullopt;
}

const char* name(ChapAlgorithm algorithm) {
  switch (algorithm) {
    case ChapAlgorithm::md5:
      return "MD5";
    case ChapAlgorithm::sha1:
      return "SHA1";
    case ChapAlgorithm::sha256:
      return "SHA256";
    case ChapAlgorithm::sha3_256:
      return "SHA3-256";
  }
  return "?";
}

std::size_t chap_response_bytes(ChapAlgorithm algorithm) {
  switch (algorithm) {
    case ChapAlgorithm::md5:
      return 16;
    case ChapAlgorithm::sha1:
      return 20;
    case ChapAlgorithm::sha256:
    case ChapAlgorithm::sha3_256:
      return 32;
  }
  return 0;
}

std::optional<ChapAlgorithm> choose_chap_algorithm(std::string_view list, std::span<const ChapAlgorithm> allowed) {
  for (const std::string_view item : split_list(list)) {
    const auto number = parse_number(item);
    const auto algorithm = number ? chap_algorithm(*number) : std::nullopt;
    if (!algorithm || std::ranges::find(allowed, *algorithm) == allowed.end()) continue;
    if (available(*algorithm)) return algorithm;
  }
  return std::nullopt;
}

std::vector<std::byte> chap_response(ChapAlgorithm algorithm, std::uint8_t id, std::string_view secret,
                                     std::span<const std::byte> challenge) {
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  CHECK(context != nullptr);
  std::vector<std::byte> response(chap_response_bytes(algorithm));
  unsigned length = 0;
  CHECK(EVP_DigestInit_ex(context.get(), digest(algorithm), nullptr) == 1);
  CHECK(static_cast<std::size_t>(EVP_MD_CTX_get_size(context.get())) == response.size());
  CHECK(EVP_DigestUpdate(context.get(), &id, sizeof id) == 1);
  CHECK(EVP_DigestUpdate(context.get(), secret.data(), secret.size()) == 1);
  CHECK(EVP_DigestUpdate(context.get(), challenge.data(), challenge.size()) == 1);
  CHECK(EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(response.data()), &length) == 1);
  return response;
}

bool equal_in_constant_time(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::vector<std::byte> make_chap_challenge(ChapAlgorithm algorithm) {
  std::vector<std::byte> challenge(chap_response_bytes(algorithm));
  // A guessable challenge is as good as none.
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(challenge.data()), static_cast<int>(challenge.size())) == 1);
  return challenge;
}

}  // namespace mpath::iscsi
