// What a command of several steps keeps while its task lives: hung on Task::inside by the command, freed by it before
// the task ends.
#pragma once

#include "target/scsi/task.hpp"

namespace mpath::target {

struct Task::Inside {
  Inside() = default;
  virtual ~Inside() = default;
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
};

}  // namespace mpath::target
