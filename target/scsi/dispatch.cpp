#include "target/scsi/dispatch.hpp"

#include <algorithm>
#include <utility>

#include "target/scsi/command_table.hpp"
#include "target/scsi/commands.hpp"
#include "target/scsi/gate.hpp"
#include "target/scsi/medium_commands.hpp"

namespace mpath::target {
namespace {

using Direction = TransferNeed::Direction;

// The initiator announced data to come only, and the command is to take some: there is none to take. The other way
// round it has no room for what it reads, as if it had announced none: that is a residual, not an error.
bool wrong_way(const Task& task, Direction direction) {
  switch (direction) {
    case Direction::none:
    case Direction::in:
      return false;
    case Direction::out:
      return task.expects_data_in && !task.expects_data_out;
  }
  return false;
}

}  // namespace

void dispatch(UnitSeat& unit, Task& task) {
  namespace sense = scsi::sense;
  const std::span<const std::byte> cdb =
      std::span(task.cdb).first(std::min<std::size_t>(task.cdb_length, task.cdb.size()));
  if (task.attribute == iscsi::TaskAttribute::aca) return unit.fail(task, sense::invalid_message);
  const CommandRow* const row = find_command(cdb);
  if (const auto refusal = refuse(*task.nexus, cdb, row, unit.state(), unit.facts())) {
    if (refusal->status != scsi::Status::check_condition) return unit.end(task, refusal->status);
    return unit.fail(task, refusal->sense, refusal->detail);
  }
  const TransferNeed need = transfer_need(cdb, unit.store().limits().block_size);
  if (wrong_way(task, need.direction)) return unit.fail(task, sense::invalid_field_in_cdb);
  // A parameter list that came cut off would be taken for another one.
  const bool list = row->moves == Moves::out_bytes;
  if (list && task.data_out_bytes < need.bytes) return unit.fail(task, sense::parameter_list_length);
  task.transfer_bytes = need.bytes;
  const auto command = scsi::parse_cdb(cdb);
  if (!command) return unit.fail(task, sense::invalid_field_in_cdb);
  std::visit([&](const auto& parsed) { run(unit, task, parsed); }, *command);
}

}  // namespace mpath::target
