#include "wire/replication_sums.hpp"

#include <openssl/sha.h>

#include <algorithm>

#include "base/check.hpp"

namespace mpath::replication {

void make_sums(std::span<const std::byte> data, std::span<Sum> sums) {
  CHECK(sums.size() == sum_count(data.size()));
  for (Sum& sum : sums) {
    const auto block = data.first(std::min<std::size_t>(sum_block_bytes, data.size()));
    data = data.subspan(block.size());
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
    SHA256(reinterpret_cast<const unsigned char*>(block.data()), block.size(), digest.data());
    std::ranges::copy(std::as_bytes(std::span(digest)).first(sum.size()), sum.begin());
  }
}

}  // namespace mpath::replication
