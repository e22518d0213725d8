// One SCSI command on its way over one session.
//
// Ownership:  the submitter owns the task (usually as a base of its slab object), its iovecs and its data, from submit()
//             until done() ran. Sessions keep no copy and allocate nothing.
// Completion: exactly once, from the shard's loop and never from within submit().
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "base/clock.hpp"
#include "wire/scsi.hpp"

namespace mpath {

using scsi::DataDirection;

enum class TaskOutcome : std::uint8_t {
  answered,   // the target replied: status, sense and transferred are valid
  not_sent,   // the session ended before any byte of it left: it surely did not run
  lost,       // the session ended with it on the wire: it may have run, or may still run later
  timed_out,  // its deadline passed and the session was ended for it: like lost
};

struct ScsiTask {
  using Done = void (*)(ScsiTask&) noexcept;

  // Set by the submitter.
  scsi::Cdb cdb;
  scsi::Lun lun;
  DataDirection direction = DataDirection::none;
  std::uint32_t length = 0;        // expected data transfer length in bytes: the sum of `data`
  std::span<const iovec> data;     // borrowed until done()
  TimePoint deadline = never;      // an unanswered task past it ends the session
  Done done = nullptr;

  // Set by the session before done().
  TaskOutcome outcome = TaskOutcome::not_sent;
  scsi::Status status = scsi::Status::good;
  scsi::Sense sense;               // valid with check_condition; key no_sense when the target sent none
  std::uint32_t transferred = 0;   // bytes that really moved, by our own count and the residual: the smaller

  // For the session while it holds the task.
  ScsiTask* next = nullptr;
  ScsiTask* previous = nullptr;
  void* engine = nullptr;
  TimePoint submitted_at{};
};

}  // namespace mpath
