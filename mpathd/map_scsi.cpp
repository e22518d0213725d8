// SCSI commands that came as such (exports/scsi_door.hpp): one command each, never split, with the unit's own answer. What
// happens to paths, how lost ones are fenced, and who waits when no path is left is as for block requests.
#include "mpathd/map_internal.hpp"

namespace mpath {

void MapDevice::submit_scsi(ScsiRequest& request) noexcept {
  is_reservation(request) ? reserve(request) : submit_command(request, nullptr);
}

// `only`: this path, or none.
void MapDevice::submit_command(ScsiRequest& request, MapPath* only) {
  Io& io = pools_->ios.get();
  io.map = this;
  io.request = nullptr;
  io.scsi = &request;
  io.commands_out = 1;
  Command& command = pools_->commands.get();
  command.io = &io;
  command.path = nullptr;
  command.done = &on_task_done;
  command.cdb = request.cdb;
  command.direction = request.direction;
  command.data = request.data;
  command.length = request.length;
  command.retries = 0;
  command.fenced = false;
  command.spent = false;
  command.pinned = only != nullptr;
  command.only = only;
  command.changes_medium = request.changes;
  if (command.pinned) reservations_->command = &command;
  dispatch(command);
}

void MapDevice::on_scsi_answer(Command& command, MapPath& path) {
  const Judgement judgement = judge(command.status, command.sense);
  if (judgement.verdict != Verdict::done) ++path.counters.failures;
  switch (judgement.verdict) {
    case Verdict::done:
    case Verdict::to_caller:
      return end_scsi(command, ScsiOutcome::answered);
    case Verdict::retry:
      break;
    case Verdict::retry_later:
      return retry_later(command);
    case Verdict::path_failed:
      if (path.owner != nullptr) path.owner->on_command_bad(judgement.checker, judgement.by_access);
      return command.pinned ? end_scsi(command, ScsiOutcome::no_path) : dispatch(command);
    case Verdict::attention:
      if (path.owner != nullptr) path.owner->on_unit_attention(command.sense, judgement.reread_identity);
      if (judgement.reread_identity) return dispatch(command);
      break;
  }
  if (++command.retries > retries_max) return end_scsi(command, ScsiOutcome::answered);  // and that is the answer
  dispatch(command);
}

void MapDevice::end_scsi(Command& command, ScsiOutcome outcome) {
  Io& io = *command.io;
  ScsiRequest& request = *io.scsi;
  request.outcome = outcome;
  request.status = command.status;
  request.sense = command.status == scsi::Status::check_condition ? command.sense : scsi::Sense{};
  if (outcome == ScsiOutcome::answered) reservations_->carrier = command.path;
  if (command.pinned) reservations_->command = nullptr;
  request.transferred = outcome == ScsiOutcome::answered ? command.transferred : 0;
  pools_->commands.put(command);
  pools_->ios.put(io);
  request.done(request);
  if (closing_) check_idle();
}

}  // namespace mpath
