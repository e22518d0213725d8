// One SCSI command on its way through the target: made by a session, executed by a logical unit, answered by the
// session.
//
// Threads:    a task belongs to one shard at a time. The session hands it over with submit(); from then until done() it
//             belongs to the logical unit. done() runs on the session's shard. Crossing costs a mailbox, and nothing
//             when session and unit live on the same shard.
// Memory:     all payload memory is the session's and was there before submit(): data_out holds what the initiator
//             sent, data_in has the room that transfer_need() asks for, as far as the initiator expects it.
// Allocation: none per READ and WRITE.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/block_device.hpp"
#include "base/mailbox.hpp"
#include "target/scsi/range_locks.hpp"
#include "wire/iscsi_pdu.hpp"
#include "wire/scsi.hpp"

namespace mpath::target {

class LogicalUnit;
class UnitCore;
struct Nexus;
struct Task;

// Sense data as it goes out, either format, with what SPC-4 4.5 adds (information, progress, field pointer).
struct SenseBuffer {
  std::array<std::byte, 64> bytes{};
  std::uint8_t length = 0;
  [[nodiscard]] std::span<const std::byte> view() const { return std::span(bytes).first(length); }
};

// The store's request of a task. Hot commands need only this one.
struct TaskIo : BlockRequest {
  Task* task = nullptr;
  UnitCore* core = nullptr;
};

struct Task {
  using Done = void (*)(Task&) noexcept;
  static constexpr std::size_t cdb_bytes_max = 32;

  // --- set by the session before submit() ---------------------------------------------------------------------------
  Nexus* nexus = nullptr;  // of this logical unit
  std::uint32_t tag = 0;   // the initiator task tag: what ABORT TASK refers to
  iscsi::TaskAttribute attribute = iscsi::TaskAttribute::simple;
  std::array<std::byte, cdb_bytes_max> cdb{};
  std::uint8_t cdb_length = 16;
  std::span<const iovec> data_out;   // borrowed until done()
  std::uint32_t data_out_bytes = 0;  // as much as came: min(what the command needs, what the initiator announced)
  std::span<const iovec> data_in;    // borrowed until done(); whole blocks for READ
  std::uint32_t data_in_room = 0;
  std::uint32_t expected_bytes = 0;  // EXPECTED DATA TRANSFER LENGTH as the initiator announced it
  bool expects_data_in = false;      // the R and W bits: a command that moves data the other way is refused
  bool expects_data_out = false;
  Done done = nullptr;

  // --- set by the logical unit before done() ------------------------------------------------------------------------
  bool aborted = false;  // by task management or the loss of its nexus: no response is sent
  scsi::Status status = scsi::Status::good;
  SenseBuffer sense;
  std::uint32_t data_in_bytes = 0;   // valid bytes in data_in
  std::uint64_t transfer_bytes = 0;  // what the command would move either way when nobody limited it: for residuals

  // --- for whoever holds the task -----------------------------------------------------------------------------------
  Task* next = nullptr;                        // one queue or mailbox at a time
  Mailbox<Task, &Task::next>* home = nullptr;  // of the session's shard; null when it is the unit's own

  // --- the logical unit's own, from submit() to done() --------------------------------------------------------------
  enum class Abort : std::uint8_t {
    no,
    silent,  // without a response
    told,    // with status TASK ABORTED: control mode page TAS, another nexus's doing
  };
  bool running = false;  // nothing stands in its way any more: a command works on it
  Abort abort = Abort::no;
  TaskIo io;
  RangeLock range;
  struct Inside;             // target/scsi: what long commands keep (target/scsi/task_inside.hpp)
  Inside* inside = nullptr;  // null for READ and WRITE
  Task* older = nullptr;     // the unit's list of tasks in order of arrival
  Task* newer = nullptr;
  std::uint8_t phase = 0;  // the command's own: which step it is at
};

}  // namespace mpath::target
