// The tasks of a logical unit, from submit() to hand_back(). Every command passes here: what is on its way takes
// neither memory nor locks.
#include <algorithm>
#include <set>
#include <utility>

#include "base/check.hpp"
#include "target/scsi/access.hpp"
#include "target/scsi/command_table.hpp"
#include "target/scsi/dispatch.hpp"
#include "target/scsi/logical_unit_impl.hpp"
#include "target/scsi/unit_error.hpp"

namespace mpath::target {
namespace sense = scsi::sense;

namespace {

// As much of `from` as there is room for; how much that was.
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

// --- how a task begins ----------------------------------------------------------------------------------------------

void LogicalUnit::submit(Task& task) noexcept {
  if (task.home != nullptr) {
    impl_->inbox_.push(task);
  } else {
    impl_->take(task);
  }
}

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
  if (held_ && keep_back(task)) return;
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
      if (held_ && only_for_leader(*task)) continue;
      --waiting_;
      start(*task);
      again = true;
      break;
    }
  }
  starting_ = false;
}

// --- how a task ends ------------------------------------------------------------------------------------------------

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
      if (options_.serving == nullptr) return fail(task, sense::manual_intervention, {});
      return fail(task, away(task).value_or(gone_ ? sense::manual_intervention : sense::alua_transition), {});
    case BlockStatus::invalid:
    case BlockStatus::not_supported:
      return fail(task, sense::internal_failure, {});
  }
}

void LogicalUnit::Impl::fail(Task& task, error_code not_changed) {
  const bool elsewhere = not_changed == UnitErrc::elsewhere || not_changed == std::errc::operation_canceled;
  fail(task, away(task).value_or(elsewhere ? sense::alua_transition : sense::internal_failure), {});
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
  // From here on the task is the session's: only its address is still used.
  const Task* const address = &task;
  hand_back(task);
  if (!waits_.empty()) settle_waits(*address);
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

}  // namespace mpath::target
