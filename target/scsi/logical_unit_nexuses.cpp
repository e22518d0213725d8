// The nexuses of a logical unit, and what they may do to tasks other than submit them: task management and resets.
#include <memory>
#include <set>
#include <utility>

#include "base/check.hpp"
#include "target/scsi/access.hpp"
#include "target/scsi/logical_unit_impl.hpp"
#include "target/scsi/medium_state.hpp"
#include "target/scsi/unit_error.hpp"

namespace mpath::target {
namespace sense = scsi::sense;

namespace {

constexpr std::size_t seen_max = 4096;  // initiators choose their names: what we remember of them is bounded

}  // namespace

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
// The node that stands by ends it when it takes over.
void LogicalUnit::Impl::lose_reservation(const Nexus& nexus, std::function<void()> done) {
  const NexusName name = nexus.name;
  const auto& holder = state().reservations.reserved;
  if (changes_.follows() && holder && is_nexus(*holder, name)) reserver_left_ = true;
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
  const auto reset_done = [this, done] { done(impl_->leads() ? TaskResult::complete : TaskResult::rejected); };
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
      return impl_->reset_state(sense::unit_reset, &nexus, reset_done);
    case TaskFunction::target_warm_reset:
    case TaskFunction::target_cold_reset:
      return impl_->reset_state(sense::bus_reset, &nexus, reset_done);
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
          if (error && error != UnitErrc::elsewhere)
            log_.error("state was not written down error={}", quoted(error.message()));
          attention(condition, nullptr);
          done();
        });
  });
}

void LogicalUnit::reset(bool cold) {
  if (cold) impl_->seen_.clear();
  impl_->reset_state(cold ? sense::power_on : sense::bus_reset, nullptr, [] {});
}

}  // namespace mpath::target
