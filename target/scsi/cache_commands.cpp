// SYNCHRONIZE CACHE and PRE-FETCH.
#include <algorithm>

#include "target/scsi/command_support.hpp"
#include "target/scsi/medium_commands.hpp"

namespace mpath::target {
namespace {

// More than this is not fetched ahead for one command.
constexpr std::uint64_t prefetch_bytes_max = 64 << 20;
// Not a medium error, which Linux would try again.
constexpr scsi::Sense cache_lost{scsi::SenseKey::hardware_error, 0x0c, 0x00};

Part<Outcome> flush(UnitCore& core, std::uint64_t lba) {
  StoreIo io(core.store(), BlockOp::flush, 0, 0);
  const BlockStatus status = co_await io;
  if (status != BlockStatus::ok) co_return Outcome::write_error(status, lba);
  co_return Outcome();
}

Part<Outcome> fetch(UnitCore& core, std::uint64_t offset, std::uint64_t bytes) {
  StoreIo io(core.store(), BlockOp::prefetch, offset, bytes);
  const BlockStatus status = co_await io;
  // A store that cannot fetch ahead has lost nothing.
  if (status != BlockStatus::ok && status != BlockStatus::not_supported) {
    co_return Outcome::read_error(status, offset / block_bytes(core));
  }
  co_return Outcome();
}

// The task has its answer already.
Job in_background(UnitCore& core, Part<Outcome> work) {
  static_cast<void>(co_await work);
  core.medium().work_ended();
}

void run(UnitCore& core, Task& task, bool immediate, Part<Outcome> work) {
  if (!immediate) {
    drive(core, task, std::move(work));
    return;
  }
  core.medium().work_began();
  in_background(core, std::move(work));
  core.good(task);
}

}  // namespace

void run(UnitCore& core, Task& task, const scsi::SynchronizeCache& command) {
  if (!accept_range(core, task, command.lba, command.blocks)) return;
  if (core.medium().fails_flush(*task.nexus)) return core.fail(task, cache_lost);
  // All of the cache goes to the medium, whatever the range: the stores know no other flush.
  run(core, task, command.immediate, flush(core, command.lba));
}

// Never CONDITION MET, which promises that all of it is in the cache now: what the store's cache keeps is not known.
void run(UnitCore& core, Task& task, const scsi::PreFetch& command) {
  if (!accept_range(core, task, command.lba, command.blocks)) return;
  const std::uint64_t blocks = command.blocks > 0 ? command.blocks : core.block_count() - command.lba;
  const std::uint32_t bytes = block_bytes(core);
  const std::uint64_t wanted = std::min(blocks * bytes, prefetch_bytes_max);
  if (wanted == 0) {
    core.good(task);
    return;
  }
  run(core, task, command.immediate, fetch(core, command.lba * bytes, wanted));
}

}  // namespace mpath::target
