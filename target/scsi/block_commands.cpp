// READ and WRITE, all lengths: one lock, one request of the store, no allocation.
#include <algorithm>
#include <memory>

#include "target/scsi/command_support.hpp"
#include "target/scsi/medium_commands.hpp"
#include "target/scsi/task_data.hpp"
#include "target/scsi/task_inside.hpp"

namespace mpath::target {
namespace {

// Task::phase: what the request under way is.
constexpr std::uint8_t phase_flush = 1;  // before a READ with FUA, so that it comes from the medium
constexpr std::uint8_t phase_move = 2;

// The part of the task's buffers that is moved, when it is not all of them, and room for the rest of the last block
// that is read.
struct CutData final : Task::Inside {
  std::vector<iovec> parts;
  std::vector<std::byte> rest;
};

// `wanted` bytes of the data, and as much more as it takes to make whole blocks of it.
std::span<const iovec> cut(Task& task, std::span<const iovec> data, std::uint64_t wanted, std::uint64_t whole) {
  if (wanted == whole && byte_count(data) == wanted) return data;
  auto made = std::make_unique<CutData>();
  made->parts = slice(data, 0, wanted);
  made->rest.resize(whole - wanted);
  if (whole > wanted) made->parts.push_back({.iov_base = made->rest.data(), .iov_len = made->rest.size()});
  const std::span<const iovec> parts = made->parts;
  task.inside = made.release();
  return parts;
}

void end(Task& task, BlockStatus status) noexcept {
  UnitCore& core = *task.io.core;
  core.ranges().release(task.range);
  delete std::exchange(task.inside, nullptr);
  if (core.aborted(task)) {
    core.drop(task);
    return;
  }
  const bool writing = task.io.op == BlockOp::write;
  if (status == BlockStatus::ok) {
    if (writing) core.medium().note_written(task.io.length);
    core.good(task);
    return;
  }
  const std::uint64_t lba = failed_lba(core, task.range.first, task.range.count);
  finish(core, task, writing ? Outcome::write_error(status, lba) : Outcome::read_error(status, lba));
}

void start(Task& task) noexcept {
  UnitCore& core = *task.io.core;
  if (core.aborted(task)) {
    end(task, BlockStatus::ok);
    return;
  }
  TaskIo& io = task.io;
  if (task.phase == phase_flush) {
    io.op = BlockOp::flush;
  } else if (io.op == BlockOp::flush) {
    io.op = BlockOp::read;
  }
  core.store().submit(io);
}

void request_done(BlockRequest& request) noexcept {
  Task& task = *static_cast<TaskIo&>(request).task;
  if (task.phase == phase_flush && request.status == BlockStatus::ok) {
    task.phase = phase_move;
    start(task);
    return;
  }
  end(task, request.status);
}

void granted(RangeLock& lock) noexcept {
  start(*static_cast<Task*>(lock.owner));
}

void move(UnitCore& core, Task& task, BlockOp op, std::uint64_t lba, std::uint64_t blocks, bool fua,
          std::span<const iovec> data, std::uint64_t data_bytes) {
  const std::uint32_t bytes = block_bytes(core);
  TaskIo& io = task.io;
  io.task = &task;
  io.core = &core;
  io.op = op;
  io.fua = fua;
  io.offset = lba * bytes;
  io.length = blocks * bytes;
  io.data = cut(task, data, data_bytes, io.length);
  io.done = request_done;
  RangeLock& lock = task.range;
  lock.first = lba;
  lock.count = blocks;
  lock.exclusive = false;
  lock.owner = &task;
  lock.granted = granted;
  if (core.ranges().lock(lock)) start(task);
}

}  // namespace

void run(UnitCore& core, Task& task, const scsi::Read& command) {
  const std::uint32_t bytes = block_bytes(core);
  task.transfer_bytes = std::uint64_t{command.blocks} * bytes;
  if (!accept_protect(core, task, command.protect) || !accept_range(core, task, command.lba, command.blocks)) return;
  if (!accept_transfer(core, task, command.blocks)) return;
  // What the initiator has no room for is a residual.
  const std::uint64_t room = std::min(task.transfer_bytes, byte_count(task.data_in));
  if (room == 0) {
    core.good(task);
    return;
  }
  task.data_in_bytes = static_cast<std::uint32_t>(room);  // unless it fails
  const std::uint64_t blocks = (room + bytes - 1) / bytes;
  task.phase = command.fua && !write_through(core) ? phase_flush : phase_move;
  move(core, task, BlockOp::read, command.lba, blocks, false, task.data_in, room);
}

void run(UnitCore& core, Task& task, const scsi::Write& command) {
  const std::uint32_t bytes = block_bytes(core);
  task.transfer_bytes = std::uint64_t{command.blocks} * bytes;
  if (!accept_protect(core, task, command.protect) || !accept_range(core, task, command.lba, command.blocks)) return;
  if (!accept_transfer(core, task, command.blocks)) return;
  // The whole blocks that the initiator sent are written; what it kept back is a residual.
  const std::uint64_t blocks = std::min<std::uint64_t>(command.blocks, task.data_out_bytes / bytes);
  if (blocks == 0) {
    core.good(task);
    return;
  }
  task.phase = phase_move;
  move(core, task, BlockOp::write, command.lba, blocks, command.fua || write_through(core), task.data_out,
       blocks * bytes);
}

}  // namespace mpath::target
