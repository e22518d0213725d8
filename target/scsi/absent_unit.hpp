// What a target answers where no logical unit is, and what only it can answer: REPORT LUNS.
//
// Pure. For sessions, which know the LUN map.
#pragma once

#include <span>

#include "target/scsi/task.hpp"

namespace mpath::target {

// True: the command is REPORT LUNS, which sessions answer for every LUN, also for those that have a unit.
[[nodiscard]] bool is_report_luns(const Task& task);

// Fills in what the task is answered: status, sense, data-in. Does not call done(). REPORT LUNS lists `luns`; INQUIRY
// says that there is nothing (qualifier 3), REQUEST SENSE why; everything else is refused with LOGICAL UNIT NOT
// SUPPORTED.
void answer_absent(Task& task, std::span<const scsi::Lun> luns);

}  // namespace mpath::target
