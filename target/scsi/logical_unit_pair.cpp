// A logical unit as one of the two copies of a pair: what it is while it stands by, how it takes over, and how it stops
// for a hand-over.
#include <algorithm>
#include <memory>
#include <utility>

#include "base/check.hpp"
#include "target/scsi/access.hpp"
#include "target/scsi/adopted_news.hpp"
#include "target/scsi/command_table.hpp"
#include "target/scsi/gate.hpp"
#include "target/scsi/logical_unit_impl.hpp"
#include "target/scsi/medium_state.hpp"
#include "target/scsi/unit_error.hpp"

namespace mpath::target {
namespace sense = scsi::sense;

// --- access states --------------------------------------------------------------------------------------------------

scsi::AccessState LogicalUnit::Impl::access(std::uint16_t alua_group) const {
  return access_state(state(), &pair_access_, alua_group);
}

void LogicalUnit::set_cluster_access(ClusterAccess states) {
  if (states == impl_->pair_access_) return;
  impl_->pair_access_ = std::move(states);
  for (const auto& [group, access] : impl_->pair_access_)
    impl_->log_.notice("access state follows the pair group={} state={}", group, quoted(scsi::name(access)));
  impl_->attention(sense::alua_changed, nullptr);
}

std::optional<scsi::Sense> LogicalUnit::Impl::away(const Task& task) const {
  if (options_.serving == nullptr && pair_access_.empty()) return std::nullopt;
  using enum scsi::AccessState;
  switch (access(task.nexus->name.target.alua_group)) {
    case optimized:
    case non_optimized:
    case lba_dependent:
      if (leads()) return std::nullopt;
      return sense::alua_transition;
    case standby:
      return sense::alua_standby;
    case unavailable:
    case offline:
      return sense::alua_unavailable;
    case transitioning:
      return sense::alua_transition;
  }
  return std::nullopt;
}

// --- standing by, and taking over -----------------------------------------------------------------------------------

void LogicalUnit::stand_by() {
  impl_->changes_.follow();
}

void LogicalUnit::adopt_state(LuState state) {
  impl_->changes_.follow();
  impl_->adopt(std::move(state));
}

void LogicalUnit::Impl::adopt(LuState state) {
  const LuState before = changes_.state();
  if (before.reservations.reserved != state.reservations.reserved) reserver_left_ = false;
  changes_.adopt(std::move(state));
  for (Nexus& nexus : nexuses_) {
    for (const scsi::Sense& condition : adopted_news(nexus.name, before, changes_.state())) tell(nexus, condition);
  }
}

void LogicalUnit::take_over(std::function<void(error_code)> done) {
  Impl& unit = *impl_;
  if (unit.closing_) return done(std::make_error_code(std::errc::operation_canceled));
  unit.changes_.lead();
  const auto release_orphan = [&unit](LuState& state) {
    auto& reserved = state.reservations.reserved;
    const auto holds = [&](const Nexus& nexus) { return is_nexus(*reserved, nexus.name); };
    if (reserved && (unit.reserver_left_ || std::ranges::none_of(unit.nexuses_, holds))) reserved.reset();
  };
  unit.changes_.change(release_orphan, [&unit, done = std::move(done)](error_code error) {
    if (error) {
      unit.changes_.follow();
    } else {
      unit.reserver_left_ = false;
      unit.log_.notice("taken over");
      if (!unit.closing_ && !unit.held_ && !unit.changes_.follows()) unit.medium().start();
    }
    done(error);
  });
}

void LogicalUnit::cache_lost() {
  impl_->log_.warning(
      "writes that the other node answered last may be lost: the next flushes fail, so that initiators know");
  impl_->medium().cache_lost();
}

// --- a planned hand-over --------------------------------------------------------------------------------------------

bool LogicalUnit::Impl::only_for_leader(const Task& task) {
  const CommandRow* const row = find_command(task.cdb);
  return row != nullptr && needs_lead(*row);
}

// While the unit is held: true when the task is not to be started now.
bool LogicalUnit::Impl::keep_back(Task& task) {
  if (!only_for_leader(task)) return false;
  if (!task.nexus->of_copy) {
    ++waiting_;
    return true;
  }
  task.running = true;
  fail(task, sense::alua_transition, {});
  return true;
}

// Those that wait already. Each end may take others with it: so look from the oldest on again after each.
void LogicalUnit::Impl::refuse_copies() {
  const auto found = [this] {
    Task* task = set_.oldest();
    while (task != nullptr && (task->running || !task->nexus->of_copy || !only_for_leader(*task))) task = task->newer;
    return task;
  };
  while (Task* const task = found()) {
    --waiting_;
    task->running = true;
    fail(*task, sense::alua_transition, {});
  }
}

void LogicalUnit::hold(std::function<void()> held) {
  CHECK(!impl_->held_);
  impl_->hold(std::move(held));
}

void LogicalUnit::Impl::hold(std::function<void()> held) {
  held_ = true;
  refuse_copies();
  TaskWait wait;
  for (Task* task = set_.oldest(); task != nullptr; task = task->newer) {
    if (task->running && only_for_leader(*task)) wait.tasks.push_back(task);
  }
  // Tasks and the work in the background, in whatever order; then what changes were under way without a task.
  const auto left = std::make_shared<unsigned>(2);
  const auto part = [this, left, number = ++holds_, held = std::move(held)] {
    if (--*left > 0) return;
    changes_.change([](LuState&) {},
                    [this, number, held](error_code) {
                      if (held_ && number == holds_) held();
                    });
  };
  if (wait.tasks.empty()) {
    part();
  } else {
    wait.ended = part;
    waits_.push_back(std::move(wait));
  }
  medium().stop(part);
}

void LogicalUnit::release() {
  CHECK(impl_->held_);
  impl_->held_ = false;
  if (!impl_->changes_.follows() && !impl_->closing_) impl_->medium().start();
  impl_->start_waiting();
}

}  // namespace mpath::target
