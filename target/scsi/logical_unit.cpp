#include "target/scsi/logical_unit.hpp"

#include <algorithm>
#include <list>
#include <set>
#include <utility>

#include "base/check.hpp"
#include "base/shard.hpp"
#include "target/scsi/access.hpp"
#include "target/scsi/command_table.hpp"
#include "target/scsi/dispatch.hpp"
#include "target/scsi/medium_state.hpp"
#include "target/scsi/state_changes.hpp"
#include "target/scsi/task_set.hpp"
#include "target/scsi/unit_seat.hpp"

namespace mpath::target {
namespace sense = scsi::sense;

// Somebody waits until these tasks have ended.
struct AbortWait {
  std::vector<const Task*> tasks;
  std::function<void()> ended;
};

struct LogicalUnit::Impl final : UnitSeat, BlockDeviceObserver {
  Impl(LogicalUnit& outer, Shard& home, LuOptions lu_options, BlockDevice& device, StateLog& state_log, LuState state,
       const Log& parent);
  ~Impl() override;

  // --- UnitCore, UnitSeat
  // -----------------------------------------------------------------------------------------------
  Shard& shard() override { return home_; }
  Clock& clock() override { return home_.clock(); }
  const LuOptions& options() const override { return options_; }
  BlockDevice& store() override { return store_; }
  Store* journal() override { return journal_; }
  RangeLocks& ranges() override { return ranges_; }
  const LuState& state() const override { return changes_.state(); }
  std::uint64_t block_count() const override { return store_.limits().size_bytes / block_bytes_; }
  void change(std::function<void(LuState&)> modify, std::function<void(error_code)> done) override {
    changes_.change(std::move(modify), std::move(done));
  }
  void attention(const scsi::Sense& condition, const Nexus* except) override;
  UnitFacts facts() override;
  const Log& log() const override { return log_; }
  void abort_tasks(std::span<const NexusName> of, const Task& but, std::function<void()> ended) override;
  void attention_for(const NexusName& name, const scsi::Sense& condition) override;
  std::vector<InitiatorPort> initiators() const override;
  void good(Task& task) override { end(task, scsi::Status::good); }
  void end(Task& task, scsi::Status status) override;
  void fail(Task& task, const scsi::Sense& sense, const SenseDetail& detail) override;
  void fail(Task& task, BlockStatus status, std::optional<std::uint64_t> lba) override;
  void answer(Task& task, std::span<const std::byte> answer, std::uint64_t allocation_length) override;
  bool aborted(const Task& task) const override { return task.abort != Task::Abort::no; }
  void drop(Task& task) override;

  // --- BlockDeviceObserver ------------------------------------------------------------------------------------------
  void on_limits_changed(const BlockLimits& limits) override;
  void on_gone() override;

  // --- tasks --------------------------------------------------------------------------------------------------------
  void take(Task& task);
  void start(Task& task);
  void start_waiting();
  void finish(Task& task);
  void settle_waits(const Task& task);
  void hand_back(Task& task);
  void count(const Task& task);
  void abort_after_error(const Nexus* nexus);
  template <typename Which>
  void abort_where(Which which, std::function<void()> ended);
  [[nodiscard]] bool per_nexus() const { return state().modes.task_set_type == 1; }

  // --- nexuses ------------------------------------------------------------------------------------------------------
  void tell(Nexus& nexus, const scsi::Sense& condition);
  void leave(Nexus& nexus);
  void lose_reservation(const Nexus& nexus, std::function<void()> done);
  void reset_state(const scsi::Sense& condition, const Nexus* requester, std::function<void()> done);
  void close_when_idle();

  // Constant after construction.
  LogicalUnit& outer_;
  Shard& home_;
  LuOptions options_;
  BlockDevice& store_;
  Store* journal_;
  std::uint32_t block_bytes_;
  Log log_;
  // Shared with the shards that submit.
  Mailbox<Task, &Task::next> inbox_;
  // Owned by the unit's shard.
  StateChanges changes_;
  RangeLocks ranges_;
  TaskSet set_;
  std::size_t waiting_ = 0;  // tasks of the set that do not run yet
  unsigned holding_ = 0;     // not 0: waiting tasks are not started just now
  bool starting_ = false;    // start_waiting() is on the stack
  std::list<AbortWait> waits_;
  std::list<Nexus> nexuses_;
  std::set<std::pair<InitiatorPort, std::string>> seen_;  // who was here before: a new nexus of theirs follows a loss
  std::uint64_t next_nexus_ = 1;
  std::uint64_t size_bytes_;
  bool gone_ = false;
  bool closing_ = false;
  std::function<void()> closed_;
  struct LastFlush final : BlockRequest {
    Impl* unit = nullptr;
  };
  LastFlush last_flush_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what was posted and may come too late
  std::uint64_t reads_ = 0, writes_ = 0, read_bytes_ = 0, write_bytes_ = 0, errors_ = 0;
};

namespace {

constexpr std::size_t seen_max = 4096;  // initiators choose their names: what we remember of them is bounded

// A short word for each way out of an iovec list.
std::size_t copy_out(std::span<const std::byte> from, std::span<const iovec> to) {
  std::size_t copied = 0;
  for (const iovec& part : to) {
    const std::size_t count = std::min(part.iov_len, from.size() - copied);
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(copied), count, static_cast<std::byte*>(part.iov_base));
    copied += count;
    if (copied == from.size()) break;
  }
  return copied;
}

}  // namespace

std::vector<std::byte> parameter_list(const Task& task) {
  std::vector<std::byte> list;
  list.reserve(task.data_out_bytes);
  for (const iovec& part : task.data_out) {
    const auto* const bytes = static_cast<const std::byte*>(part.iov_base);
    const std::size_t count = std::min<std::size_t>(part.iov_len, task.data_out_bytes - list.size());
    list.insert(list.end(), bytes, bytes + count);
  }
  return list;
}

// --- UnitCore: state and attentions ---------------------------------------------------------------------------------

LogicalUnit::Impl::Impl(LogicalUnit& outer, Shard& home, LuOptions lu_options, BlockDevice& device, StateLog& state_log,
                        LuState state, const Log& parent)
    : outer_(outer),
      home_(home),
      options_(std::move(lu_options)),
      store_(device),
      journal_(dynamic_cast<Store*>(&device)),
      block_bytes_(device.limits().block_size),
      log_(parent.about("lu " + options_.name)),
      inbox_(home.context(), this, [](void* owner, Task& task) noexcept { static_cast<Impl*>(owner)->take(task); }),
      changes_(state_log, std::move(state)),
      size_bytes_(device.limits().size_bytes) {
  store_.add_observer(*this);
}

LogicalUnit::Impl::~Impl() {
  CHECK(set_.empty() && changes_.idle());
  store_.remove_observer(*this);
}

void LogicalUnit::Impl::tell(Nexus& nexus, const scsi::Sense& condition) {
  nexus.attentions.establish(condition);
  if (outer_.on_attention) outer_.on_attention(nexus);
}

void LogicalUnit::Impl::attention(const scsi::Sense& condition, const Nexus* except) {
  for (Nexus& nexus : nexuses_) {
    if (&nexus != except) tell(nexus, condition);
  }
}

void LogicalUnit::Impl::attention_for(const NexusName& name, const scsi::Sense& condition) {
  for (Nexus& nexus : nexuses_) {
    if (is_nexus(nexus.name, name)) tell(nexus, condition);
  }
}

std::vector<InitiatorPort> LogicalUnit::Impl::initiators() const {
  std::vector<InitiatorPort> ports;
  for (const Nexus& nexus : nexuses_) ports.push_back(nexus.name.initiator);
  return ports;
}

UnitFacts LogicalUnit::Impl::facts() {
  return {.read_only = options_.read_only || store_.limits().read_only,
          .medium_present = medium().present(),
          .gone = gone_,
          .sanitize_bytes = store_.limits().size_bytes * state().sanitize.passes};
}

void LogicalUnit::Impl::on_limits_changed(const BlockLimits& limits) {
  if (limits.size_bytes == size_bytes_) return;
  size_bytes_ = limits.size_bytes;
  log_.notice("capacity changed bytes={}", size_bytes_);
  attention(sense::capacity_changed, nullptr);
}

void LogicalUnit::Impl::on_gone() {
  gone_ = true;
  log_.error("store is gone");
}

// --- UnitCore: how a task ends --------------------------------------------------------------------------------------

void LogicalUnit::Impl::end(Task& task, scsi::Status status) {
  task.status = status;
  finish(task);
}

void LogicalUnit::Impl::fail(Task& task, const scsi::Sense& sense, const SenseDetail& detail) {
  const auto bytes = scsi::encode_sense({.sense = sense,
                                         .descriptor_format = state().modes.descriptor_sense,
                                         .information = detail.information,
                                         .progress = detail.progress,
                                         .field = detail.field,
                                         .field_in_cdb = detail.field_in_cdb});
  static_assert(sizeof(bytes.bytes) <= sizeof(task.sense.bytes));
  std::ranges::copy(bytes.view(), task.sense.bytes.begin());
  task.sense.length = bytes.length;
  task.data_in_bytes = 0;
  if (sense.key == scsi::SenseKey::medium_error || sense.key == scsi::SenseKey::hardware_error) ++errors_;
  const Nexus* const nexus = task.nexus;
  end(task, scsi::Status::check_condition);
  if (state().modes.queue_error != 0) abort_after_error(nexus);
}

// QERR of the control mode page (SPC-4 7.5.8): 01b ends all tasks of the task set, 11b those of the nexus.
void LogicalUnit::Impl::abort_after_error(const Nexus* nexus) {
  const bool only_own = state().modes.queue_error == 3 || per_nexus();
  const bool tell_them = state().modes.aborted_task_status;
  std::set<Nexus*> others;
  const auto which = [&](const Task& task) {
    if (task.nexus == nexus) return Task::Abort::silent;
    if (only_own) return Task::Abort::no;
    others.insert(task.nexus);
    return tell_them ? Task::Abort::told : Task::Abort::silent;
  };
  abort_where(which, [] {});
  if (tell_them) return;
  for (Nexus* other : others) tell(*other, sense::commands_cleared);
}

void LogicalUnit::Impl::fail(Task& task, BlockStatus status, std::optional<std::uint64_t> lba) {
  const bool reading = task.io.op == BlockOp::read;
  const SenseDetail at{.information = lba};
  switch (status) {
    case BlockStatus::ok:
      return good(task);
    case BlockStatus::io_error:
      return fail(task, reading ? sense::read_error : sense::write_error, at);
    case BlockStatus::no_space:
      return fail(task, sense::no_space, at);
    case BlockStatus::read_only:
      return fail(task, sense::write_protected, {});
    case BlockStatus::conflict:
      return end(task, scsi::Status::reservation_conflict);
    case BlockStatus::shutdown:
      return fail(task, sense::manual_intervention, {});
    case BlockStatus::invalid:
    case BlockStatus::not_supported:
      return fail(task, sense::internal_failure, {});
  }
}

void LogicalUnit::Impl::answer(Task& task, std::span<const std::byte> answer, std::uint64_t allocation_length) {
  const std::span<const std::byte> cut = answer.first(std::min<std::uint64_t>(answer.size(), allocation_length));
  const std::size_t room = std::min<std::size_t>(cut.size(), task.data_in_room);
  task.transfer_bytes = cut.size();
  task.data_in_bytes = static_cast<std::uint32_t>(copy_out(cut.first(room), task.data_in));
  good(task);
}

void LogicalUnit::Impl::drop(Task& task) {
  CHECK(aborted(task));
  finish(task);
}

// --- tasks ----------------------------------------------------------------------------------------------------------

void LogicalUnit::Impl::take(Task& task) {
  Nexus& nexus = *task.nexus;
  ++nexus.tasks;
  task.running = false;
  task.aborted = false;
  task.abort = Task::Abort::no;
  task.status = scsi::Status::good;
  task.sense.length = 0;
  task.data_in_bytes = 0;
  task.transfer_bytes = 0;
  task.phase = 0;
  task.io.op = BlockOp::flush;  // neither a read nor a write yet: the session's tasks come again
  set_.add(task);
  if (nexus.leaving || closing_) {
    ++waiting_;
    task.abort = Task::Abort::silent;
    return finish(task);
  }
  if (set_.may_run(task, per_nexus())) return start(task);
  ++waiting_;
}

void LogicalUnit::Impl::start(Task& task) {
  task.running = true;
  dispatch(*this, task);
}

// Each start may end tasks and let others in: so look from the oldest on again after each.
void LogicalUnit::Impl::start_waiting() {
  if (starting_ || holding_ > 0) return;
  starting_ = true;
  bool again = true;
  while (again && waiting_ > 0) {
    again = false;
    for (Task* task = set_.oldest(); task != nullptr; task = task->newer) {
      if (task->running || !set_.may_run(*task, per_nexus())) continue;
      --waiting_;
      start(*task);
      again = true;
      break;
    }
  }
  starting_ = false;
}

void LogicalUnit::Impl::finish(Task& task) {
  if (!task.running) --waiting_;
  switch (task.abort) {
    case Task::Abort::no:
      break;
    case Task::Abort::silent:
      task.aborted = true;
      break;
    case Task::Abort::told:
      task.status = scsi::Status::task_aborted;
      task.sense.length = 0;
      task.data_in_bytes = 0;
      break;
  }
  if (task.status == scsi::Status::good && !task.aborted) count(task);
  Nexus& nexus = *task.nexus;
  set_.remove(task);
  --nexus.tasks;
  const bool was_aborted = aborted(task);
  // From here on the task is the session's: only its address is still used.
  const Task* const address = &task;
  hand_back(task);
  if (was_aborted) settle_waits(*address);
  if (waiting_ > 0) start_waiting();
}

void LogicalUnit::Impl::count(const Task& task) {
  const CommandRow* const row = find_command(task.cdb);
  if (row == nullptr) return;
  if (row->moves == Moves::in_blocks) {
    ++reads_;
    read_bytes_ += task.data_in_bytes;
  } else if (row->moves == Moves::out_blocks) {
    ++writes_;
    write_bytes_ += task.data_out_bytes;
  }
}

void LogicalUnit::Impl::hand_back(Task& task) {
  if (task.home != nullptr) {
    task.home->push(task);
  } else {
    task.done(task);
  }
}

void LogicalUnit::Impl::settle_waits(const Task& task) {
  std::vector<std::function<void()>> ended;
  for (auto wait = waits_.begin(); wait != waits_.end();) {
    if (std::erase(wait->tasks, &task) > 0 && wait->tasks.empty()) {
      ended.push_back(std::move(wait->ended));
      wait = waits_.erase(wait);
    } else {
      ++wait;
    }
  }
  for (const auto& call : ended) call();
}

// `which` says for each task how it is to be aborted. `ended` is called when the last of them has ended; those that
// were aborted before count too.
template <typename Which>
void LogicalUnit::Impl::abort_where(Which which, std::function<void()> ended) {
  AbortWait wait{.tasks = {}, .ended = std::move(ended)};
  std::vector<Task*> idle;
  for (Task* task = set_.oldest(); task != nullptr; task = task->newer) {
    const Task::Abort how = which(*task);
    if (how == Task::Abort::no) continue;
    if (task->abort != Task::Abort::silent) task->abort = how;
    if (task->running) {
      wait.tasks.push_back(task);
    } else {
      idle.push_back(task);
    }
  }
  ++holding_;
  for (Task* task : idle) finish(*task);
  --holding_;
  if (wait.tasks.empty()) {
    wait.ended();
  } else {
    waits_.push_back(std::move(wait));
  }
  start_waiting();
}

void LogicalUnit::Impl::abort_tasks(std::span<const NexusName> of, const Task& but, std::function<void()> ended) {
  const bool tell_them = state().modes.aborted_task_status;
  abort_where(
      [&](const Task& task) {
        const auto matches = [&](const NexusName& name) { return is_nexus(name, task.nexus->name); };
        if (&task == &but || std::ranges::none_of(of, matches)) return Task::Abort::no;
        return tell_them && task.nexus != but.nexus ? Task::Abort::told : Task::Abort::silent;
      },
      std::move(ended));
}

// --- nexuses --------------------------------------------------------------------------------------------------------

Nexus& LogicalUnit::attach(const NexusName& name) {
  Nexus& nexus = impl_->nexuses_.emplace_back();
  nexus.name = name;
  nexus.id = impl_->next_nexus_++;
  const auto [place, is_new] = impl_->seen_.emplace(name.initiator, name.target.target);
  nexus.attentions.establish(is_new ? sense::power_on : sense::nexus_loss);
  if (impl_->seen_.size() > seen_max) impl_->seen_.erase(impl_->seen_.begin());
  return nexus;
}

void LogicalUnit::Impl::leave(Nexus& nexus) {
  medium().nexus_ended(nexus);
  nexuses_.remove_if([&](const Nexus& other) { return &other == &nexus; });
}

// RESERVE(6) ends with its nexus. It is in force only in memory after a failed write, which is what it means anyway.
void LogicalUnit::Impl::lose_reservation(const Nexus& nexus, std::function<void()> done) {
  const NexusName name = nexus.name;
  changes_.force(
      [name](LuState& state) {
        auto& reserved = state.reservations.reserved;
        if (reserved && is_nexus(*reserved, name)) reserved.reset();
      },
      [done = std::move(done)](error_code) { done(); });
}

void LogicalUnit::detach(Nexus& nexus, std::function<void()> ended) {
  CHECK(!nexus.leaving);
  nexus.leaving = true;
  const auto gone = [this, &nexus, ended = std::move(ended)] {
    impl_->lose_reservation(nexus, [this, &nexus, ended] {
      impl_->leave(nexus);
      ended();
    });
  };
  impl_->abort_where([&](const Task& task) { return task.nexus == &nexus ? Task::Abort::silent : Task::Abort::no; },
                     gone);
}

// --- task management ------------------------------------------------------------------------------------------------

void LogicalUnit::manage(iscsi::TaskFunction function, Nexus& nexus, std::uint32_t tag,
                         std::function<void(iscsi::TaskResult)> done) {
  using iscsi::TaskFunction;
  using iscsi::TaskResult;
  const auto complete = [done] { done(TaskResult::complete); };
  switch (function) {
    case TaskFunction::abort_task: {
      const auto found = std::make_shared<bool>(false);  // asked when the task has ended, which may be later
      const auto which = [&](const Task& task) {
        const bool is_it = task.nexus == &nexus && task.tag == tag;
        *found = *found || is_it;
        return is_it ? Task::Abort::silent : Task::Abort::no;
      };
      impl_->abort_where(which, [found, complete, done] {
        if (*found) return complete();
        done(TaskResult::no_such_task);
      });
      return;
    }
    case TaskFunction::abort_task_set:
      return impl_->abort_where(
          [&](const Task& task) { return task.nexus == &nexus ? Task::Abort::silent : Task::Abort::no; }, complete);
    case TaskFunction::clear_task_set: {
      const bool per_nexus = impl_->per_nexus();
      const bool tell_them = impl_->state().modes.aborted_task_status;
      std::set<Nexus*> others;
      const auto which = [&](const Task& task) {
        if (task.nexus == &nexus) return Task::Abort::silent;
        if (per_nexus) return Task::Abort::no;
        others.insert(task.nexus);
        return tell_them ? Task::Abort::told : Task::Abort::silent;
      };
      // The others learn it by the status of their tasks, or by a unit attention: never by both (SAM-5 5.6).
      impl_->abort_where(which, complete);
      if (!tell_them) {
        for (Nexus* other : others) impl_->tell(*other, sense::commands_cleared);
      }
      return;
    }
    case TaskFunction::logical_unit_reset:
      return impl_->reset_state(sense::unit_reset, &nexus, complete);
    case TaskFunction::target_warm_reset:
    case TaskFunction::target_cold_reset:
      return impl_->reset_state(sense::bus_reset, &nexus, complete);
    case TaskFunction::clear_aca:
      return done(TaskResult::not_supported);
    case TaskFunction::task_reassign:
      return done(TaskResult::reassign_not_supported);
  }
}

// SAM-5 6.3.3: all tasks end, RESERVE(6) too, mode values go back to the saved ones, and everybody hears of it.
void LogicalUnit::Impl::reset_state(const scsi::Sense& condition, const Nexus* requester, std::function<void()> done) {
  const bool tell_them = state().modes.aborted_task_status;
  const auto which = [&](const Task& task) {
    return tell_them && requester != nullptr && task.nexus != requester ? Task::Abort::told : Task::Abort::silent;
  };
  abort_where(which, [this, condition, done = std::move(done)] {
    medium().reset();
    changes_.force(
        [](LuState& state) {
          state.reservations.reserved.reset();
          state.modes = state.saved_modes;
        },
        [this, condition, done](error_code error) {
          if (error) log_.error("state was not written down error={}", quoted(error.message()));
          attention(condition, nullptr);
          done();
        });
  });
}

void LogicalUnit::reset(bool cold) {
  if (cold) impl_->seen_.clear();
  impl_->reset_state(cold ? sense::power_on : sense::bus_reset, nullptr, [] {});
}

// --- administration -------------------------------------------------------------------------------------------------

LogicalUnit::LogicalUnit(Shard& shard, LuOptions options, BlockDevice& store, StateLog& state_log, LuState state,
                         const Log& log)
    : impl_(std::make_unique<Impl>(*this, shard, std::move(options), store, state_log, std::move(state), log)) {
  // What an earlier life left undone goes on (sanitize), once the unit stands and is on its own shard.
  const std::weak_ptr<bool> alive = impl_->alive_;
  shard.post([impl = impl_.get(), alive] {
    if (!alive.expired()) impl->medium().start();
  });
}

LogicalUnit::~LogicalUnit() = default;

void LogicalUnit::submit(Task& task) noexcept {
  if (task.home != nullptr) {
    impl_->inbox_.push(task);
  } else {
    impl_->take(task);
  }
}

Shard& LogicalUnit::shard() const {
  return impl_->home_;
}
std::uint32_t LogicalUnit::block_bytes() const {
  return impl_->block_bytes_;
}
std::uint32_t LogicalUnit::transfer_bytes_max() const {
  return impl_->options_.transfer_bytes_max;
}

LuStatus LogicalUnit::status() const {
  LuStatus status{.name = impl_->options_.name,
                  .uuid = impl_->options_.uuid,
                  .size_bytes = impl_->size_bytes_,
                  .block_bytes = impl_->block_bytes_,
                  .online = !impl_->gone_ && !impl_->closing_,
                  .state = impl_->state(),
                  .reads = impl_->reads_,
                  .writes = impl_->writes_,
                  .read_bytes = impl_->read_bytes_,
                  .write_bytes = impl_->write_bytes_,
                  .errors = impl_->errors_};
  if (impl_->gone_) status.trouble = "the store is gone";
  for (const Nexus& nexus : impl_->nexuses_) status.nexuses.push_back({.name = nexus.name, .tasks = nexus.tasks});
  return status;
}

void LogicalUnit::set_access_state(std::uint16_t alua_group, scsi::AccessState state,
                                   std::function<void(error_code)> done) {
  impl_->change([alua_group, state](LuState& next) { next.access[alua_group] = state; },
                [this, alua_group, state, done = std::move(done)](error_code error) {
                  if (!error) {
                    impl_->log_.notice("access state changed group={} state={}", alua_group, quoted(scsi::name(state)));
                    impl_->attention(sense::alua_changed, nullptr);
                  }
                  done(error);
                });
}

void LogicalUnit::set_ports(std::vector<scsi::PortGroup> groups, std::vector<TargetPort> ports) {
  impl_->options_.port_groups = std::move(groups);
  impl_->options_.ports = std::move(ports);
  impl_->attention(sense::inquiry_changed, nullptr);
}

void LogicalUnit::report_luns_changed() {
  impl_->attention(sense::luns_changed, nullptr);
}

void LogicalUnit::luns_reported(Nexus& nexus) {
  nexus.attentions.clear(sense::luns_changed);
}

void LogicalUnit::set_medium(bool present) {
  const bool before = impl_->medium().present();
  impl_->medium().set_present(present);
  if (present && !before) impl_->attention(sense::medium_may_have_changed, nullptr);
}

void LogicalUnit::clear_reservations(std::function<void(error_code)> done) {
  std::vector<NexusName> holders;
  for (const Registration& known : impl_->state().reservations.registrations)
    holders.push_back({.initiator = known.initiator, .target = known.target});
  impl_->change(
      [](LuState& state) {
        const std::uint32_t generation = state.reservations.generation + 1;
        state.reservations = {.generation = generation};
      },
      [this, holders = std::move(holders), done = std::move(done)](error_code error) {
        if (!error) {
          impl_->log_.notice("reservations cleared by the administrator");
          for (const NexusName& holder : holders) impl_->attention_for(holder, sense::reservations_preempted);
        }
        done(error);
      });
}

// --- the end --------------------------------------------------------------------------------------------------------

void LogicalUnit::close(std::function<void()> closed) {
  CHECK(!impl_->closing_);
  impl_->closing_ = true;
  impl_->closed_ = std::move(closed);
  impl_->abort_where([](const Task&) { return Task::Abort::silent; },
                     [this] { impl_->medium().stop([this] { impl_->close_when_idle(); }); });
}

// The log may still be writing; a change that changes nothing is done right behind it.
void LogicalUnit::Impl::close_when_idle() {
  changes_.change([](LuState&) {},
                  [this](error_code) {
                    last_flush_.unit = this;
                    last_flush_.op = BlockOp::flush;
                    last_flush_.done = [](BlockRequest& request) noexcept {
                      Impl& unit = *static_cast<LastFlush&>(request).unit;
                      if (request.status != BlockStatus::ok) unit.log_.error("the last flush failed");
                      unit.home_.post([&unit] { std::exchange(unit.closed_, [] {})(); });
                    };
                    store_.submit(last_flush_);
                  });
}

}  // namespace mpath::target
