// What we accept from an iSCSI peer, whatever it says. Above these the connection ends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mpath::iscsi::limits {

inline constexpr std::uint32_t data_segment_max = 0xffffff;  // 24 bits: the most that a BHS can say
inline constexpr std::uint32_t data_segment_default = 8192;  // until MaxRecvDataSegmentLength was declared
inline constexpr std::uint32_t data_segment_min = 512;       // smallest declaration that the RFC allows
inline constexpr std::size_t ahs_bytes_max = std::size_t{255} * 4;
inline constexpr std::size_t login_text_bytes_max = std::size_t{64}
                                                    << 10;  // one login request or response, continued ones joined
inline constexpr std::size_t text_bytes_max = std::size_t{1} << 20;  // one text response: SendTargets of large targets
inline constexpr std::size_t key_name_bytes_max = 63;
inline constexpr std::size_t value_bytes_max = 255;
inline constexpr std::size_t large_value_bytes_max = 8192;  // lists of portals, binary values
inline constexpr std::size_t iscsi_name_bytes_max = 223;
inline constexpr unsigned login_rounds_max = 32;  // request and response pairs in one login
inline constexpr unsigned redirects_max = 4;
inline constexpr std::size_t portals_max = 1024;  // in one SendTargets answer

}  // namespace mpath::iscsi::limits
