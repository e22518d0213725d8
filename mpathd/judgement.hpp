// An error is either the path's or the command's: what a SCSI answer means for the I/O and for the path it came by. Pure.
#pragma once

#include <cstdint>

#include "base/block_device.hpp"
#include "mpathd/snapshot.hpp"
#include "wire/scsi.hpp"

namespace mpath {

enum class Verdict : std::uint8_t {
  done,         // it was carried out
  to_caller,    // the command's own error: every path would say the same
  retry,        // it was not carried out, or ended for good: send it again, on any path
  retry_later,  // the target is busy: again after a pause
  path_failed,  // this path cannot serve the LU now: again on another
  attention,    // a unit attention: tell the path, send it again
};

struct Judgement {
  Verdict verdict = Verdict::done;
  BlockStatus status = BlockStatus::ok;             // to_caller: what the caller is told
  CheckerState checker = CheckerState::ready;       // path_failed: how the path looks
  bool by_access = false;                           // path_failed: because of the state of its port group (ALUA)
  bool reread_identity = false;                     // attention: identity or capacity may have changed
  friend bool operator==(const Judgement&, const Judgement&) = default;
};

[[nodiscard]] Judgement judge(scsi::Status status, const scsi::Sense& sense);

}  // namespace mpath
