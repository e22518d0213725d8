// What a SCSI command means for a disk that is a BlockDevice, perhaps with a ScsiDoor behind it; and what the device's
// answer means in SCSI.
//
//   READ, WRITE, SYNCHRONIZE CACHE ── block requests: spread over the paths, split, repeated, fenced by the map
//   with a door                    ── all else goes through it; what tells of one path, or of a size that the map has not
//                                     taken over yet, is changed on its way back (scsi_disk_answers.hpp)
//   without                        ── UNMAP and WRITE SAME of zeroes are block requests, the rest is answered here
//
// Refused in any case: what belongs to one nexus or one port (RESERVE and RELEASE of old, REPORT and SET TARGET PORT
// GROUPS, VPD page 88h: the disk has one port and no ALUA), what stops the unit for all paths (START STOP UNIT), commands
// whose data direction is not known here, and protection information.
//
// Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "base/block_device.hpp"
#include "wire/scsi.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath {

// What has to be changed in an answer that a path gave.
enum class DiskRewrite : std::uint8_t {
  none,
  inquiry,        // no ALUA, one port
  vpd_supported,  // no page about ports
  vpd_device_id,  // only what names the unit
  capacity_10,    // the size is the map's
  capacity_16,
  mode_6,  // write protected when the map is
  mode_10,
  opcodes,  // none of those that are refused
};

enum class DiskAct : std::uint8_t {
  refuse,  // with `sense`
  done,    // nothing is to be done, and that is GOOD
  block,
  unmap,    // the ranges are in the data, in UNMAP's form
  emulate,  // emulate_disk_answer()
  pass,
};

struct DiskPlan {
  DiskAct act = DiskAct::refuse;
  scsi::Sense sense;
  // block
  BlockOp op = BlockOp::read;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool fua = false;
  bool zero_block_follows = false;  // WRITE SAME: its data is one block, and only zeroes can be done
  // pass
  scsi::Cdb cdb;  // also of emulate
  scsi::DataDirection direction = scsi::DataDirection::none;
  bool changes = true;
  bool repeatable = true;
  bool lengthy = false;
  DiskRewrite rewrite = DiskRewrite::none;
  std::uint32_t ask_bytes = 0;    // rewrite: of the buffer that the path's answer goes into
  std::uint32_t allocation = 0;   // rewrite, emulate: what the initiator has asked for at most
};

// `data_bytes`: of the buffer that came with the command.
[[nodiscard]] DiskPlan plan_disk_command(const scsi::Cdb& cdb, std::uint64_t data_bytes, const BlockLimits& limits,
                                         bool door);

// False: plan_disk_command() refuses this command whatever its fields are.
[[nodiscard]] bool disk_command_known(std::uint8_t opcode, std::uint16_t service);

struct DiskStatus {
  scsi::Status status = scsi::Status::good;
  scsi::Sense sense;  // with check_condition
  friend bool operator==(const DiskStatus&, const DiskStatus&) = default;
};
// Of a block request that has ended. Not for `shutdown`: such a command is left to the next process.
[[nodiscard]] DiskStatus disk_status(BlockStatus status, BlockOp op);

}  // namespace mpath
