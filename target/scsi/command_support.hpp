// What the commands of the medium have in common: the checks of their fields, and how they end. Inside target/scsi
// only.
#pragma once

#include <cstdint>
#include <optional>

#include "target/scsi/job.hpp"
#include "target/scsi/medium_state.hpp"
#include "target/scsi/unit_core.hpp"

namespace mpath::target {

// How a command of several steps came out.
struct Outcome {
  enum class Kind : std::uint8_t { good, sense, store, change, conflict, dropped };
  Kind kind = Kind::good;
  scsi::Sense sense;
  SenseDetail detail;
  BlockStatus store = BlockStatus::ok;
  bool writing = false;
  std::uint64_t lba = 0;
  error_code change;

  [[nodiscard]] static Outcome fail(const scsi::Sense& sense, const SenseDetail& detail = {}) {
    return {.kind = Kind::sense, .sense = sense, .detail = detail};
  }
  [[nodiscard]] static Outcome read_error(BlockStatus status, std::uint64_t lba) {
    return {.kind = Kind::store, .store = status, .lba = lba};
  }
  [[nodiscard]] static Outcome write_error(BlockStatus status, std::uint64_t lba) {
    return {.kind = Kind::store, .store = status, .writing = true, .lba = lba};
  }
  // The state could not be changed.
  [[nodiscard]] static Outcome not_changed(error_code why) { return {.kind = Kind::change, .change = why}; }
  [[nodiscard]] static Outcome dropped() { return {.kind = Kind::dropped}; }
};
// Ends the task. An aborted one is dropped, whatever came out.
void finish(UnitCore& core, Task& task, const Outcome& outcome);
// Runs a command of several steps to its end.
Job drive(UnitCore& core, Task& task, Part<Outcome> work);

// These end the task and say false when the command cannot be carried out as it is asked for.
[[nodiscard]] bool accept_protect(UnitCore& core, Task& task, std::uint8_t protect);
[[nodiscard]] bool accept_range(UnitCore& core, Task& task, std::uint64_t lba, std::uint64_t blocks);
[[nodiscard]] bool accept_transfer(UnitCore& core, Task& task, std::uint64_t blocks);
void refuse_field(UnitCore& core, Task& task, std::uint16_t byte);      // invalid field in CDB
void refuse_parameter(UnitCore& core, Task& task, std::uint16_t byte);  // invalid field in parameter list

[[nodiscard]] inline std::uint32_t block_bytes(UnitCore& core) {
  return core.store().limits().block_size;
}
// Which of these blocks the store could not move, as far as it knows; the first of them otherwise. To be asked when the
// request that failed comes back.
[[nodiscard]] std::uint64_t failed_lba(UnitCore& core, std::uint64_t lba, std::uint64_t blocks);
// MAXIMUM TRANSFER LENGTH.
[[nodiscard]] std::uint32_t transfer_blocks_max(UnitCore& core);
[[nodiscard]] bool write_protected(UnitCore& core);
// Whether writes must have reached the medium before they are answered.
[[nodiscard]] inline bool write_through(UnitCore& core) {
  return !core.state().modes.write_cache;
}

// How many bytes a command of several steps moves at once.
inline constexpr std::uint64_t step_bytes = 1 << 20;

}  // namespace mpath::target
