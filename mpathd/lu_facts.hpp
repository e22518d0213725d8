// What one path told about its logical unit when it was identified. Plain values.
#pragma once

#include <cstdint>
#include <string>

namespace mpath {

struct LuFacts {
  std::string wwid;  // text form of the best page 83h designator (mpathd/wwid.hpp)
  std::string vendor, product, revision;
  std::string serial;  // page 80h
  bool alua = false;   // TPGS: it has target port groups with access states

  std::uint64_t size_bytes = 0;
  std::uint32_t block_size = 512;
  std::uint32_t physical_block_size = 512;
  bool read_only = false;    // WP
  bool write_cache = true;   // WCE; assumed when the target does not tell
  bool fua = false;          // DPOFUA
  bool thin = false;         // LBPME
  bool reads_zero = false;   // LBPRZ: deallocated blocks read as zeroes
  bool unmap = false;        // LBPU
  bool write_same_unmap = false;           // LBPWS
  std::uint32_t transfer_blocks_max = 0;   // 0: not told
  std::uint32_t unmap_blocks_max = 0;      // 0: not told
  std::uint64_t write_same_blocks_max = 0; // 0: not told

  friend bool operator==(const LuFacts&, const LuFacts&) = default;
};

}  // namespace mpath
