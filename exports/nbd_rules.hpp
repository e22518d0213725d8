// What an NBD request means for a block device, and what the device's answer means for the client: the table of the
// protocol's error and flag rules (NBD proto.md, "Request types" and "Error values").
//
// Pure functions: no state, no I/O.
#pragma once

#include <cstdint>

#include "base/block_device.hpp"
#include "wire/nbd.hpp"

namespace mpath {

// The id under which base:allocation is selected and reported.
inline constexpr std::uint32_t nbd_base_allocation_id = 1;

struct NbdRules {
  std::uint32_t payload_max = nbd::limits::payload_bytes_max;  // bytes a read or write may carry
  bool structured_replies = false;                             // agreed in the handshake
  bool base_allocation = false;                                // context selected in the handshake
};

struct NbdVerdict {
  nbd::Error error = nbd::Error::ok;  // refuse with this, or carry out:
  BlockOp op = BlockOp::read;
  bool fua = false;
  bool may_unmap = true;
  bool fast_only = false;
  bool one_extent = false;
  friend bool operator==(const NbdVerdict&, const NbdVerdict&) = default;
};

// `request` is any command but disconnect.
[[nodiscard]] NbdVerdict judge(const nbd::Request& request, const BlockLimits& limits, const NbdRules& rules);

[[nodiscard]] nbd::Error error_of(BlockStatus status, BlockOp op);

// The transmission flags of an export.
[[nodiscard]] std::uint16_t export_flags(const BlockLimits& limits, bool structured_replies);

}  // namespace mpath
