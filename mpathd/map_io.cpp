// The way of a request: into commands, down a path, and back.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/check.hpp"
#include "mpathd/map_internal.hpp"
#include "wire/scsi_cdb.hpp"
#include "wire/scsi_data.hpp"

namespace mpath {
namespace {

constexpr std::uint64_t range_blocks_max = 0xffff'ffff;  // of UNMAP and WRITE SAME(16)
constexpr std::uint64_t write_same_blocks_untold = 0xffff;

alignas(4096) constinit std::array<std::byte, 65536> zero_bytes{};  // only ever sent

bool changes_medium(BlockOp op) {
  switch (op) {
    case BlockOp::write:
    case BlockOp::write_zeroes:
    case BlockOp::trim:
      return true;
    case BlockOp::read:
    case BlockOp::flush:
    case BlockOp::prefetch:
    case BlockOp::extents:
      return false;
  }
  return false;
}

bool needs_room_on_device(BlockOp op) {
  return op != BlockOp::flush;
}

// Points `command` at bytes [skip, skip + length) of the caller's data, copying only the iovecs.
template <typename Command>
void slice(Command& command, std::span<const iovec> data, std::uint64_t skip, std::uint64_t length) {
  command.many.clear();
  std::size_t count = 0;
  for (const iovec& piece : data) {
    if (length == 0) break;
    if (skip >= piece.iov_len) {
      skip -= piece.iov_len;
      continue;
    }
    const iovec part{static_cast<std::byte*>(piece.iov_base) + skip,
                     std::min<std::uint64_t>(piece.iov_len - skip, length)};
    skip = 0;
    length -= part.iov_len;
    if (count < command.few.size()) {
      command.few[count] = part;
    } else {
      if (command.many.empty()) command.many.assign(command.few.begin(), command.few.end());
      command.many.push_back(part);
    }
    ++count;
  }
  CHECK(length == 0);
  command.data =
      command.many.empty() ? std::span<const iovec>(command.few).first(count) : std::span<const iovec>(command.many);
}

}  // namespace

// From request to commands.

BlockStatus MapDevice::check(const BlockRequest& request) const {
  if (closing_) return BlockStatus::shutdown;
  if (!needs_room_on_device(request.op)) return BlockStatus::ok;
  if (request.offset % facts_.block_size != 0 || request.length % facts_.block_size != 0) return BlockStatus::invalid;
  if (request.offset > facts_.size_bytes || request.length > facts_.size_bytes - request.offset) {
    return changes_medium(request.op) ? BlockStatus::no_space : BlockStatus::invalid;
  }
  if (changes_medium(request.op) && facts_.read_only) return BlockStatus::read_only;
  return BlockStatus::ok;
}

void MapDevice::submit(BlockRequest& request) noexcept {
  request.status = check(request);
  if (request.status != BlockStatus::ok || (request.length == 0 && request.op != BlockOp::flush)) {
    request.done(request);
    return;
  }
  begin(request);
}

void MapDevice::begin(BlockRequest& request) {
  Io& io = pools_->ios.get();
  io.map = this;
  io.request = &request;
  io.scsi = nullptr;
  io.cursor = 0;
  io.commands_out = 0;
  io.status = BlockStatus::ok;
  io.flushing = false;
  io.restart = false;
  io.advancing = false;
  advance(io);
}

// Makes commands until the request is covered or enough are out. Commands may finish while this runs (no path, told to
// fail), so the last word is settle()'s, when nothing is being made any more.
void MapDevice::advance(Io& io) {
  io.advancing = true;
  const BlockOp op = io.request->op;
  const std::uint64_t end = op == BlockOp::flush ? 1 : io.request->length;
  while (io.cursor < end && io.commands_out < commands_out_max && io.status == BlockStatus::ok && !io.restart) {
    switch (op) {
      case BlockOp::read:
      case BlockOp::write:
        next_transfer(io);
        break;
      case BlockOp::write_zeroes:
        write_same_refused_ ? next_zeroes_by_writing(io) : next_zeroes(io);
        break;
      case BlockOp::trim:
        next_trim(io);
        break;
      case BlockOp::extents:
        next_extents(io);
        break;
      case BlockOp::prefetch:
        next_prefetch(io);
        break;
      case BlockOp::flush:
        io.cursor = 1;
        next_flush(io);
        break;
    }
  }
  io.advancing = false;
  if (io.commands_out == 0) settle(io);
}

MapDevice::Command& MapDevice::new_command(Io& io, std::uint64_t length) {
  Command& command = pools_->commands.get();
  command.io = &io;
  command.path = nullptr;
  command.done = &on_task_done;
  command.direction = DataDirection::none;
  command.data = {};
  command.length = static_cast<std::uint32_t>(length);
  command.retries = 0;
  command.fenced = false;
  command.spent = false;
  command.pinned = false;
  command.changes_medium = changes_medium(io.request->op) && !io.flushing;
  ++io.commands_out;
  return command;
}

void MapDevice::next_transfer(Io& io) {
  const BlockRequest& request = *io.request;
  std::uint64_t most = transfer_bytes_max;
  if (facts_.transfer_blocks_max != 0) {
    most = std::min(most, std::uint64_t{facts_.transfer_blocks_max} * facts_.block_size);
  }
  const std::uint64_t length = std::min(most, request.length - io.cursor);
  Command& command = new_command(io, length);
  const std::uint64_t first = lba(request.offset + io.cursor);
  const auto blocks = static_cast<std::uint32_t>(lba(length));
  if (request.op == BlockOp::read) {
    command.direction = DataDirection::in;
    command.cdb = scsi::read_cdb(first, blocks);
  } else {
    command.direction = DataDirection::out;
    command.cdb = scsi::write_cdb(first, blocks, request.fua && facts_.fua);
  }
  slice(command, request.data, io.cursor, length);
  io.cursor += length;
  dispatch(command);
}

void MapDevice::next_zeroes(Io& io) {
  const BlockRequest& request = *io.request;
  const std::uint64_t most = facts_.write_same_blocks_max != 0
                                 ? std::min<std::uint64_t>(facts_.write_same_blocks_max, range_blocks_max)
                                 : write_same_blocks_untold;
  const std::uint64_t length = std::min(most * facts_.block_size, request.length - io.cursor);
  Command& command = new_command(io, facts_.block_size);  // one block of zeroes goes over the wire
  command.direction = DataDirection::out;
  const bool unmap = request.may_unmap && facts_.write_same_unmap && facts_.reads_zero;
  command.cdb = scsi::write_same_cdb(
      {.lba = lba(request.offset + io.cursor), .blocks = static_cast<std::uint32_t>(lba(length)), .unmap = unmap});
  const iovec block{zero_bytes.data(), facts_.block_size};
  slice(command, std::span(&block, 1), 0, facts_.block_size);
  io.cursor += length;
  dispatch(command);
}

void MapDevice::next_zeroes_by_writing(Io& io) {
  const BlockRequest& request = *io.request;
  if (request.fast_only) {
    io.status = BlockStatus::not_supported;
    return;
  }
  const std::uint64_t length = std::min<std::uint64_t>(zero_bytes.size(), request.length - io.cursor);
  Command& command = new_command(io, length);
  command.direction = DataDirection::out;
  command.cdb = scsi::write_cdb(lba(request.offset + io.cursor), static_cast<std::uint32_t>(lba(length)));
  const iovec zeroes{zero_bytes.data(), length};
  slice(command, std::span(&zeroes, 1), 0, length);
  io.cursor += length;
  dispatch(command);
}

void MapDevice::next_trim(Io& io) {
  const BlockRequest& request = *io.request;
  if (!limits_.can_trim) {  // advisory: nothing to do is done
    io.cursor = request.length;
    return;
  }
  const std::uint64_t told = facts_.unmap ? facts_.unmap_blocks_max : facts_.write_same_blocks_max;
  const std::uint64_t most = told != 0 ? std::min(told, range_blocks_max) : write_same_blocks_untold;
  const std::uint64_t length = std::min(most * facts_.block_size, request.length - io.cursor);
  const std::uint64_t first = lba(request.offset + io.cursor);
  const auto blocks = static_cast<std::uint32_t>(lba(length));
  if (facts_.unmap) {
    const std::size_t size = scsi::unmap_list_bytes(1);
    Command& command = new_command(io, size);
    command.own = environment_.buffers.take(size);
    const scsi::UnmapRange range{.lba = first, .blocks = blocks};
    CHECK(scsi::encode_unmap_list(std::span(&range, 1), command.own.bytes()) == size);
    command.direction = DataDirection::out;
    command.cdb = scsi::unmap_cdb(static_cast<std::uint16_t>(size));
    command.few[0] = {command.own.data(), size};
    command.data = std::span<const iovec>(command.few).first(1);
    io.cursor += length;
    dispatch(command);
    return;
  }
  Command& command = new_command(io, facts_.block_size);
  command.direction = DataDirection::out;
  command.cdb = scsi::write_same_cdb({.lba = first, .blocks = blocks, .unmap = true});
  command.few[0] = {zero_bytes.data(), facts_.block_size};
  command.data = std::span<const iovec>(command.few).first(1);
  io.cursor += length;
  dispatch(command);
}

void MapDevice::next_extents(Io& io) {
  const BlockRequest& request = *io.request;
  io.cursor = request.length;  // one answer tells as much as it tells
  if (!limits_.can_report_extents) {
    request.extents->push_back({.length = request.length, .hole = false, .zero = false});
    return;
  }
  constexpr std::size_t header = 8;
  constexpr std::size_t descriptor = 16;
  const std::size_t size = header + descriptor * std::clamp<std::size_t>(request.extents_max, 1, 255);
  Command& command = new_command(io, size);
  command.own = environment_.buffers.take(size);
  command.direction = DataDirection::in;
  command.cdb = scsi::get_lba_status_cdb(lba(request.offset), static_cast<std::uint32_t>(size));
  command.few[0] = {command.own.data(), size};
  command.data = std::span<const iovec>(command.few).first(1);
  dispatch(command);
}

void MapDevice::next_prefetch(Io& io) {
  const BlockRequest& request = *io.request;
  const std::uint64_t length = std::min(range_blocks_max * facts_.block_size, request.length - io.cursor);
  Command& command = new_command(io, 0);
  command.cdb = scsi::pre_fetch_cdb(lba(request.offset + io.cursor), static_cast<std::uint32_t>(lba(length)));
  io.cursor += length;
  dispatch(command);
}

// All paths lead to the one cache of the LU, and a write is completed to the caller only when its target answered: one
// SYNCHRONIZE CACHE covers every write that the caller knows to be done, whichever path it took.
void MapDevice::next_flush(Io& io) {
  Command& command = new_command(io, 0);
  command.cdb = scsi::synchronize_cache_cdb();
  dispatch(command);
}

// Sending.

MapPath* MapDevice::pick_path() {
  if (!active_group_) return nullptr;
  const Group& group = groups_[*active_group_];
  loads_.clear();
  for (const std::size_t member : group.members) {
    const MapPath& path = *paths_[member];
    loads_.push_back({.usable = path.usable,
                      .room = path.usable ? path.port->room() : 0,
                      .in_flight = path.in_flight,
                      .in_flight_bytes = path.in_flight_bytes});
  }
  const auto picked = selector_.pick(loads_);
  return picked ? paths_[group.members[*picked]].get() : nullptr;
}

bool MapDevice::try_send(Command& command) {
  MapPath* path = command.pinned ? command.only : pick_path();
  if (path == nullptr) return false;
  command.lun = path->lun;
  command.path = path;
  command.generation = path->port->generation();
  const bool lengthy = command.io->scsi != nullptr && command.io->scsi->lengthy;
  command.deadline = environment_.clock.now() + (lengthy ? Duration(lengthy_limit) : policy_.checker_timeout);
  if (!path->port->submit(command)) return false;
  path->link(command);
  return true;
}

void MapDevice::dispatch(Command& command) {
  if (closing_) return finish(command, BlockStatus::shutdown);
  if (command.spent) return end_scsi(command, ScsiOutcome::lost);
  if (command.pinned) {
    const bool there = command.only != nullptr && command.only->port != nullptr && command.only->port->up();
    if (!there) return end_scsi(command, ScsiOutcome::no_path);
    return try_send(command) ? void() : retry_later(command);
  }
  if (command.changes_medium) {
    if (MapPath* owner = ghost_owner(); owner != nullptr) return park(command, *owner);
  }
  if (pools_->backlog.empty() && try_send(command)) return;
  if (usable_count() == 0 && !may_queue()) return finish(command, BlockStatus::io_error);
  pools_->backlog.push_back(command);
}

void MapDevice::pump() {
  if (pumping_) return;
  pumping_ = true;
  while (Command* command = pools_->backlog.front()) {
    if (!try_send(*command)) break;
    pools_->backlog.pop_front();
  }
  pumping_ = false;
}

// Answers.

void MapDevice::on_task_done(ScsiTask& task) noexcept {
  Command& command = static_cast<Command&>(task);
  MapDevice& map = *command.io->map;
  MapPath& path = *command.path;
  path.unlink(command);
  switch (command.outcome) {
    case TaskOutcome::answered:
      map.on_answer(command, path);
      break;
    case TaskOutcome::not_sent:
      ++path.counters.failures;
      map.dispatch(command);
      break;
    case TaskOutcome::lost:
    case TaskOutcome::timed_out:
      map.on_lost(command, path);
      break;
  }
  map.pump();
  if (map.closing_ || !map.leaving_.empty()) map.forget_unused_paths();
}

void MapDevice::on_answer(Command& command, MapPath& path) {
  if (command.io->scsi != nullptr) return on_scsi_answer(command, path);
  const Judgement judgement = judge(command.status, command.sense);
  if (judgement.verdict != Verdict::done) ++path.counters.failures;
  switch (judgement.verdict) {
    case Verdict::done:
      return on_good(command);
    case Verdict::to_caller:
      return on_own_error(command, judgement.status);
    case Verdict::retry:
      return retry(command);
    case Verdict::retry_later:
      return retry_later(command);
    case Verdict::path_failed:
      // Not counted: the path is out until it was identified anew, and no_path_retry bounds the waiting.
      if (path.owner != nullptr) path.owner->on_command_bad(judgement.checker, judgement.by_access);
      return dispatch(command);
    case Verdict::attention:
      if (path.owner != nullptr) path.owner->on_unit_attention(command.sense, judgement.reread_identity);
      return judgement.reread_identity ? dispatch(command) : retry(command);
  }
}

// The session ended with the command on the wire. Reading twice does no harm; anything else must be sure not to run
// later than its successor.
void MapDevice::on_lost(Command& command, MapPath& path) {
  ++path.counters.failures;
  command.spent = command.io->scsi != nullptr && !command.io->scsi->repeatable;
  if (command.changes_medium && !command.fenced) return park(command, path);
  command.fenced = false;
  dispatch(command);
}

void MapDevice::on_good(Command& command) {
  Io& io = *command.io;
  PathCounters& counters = command.path->counters;
  switch (io.request->op) {
    case BlockOp::read:
      // GOOD with bytes missing is a wrong read, not a short one.
      if (command.transferred != command.length) {
        if (command.path->owner != nullptr) command.path->owner->on_command_bad(CheckerState::faulty, false);
        return retry(command);
      }
      ++counters.read_ios;
      counters.read_bytes += command.length;
      break;
    case BlockOp::write:
      if (!io.flushing && command.transferred != command.length) return on_own_error(command, BlockStatus::io_error);
      ++counters.write_ios;
      counters.write_bytes += command.length;
      break;
    case BlockOp::extents:
      read_extents(command);
      break;
    case BlockOp::flush:
    case BlockOp::trim:
    case BlockOp::write_zeroes:
    case BlockOp::prefetch:
      break;
  }
  finish(command, BlockStatus::ok);
}

// A target that does not know a command that we only prefer is asked in another way.
void MapDevice::on_own_error(Command& command, BlockStatus status) {
  Io& io = *command.io;
  if (status == BlockStatus::not_supported) {
    if (io.flushing || io.request->op == BlockOp::flush) {
      status = BlockStatus::ok;  // no SYNCHRONIZE CACHE: there is no cache to synchronise
    } else {
      switch (io.request->op) {
        case BlockOp::write_zeroes:
          if (!write_same_refused_) {
            write_same_refused_ = true;
            update_limits();
          }
          io.restart = true;
          status = BlockStatus::ok;
          break;
        case BlockOp::trim:
          unmap_refused_ = true;
          update_limits();
          status = BlockStatus::ok;
          break;
        case BlockOp::extents:
          extents_refused_ = true;
          update_limits();
          io.restart = true;
          status = BlockStatus::ok;
          break;
        case BlockOp::prefetch:
          status = BlockStatus::ok;
          break;
        case BlockOp::read:
        case BlockOp::write:
        case BlockOp::flush:
          status = BlockStatus::io_error;
          break;
      }
    }
  }
  finish(command, status);
}

void MapDevice::read_extents(Command& command) {
  Io& io = *command.io;
  const BlockRequest& request = *io.request;
  const std::size_t told = std::min<std::size_t>(command.transferred, command.own.size());
  const auto ranges = scsi::decode_lba_status(command.own.bytes().first(told));
  std::uint64_t at = lba(request.offset);
  const std::uint64_t end = at + lba(request.length);
  if (ranges) {
    for (const scsi::LbaRange& range : *ranges) {
      if (at >= end || request.extents->size() >= request.extents_max) break;
      const std::uint64_t range_end = std::min<std::uint64_t>(range.lba + range.blocks, end);
      if (range.lba > at || range_end <= at) break;  // a gap or a step back: believe nothing after it
      const bool mapped = range.state == scsi::LbaState::mapped;
      request.extents->push_back(
          {.length = (range_end - at) * facts_.block_size, .hole = !mapped, .zero = !mapped && facts_.reads_zero});
      at = range_end;
    }
  }
  if (request.extents->empty()) request.extents->push_back({.length = request.length, .hole = false, .zero = false});
}

void MapDevice::retry(Command& command) {
  if (++command.retries > retries_max) return finish(command, BlockStatus::io_error);
  dispatch(command);
}

void MapDevice::retry_later(Command& command) {
  if (pools_->paused.empty()) pause_alarm_->set(environment_.clock.now() + busy_pause);
  pools_->paused.push_back(command);
}

void MapDevice::finish(Command& command, BlockStatus status) {
  Io& io = *command.io;
  if (io.scsi != nullptr) {
    const auto why = status == BlockStatus::shutdown ? ScsiOutcome::shutdown : ScsiOutcome::no_path;
    return end_scsi(command, command.spent ? ScsiOutcome::lost : why);
  }
  if (io.status == BlockStatus::ok) io.status = status;
  command.own.reset();
  pools_->commands.put(command);
  --io.commands_out;
  if (io.advancing) return;
  const bool more = io.status == BlockStatus::ok && !io.restart && io.request->op != BlockOp::flush && !io.flushing &&
                    io.cursor < io.request->length;
  if (more) {
    advance(io);
  } else if (io.commands_out == 0) {
    settle(io);
  }
}

// No command is out: begin anew, make it durable, or be done.
void MapDevice::settle(Io& io) {
  BlockRequest& request = *io.request;
  if (io.status == BlockStatus::ok && io.restart) {
    io.restart = false;
    io.cursor = 0;
    return advance(io);
  }
  const bool carries_fua = request.op == BlockOp::write && facts_.fua;
  if (io.status == BlockStatus::ok && request.fua && changes_medium(request.op) && !carries_fua && !io.flushing) {
    io.flushing = true;
    io.advancing = true;
    next_flush(io);
    io.advancing = false;
    if (io.commands_out != 0) return;
  }
  request.status = io.status;
  pools_->ios.put(io);
  request.done(request);
  if (closing_) check_idle();
}

}  // namespace mpath
