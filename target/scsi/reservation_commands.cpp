// RESERVE and RELEASE, PERSISTENT RESERVE OUT and IN: the steps of reservations.hpp, made durable, told and answered.
#include <memory>
#include <utility>

#include "target/scsi/commands.hpp"
#include "target/scsi/reservations.hpp"
#include "wire/error.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using scsi::PersistentService;

// SPC-2 7.21: third-party reservations and extents are not ours.
bool plain(const auto& command) {
  return !command.third_party && !command.extent;
}

void refuse_list(UnitSeat& unit, Task& task, error_code why) {
  constexpr std::uint16_t transport_ids_at = 24;
  if (why == WireErrc::bad_length) return unit.fail(task, sense::parameter_list_length);
  unit.fail(task, sense::invalid_field_in_parameters, {.field = transport_ids_at, .field_in_cdb = false});
}

// What the change found when its turn came, kept until it is durable.
using Outcome = std::shared_ptr<ReservationStep>;

// A RESERVE that was ahead of us in the queue of changes: the two kinds of reservation exclude each other.
bool reserved_meanwhile(const LuState& state, ReservationStep& step) {
  if (!state.reservations.reserved) return false;
  step.status = scsi::Status::reservation_conflict;
  return true;
}

void conclude(UnitSeat& unit, Task& task, const Outcome& outcome, bool abort, error_code error) {
  if (error) return unit.fail(task, error);
  const ReservationStep& step = *outcome;
  if (step.status == scsi::Status::check_condition)
    return unit.fail(task, step.sense, {.field = step.field, .field_in_cdb = step.field_in_cdb});
  if (step.status != scsi::Status::good) return unit.end(task, step.status);
  for (const ReservationStep::Notice& notice : step.notices) unit.attention_for(notice.nexus, notice.condition);
  if (!abort) return unit.good(task);
  // The preempted are not only kept from new commands: when we answer, none of their old ones touches the medium.
  unit.abort_tasks(step.preempted, task, [&unit, &task] { unit.good(task); });
}

}  // namespace

void run(UnitSeat& unit, Task& task, const scsi::Reserve& command) {
  if (!plain(command)) return unit.fail(task, sense::invalid_field_in_cdb, {.field = std::uint16_t{1}});
  const auto status = std::make_shared<scsi::Status>(scsi::Status::good);
  unit.change([name = task.nexus->name, status](LuState& state) { *status = reserve(state.reservations, name); },
              [&unit, &task, status](error_code error) {
                if (error) return unit.fail(task, error);
                unit.end(task, *status);
              });
}

void run(UnitSeat& unit, Task& task, const scsi::Release& command) {
  if (!plain(command)) return unit.fail(task, sense::invalid_field_in_cdb, {.field = std::uint16_t{1}});
  unit.change([name = task.nexus->name](LuState& state) { release(state.reservations, name); },
              [&unit, &task](error_code error) {
                if (error) return unit.fail(task, error);
                unit.good(task);
              });
}

void run(UnitSeat& unit, Task& task, const scsi::PersistentReserveOut& command) {
  const auto service = static_cast<PersistentService>(command.service);
  const auto outcome = std::make_shared<ReservationStep>();
  const auto done = [&unit, &task, outcome, abort = service == PersistentService::preempt_and_abort](error_code error) {
    conclude(unit, task, outcome, abort, error);
  };
  const auto scene = [&unit, name = task.nexus->name](const std::vector<InitiatorPort>& present) {
    return ReservationScene{.sender = name, .ports = unit.options().ports, .present = present};
  };
  const std::vector<std::byte> bytes = parameter_list(task);
  if (service == PersistentService::register_and_move) {
    const auto list = scsi::decode_register_and_move(bytes);
    if (!list) return refuse_list(unit, task, list.error());
    return unit.change(
        [list = *list, scene, outcome](LuState& state) {
          if (reserved_meanwhile(state, *outcome)) return;
          *outcome = move_step(state.reservations, list, scene({}));
          state.reservations = outcome->next;
        },
        done);
  }
  const bool registers =
      service == PersistentService::register_key || service == PersistentService::register_and_ignore;
  const auto list = scsi::decode_persistent_out(bytes, registers);
  if (!list) return refuse_list(unit, task, list.error());
  unit.change(
      [&unit, command, service, list = *list, scene, outcome](LuState& state) {
        if (reserved_meanwhile(state, *outcome)) return;
        const auto present = unit.initiators();
        *outcome = persistent_step(state.reservations, service, command.scope, command.type, list, scene(present));
        state.reservations = outcome->next;
      },
      done);
}

void run(UnitSeat& unit, Task& task, const scsi::PersistentReserveIn& command) {
  const Reservations& reservations = unit.state().reservations;
  switch (command.service) {
    case 0:
      return unit.answer(task, scsi::encode_reservation_keys(read_keys(reservations)), command.length);
    case 1:
      return unit.answer(task, scsi::encode_reservation(read_reservation(reservations)), command.length);
    case 2:
      return unit.answer(task, scsi::encode_reservation_capabilities(reservation_capabilities(reservations)),
                         command.length);
    case 3:
      return unit.answer(task, scsi::encode_full_status(read_full_status(reservations)), command.length);
  }
  unit.fail(task, sense::invalid_field_in_cdb, {.field = std::uint16_t{1}});
}

}  // namespace mpath::target
