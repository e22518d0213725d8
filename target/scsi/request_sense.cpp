// REQUEST SENSE: what a nexus would be told next, without a command having failed (SPC-4 6.39).
#include <utility>

#include "target/scsi/commands.hpp"
#include "target/scsi/gate.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;

scsi::SenseData news(UnitSeat& unit, Nexus& nexus) {
  if (const auto condition = nexus.attentions.take()) return {.sense = *condition};
  const UnitFacts facts = unit.facts();
  const SanitizeState& sanitize = unit.state().sanitize;
  switch (sanitize.phase) {
    case SanitizeState::Phase::running:
      return {.sense = sense::sanitize_in_progress, .progress = sanitize_progress(sanitize, facts.sanitize_bytes)};
    case SanitizeState::Phase::failed:
      return {.sense = sense::sanitize_failed};
    case SanitizeState::Phase::none:
      break;
  }
  if (!facts.medium_present) return {.sense = sense::no_medium};
  return {.sense = sense::none};
}

}  // namespace

void run(UnitSeat& unit, Task& task, const scsi::RequestSense& command) {
  scsi::SenseData data = news(unit, *task.nexus);
  data.descriptor_format = command.descriptor;
  unit.answer(task, scsi::encode_sense(data).view(), command.length);
}

void run(UnitSeat& unit, Task& task, const scsi::ReportLuns&) {
  unit.fail(task, sense::invalid_opcode);
}

}  // namespace mpath::target
