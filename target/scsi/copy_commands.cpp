// EXTENDED COPY (LID1) and RECEIVE COPY RESULTS (SPC-4, 6.4 and 6.22): blocks copied without going over the network.
#include "wire/scsi_copy.hpp"

#include <algorithm>

#include "target/scsi/copy_end.hpp"
#include "target/scsi/copy_manager.hpp"
#include "target/scsi/copy_peers.hpp"
#include "target/scsi/medium_commands.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::target {
namespace {

constexpr std::uint16_t targets_max = 16;
constexpr std::uint16_t segments_max = 64;
// Room for each list at its longest and some of the other, but not for both.
constexpr std::uint32_t list_bytes_max = 16 * 32 + 64 * 28;
constexpr std::uint8_t service_extended_copy = 0;
constexpr std::uint8_t service_copy_status = 0;
constexpr std::uint8_t service_operating_parameters = 3;
constexpr std::uint8_t service_failed_segment = 4;

namespace copy_sense {
constexpr scsi::Sense aborted{scsi::SenseKey::copy_aborted, 0x00, 0x00};
constexpr scsi::Sense unreachable_target{scsi::SenseKey::copy_aborted, 0x08, 0x04};
constexpr scsi::Sense not_reachable{scsi::SenseKey::copy_aborted, 0x0d, 0x02};
constexpr scsi::Sense wrong_device_type{scsi::SenseKey::copy_aborted, 0x0d, 0x03};
constexpr scsi::Sense too_many_targets{scsi::SenseKey::illegal_request, 0x26, 0x06};
constexpr scsi::Sense unsupported_target{scsi::SenseKey::illegal_request, 0x26, 0x07};
constexpr scsi::Sense too_many_segments{scsi::SenseKey::illegal_request, 0x26, 0x08};
constexpr scsi::Sense unsupported_segment{scsi::SenseKey::illegal_request, 0x26, 0x09};
constexpr scsi::Sense inline_data_length{scsi::SenseKey::illegal_request, 0x26, 0x0b};
}  // namespace copy_sense

scsi::CopyLimits copy_limits(UnitCore& core) {
  return {.targets_max = targets_max,
          .segments_max = segments_max,
          .list_bytes_max = list_bytes_max,
          .segment_bytes_max = core.options().copy_bytes_max};
}

scsi::Sense sense_of(scsi::CopyFault fault) {
  switch (fault) {
    case scsi::CopyFault::list_length:
      return scsi::sense::parameter_list_length;
    case scsi::CopyFault::too_many_targets:
      return copy_sense::too_many_targets;
    case scsi::CopyFault::unsupported_target:
      return copy_sense::unsupported_target;
    case scsi::CopyFault::too_many_segments:
      return copy_sense::too_many_segments;
    case scsi::CopyFault::unsupported_segment:
      return copy_sense::unsupported_segment;
    case scsi::CopyFault::inline_data:
      return copy_sense::inline_data_length;
    case scsi::CopyFault::bad_field:
      break;
  }
  return scsi::sense::invalid_field_in_parameters;
}

// The names of page 83h that fit a target descriptor.
bool names(const Uuid& uuid, const scsi::Designator& designator) {
  if (designator.association != scsi::Association::logical_unit) return false;
  if (designator.type == scsi::DesignatorType::naa) return std::ranges::equal(designator.bytes, naa6(uuid));
  if (designator.type == scsi::DesignatorType::eui64) return std::ranges::equal(designator.bytes, eui64(uuid));
  return false;
}

// The targets of one copy, found and opened, closed and given back.
class CopyEnds {
 public:
  CopyEnds(UnitCore& core, Task& task) : core_(core), task_(task) {}

  Part<Outcome> open(const std::vector<scsi::CopyTarget>& targets) {
    for (const scsi::CopyTarget& target : targets) {
      if (target.device_type != 0) co_return Outcome::fail(copy_sense::wrong_device_type);
      if (names(core_.options().uuid, target.designator)) {
        ends_.push_back(own_end(core_, task_));
      } else {
        CopyPeers* const peers = core_.options().copy_peers;
        LogicalUnit* const unit = peers != nullptr ? peers->hold(target.designator) : nullptr;
        if (unit == nullptr) co_return Outcome::fail(copy_sense::not_reachable);
        held_.push_back(unit);
        ends_.push_back(other_end(core_, *unit, task_.nexus->name));
      }
      CopyEnd& end = *ends_.back();
      Part<Outcome> opening = end.open();
      const Outcome outcome = co_await opening;
      if (outcome.kind != Outcome::Kind::good) co_return outcome;
      if (target.block_bytes != 0 && target.block_bytes != end.block_bytes) {
        co_return Outcome::fail(scsi::sense::invalid_field_in_parameters);
      }
    }
    co_return Outcome();
  }
  Part<Outcome> close() {
    for (const auto& end : ends_) {
      Part<Outcome> closing = end->close();
      static_cast<void>(co_await closing);
    }
    ends_.clear();
    for (LogicalUnit* unit : held_) core_.options().copy_peers->give_back(*unit);
    held_.clear();
    co_return Outcome();
  }
  [[nodiscard]] CopyEnd* find(std::uint16_t index) { return index < ends_.size() ? ends_[index].get() : nullptr; }
  // The same unit under both indices: its blocks may overlap.
  [[nodiscard]] bool same(const scsi::CopyParameters& parameters, std::uint16_t a, std::uint16_t b) const {
    return parameters.targets[a].designator == parameters.targets[b].designator;
  }

 private:
  UnitCore& core_;
  Task& task_;
  std::vector<std::unique_ptr<CopyEnd>> ends_;
  std::vector<LogicalUnit*> held_;
};

bool fits(const CopyEnd& end, std::uint64_t lba, std::uint64_t bytes) {
  return lba <= end.block_count && bytes / end.block_bytes <= end.block_count - lba;
}

// One segment, in steps, each locked for itself: a copy is no snapshot.
Part<Outcome> copy_segment(UnitCore& core, Task& task, CopyEnd& source, CopyEnd& destination,
                           const scsi::CopySegment& segment, bool same_unit, CopyManager::Result& result) {
  const std::uint64_t total =
      std::uint64_t{segment.blocks} * (segment.count_of_destination ? destination.block_bytes : source.block_bytes);
  if (total > core.options().copy_bytes_max || total % source.block_bytes != 0 ||
      total % destination.block_bytes != 0) {
    co_return Outcome::fail(scsi::sense::invalid_field_in_parameters);
  }
  if (!fits(source, segment.source_lba, total) || !fits(destination, segment.destination_lba, total)) {
    co_return Outcome::fail(copy_sense::aborted);
  }
  const std::uint64_t largest_block = std::max(source.block_bytes, destination.block_bytes);
  std::uint64_t step = std::min<std::uint64_t>(step_bytes, core.options().transfer_bytes_max);
  step = std::max(step / largest_block * largest_block, largest_block);
  std::vector<std::byte> memory(std::min(step, total));
  // Backwards when the destination lies behind the source in the same blocks, as memmove does.
  const bool backwards = same_unit && segment.destination_lba > segment.source_lba;
  for (std::uint64_t moved = 0; moved < total;) {
    if (core.aborted(task)) co_return Outcome::dropped();
    const std::uint64_t length = std::min(step, total - moved);
    const std::uint64_t at = backwards ? total - moved - length : moved;
    const std::span<std::byte> part = std::span(memory).first(length);
    Part<Outcome> reading =
        source.read(segment.source_lba + at / source.block_bytes, length / source.block_bytes, part);
    const Outcome read = co_await reading;
    if (read.kind != Outcome::Kind::good) co_return read;
    if (core.aborted(task)) co_return Outcome::dropped();
    Part<Outcome> writing = destination.write(segment.destination_lba + at / destination.block_bytes,
                                              length / destination.block_bytes, part);
    const Outcome written = co_await writing;
    if (written.kind != Outcome::Kind::good) co_return written;
    moved += length;
    result.bytes += length;
  }
  co_return Outcome();
}

Part<Outcome> copy_all(UnitCore& core, Task& task, CopyEnds& ends, const scsi::CopyParameters& parameters,
                       CopyManager::Result& result) {
  Part<Outcome> opening = ends.open(parameters.targets);
  const Outcome opened = co_await opening;
  if (opened.kind != Outcome::Kind::good) co_return opened;
  for (const scsi::CopySegment& segment : parameters.segments) {
    CopyEnd* const source = ends.find(segment.source);
    CopyEnd* const destination = ends.find(segment.destination);
    if (source == nullptr || destination == nullptr) co_return Outcome::fail(copy_sense::unreachable_target);
    const bool same_unit = ends.same(parameters, segment.source, segment.destination);
    Part<Outcome> copying = copy_segment(core, task, *source, *destination, segment, same_unit, result);
    const Outcome copied = co_await copying;
    if (copied.kind != Outcome::Kind::good) co_return copied;
    ++result.segments;
  }
  co_return Outcome();
}

Part<Outcome> extended_copy(UnitCore& core, Task& task, scsi::CopyParameters parameters,
                            CopyManager::ResultPointer result) {
  CopyEnds ends(core, task);
  Part<Outcome> copying = copy_all(core, task, ends, parameters, *result);
  Outcome outcome = co_await copying;
  Part<Outcome> closing = ends.close();
  static_cast<void>(co_await closing);
  // An error of a medium is the copy's failure (SPC-4, 5.17.7.2); but that there is no space left is what initiators
  // look for by its own name.
  if (outcome.kind == Outcome::Kind::store && outcome.store == BlockStatus::io_error) {
    outcome =
        Outcome::fail({scsi::SenseKey::copy_aborted, outcome.writing ? std::uint8_t{0x0c} : std::uint8_t{0x11}, 0},
                      {.information = outcome.lba});
  }
  result->running = false;
  result->good = outcome.kind == Outcome::Kind::good;
  result->sense = outcome.sense;
  if (parameters.use == scsi::CopyListUse::discard && result->good) {
    core.medium().copies().forget(*task.nexus, parameters.list_id);
  }
  co_return outcome;
}

void copy_status(UnitCore& core, Task& task, const scsi::ReceiveCopyResults& command) {
  CopyManager& copies = core.medium().copies();
  const auto result = copies.find(*task.nexus, command.list_id);
  if (result == nullptr) {
    refuse_field(core, task, 2);
    return;
  }
  const scsi::CopyState state = result->running ? scsi::CopyState::running
                                : result->good  ? scsi::CopyState::good
                                                : scsi::CopyState::failed;
  // A failed one stays for its details.
  if (state == scsi::CopyState::good) copies.forget(*task.nexus, command.list_id);
  const auto answer = scsi::encode_copy_status({.state = state, .segments = result->segments, .bytes = result->bytes});
  core.answer(task, answer, command.length);
}

void failed_segment_details(UnitCore& core, Task& task, const scsi::ReceiveCopyResults& command) {
  CopyManager& copies = core.medium().copies();
  const auto result = copies.find(*task.nexus, command.list_id);
  if (result == nullptr || result->running || result->good) {
    refuse_field(core, task, 2);
    return;
  }
  copies.forget(*task.nexus, command.list_id);
  const auto sense = scsi::encode_sense({.sense = result->sense});
  core.answer(task, scsi::encode_failed_segment_details(scsi::Status::check_condition, sense.view()), command.length);
}

}  // namespace

void run(UnitCore& core, Task& task, const scsi::ExtendedCopy& command) {
  task.transfer_bytes = command.length;
  if (command.service != service_extended_copy) {
    refuse_field(core, task, 1);
    return;
  }
  if (command.length == 0) {
    core.good(task);
    return;
  }
  auto parameters = scsi::decode_copy_parameters(parameter_list(task), copy_limits(core));
  if (!parameters) {
    core.fail(task, sense_of(parameters.error()));
    return;
  }
  auto result = std::make_shared<CopyManager::Result>();
  if (parameters->use != scsi::CopyListUse::none) {
    const auto before = core.medium().copies().find(*task.nexus, parameters->list_id);
    if (before != nullptr && before->running) {
      refuse_parameter(core, task, 0);
      return;
    }
    result = core.medium().copies().add(*task.nexus, parameters->list_id);
  }
  drive(core, task, extended_copy(core, task, std::move(*parameters), std::move(result)));
}

void run(UnitCore& core, Task& task, const scsi::ReceiveCopyResults& command) {
  if (command.service == service_copy_status) {
    copy_status(core, task, command);
  } else if (command.service == service_operating_parameters) {
    core.answer(task, scsi::encode_copy_operating_parameters(copy_limits(core)), command.length);
  } else if (command.service == service_failed_segment) {
    failed_segment_details(core, task, command);
  } else {
    refuse_field(core, task, 1);
  }
}

scsi::Bytes third_party_copy_page(UnitCore& core) {
  return scsi::encode_vpd_third_party_copy(copy_limits(core));
}

}  // namespace mpath::target
