#include "exports/ublk_rules.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <span>

#include "wire/hmac.hpp"

namespace mpath::ublk {
namespace {

constexpr std::uint32_t sector_bytes = 512;
constexpr std::uint32_t page_bytes = 4096;

std::uint8_t shift_of(std::uint32_t power_of_two) {
  return static_cast<std::uint8_t>(std::countr_zero(power_of_two));
}

}  // namespace

std::uint64_t mark_of(const std::string& identity) {
  static constexpr char purpose[] = "mpathd ublk 1";
  const HmacTag tag = hmac_sha256(std::as_bytes(std::span(purpose)), {std::as_bytes(std::span(identity))});
  std::uint64_t mark = 0;
  for (std::size_t i = 0; i < sizeof mark; ++i) mark = mark << 8 | std::to_integer<std::uint64_t>(tag[i]);
  return mark;
}

ublksrv_ctrl_dev_info new_device(std::uint64_t mark, std::int32_t pid) {
  ublksrv_ctrl_dev_info info{};
  info.nr_hw_queues = 1;
  info.queue_depth = queue_depth;
  info.max_io_buf_bytes = io_bytes_max;
  info.dev_id = ~std::uint32_t{0};  // the kernel picks one
  info.ublksrv_pid = pid;
  info.flags = features_needed;
  info.ublksrv_flags = mark;
  return info;
}

Found judge(const ublksrv_ctrl_dev_info& info, std::uint64_t mark) {
  if (info.ublksrv_flags != mark) return Found::foreign;
  if (info.state == UBLK_S_DEV_DEAD) return Found::unstarted;
  const bool copies = (info.flags & (UBLK_F_NEED_GET_DATA | feature_user_copy)) == 0;
  const bool recovers = (info.flags & features_needed) == features_needed;
  const bool sized = info.queue_depth > 0 && info.max_io_buf_bytes >= page_bytes;
  return info.nr_hw_queues == 1 && copies && recovers && sized ? Found::left : Found::misshapen;
}

std::optional<ublk_params> params_of(const BlockLimits& limits) {
  if (limits.block_size < sector_bytes || limits.block_size > page_bytes) return std::nullopt;
  const std::uint32_t preferred = std::bit_floor(std::max(limits.preferred_block, limits.block_size));
  ublk_params params{};
  params.len = sizeof params;
  params.types = UBLK_PARAM_TYPE_BASIC;
  if (limits.read_only) params.basic.attrs |= UBLK_ATTR_READ_ONLY;
  if (limits.write_cache) params.basic.attrs |= UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
  params.basic.logical_bs_shift = shift_of(limits.block_size);
  params.basic.physical_bs_shift = shift_of(preferred);
  params.basic.io_min_shift = shift_of(preferred);
  params.basic.io_opt_shift = shift_of(preferred);
  params.basic.max_sectors = io_bytes_max / sector_bytes;
  params.basic.dev_sectors = limits.size_bytes / sector_bytes;
  if (limits.can_trim || limits.can_zero) {
    params.types |= UBLK_PARAM_TYPE_DISCARD;
    params.discard.discard_granularity = preferred;
    if (limits.can_trim) {
      params.discard.max_discard_sectors = span_bytes_max / sector_bytes;
      params.discard.max_discard_segments = 1;
    }
    if (limits.can_zero) params.discard.max_write_zeroes_sectors = span_bytes_max / sector_bytes;
  }
  return params;
}

bool fits(const ublk_params& params, const BlockLimits& limits) {
  return (params.types & UBLK_PARAM_TYPE_BASIC) != 0 &&
         std::uint64_t{1} << params.basic.logical_bs_shift == limits.block_size &&
         ((params.basic.attrs & UBLK_ATTR_VOLATILE_CACHE) != 0 || !limits.write_cache);
}

std::optional<Request> decode(const ublksrv_io_desc& descriptor) {
  Request request;
  switch (ublksrv_get_op(&descriptor)) {
    case UBLK_IO_OP_READ:
      request.op = BlockOp::read;
      break;
    case UBLK_IO_OP_WRITE:
      request.op = BlockOp::write;
      break;
    case UBLK_IO_OP_FLUSH:
      return Request{.op = BlockOp::flush};
    case UBLK_IO_OP_DISCARD:
      request.op = BlockOp::trim;
      break;
    case UBLK_IO_OP_WRITE_ZEROES:
      request.op = BlockOp::write_zeroes;
      break;
    default:
      return std::nullopt;
  }
  request.fua = request.op != BlockOp::read && (descriptor.op_flags & UBLK_IO_F_FUA) != 0;
  request.may_unmap = (descriptor.op_flags & UBLK_IO_F_NOUNMAP) == 0;
  request.offset = descriptor.start_sector * sector_bytes;
  request.length = std::uint64_t{descriptor.nr_sectors} * sector_bytes;
  return request;
}

std::int32_t result_of(BlockStatus status, BlockOp op, std::uint64_t length) {
  switch (status) {
    case BlockStatus::ok:
      return op == BlockOp::read || op == BlockOp::write ? static_cast<std::int32_t>(length) : 0;
    case BlockStatus::io_error:
      return -EIO;
    case BlockStatus::invalid:
      return -EINVAL;
    case BlockStatus::no_space:
      return -ENOSPC;
    case BlockStatus::read_only:
      return -EROFS;
    case BlockStatus::not_supported:
      return -EOPNOTSUPP;  // zeroes are then written; a discard is advisory to who asked
    case BlockStatus::conflict:
      return -EBADE;
    case BlockStatus::shutdown:
      return -ENODEV;
  }
  return -EIO;
}

}  // namespace mpath::ublk
