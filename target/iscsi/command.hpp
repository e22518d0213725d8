// One request PDU of an initiator from its header to its answer. SCSI commands are tasks of a logical unit on the way.
//
// Threads:   the session's shard; as a Task it belongs to the unit from submit() to done().
// Ownership: in a slab of its session.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <variant>

#include "base/buffer_pool.hpp"
#include "target/iscsi/write_sequence.hpp"
#include "target/scsi/task.hpp"
#include "wire/iscsi_pdu.hpp"

namespace mpath::target {

class Session;
struct LunSlot;
struct Member;

struct Command : Task {
  enum class State : std::uint8_t {
    arriving,   // its data segment is being received
    early,      // came before its turn: waits in the window
    starved,    // waits for memory
    gathering,  // waits for data, or behind ordered tasks
    working,    // with the logical unit, or with task management
    answering,  // its answer is on the way out, or waits to be acknowledged
  };
  using Request =
      std::variant<iscsi::ScsiCommand, iscsi::TaskRequest, iscsi::NopOut, iscsi::TextRequest, iscsi::LogoutRequest>;

  Session* session = nullptr;
  Member* member = nullptr;  // the connection it came on, and is answered on
  State state = State::arriving;
  Request request;
  bool immediate = false;
  bool counted = false;         // its place in the window, or among the immediate ones, was not given back yet
  bool in_turn = false;         // its CmdSN was reached
  bool granted = false;         // has the memory that it needs
  bool in_order_queue = false;  // of its LUN
  bool silent = false;          // ended without an answer
  std::uint32_t cmd_sn = 0;
  std::uint32_t expected = 0;  // what the initiator announced to move
  LunSlot* slot = nullptr;     // null: nobody is there
  std::uint32_t out_pdus = 0;  // that still refer to it

  WriteSequence sequence;
  std::uint32_t need = 0;         // bytes of data in either direction
  std::uint32_t first_bytes = 0;  // that `first` has room for
  Buffer first;                   // data that may come at once; data in
  Buffer rest;                    // what R2Ts ask for, when `first` is not all
  std::array<iovec, 2> vectors{};
  std::uint32_t budget = 0;       // bytes to give back
  std::uint32_t segment_max = 0;  // of the Data-In PDUs that were sent, for a SNACK
  std::uint32_t data_sn = 0;      // how many those were
  std::array<std::byte, 2 + 64> sense_segment{};

  // Links: one of the session's queues; the table by task tag; all commands of the session.
  Command* queue_next = nullptr;
  Command* table_next = nullptr;
  Command* list_previous = nullptr;
  Command* list_next = nullptr;

  [[nodiscard]] bool is_scsi() const { return std::holds_alternative<iscsi::ScsiCommand>(request); }
  [[nodiscard]] const iscsi::ScsiCommand& scsi() const { return std::get<iscsi::ScsiCommand>(request); }
  // Where bytes [offset, offset + count) of the data belong.
  [[nodiscard]] std::array<std::span<std::byte>, 2> places(std::uint32_t offset, std::uint32_t count);
};

}  // namespace mpath::target
