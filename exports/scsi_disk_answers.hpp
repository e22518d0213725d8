// What a disk says of itself: made from the limits of a device that is no SCSI disk, or what a path said, so changed that
// it is true of the map. Pure.
#pragma once

#include <span>
#include <string>

#include "exports/scsi_disk_rules.hpp"
#include "wire/scsi_data.hpp"

namespace mpath {

struct DiskAnswer {
  DiskStatus status;
  scsi::Bytes data;  // with GOOD, not longer than what was asked for
};

// For plans with DiskAct::emulate. `identity` is the unit's SCSI ID, as multipath writes it.
[[nodiscard]] DiskAnswer emulate_disk_answer(const DiskPlan& plan, const BlockLimits& limits,
                                             const std::string& identity);

// What the path's answer becomes, in place: how many bytes of it there are now. An answer that makes no sense is left as
// it is.
[[nodiscard]] std::size_t rewrite_disk_answer(DiskRewrite rewrite, std::span<std::byte> data,
                                              const BlockLimits& limits);

}  // namespace mpath
