// Commands that are one step for everybody else: COMPARE AND WRITE, ORWRITE(16), WRITE ATOMIC(16). They hold their
// blocks alone from the first read to the last write.
#include <algorithm>

#include "target/scsi/command_support.hpp"
#include "target/scsi/medium_commands.hpp"
#include "target/scsi/task_data.hpp"

namespace mpath::target {
namespace {

Part<Outcome> compare_and_write(UnitCore& core, Task& task, scsi::CompareAndWrite command) {
  const std::uint32_t bytes = block_bytes(core);
  const std::uint64_t half = std::uint64_t{command.blocks} * bytes;
  BlockLock lock(core.ranges(), command.lba, command.blocks, BlockLock::Kind::exclusive);
  co_await lock;
  if (core.aborted(task)) co_return Outcome::dropped();
  std::vector<std::byte> memory(half);
  StoreIo reading(core.store(), BlockOp::read, command.lba * bytes, half);
  reading.set_data(std::span(memory));
  const BlockStatus read = co_await reading;
  if (read != BlockStatus::ok) co_return Outcome::read_error(read, command.lba);
  if (core.aborted(task)) co_return Outcome::dropped();
  const auto different = first_difference(task.data_out, 0, memory);
  if (different) co_return Outcome::fail(scsi::sense::miscompare, {.information = different});
  const std::vector<iovec> parts = slice(task.data_out, half, half);
  StoreIo writing(core.store(), BlockOp::write, command.lba * bytes, half);
  writing.fua = command.fua || write_through(core);
  writing.on_all_copies = true;
  writing.set_data(parts);
  const BlockStatus written = co_await writing;
  if (written != BlockStatus::ok) co_return Outcome::write_error(written, command.lba);
  core.medium().note_written(half);
  co_return Outcome();
}

Part<Outcome> or_write(UnitCore& core, Task& task, std::uint64_t lba, std::uint64_t blocks, bool fua) {
  const std::uint32_t bytes = block_bytes(core);
  const std::uint64_t step = std::min(std::max<std::uint64_t>(step_bytes / bytes, 1), blocks);
  BlockLock lock(core.ranges(), lba, blocks, BlockLock::Kind::exclusive);
  co_await lock;
  std::vector<std::byte> memory(step * bytes);
  std::vector<std::byte> operand(step * bytes);
  for (std::uint64_t at = 0; at < blocks; at += step) {
    if (core.aborted(task)) co_return Outcome::dropped();
    const std::uint64_t length = std::min(step, blocks - at) * bytes;
    const std::span<std::byte> part = std::span(memory).first(length);
    StoreIo reading(core.store(), BlockOp::read, (lba + at) * bytes, length);
    reading.set_data(part);
    const BlockStatus read = co_await reading;
    if (read != BlockStatus::ok) co_return Outcome::read_error(read, lba + at);
    if (core.aborted(task)) co_return Outcome::dropped();
    copy_from(task.data_out, at * bytes, std::span(operand).first(length));
    for (std::size_t i = 0; i < length; ++i) part[i] |= operand[i];
    StoreIo writing(core.store(), BlockOp::write, (lba + at) * bytes, length);
    writing.fua = fua;
    writing.on_all_copies = true;
    writing.set_data(part);
    const BlockStatus written = co_await writing;
    if (written != BlockStatus::ok) co_return Outcome::write_error(written, lba + at);
    core.medium().note_written(length);
  }
  co_return Outcome();
}

Part<Outcome> write_atomic(UnitCore& core, Task& task, std::uint64_t lba, std::uint64_t blocks) {
  const std::uint32_t bytes = block_bytes(core);
  BlockLock lock(core.ranges(), lba, blocks, BlockLock::Kind::exclusive);
  co_await lock;
  if (core.aborted(task)) co_return Outcome::dropped();
  const std::vector<iovec> parts = slice(task.data_out, 0, blocks * bytes);
  StoreIo writing(core.store(), BlockOp::write, lba * bytes, blocks * bytes);
  writing.set_data(parts);
  writing.set_atomic(*core.journal());
  const BlockStatus status = co_await writing;
  if (status != BlockStatus::ok) co_return Outcome::write_error(status, lba);
  core.medium().note_written(writing.length);
  co_return Outcome();
}

}  // namespace

void run(UnitCore& core, Task& task, const scsi::CompareAndWrite& command) {
  const std::uint64_t needed = 2 * std::uint64_t{command.blocks} * block_bytes(core);
  task.transfer_bytes = needed;
  if (!accept_protect(core, task, command.protect) || !accept_range(core, task, command.lba, command.blocks)) return;
  // Half a comparison is none: exactly the two halves must come. (256 blocks do not fit the count and look like none.)
  if (task.data_out_bytes < needed || task.expected_bytes > needed) {
    core.fail(task, scsi::sense::invalid_field_in_cdb, {.field = 13});
    return;
  }
  if (command.blocks == 0) {
    core.good(task);
    return;
  }
  drive(core, task, compare_and_write(core, task, command));
}

void run(UnitCore& core, Task& task, const scsi::OrWrite& command) {
  const std::uint32_t bytes = block_bytes(core);
  task.transfer_bytes = std::uint64_t{command.blocks} * bytes;
  if (!accept_protect(core, task, command.protect) || !accept_range(core, task, command.lba, command.blocks)) return;
  if (!accept_transfer(core, task, command.blocks)) return;
  const std::uint64_t blocks = std::min<std::uint64_t>(command.blocks, task.data_out_bytes / bytes);
  if (blocks == 0) {
    core.good(task);
    return;
  }
  drive(core, task, or_write(core, task, command.lba, blocks, command.fua || write_through(core)));
}

void run(UnitCore& core, Task& task, const scsi::WriteAtomic& command) {
  const scsi::BlockLimits limits = block_limits(core);
  const std::uint32_t bytes = block_bytes(core);
  task.transfer_bytes = std::uint64_t{command.blocks} * bytes;
  if (limits.atomic_max == 0) {
    core.fail(task, scsi::sense::invalid_opcode);
    return;
  }
  if (!accept_protect(core, task, command.protect) || !accept_range(core, task, command.lba, command.blocks)) return;
  if (command.boundary > limits.atomic_boundary_max) {
    refuse_field(core, task, 10);
    return;
  }
  // A boundary allows the write to be cut there; it is all or nothing here all the same, so the limits are alike.
  if (command.blocks > limits.atomic_max) {
    refuse_field(core, task, 12);
    return;
  }
  if (command.blocks == 0) {
    core.good(task);
    return;
  }
  // All or nothing: what came short is nothing.
  if (task.data_out_bytes < task.transfer_bytes) {
    core.fail(task, scsi::sense::invalid_field_in_cdb);
    return;
  }
  drive(core, task, write_atomic(core, task, command.lba, command.blocks));
}

}  // namespace mpath::target
