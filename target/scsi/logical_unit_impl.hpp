// The inside of a logical unit, for the files that make it up: logical_unit.cpp (its life, its state, administration),
// logical_unit_tasks.cpp (tasks from submit() to their end), logical_unit_nexuses.cpp (nexuses and task management) and
// logical_unit_pair.cpp (as one of the two copies of a pair).
//
// Threads: the unit's shard, but for the inbox, to which other shards push.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/mailbox.hpp"
#include "base/shard.hpp"
#include "target/scsi/serving.hpp"
#include "target/scsi/state_changes.hpp"
#include "target/scsi/task_set.hpp"
#include "target/scsi/unit_seat.hpp"

namespace mpath::target {

// Somebody waits until these tasks have ended.
struct TaskWait {
  std::vector<const Task*> tasks;
  std::function<void()> ended;
};

struct LogicalUnit::Impl final : UnitSeat, BlockDeviceObserver {
  Impl(LogicalUnit& outer, Shard& home, LuOptions lu_options, BlockDevice& device, StateLog& state_log, LuState state,
       const Log& parent);
  ~Impl() override;

  // --- UnitCore, UnitSeat -------------------------------------------------------------------------------------------
  Shard& shard() override { return home_; }
  Clock& clock() override { return home_.clock(); }
  const LuOptions& options() const override { return options_; }
  BlockDevice& store() override { return store_; }
  Store* journal() override { return journal_; }
  RangeLocks& ranges() override { return ranges_; }
  const LuState& state() const override { return changes_.state(); }
  std::uint64_t block_count() const override { return store_.limits().size_bytes / block_bytes_; }
  void change(std::function<void(LuState&)> modify, std::function<void(error_code)> done) override {
    changes_.answer(std::move(modify), std::move(done));
  }
  void attention(const scsi::Sense& condition, const Nexus* except) override;
  UnitFacts facts() override;
  scsi::AccessState access(std::uint16_t alua_group) const override;
  bool pair_decides_access() const override { return !pair_access_.empty(); }
  bool leads() const override { return !changes_.follows() && may_answer(); }
  const Log& log() const override { return log_; }
  void abort_tasks(std::span<const NexusName> of, const Task& but, std::function<void()> ended) override;
  void attention_for(const NexusName& name, const scsi::Sense& condition) override;
  std::vector<InitiatorPort> initiators() const override;
  bool group_busy(std::uint16_t alua_group, const Task& but) const override;
  void good(Task& task) override { end(task, scsi::Status::good); }
  void end(Task& task, scsi::Status status) override;
  void fail(Task& task, const scsi::Sense& sense, const SenseDetail& detail) override;
  void fail(Task& task, BlockStatus status, std::optional<std::uint64_t> lba) override;
  void fail(Task& task, error_code not_changed) override;
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

  // --- pair ---------------------------------------------------------------------------------------------------------
  [[nodiscard]] bool may_answer() const {
    return options_.serving == nullptr || options_.serving->may_answer(home_.clock().now());
  }
  // Why another node is to be asked; none: this one is the right one.
  [[nodiscard]] std::optional<scsi::Sense> away(const Task& task) const;
  [[nodiscard]] static bool only_for_leader(const Task& task);
  [[nodiscard]] bool keep_back(Task& task);
  void refuse_copies();
  void hold(std::function<void()> held);
  void adopt(LuState state);

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
  bool held_ = false;        // those that only the leading node can carry out are not either: hold()
  bool starting_ = false;    // start_waiting() is on the stack
  std::list<TaskWait> waits_;
  std::list<Nexus> nexuses_;
  std::set<std::pair<InitiatorPort, std::string>> seen_;  // who was here before: a new nexus of theirs follows a loss
  std::uint64_t next_nexus_ = 1;
  std::uint64_t size_bytes_;
  ClusterAccess pair_access_;
  unsigned holds_ = 0;          // how often hold() was called: the number of the last one
  bool reserver_left_ = false;  // who has RESERVE(6) left while the unit stood by
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

// `which` says for each task how it is to be aborted. `ended` is called when the last of them has ended; those that
// were aborted before count too.
template <typename Which>
void LogicalUnit::Impl::abort_where(Which which, std::function<void()> ended) {
  TaskWait wait{.tasks = {}, .ended = std::move(ended)};
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

}  // namespace mpath::target
