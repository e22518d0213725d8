#include "target/scsi/command_support.hpp"

#include <algorithm>

namespace mpath::target {
void finish(UnitCore& core, Task& task, const Outcome& outcome) {
  if (outcome.kind == Outcome::Kind::dropped || core.aborted(task)) {
    core.drop(task);
    return;
  }
  switch (outcome.kind) {
    case Outcome::Kind::good:
      core.good(task);
      return;
    case Outcome::Kind::sense:
      core.fail(task, outcome.sense, outcome.detail);
      return;
    case Outcome::Kind::conflict:
      core.end(task, scsi::Status::reservation_conflict);
      return;
    case Outcome::Kind::store:
      if (outcome.store == BlockStatus::io_error) {
        core.fail(task, outcome.writing ? scsi::sense::write_error : scsi::sense::read_error,
                  {.information = outcome.lba});
      } else {
        core.fail(task, outcome.store, outcome.lba);
      }
      return;
    case Outcome::Kind::change:
      core.fail(task, outcome.change);
      return;
    case Outcome::Kind::dropped:
      return;
  }
}

Job drive(UnitCore& core, Task& task, Part<Outcome> work) {
  const Outcome outcome = co_await work;
  finish(core, task, outcome);
}

bool accept_protect(UnitCore& core, Task& task, std::uint8_t protect) {
  if (protect == 0) return true;
  refuse_field(core, task, 1);
  return false;
}

bool accept_range(UnitCore& core, Task& task, std::uint64_t lba, std::uint64_t blocks) {
  const std::uint64_t count = core.block_count();
  if (lba <= count && blocks <= count - lba) return true;
  core.fail(task, scsi::sense::lba_out_of_range, {.information = std::max(lba, count)});
  return false;
}

bool accept_transfer(UnitCore& core, Task& task, std::uint64_t blocks) {
  if (blocks <= transfer_blocks_max(core)) return true;
  core.fail(task, scsi::sense::invalid_field_in_cdb);
  return false;
}

void refuse_field(UnitCore& core, Task& task, std::uint16_t byte) {
  core.fail(task, scsi::sense::invalid_field_in_cdb, {.field = byte});
}

void refuse_parameter(UnitCore& core, Task& task, std::uint16_t byte) {
  core.fail(task, scsi::sense::invalid_field_in_parameters, {.field = byte, .field_in_cdb = false});
}

std::uint64_t failed_lba(UnitCore& core, std::uint64_t lba, std::uint64_t blocks) {
  if (core.journal() == nullptr) return lba;
  const std::uint64_t failed = core.journal()->error_offset() / block_bytes(core);
  return failed >= lba && failed - lba < blocks ? failed : lba;
}

std::uint32_t transfer_blocks_max(UnitCore& core) {
  const BlockLimits& limits = core.store().limits();
  std::uint64_t bytes = core.options().transfer_bytes_max;
  if (limits.transfer_max != 0) bytes = std::min(bytes, limits.transfer_max);
  return static_cast<std::uint32_t>(bytes / limits.block_size);
}

bool write_protected(UnitCore& core) {
  return core.options().read_only || core.state().modes.software_write_protect || core.store().limits().read_only;
}

}  // namespace mpath::target
