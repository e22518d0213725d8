// What ublk's kernel side and ours say to each other, in numbers: commands, parameters, requests, results. Pure.
//
// The structures are those of <linux/ublk_cmd.h>; what came after Linux 6.1, whose header Debian 12 has, is named here.
// All numbers are the kernel's: never renumber.
#pragma once

#include <linux/ublk_cmd.h>
#include <sys/ioctl.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/block_device.hpp"

namespace mpath::ublk {

// ---- commands

// To /dev/ublk-control. Encoded as ioctls are: the only form that kernels built without the legacy one take.
enum class Command : std::uint32_t {
  get_dev_info = _IOR('u', UBLK_CMD_GET_DEV_INFO, ublksrv_ctrl_cmd),
  add_dev = _IOWR('u', UBLK_CMD_ADD_DEV, ublksrv_ctrl_cmd),
  del_dev = _IOWR('u', UBLK_CMD_DEL_DEV, ublksrv_ctrl_cmd),
  start_dev = _IOWR('u', UBLK_CMD_START_DEV, ublksrv_ctrl_cmd),
  stop_dev = _IOWR('u', UBLK_CMD_STOP_DEV, ublksrv_ctrl_cmd),
  set_params = _IOWR('u', UBLK_CMD_SET_PARAMS, ublksrv_ctrl_cmd),
  get_params = _IOR('u', UBLK_CMD_GET_PARAMS, ublksrv_ctrl_cmd),
  start_recovery = _IOWR('u', UBLK_CMD_START_USER_RECOVERY, ublksrv_ctrl_cmd),
  end_recovery = _IOWR('u', UBLK_CMD_END_USER_RECOVERY, ublksrv_ctrl_cmd),
  get_features = _IOR('u', 0x13, ublksrv_ctrl_cmd),   // Linux 6.5
  del_dev_async = _IOR('u', 0x14, ublksrv_ctrl_cmd),  // Linux 6.9
  update_size = _IOWR('u', 0x15, ublksrv_ctrl_cmd),   // Linux 6.16
};
static_assert(sizeof(ublksrv_ctrl_cmd) == 32);  // the size is part of the encoding

// To /dev/ublkcN.
enum class IoCommand : std::uint32_t {
  fetch = _IOWR('u', UBLK_IO_FETCH_REQ, ublksrv_io_cmd),
  commit_and_fetch = _IOWR('u', UBLK_IO_COMMIT_AND_FETCH_REQ, ublksrv_io_cmd),
};
static_assert(sizeof(ublksrv_io_cmd) == 16);

inline constexpr std::uint64_t feature_user_copy = 1U << 7;
inline constexpr std::uint64_t feature_update_size = 1U << 10;
inline constexpr std::uint64_t features_needed = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;

// ---- the device

inline constexpr std::uint16_t queue_depth = 128;
// The most one request carries. The buffers of a device are queue_depth times this: 32 MiB, resident as far as used.
inline constexpr std::uint32_t io_bytes_max = 256 << 10;
// The most one discard, or one writing of zeroes, spans.
inline constexpr std::uint64_t span_bytes_max = std::uint64_t{1} << 30;

// By what a device of an earlier process is known again, in the field of the device info that the kernel keeps for its
// server and never looks at: it lives as long as the device, and not over a reboot. Other programs leave it at zero or put
// a few flags there.
[[nodiscard]] std::uint64_t mark_of(const std::string& identity);

[[nodiscard]] ublksrv_ctrl_dev_info new_device(std::uint64_t mark, std::int32_t pid);

// What a device that the kernel has is to us.
enum class Found : std::uint8_t {
  foreign,    // another identity, or another program's
  unstarted,  // ours, but its process died before anybody could see the disk
  left,       // ours, to be taken over
  misshapen,  // ours by its mark, but not as any mpathd made them
};
[[nodiscard]] Found judge(const ublksrv_ctrl_dev_info& info, std::uint64_t mark);

// ---- parameters

// Nothing when the kernel cannot have such a disk (blocks larger than a page).
[[nodiscard]] std::optional<ublk_params> params_of(const BlockLimits& limits);
// Whether the disk that the kernel has with these parameters can go on with a device that has these limits. A size that
// differs is no hindrance.
[[nodiscard]] bool fits(const ublk_params& params, const BlockLimits& limits);

// ---- requests

struct Request {
  BlockOp op = BlockOp::read;
  bool fua = false;
  bool may_unmap = true;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  friend bool operator==(const Request&, const Request&) = default;
};
// Nothing when we never offered such a request.
[[nodiscard]] std::optional<Request> decode(const ublksrv_io_desc& descriptor);

// What is committed: bytes, or a negative errno which the block layer turns into its own status.
[[nodiscard]] std::int32_t result_of(BlockStatus status, BlockOp op, std::uint64_t length);

}  // namespace mpath::ublk
