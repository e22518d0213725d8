#include "base/block_rules.hpp"

namespace mpath {

BlockStatus check_request(const BlockLimits& limits, const BlockRequest& request) {
  const BlockOp op = request.op;
  if (op == BlockOp::flush) return BlockStatus::ok;
  const bool changes = op == BlockOp::write || op == BlockOp::trim || op == BlockOp::write_zeroes;
  if (changes && limits.read_only) return BlockStatus::read_only;
  const std::uint64_t mask = limits.block_size - 1;
  if (((request.offset | request.length) & mask) != 0) return BlockStatus::invalid;
  if (request.length == 0 && op != BlockOp::prefetch) return BlockStatus::invalid;
  if (request.offset > limits.size_bytes || request.length > limits.size_bytes - request.offset) {
    return BlockStatus::no_space;
  }
  if (op == BlockOp::trim && !limits.can_trim) return BlockStatus::not_supported;
  if (op == BlockOp::write_zeroes && !limits.can_zero && request.fast_only) return BlockStatus::not_supported;
  if (op == BlockOp::extents && (!limits.can_report_extents || request.extents == nullptr)) {
    return BlockStatus::not_supported;
  }
  if (op == BlockOp::read || op == BlockOp::write) {
    std::uint64_t sum = 0;
    for (const iovec& part : request.data) sum += part.iov_len;
    if (sum != request.length) return BlockStatus::invalid;
  }
  return BlockStatus::ok;
}

}  // namespace mpath
