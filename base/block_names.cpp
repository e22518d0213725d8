#include "base/block_names.hpp"

namespace mpath {

const char* block_op_name(BlockOp op) {
  switch (op) {
    case BlockOp::read: return "read";
    case BlockOp::write: return "write";
    case BlockOp::flush: return "flush";
    case BlockOp::trim: return "trim";
    case BlockOp::write_zeroes: return "write_zeroes";
    case BlockOp::prefetch: return "prefetch";
    case BlockOp::extents: return "extents";
  }
  return "?";
}

std::optional<BlockOp> parse_block_op(std::string_view name) {
  for (std::size_t i = 0; i < block_op_count; ++i) {
    const auto op = static_cast<BlockOp>(i);
    if (name == block_op_name(op)) return op;
  }
  return std::nullopt;
}

const char* block_status_name(BlockStatus status) {
  switch (status) {
    case BlockStatus::ok: return "ok";
    case BlockStatus::io_error: return "io_error";
    case BlockStatus::invalid: return "invalid";
    case BlockStatus::no_space: return "no_space";
    case BlockStatus::read_only: return "read_only";
    case BlockStatus::not_supported: return "not_supported";
    case BlockStatus::conflict: return "conflict";
    case BlockStatus::shutdown: return "shutdown";
  }
  return "?";
}

std::optional<BlockStatus> parse_block_status(std::string_view name) {
  for (auto value = static_cast<unsigned>(BlockStatus::ok); value <= static_cast<unsigned>(BlockStatus::shutdown); ++value) {
    const auto status = static_cast<BlockStatus>(value);
    if (name == block_status_name(status)) return status;
  }
  return std::nullopt;
}

}  // namespace mpath
