// What an NBD server of ours lets a client ask for. Above these the connection is refused or closed, never obeyed.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace mpath::nbd::limits {

inline constexpr std::uint32_t payload_bytes_max = std::uint32_t{32}
                                                   << 20;  // read, write: the ceiling every client knows
inline constexpr std::size_t string_bytes_max = 4096;      // names, descriptions, queries (the protocol's)
inline constexpr std::uint32_t option_bytes_max = 65536;   // data of one option
inline constexpr unsigned options_max = 64;                // options in one handshake
inline constexpr unsigned info_requests_max = 64;          // infos in one INFO or GO
inline constexpr unsigned meta_queries_max = 16;           // queries in one LIST or SET_META_CONTEXT
inline constexpr unsigned handshakes_max = 64;             // half-open connections of one listener
inline constexpr unsigned connections_max = 256;           // of one export
inline constexpr std::uint32_t extents_max = 2048;         // descriptors in one block status chunk
inline constexpr std::chrono::seconds handshake_time{15};  // from accept to the first request

}  // namespace mpath::nbd::limits
