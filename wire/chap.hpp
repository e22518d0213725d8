// CHAP (RFC 1994) as iSCSI uses it (RFC 7143, 12.1.3): algorithms, responses, comparison. Pure but for the challenge.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mpath::iscsi {

// IANA's numbers, as they stand in CHAP_A. On the wire: never renumber.
enum class ChapAlgorithm : std::uint8_t { md5 = 5, sha1 = 6, sha256 = 7, sha3_256 = 8 };

inline constexpr std::size_t chap_response_bytes_max = 32;
inline constexpr std::size_t chap_challenge_bytes_max = 1024;
inline constexpr std::size_t chap_secret_bytes_min = 12;  // 96 bits, RFC 7143 9.2.1

[[nodiscard]] std::optional<ChapAlgorithm> chap_algorithm(std::uint64_t number);
[[nodiscard]] const char* name(ChapAlgorithm algorithm);  // "MD5", "SHA1", "SHA256", "SHA3-256"
[[nodiscard]] std::size_t chap_response_bytes(ChapAlgorithm algorithm);

// The first of the initiator's list that is in `allowed` and that this host can compute; none: no common one.
[[nodiscard]] std::optional<ChapAlgorithm> choose_chap_algorithm(std::string_view list,
                                                                 std::span<const ChapAlgorithm> allowed);

// H(id, secret, challenge). The algorithm must be one that this host can compute.
[[nodiscard]] std::vector<std::byte> chap_response(ChapAlgorithm algorithm, std::uint8_t id, std::string_view secret,
                                                   std::span<const std::byte> challenge);
// Takes the same time wherever the difference is.
[[nodiscard]] bool equal_in_constant_time(std::span<const std::byte> a, std::span<const std::byte> b);
// As many random bytes as the response has.
[[nodiscard]] std::vector<std::byte> make_chap_challenge(ChapAlgorithm algorithm);

}  // namespace mpath::iscsi
