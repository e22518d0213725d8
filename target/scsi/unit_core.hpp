// What the commands of a logical unit see of it: its store, its state, and the ways a task ends. Inside target/scsi
// only.
//
// Every command is a function `run(UnitCore&, Task&, const scsi::Command&)`, called by the task set once nothing stands
// in the task's way: unit attentions, reservations, access state, medium and sanitize were looked at
// (target/scsi/command_table.hpp says for each command which of them apply). It ends the task exactly once, now or
// later, by one of the members below.
//
// Threads: the unit's shard.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "target/scsi/logical_unit.hpp"
#include "target/scsi/range_locks.hpp"
#include "target/store/store.hpp"
#include "wire/scsi_cdb.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::target {

// What goes with a sense code.
struct SenseDetail {
  std::optional<std::uint64_t> information;  // the LBA, or the offset of a miscompare
  std::optional<std::uint16_t> progress;     // of 65536
  std::optional<std::uint16_t> field;        // byte of the CDB or the parameter list that is at fault
  bool field_in_cdb = true;
};

class MediumState;  // target/scsi/medium_state.hpp

class UnitCore {
 public:
  UnitCore();
  virtual ~UnitCore();
  UnitCore(const UnitCore&) = delete;
  UnitCore& operator=(const UnitCore&) = delete;

  // What the commands of the medium keep between commands (target/scsi/medium_state.hpp).
  [[nodiscard]] MediumState& medium() { return *medium_; }

  [[nodiscard]] virtual Shard& shard() = 0;
  [[nodiscard]] virtual Clock& clock() = 0;
  [[nodiscard]] virtual const LuOptions& options() const = 0;
  [[nodiscard]] virtual BlockDevice& store() = 0;
  [[nodiscard]] virtual Store* journal() = 0;  // for atomic writes; null when the store is none of ours (tests)
  [[nodiscard]] virtual RangeLocks& ranges() = 0;
  [[nodiscard]] virtual const LuState& state() const = 0;
  [[nodiscard]] virtual std::uint64_t block_count() const = 0;

  // `modify` changes a copy of the state; when the log has it, it is in force and `done` is called. Changes queue up,
  // so that each sees what the one before made.
  virtual void change(std::function<void(LuState&)> modify, std::function<void(error_code)> done) = 0;
  // A unit attention for every nexus but `except` (may be null).
  virtual void attention(const scsi::Sense& condition, const Nexus* except) = 0;

  // Whether the unit is this node's to change: always, unless it is one of a pair.
  [[nodiscard]] virtual bool leads() const { return true; }

  // Ends: good; with a status; with CHECK CONDITION (fixed or descriptor format by D_SENSE).
  virtual void good(Task& task) = 0;
  virtual void end(Task& task, scsi::Status status) = 0;
  virtual void fail(Task& task, const scsi::Sense& sense, const SenseDetail& detail = {}) = 0;
  // By what the store said.
  virtual void fail(Task& task, BlockStatus status, std::optional<std::uint64_t> lba) = 0;
  // By why a change of the state was not made.
  virtual void fail(Task& task, error_code not_changed) = 0;
  // GOOD with `answer` cut to the allocation length and to the room there is.
  virtual void answer(Task& task, std::span<const std::byte> answer, std::uint64_t allocation_length) = 0;

  // Aborted while it waited or worked: commands of several steps look before each step, and then end with drop().
  [[nodiscard]] virtual bool aborted(const Task& task) const = 0;
  virtual void drop(Task& task) = 0;

 private:
  std::unique_ptr<MediumState> medium_;
};

// The parameter list that came with the task, in one piece (copied when it came in several).
[[nodiscard]] std::vector<std::byte> parameter_list(const Task& task);

}  // namespace mpath::target
