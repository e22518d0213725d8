// Blocks that are given back, filled alike, or asked about: WRITE SAME, UNMAP, GET LBA STATUS, and the limits that
// INQUIRY tells of them.
#include <algorithm>
#include <limits>

#include "target/scsi/command_support.hpp"
#include "target/scsi/medium_commands.hpp"
#include "target/scsi/task_data.hpp"

namespace mpath::target {
namespace {

constexpr std::uint32_t write_same_blocks_max = 32768;
constexpr std::uint32_t unmap_blocks_max = 1 << 20;
constexpr std::uint32_t unmap_ranges_max = 256;
// The unit of thin provisioning's counts: 2^11 blocks.
constexpr std::uint8_t threshold_exponent = 11;
constexpr std::size_t status_header_bytes = 8;
constexpr std::size_t status_descriptor_bytes = 16;
constexpr std::size_t status_descriptors_max = 1024;

// Zeroes, given back to the store or not. A trim would not do: unmapped blocks must read as zeroes (LBPRZ).
Part<BlockStatus> clear(UnitCore& core, std::uint64_t lba, std::uint64_t blocks, bool unmap) {
  const std::uint32_t bytes = block_bytes(core);
  StoreIo io(core.store(), BlockOp::write_zeroes, lba * bytes, blocks * bytes);
  io.may_unmap = unmap;
  io.fua = write_through(core);
  co_return co_await io;
}

Part<Outcome> fill(UnitCore& core, Task& task, std::uint64_t lba, std::uint64_t blocks, bool unmap,
                   std::vector<std::byte> pattern) {
  BlockLock lock(core.ranges(), lba, blocks, BlockLock::Kind::shared);
  co_await lock;
  if (core.aborted(task)) co_return Outcome::dropped();
  if (all_zero(pattern)) {
    Part<BlockStatus> clearing = clear(core, lba, blocks, unmap);
    const BlockStatus status = co_await clearing;
    if (status != BlockStatus::ok) co_return Outcome::write_error(status, lba);
    if (!unmap) core.medium().note_written(blocks * block_bytes(core));
    co_return Outcome();
  }
  const std::uint32_t bytes = block_bytes(core);
  const std::uint64_t step = std::min(std::max<std::uint64_t>(step_bytes / bytes, 1), blocks);
  std::vector<std::byte> memory;
  memory.reserve(step * bytes);
  for (std::uint64_t i = 0; i < step; ++i) memory.insert(memory.end(), pattern.begin(), pattern.end());
  for (std::uint64_t at = 0; at < blocks; at += step) {
    if (core.aborted(task)) co_return Outcome::dropped();
    const std::span<std::byte> part = std::span(memory).first(std::min(step, blocks - at) * bytes);
    StoreIo io(core.store(), BlockOp::write, (lba + at) * bytes, part.size());
    io.fua = write_through(core);
    io.set_data(part);
    const BlockStatus status = co_await io;
    if (status != BlockStatus::ok) co_return Outcome::write_error(status, lba + at);
    core.medium().note_written(part.size());
  }
  co_return Outcome();
}

Part<Outcome> unmap(UnitCore& core, Task& task, std::vector<scsi::UnmapRange> ranges) {
  for (const scsi::UnmapRange& range : ranges) {
    if (range.blocks == 0) continue;
    if (core.aborted(task)) co_return Outcome::dropped();
    BlockLock lock(core.ranges(), range.lba, range.blocks, BlockLock::Kind::shared);
    co_await lock;
    if (core.aborted(task)) co_return Outcome::dropped();
    // A sanitize operation may have begun between two ranges.
    if (const auto obstacle = core.medium().obstacle()) co_return Outcome::fail(obstacle->sense, obstacle->detail);
    Part<BlockStatus> clearing = clear(core, range.lba, range.blocks, true);
    const BlockStatus status = co_await clearing;
    if (status != BlockStatus::ok) co_return Outcome::write_error(status, range.lba);
  }
  co_return Outcome();
}

// Appends a run, joined with the one before when they are alike and the sum still fits.
void append(std::vector<scsi::LbaRange>& runs, std::uint64_t lba, std::uint64_t blocks, scsi::LbaState state) {
  constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
  while (blocks > 0) {
    if (!runs.empty() && runs.back().state == state && runs.back().blocks < most) {
      const std::uint64_t added = std::min(blocks, most - runs.back().blocks);
      runs.back().blocks += static_cast<std::uint32_t>(added);
      lba += added;
      blocks -= added;
      continue;
    }
    runs.push_back({.lba = lba, .blocks = 0, .state = state});
  }
}

// What the store says, until the end of the medium or until there is no room for more. One run too many is asked for,
// so that the last one that is told is known to be whole.
Part<Outcome> list_status(UnitCore& core, Task& task, std::uint64_t lba, std::size_t wanted,
                          std::vector<scsi::LbaRange>& runs) {
  const std::uint32_t bytes = block_bytes(core);
  const std::uint64_t end = core.block_count();
  std::vector<BlockExtent> extents;
  while (lba < end && runs.size() <= wanted) {
    if (core.aborted(task)) co_return Outcome::dropped();
    extents.clear();
    StoreIo io(core.store(), BlockOp::extents, lba * bytes, (end - lba) * bytes);
    io.extents = &extents;
    io.extents_max = static_cast<std::uint32_t>(wanted - runs.size() + 1);
    const BlockStatus status = co_await io;
    if (status == BlockStatus::not_supported) extents = {{.length = (end - lba) * bytes, .hole = false, .zero = false}};
    if (status != BlockStatus::ok && status != BlockStatus::not_supported) co_return Outcome::read_error(status, lba);
    const std::uint64_t before = lba;
    for (const BlockExtent& extent : extents) {
      // A block that is partly a hole counts as mapped; the store's holes are coarser than blocks, so that is rare.
      const std::uint64_t blocks = std::min(std::max<std::uint64_t>(extent.length / bytes, 1), end - lba);
      const bool hole = extent.hole && extent.zero && extent.length >= bytes && core.options().thin;
      append(runs, lba, blocks, hole ? scsi::LbaState::deallocated : scsi::LbaState::mapped);
      lba += blocks;
    }
    if (lba == before) break;
  }
  if (runs.size() > wanted) runs.resize(wanted);
  co_return Outcome();
}

Job get_lba_status(UnitCore& core, Task& task, std::uint64_t lba, std::uint32_t length) {
  const std::size_t room = length > status_header_bytes ? (length - status_header_bytes) / status_descriptor_bytes : 0;
  std::vector<scsi::LbaRange> runs;
  Part<Outcome> listing = list_status(core, task, lba, std::clamp<std::size_t>(room, 1, status_descriptors_max), runs);
  const Outcome outcome = co_await listing;
  if (outcome.kind != Outcome::Kind::good || core.aborted(task)) {
    finish(core, task, outcome);
    co_return;
  }
  core.answer(task, scsi::encode_lba_status(runs), length);
}

}  // namespace

void run(UnitCore& core, Task& task, const scsi::WriteSame& command) {
  const std::uint32_t bytes = block_bytes(core);
  task.transfer_bytes = command.no_data_out ? 0 : bytes;
  if (!accept_protect(core, task, command.protect)) return;
  // ANCHOR: no anchored blocks here. Nothing to unmap on a unit that is not thin. PBDATA and LBDATA are obsolete.
  // Blocks 0, "to the end", is refused as WSNZ says.
  if (command.anchor || (command.unmap && !core.options().thin) || command.physical) {
    refuse_field(core, task, 1);
    return;
  }
  if (!accept_range(core, task, command.lba, command.blocks)) return;
  // Exactly one block is filled with: an initiator that announces another length is mistaken about the block size.
  const bool wrong_length = !command.no_data_out && (task.data_out_bytes < bytes || task.expected_bytes > bytes);
  if (command.blocks == 0 || command.blocks > write_same_blocks_max || wrong_length) {
    core.fail(task, scsi::sense::invalid_field_in_cdb);
    return;
  }
  std::vector<std::byte> pattern(bytes);
  if (!command.no_data_out) copy_from(task.data_out, 0, pattern);
  drive(core, task, fill(core, task, command.lba, command.blocks, command.unmap, std::move(pattern)));
}

void run(UnitCore& core, Task& task, const scsi::Unmap& command) {
  task.transfer_bytes = command.length;
  if (!core.options().thin) {
    core.fail(task, scsi::sense::invalid_opcode);
    return;
  }
  if (command.anchor) {
    refuse_field(core, task, 1);
    return;
  }
  if (command.length == 0) {
    core.good(task);
    return;
  }
  const auto list = parameter_list(task);
  auto ranges = scsi::decode_unmap_list(list);
  if (list.size() < command.length || !ranges) {
    core.fail(task, scsi::sense::parameter_list_length);
    return;
  }
  std::uint64_t sum = 0;
  for (const scsi::UnmapRange& range : *ranges) {
    if (!accept_range(core, task, range.lba, range.blocks)) return;
    sum += range.blocks;
  }
  if (ranges->size() > unmap_ranges_max || sum > unmap_blocks_max) {
    refuse_parameter(core, task, 2);
    return;
  }
  drive(core, task, unmap(core, task, std::move(*ranges)));
}

void run(UnitCore& core, Task& task, const scsi::GetLbaStatus& command) {
  if (command.lba >= core.block_count()) {
    core.fail(task, scsi::sense::lba_out_of_range, {.information = command.lba});
    return;
  }
  get_lba_status(core, task, command.lba, command.length);
}

scsi::BlockLimits block_limits(UnitCore& core) {
  const BlockLimits& store = core.store().limits();
  const std::uint32_t bytes = store.block_size;
  scsi::BlockLimits limits;
  limits.write_same_nonzero = true;
  limits.compare_and_write_max = 255;
  limits.transfer_granularity = static_cast<std::uint16_t>(1u << core.options().physical_exponent);
  limits.transfer_max = transfer_blocks_max(core);
  limits.transfer_optimal = std::min<std::uint32_t>(limits.transfer_max, (1 << 20) / bytes);
  limits.prefetch_max = (64 << 20) / bytes;
  limits.write_same_max = write_same_blocks_max;
  if (core.options().thin) {
    limits.unmap_blocks_max = unmap_blocks_max;
    limits.unmap_ranges_max = unmap_ranges_max;
    limits.unmap_granularity = std::max<std::uint32_t>(store.preferred_block / bytes, 1);
    limits.unmap_alignment = 0;
  }
  if (core.journal() != nullptr && core.journal()->atomic_bytes_max() >= bytes) {
    limits.atomic_max = std::min(core.journal()->atomic_bytes_max() / bytes, limits.transfer_max);
    limits.atomic_max_with_boundary = limits.atomic_max;
    limits.atomic_boundary_max = limits.atomic_max;
  }
  return limits;
}

scsi::Provisioning provisioning(UnitCore& core) {
  if (!core.options().thin) return {};
  return {.threshold_exponent = threshold_exponent,
          .unmap = true,
          .write_same_16 = true,
          .write_same_10 = true,
          .reads_zeroes = true,
          .type = 2};
}

}  // namespace mpath::target
