#include "target/scsi/sanitize.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "target/scsi/medium_commands.hpp"
#include "target/scsi/task_data.hpp"

namespace mpath::target {
namespace {

// How often the state learns how far it is: it is what commands are told, and where a restart goes on.
constexpr std::uint64_t saves = 64;
constexpr std::uint64_t save_bytes_min = 1 << 20;
constexpr std::uint64_t save_bytes_max = 64 << 20;
constexpr std::uint64_t erase_step_bytes = 64 << 20;
constexpr auto pause_between_steps = std::chrono::milliseconds(50);
constexpr std::size_t overwrite_header_bytes = 4;
constexpr std::uint8_t reserved_bit = 0x40;  // of byte 1 of the CDB

constexpr std::uint8_t service_overwrite = 1;
constexpr std::uint8_t service_block_erase = 2;
constexpr std::uint8_t service_exit_failure_mode = 0x1f;

// A change of the unit's state, awaited.
class StateChange {
 public:
  StateChange(UnitCore& core, SanitizeState next) : core_(core), next_(std::move(next)) {}
  bool await_ready() noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiting) {
    waiting_ = waiting;
    inside_ = true;
    core_.change([this](LuState& state) { state.sanitize = next_; },
                 [this](error_code error) {
                   error_ = error;
                   completed_ = true;
                   if (!inside_) waiting_.resume();
                 });
    inside_ = false;
    return !completed_;
  }
  error_code await_resume() { return error_; }

 private:
  UnitCore& core_;
  SanitizeState next_;
  std::coroutine_handle<> waiting_;
  error_code error_;
  bool inside_ = false;
  bool completed_ = false;
};

}  // namespace

std::uint64_t Sanitizer::all_bytes() const {
  return core_.block_count() * block_bytes(core_) * std::max<std::uint64_t>(now_.passes, 1);
}

std::uint16_t Sanitizer::progress() const {
  const std::uint64_t all = all_bytes();
  if (all == 0) return 0;
  const double share = static_cast<double>(now_.done_bytes) / static_cast<double>(all);
  return static_cast<std::uint16_t>(std::min(share * 65536, 65535.0));
}

void Sanitizer::begin(const SanitizeState& operation, Task& task, bool immediate) {
  now_ = operation;
  task_ = &task;
  immediate_ = immediate;
  running_ = true;
  interrupted_ = false;
  work(true);
}

void Sanitizer::resume() {
  again_ = running_;
  if (running_ || core_.state().sanitize.phase != SanitizeState::Phase::running) return;
  now_ = core_.state().sanitize;
  interrupted_ = false;
  running_ = true;
  work(false);
}

void Sanitizer::interrupt() {
  interrupted_ = true;
  again_ = false;
  if (pause_) pause_->wake();
}

// The one who asked for it hears of it; when he was aborted meanwhile, he does not, and the work goes on.
void Sanitizer::answer(const Outcome& outcome) {
  if (Task* task = std::exchange(task_, nullptr)) finish(core_, *task, outcome);
}

Job Sanitizer::work(bool announce) {
  core_.medium().work_began();
  pause_ = std::make_unique<Pause>(core_.clock());
  saved_bytes_ = now_.done_bytes;
  error_code not_begun;
  if (announce) {
    StateChange change(core_, now_);
    not_begun = co_await change;
    if (!not_begun && immediate_) answer(Outcome());
  }
  BlockStatus status = BlockStatus::io_error;
  if (!not_begun) {
    {
      // Behind it wait only commands that came before the operation was announced; they are refused when it is given
      // back. It is not held any longer, for nobody else comes to the medium now.
      BlockLock lock(core_.ranges(), 0, core_.block_count(), BlockLock::Kind::exclusive);
      co_await lock;
    }
    Part<BlockStatus> passes = pass_over();
    status = co_await passes;
  }
  bool stopped = interrupted_ || status == BlockStatus::shutdown;
  if (!not_begun && !stopped) {
    SanitizeState ended;
    if (status != BlockStatus::ok) {
      ended = now_;
      ended.phase = SanitizeState::Phase::failed;
    }
    StateChange change(core_, ended);
    const error_code error = co_await change;
    if (error) status = BlockStatus::io_error;
    stopped = error && !core_.leads();
  }
  running_ = false;
  pause_.reset();
  if (not_begun) {
    answer(Outcome::not_changed(not_begun));
  } else if (status == BlockStatus::ok && !stopped) {
    answer(Outcome());
  } else if (!core_.leads()) {
    answer(Outcome::write_error(BlockStatus::shutdown, 0));
  } else if (stopped) {
    answer(Outcome::fail(sanitize_running));  // it is not over, only this life of the unit is
  } else {
    answer(Outcome::fail(sanitize_failed));
  }
  core_.medium().work_ended();
  if (std::exchange(again_, false)) resume();
}

// From done_bytes to the end of the last pass, at the configured speed, and flushed.
Part<BlockStatus> Sanitizer::pass_over() {
  const std::uint32_t bytes = block_bytes(core_);
  const std::uint64_t size = core_.block_count() * bytes;
  const std::uint64_t all = all_bytes();
  const std::uint64_t speed = core_.options().sanitize_bytes_per_second;
  const bool erase = now_.method == SanitizeState::Method::block_erase;
  std::uint64_t step = erase ? erase_step_bytes : step_bytes;
  if (speed > 0) step = std::min(step, speed / (std::chrono::seconds(1) / pause_between_steps));
  step = std::max<std::uint64_t>(step / bytes * bytes, bytes);
  std::vector<std::byte> memory(erase ? 0 : step);
  std::uint64_t filled_for = ~std::uint64_t{0};  // the pass whose pattern is in `memory`
  const std::uint64_t save_every = std::clamp(all / saves, save_bytes_min, save_bytes_max);
  TimePoint next_at = core_.clock().now();
  while (now_.done_bytes < all) {
    if (interrupted_) co_return BlockStatus::shutdown;
    if (task_ != nullptr && core_.aborted(*task_)) answer(Outcome::dropped());
    const std::uint64_t pass = now_.done_bytes / size;
    const std::uint64_t at = now_.done_bytes % size;
    const std::uint64_t length = std::min(step, size - at);
    StoreIo io(core_.store(), erase ? BlockOp::write_zeroes : BlockOp::write, at, length);
    if (!erase) {
      if (pass != filled_for) {
        const auto flip = std::byte{now_.invert && pass % 2 == 1 ? std::uint8_t{0xff} : std::uint8_t{0}};
        for (std::size_t i = 0; i < memory.size(); ++i) {
          memory[i] = now_.pattern[i % bytes % now_.pattern.size()] ^ flip;
        }
        filled_for = pass;
      }
      io.set_data(std::span(memory).first(length));
    }
    const BlockStatus status = co_await io;
    if (status != BlockStatus::ok) co_return status;
    now_.done_bytes += length;
    if (now_.done_bytes - saved_bytes_ >= save_every) {
      // Durable before it is said to be done: a restart goes on behind these blocks.
      Part<BlockStatus> saving = save();
      const BlockStatus saved = co_await saving;
      if (saved != BlockStatus::ok) co_return saved;
    }
    if (speed > 0) {
      next_at += std::chrono::duration_cast<Duration>(
          std::chrono::duration<double>(static_cast<double>(length) / static_cast<double>(speed)));
      pause_->until(next_at);
      Pause& pause = *pause_;
      co_await pause;
    }
  }
  StoreIo flush(core_.store(), BlockOp::flush, 0, 0);
  co_return co_await flush;
}

Part<BlockStatus> Sanitizer::save() {
  StoreIo flush(core_.store(), BlockOp::flush, 0, 0);
  const BlockStatus status = co_await flush;
  if (status != BlockStatus::ok) co_return status;
  saved_bytes_ = now_.done_bytes;
  StateChange change(core_, now_);
  const error_code error = co_await change;
  if (!error) co_return BlockStatus::ok;
  co_return core_.leads() ? BlockStatus::io_error : BlockStatus::shutdown;
}

namespace {

// SBC-3, 5.27.2. None: the task has ended.
std::optional<SanitizeState> overwrite_operation(UnitCore& core, Task& task, const scsi::Sanitize& command) {
  if (command.length <= overwrite_header_bytes || command.length > overwrite_header_bytes + block_bytes(core)) {
    refuse_field(core, task, 7);
    return std::nullopt;
  }
  const auto list = parameter_list(task);
  if (list.size() < command.length) {
    core.fail(task, scsi::sense::parameter_list_length);
    return std::nullopt;
  }
  Reader r(list);
  const std::uint8_t flags = r.u8();
  r.skip(1);
  const std::uint16_t length = r.u16();
  const std::uint8_t passes = flags & 0x1f;
  const bool test = (flags & 0x60) != 0;
  if (passes == 0 || test) {
    refuse_parameter(core, task, 0);
    return std::nullopt;
  }
  if (length == 0 || length > block_bytes(core) || length > r.remaining()) {
    refuse_parameter(core, task, 2);
    return std::nullopt;
  }
  const auto pattern = r.bytes(length);
  return SanitizeState{.phase = SanitizeState::Phase::running,
                       .method = SanitizeState::Method::overwrite,
                       .exit_allowed = command.unrestricted_exit,
                       .invert = (flags & 0x80) != 0,
                       .passes = passes,
                       .pattern = std::vector<std::byte>(pattern.begin(), pattern.end())};
}

void exit_failure_mode(UnitCore& core, Task& task) {
  const SanitizeState& state = core.state().sanitize;
  if (state.phase != SanitizeState::Phase::failed) {
    core.good(task);
    return;
  }
  if (!state.exit_allowed) {
    refuse_field(core, task, 1);
    return;
  }
  core.change(
      [](LuState& after) { after.sanitize = {}; },
      [&core, &task](error_code error) { finish(core, task, error ? Outcome::not_changed(error) : Outcome()); });
}

}  // namespace

void run(UnitCore& core, Task& task, const scsi::Sanitize& command) {
  task.transfer_bytes = command.length;
  const std::span<const std::byte> cdb(task.cdb);
  const bool reserved_set = (cdb[1] & std::byte{reserved_bit}) != std::byte{0} || !all_zero(cdb.subspan(2, 5));
  if (reserved_set) {
    refuse_field(core, task, 1);
    return;
  }
  const bool overwrite = command.service == service_overwrite;
  const bool erase = command.service == service_block_erase;
  const bool leave = command.service == service_exit_failure_mode;
  if (!overwrite && !erase && !leave) {  // CRYPTOGRAPHIC ERASE and those that do not exist
    refuse_field(core, task, 1);
    return;
  }
  if (!overwrite && command.length != 0) {
    refuse_field(core, task, 7);
    return;
  }
  if (leave) {
    exit_failure_mode(core, task);
    return;
  }
  SanitizeState operation{.phase = SanitizeState::Phase::running,
                          .method = SanitizeState::Method::block_erase,
                          .exit_allowed = command.unrestricted_exit};
  if (overwrite) {
    auto wanted = overwrite_operation(core, task, command);
    if (!wanted) return;
    operation = std::move(*wanted);
  }
  Sanitizer& sanitizer = core.medium().sanitizer();
  if (sanitizer.running()) {
    const auto obstacle = core.medium().obstacle();
    core.fail(task, obstacle->sense, obstacle->detail);
    return;
  }
  // A failed operation that may only be repeated cannot be replaced by one that could be given up.
  const SanitizeState& before = core.state().sanitize;
  if (before.phase == SanitizeState::Phase::failed && !before.exit_allowed && command.unrestricted_exit) {
    refuse_field(core, task, 1);
    return;
  }
  sanitizer.begin(operation, task, command.immediate);
}

}  // namespace mpath::target
