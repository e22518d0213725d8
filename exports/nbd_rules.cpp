#include "exports/nbd_rules.hpp"

#include <optional>

namespace mpath {
namespace {

using nbd::Command;
using nbd::Error;

// Flags a command may carry besides FUA, which every command accepts once it was offered.
std::uint16_t flags_allowed(BlockOp op, const NbdRules& rules) {
  switch (op) {
    case BlockOp::read:
      return rules.structured_replies ? nbd::command_flag::df : 0;
    case BlockOp::write_zeroes:
      return nbd::command_flag::no_hole | nbd::command_flag::fast_zero;
    case BlockOp::extents:
      return nbd::command_flag::req_one;
    case BlockOp::write:
    case BlockOp::flush:
    case BlockOp::trim:
    case BlockOp::prefetch:
      return 0;
  }
  return 0;
}

// What a command asks of the device; nothing when it was not offered, or is no command at all.
std::optional<BlockOp> op_of(Command command, const BlockLimits& limits, const NbdRules& rules) {
  const auto offered = [](bool yes, BlockOp op) { return yes ? std::optional(op) : std::nullopt; };
  switch (command) {
    case Command::read:
      return BlockOp::read;
    case Command::write:
      return BlockOp::write;
    case Command::flush:
      return BlockOp::flush;
    case Command::cache:
      return BlockOp::prefetch;
    case Command::trim:
      return offered(limits.can_trim || limits.read_only, BlockOp::trim);
    case Command::write_zeroes:
      return offered(limits.can_zero || limits.read_only, BlockOp::write_zeroes);
    case Command::block_status:
      return offered(rules.base_allocation, BlockOp::extents);
    case Command::disconnect:
    case Command::resize:
      return std::nullopt;
  }
  return std::nullopt;
}

bool modifies(BlockOp op) {
  return op == BlockOp::write || op == BlockOp::trim || op == BlockOp::write_zeroes;
}

// What lies wrong with the place a request names.
Error check_range(const nbd::Request& request, BlockOp op, const BlockLimits& limits) {
  if (request.length == 0) return Error::inval;
  const bool past_end = request.offset > limits.size_bytes || request.length > limits.size_bytes - request.offset;
  if (past_end) return op == BlockOp::write || op == BlockOp::write_zeroes ? Error::nospc : Error::inval;
  if (request.offset % limits.block_size != 0 || request.length % limits.block_size != 0) return Error::inval;
  return Error::ok;
}

}  // namespace

NbdVerdict judge(const nbd::Request& request, const BlockLimits& limits, const NbdRules& rules) {
  const auto refuse = [](Error error) { return NbdVerdict{.error = error}; };
  const std::optional<BlockOp> op = op_of(request.command, limits, rules);
  if (!op) return refuse(Error::inval);
  if ((request.flags & ~(nbd::command_flag::fua | flags_allowed(*op, rules))) != 0) return refuse(Error::inval);
  if (modifies(*op) && limits.read_only) return refuse(Error::perm);
  if (*op == BlockOp::flush) {
    return request.offset == 0 && request.length == 0 ? NbdVerdict{.op = *op} : refuse(Error::inval);
  }
  if (const Error range = check_range(request, *op, limits); range != Error::ok) return refuse(range);
  const bool carries = *op == BlockOp::read || *op == BlockOp::write;
  if (carries && request.length > rules.payload_max) return refuse(Error::inval);
  return {.op = *op,
          .fua = modifies(*op) && (request.flags & nbd::command_flag::fua) != 0,
          .may_unmap = (request.flags & nbd::command_flag::no_hole) == 0,
          .fast_only = (request.flags & nbd::command_flag::fast_zero) != 0,
          .one_extent = (request.flags & nbd::command_flag::req_one) != 0};
}

nbd::Error error_of(BlockStatus status, BlockOp op) {
  const bool advisory = op == BlockOp::trim || op == BlockOp::prefetch;
  switch (status) {
    case BlockStatus::ok:
      return Error::ok;
    case BlockStatus::io_error:
      return Error::io;
    case BlockStatus::invalid:
      return Error::inval;
    case BlockStatus::no_space:
      return Error::nospc;
    case BlockStatus::read_only:
    case BlockStatus::conflict:
      return Error::perm;
    case BlockStatus::not_supported:
      return advisory ? Error::ok : Error::notsup;
    case BlockStatus::shutdown:
      return Error::shutdown;
  }
  return Error::io;
}

std::uint16_t export_flags(const BlockLimits& limits, bool structured_replies) {
  std::uint16_t flags = nbd::export_flag::has_flags | nbd::export_flag::send_flush | nbd::export_flag::can_multi_conn |
                        nbd::export_flag::send_cache;
  if (structured_replies) flags |= nbd::export_flag::send_df;
  if (limits.read_only) return flags | nbd::export_flag::read_only;
  flags |= nbd::export_flag::send_fua;
  if (limits.can_trim) flags |= nbd::export_flag::send_trim;
  if (limits.can_zero) flags |= nbd::export_flag::send_write_zeroes | nbd::export_flag::send_fast_zero;
  return flags;
}

}  // namespace mpath
