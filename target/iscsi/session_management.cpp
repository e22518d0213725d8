// Task management and logout (RFC 7143, 4.2.3.3, 11.5, 11.14).
#include <algorithm>

#include "base/shard.hpp"
#include "target/iscsi/session_pdus.hpp"

namespace mpath::target {
namespace {

// Functions that take many tasks wait until all commands before them have come.
bool takes_many(iscsi::TaskFunction function) {
  switch (function) {
    case iscsi::TaskFunction::abort_task_set:
    case iscsi::TaskFunction::clear_task_set:
    case iscsi::TaskFunction::logical_unit_reset:
    case iscsi::TaskFunction::target_warm_reset:
    case iscsi::TaskFunction::target_cold_reset:
      return true;
    case iscsi::TaskFunction::abort_task:
    case iscsi::TaskFunction::clear_aca:
    case iscsi::TaskFunction::task_reassign:
      return false;
  }
  return false;
}

bool resets_target(iscsi::TaskFunction function) {
  return function == iscsi::TaskFunction::target_warm_reset || function == iscsi::TaskFunction::target_cold_reset;
}

}  // namespace

template <typename Match>
void Session::kill_if(Match match) {
  for (Command* command = list_; command != nullptr;) {
    Command* const next = command->list_next;
    const bool ends_at_once = command->state != Command::State::working && command->state != Command::State::answering;
    if (ends_at_once && match(*command)) {
      kill(*command);
      // Others may have moved on meanwhile, and the next one may be gone.
      command = list_;
    } else {
      command = next;
    }
  }
}

void Session::manage(Command& command) {
  const auto& request = std::get<iscsi::TaskRequest>(command.request);
  if (!takes_many(request.function)) {
    run_management(command);
    return;
  }
  // The number space up to a target reset is closed: what was not received yet never will be (RFC 7143, 4.2.3.3).
  if (command.immediate && resets_target(request.function)) {
    for (std::uint32_t sn = window_.expected();
         iscsi::sn_before(sn, command.cmd_sn) && !iscsi::sn_before(window_.max(), sn); ++sn) {
      if (window_.takes(sn)) window_.put(sn, nullptr);
    }
  }
  command.state = Command::State::gathering;
  managements_.push_back(command);
  if (!delivering_) deliver_ready();
}

void Session::manage_waiting() {
  while (Command* const command = managements_.front()) {
    const std::uint32_t before = command->immediate ? command->cmd_sn : window_.expected();
    const bool reachable = !iscsi::sn_before(window_.max() + 1, before);
    if (iscsi::sn_before(window_.expected(), before) && reachable) return;
    static_cast<void>(managements_.pop_front());
    run_management(*command);
  }
}

void Session::run_management(Command& command) {
  const auto request = std::get<iscsi::TaskRequest>(command.request);
  command.state = Command::State::working;
  ++working_;
  switch (request.function) {
    case iscsi::TaskFunction::abort_task:
      abort_task(command, request);
      return;
    case iscsi::TaskFunction::abort_task_set:
    case iscsi::TaskFunction::clear_task_set:
    case iscsi::TaskFunction::clear_aca:
    case iscsi::TaskFunction::logical_unit_reset:
    case iscsi::TaskFunction::target_warm_reset:
    case iscsi::TaskFunction::target_cold_reset:
      abort_many(command, request);
      return;
    case iscsi::TaskFunction::task_reassign:
      answer_management(command, iscsi::TaskResult::reassign_not_supported);
      return;
  }
  answer_management(command, iscsi::TaskResult::not_supported);
}

void Session::manage_unit(LunSlot& slot, iscsi::TaskFunction function, std::uint32_t tag,
                          std::function<void(iscsi::TaskResult)> then) {
  slot.unit->shard().post([self = shared_from_this(), unit = slot.unit, nexus = slot.nexus, function, tag,
                           then = std::move(then)]() mutable {
    unit->manage(function, *nexus, tag, [self, then = std::move(then)](iscsi::TaskResult result) {
      self->shard_.post([self, then, result] { then(result); });
    });
  });
}

void Session::abort_task(Command& command, const iscsi::TaskRequest& request) {
  LunSlot* const slot = slot_of(request.lun);
  Command* const task = find(request.referenced_tag);
  if (task != nullptr && task->is_scsi() && task->scsi().lun == request.lun &&
      task->state != Command::State::answering) {
    if (task->state != Command::State::working) {
      kill(*task);
      answer_management(command, iscsi::TaskResult::complete);
      deliver_ready();
      return;
    }
    if (slot != nullptr && slot->state == LunSlot::State::attached) {
      manage_unit(*slot, iscsi::TaskFunction::abort_task, request.referenced_tag,
                  [this, &command](iscsi::TaskResult result) { answer_management(command, result); });
      return;
    }
  }
  if (task == nullptr && window_.takes(request.ref_cmd_sn) && request.ref_cmd_sn != command.cmd_sn) {
    // It has not come, and now it must not run when it comes (RFC 7143, 11.5.5).
    window_.put(request.ref_cmd_sn, nullptr);
    answer_management(command, iscsi::TaskResult::complete);
    deliver_ready();
    return;
  }
  const bool there = slot != nullptr && slot->state == LunSlot::State::attached;
  answer_management(command, there ? iscsi::TaskResult::no_such_task : iscsi::TaskResult::no_such_lun);
}

// Functions on a task set, a logical unit, or all of them: what has not reached a unit ends here, the rest there.
// Answered when all of it has ended.
void Session::abort_many(Command& command, const iscsi::TaskRequest& request) {
  const bool all = resets_target(request.function);
  std::vector<LunSlot*> slots;
  for (const auto& slot : slots_) {
    if (slot->state == LunSlot::State::attached && (all || slot.get() == slot_of(request.lun))) {
      slots.push_back(slot.get());
    }
  }
  if (slots.empty() && !all) {
    answer_management(command, iscsi::TaskResult::no_such_lun);
    return;
  }
  if (request.function != iscsi::TaskFunction::clear_aca) {
    kill_if([&](const Command& other) {
      return other.is_scsi() && (all || other.scsi().lun == request.lun) &&
             (other.immediate || iscsi::sn_before(other.cmd_sn, command.cmd_sn));
    });
  }
  // The command's own unit first counts as one more, so that the answer cannot come before all were asked.
  struct Count {
    std::size_t left;
    iscsi::TaskResult result = iscsi::TaskResult::complete;
  };
  const auto count = std::make_shared<Count>(Count{.left = slots.size() + 1});
  const auto finish = [this, &command, count, function = request.function](iscsi::TaskResult result) {
    if (result != iscsi::TaskResult::complete) count->result = result;
    if (--count->left > 0) return;
    const bool cold = function == iscsi::TaskFunction::target_cold_reset;
    if (cold && count->result == iscsi::TaskResult::complete) host_.cold_reset();
    answer_management(command, count->result);
  };
  const auto function = all ? iscsi::TaskFunction::logical_unit_reset : request.function;
  for (LunSlot* const slot : slots) {
    if (all) {
      slot->unit->shard().post([unit = slot->unit, cold = request.function == iscsi::TaskFunction::target_cold_reset] {
        unit->reset(cold);
      });
    }
    manage_unit(*slot, function, request.referenced_tag, finish);
  }
  finish(iscsi::TaskResult::complete);
}

void Session::answer_management(Command& command, iscsi::TaskResult result) {
  --working_;
  Member& member = *command.member;
  if (command.silent || member.gone || member.leaving || state_ != State::running) {
    retire(command);
  } else {
    command.state = Command::State::answering;
    release(command);
    send(member, iscsi::TaskResponse{.result = result, .itt = command.tag}, true, &command, {});
  }
  advance_end();
}

// ---- logout --------------------------------------------------------------------------------------------------------

void Session::log_out(Command& command) {
  const auto& request = std::get<iscsi::LogoutRequest>(command.request);
  if (request.reason == iscsi::LogoutReason::close_session) {
    command.state = Command::State::answering;
    ++command.out_pdus;  // kept until it is answered
    farewell_ = &command;
    end("logout");
    return;
  }
  if (request.reason != iscsi::LogoutReason::close_connection) {
    answer_logout(command, iscsi::LogoutResult::recovery_not_supported);
    return;
  }
  Member* const leaver = member_of(request.cid);
  if (leaver == nullptr || leaver->leaving) {
    answer_logout(command, iscsi::LogoutResult::no_such_cid);
    return;
  }
  command.state = Command::State::answering;
  ++command.out_pdus;
  leaver->logout = &command;
  leaver->leaving = true;
  abort_member(*leaver);
  check(*leaver);
}

void Session::answer_logout(Command& command, iscsi::LogoutResult result) {
  command.state = Command::State::answering;
  release(command);
  const iscsi::LogoutResponse response{
      .result = result,
      .itt = command.tag,
      .time_to_wait = static_cast<std::uint16_t>(parameters_.time2wait),
      .time_to_retain = static_cast<std::uint16_t>(recovers() ? parameters_.time2retain : 0)};
  send(*command.member, response, true, &command, {});
}

// Ends all tasks of a connection. Those that a unit has come back later.
void Session::abort_member(Member& member) {
  kill_if([&](const Command& other) { return other.member == &member; });
  for (Command* command = list_; command != nullptr; command = command->list_next) {
    if (command->member != &member || command->state != Command::State::working) continue;
    command->silent = true;
    LunSlot* const slot = command->slot;
    if (!command->is_scsi() || slot == nullptr || slot->state != LunSlot::State::attached) continue;
    manage_unit(*slot, iscsi::TaskFunction::abort_task, command->tag, [](iscsi::TaskResult) {});
  }
}

}  // namespace mpath::target
