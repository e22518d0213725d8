// VERIFY and WRITE AND VERIFY: what is on the medium is read back and, with BYTCHK, compared byte by byte.
#include <algorithm>

#include "target/scsi/command_support.hpp"
#include "target/scsi/medium_commands.hpp"
#include "target/scsi/task_data.hpp"

namespace mpath::target {
namespace {

enum class Compare : std::uint8_t { nothing = 0, all = 1, one_block = 3 };

// Reads the blocks in steps and compares them with the task's data. The range is locked by the caller.
Part<Outcome> read_back(UnitCore& core, Task& task, std::uint64_t lba, std::uint64_t blocks, Compare compare) {
  const std::uint32_t bytes = block_bytes(core);
  const std::uint64_t step = std::max<std::uint64_t>(step_bytes / bytes, 1);
  std::vector<std::byte> memory(std::min(step, blocks) * bytes);
  for (std::uint64_t at = 0; at < blocks; at += step) {
    if (core.aborted(task)) co_return Outcome::dropped();
    const std::uint64_t count = std::min(step, blocks - at);
    const std::span<std::byte> read = std::span(memory).first(count * bytes);
    StoreIo io(core.store(), BlockOp::read, (lba + at) * bytes, read.size());
    io.set_data(read);
    const BlockStatus status = co_await io;
    if (status != BlockStatus::ok) co_return Outcome::read_error(status, lba + at);
    std::optional<std::uint64_t> different;
    switch (compare) {
      case Compare::nothing:
        break;
      case Compare::all:
        different = first_difference(task.data_out, at * bytes, read);
        if (different) *different += at * bytes;
        break;
      case Compare::one_block:
        for (std::uint64_t block = 0; block < count && !different; ++block) {
          different = first_difference(task.data_out, 0, read.subspan(block * bytes, bytes));
        }
        break;
    }
    if (different) co_return Outcome::fail(scsi::sense::miscompare, {.information = different});
  }
  co_return Outcome();
}

Part<Outcome> verify(UnitCore& core, Task& task, std::uint64_t lba, std::uint64_t blocks, Compare compare) {
  BlockLock lock(core.ranges(), lba, blocks, BlockLock::Kind::shared);
  co_await lock;
  Part<Outcome> reading = read_back(core, task, lba, blocks, compare);
  co_return co_await reading;
}

// Nobody may write in between: what is read back must be what this command wrote.
Part<Outcome> write_and_verify(UnitCore& core, Task& task, std::uint64_t lba, std::uint64_t blocks, Compare compare) {
  const std::uint32_t bytes = block_bytes(core);
  BlockLock lock(core.ranges(), lba, blocks, BlockLock::Kind::exclusive);
  co_await lock;
  if (core.aborted(task)) co_return Outcome::dropped();
  const std::vector<iovec> parts = slice(task.data_out, 0, blocks * bytes);
  StoreIo io(core.store(), BlockOp::write, lba * bytes, blocks * bytes);
  io.fua = true;  // else the cache would be verified, not the medium
  io.set_data(parts);
  const BlockStatus status = co_await io;
  if (status != BlockStatus::ok) co_return Outcome::write_error(status, lba);
  core.medium().note_written(io.length);
  Part<Outcome> reading = read_back(core, task, lba, blocks, compare);
  co_return co_await reading;
}

}  // namespace

void run(UnitCore& core, Task& task, const scsi::Verify& command) {
  const std::uint32_t bytes = block_bytes(core);
  if (command.byte_check == 2) {
    refuse_field(core, task, 1);
    return;
  }
  const auto compare = static_cast<Compare>(command.byte_check);
  switch (compare) {
    case Compare::nothing:
      task.transfer_bytes = 0;
      break;
    case Compare::all:
      task.transfer_bytes = std::uint64_t{command.blocks} * bytes;
      break;
    case Compare::one_block:
      task.transfer_bytes = command.blocks > 0 ? bytes : 0;
      break;
  }
  if (!accept_protect(core, task, command.protect) || !accept_range(core, task, command.lba, command.blocks)) return;
  if (compare == Compare::all && !accept_transfer(core, task, command.blocks)) return;
  std::uint64_t blocks = command.blocks;
  const std::uint64_t sent = task.data_out_bytes / bytes;
  if (compare == Compare::all) blocks = std::min(blocks, sent);
  if (compare == Compare::one_block && sent == 0) blocks = 0;
  if (blocks == 0) {
    core.good(task);
    return;
  }
  drive(core, task, verify(core, task, command.lba, blocks, compare));
}

void run(UnitCore& core, Task& task, const scsi::WriteAndVerify& command) {
  const std::uint32_t bytes = block_bytes(core);
  task.transfer_bytes = std::uint64_t{command.blocks} * bytes;
  if (!accept_protect(core, task, command.protect)) return;
  if (command.byte_check > 1) {
    refuse_field(core, task, 1);
    return;
  }
  if (!accept_range(core, task, command.lba, command.blocks)) return;
  if (!accept_transfer(core, task, command.blocks)) return;
  const std::uint64_t blocks = std::min<std::uint64_t>(command.blocks, task.data_out_bytes / bytes);
  if (blocks == 0) {
    core.good(task);
    return;
  }
  const Compare compare = command.byte_check == 1 ? Compare::all : Compare::nothing;
  drive(core, task, write_and_verify(core, task, command.lba, blocks, compare));
}

}  // namespace mpath::target
