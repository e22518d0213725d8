// MODE SENSE and MODE SELECT, both lengths.
#include <utility>

#include "target/scsi/commands.hpp"
#include "target/scsi/mode_pages.hpp"
#include "wire/error.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;

constexpr std::uint64_t blocks_32_max = 0xffffffff;
constexpr std::byte bit_llbaa{0x10};

ModeValues default_values(const LuOptions& options) {
  return {.write_cache = options.write_cache};
}

ModeValues values_for(UnitSeat& unit, PageControl control) {
  switch (control) {
    case PageControl::current:
    case PageControl::changeable:
      return unit.state().modes;
    case PageControl::defaults:
      return default_values(unit.options());
    case PageControl::saved:
      return unit.state().saved_modes;
  }
  return {};
}

void fail_parameter(UnitSeat& unit, Task& task, std::size_t at) {
  unit.fail(task, sense::invalid_field_in_parameters, {.field = static_cast<std::uint16_t>(at), .field_in_cdb = false});
}

// The format of the medium cannot be changed: descriptors may only say what is so. Zero blocks means "as it is".
bool acceptable(UnitSeat& unit, const scsi::ModeParameters& parameters) {
  if (parameters.blocks.size() > 1) return false;
  for (const scsi::ModeBlockDescriptor& descriptor : parameters.blocks) {
    const std::uint64_t all = unit.block_count();
    const bool blocks_fit = descriptor.blocks == 0 || descriptor.blocks == all ||
                            (!parameters.long_lba && descriptor.blocks == blocks_32_max && all >= blocks_32_max);
    if (!blocks_fit || descriptor.block_bytes != unit.store().limits().block_size) return false;
  }
  return true;
}

void put_in_force(UnitSeat& unit, Task& task, const ModeValues& wanted, bool save) {
  const auto modify = [wanted, save](LuState& state) {
    state.modes = wanted;
    if (save) state.saved_modes = wanted;
  };
  const ModeValues before = unit.state().modes;
  unit.change(modify, [&unit, &task, before, wanted](error_code error) {
    if (error) return unit.fail(task, error);
    if (wanted != before) unit.attention(sense::mode_parameters_changed, task.nexus);
    unit.good(task);
  });
}

}  // namespace

void run(UnitSeat& unit, Task& task, const scsi::ModeSense& command) {
  const auto control = static_cast<PageControl>(command.control & 3);
  scsi::ModeParameters parameters{
      .write_protected = unit.facts().read_only || unit.state().modes.software_write_protect, .dpo_fua = true};
  parameters.pages = mode_pages(command.page, command.subpage, control, values_for(unit, control));
  if (parameters.pages.empty()) return unit.fail(task, sense::invalid_field_in_cdb, {.field = std::uint16_t{2}});
  if (!command.no_block_descriptors && unit.facts().medium_present) {
    parameters.long_lba = !command.short_form && (task.cdb[1] & bit_llbaa) != std::byte{0};
    parameters.blocks.push_back({.blocks = unit.block_count(), .block_bytes = unit.store().limits().block_size});
  }
  unit.answer(task, scsi::encode_mode_parameters(parameters, command.short_form), command.length);
}

void run(UnitSeat& unit, Task& task, const scsi::ModeSelect& command) {
  if (!command.page_format) return unit.fail(task, sense::invalid_field_in_cdb, {.field = std::uint16_t{1}});
  if (command.length == 0) return unit.good(task);
  const auto parameters = scsi::decode_mode_parameters(parameter_list(task), command.short_form);
  if (!parameters) {
    if (parameters.error() == WireErrc::truncated) return unit.fail(task, sense::parameter_list_length);
    return fail_parameter(unit, task, command.short_form ? 3 : 6);
  }
  if (!acceptable(unit, *parameters)) return fail_parameter(unit, task, command.short_form ? 4 : 8);
  const auto wanted = apply_mode_pages(parameters->pages, unit.state().modes);
  if (!wanted) return fail_parameter(unit, task, wanted.error().at);
  const bool cache_goes = unit.state().modes.write_cache && !wanted->write_cache;
  if (!cache_goes) return put_in_force(unit, task, *wanted, command.save);
  // What is in the cache when the cache is turned off must not be lost either: the medium has it before we say so.
  struct Flush final : BlockRequest {
    UnitSeat* unit = nullptr;
    Task* task = nullptr;
    ModeValues wanted;
    bool save = false;
  };
  auto flush = std::make_unique<Flush>();
  flush->op = BlockOp::flush;
  flush->unit = &unit;
  flush->task = &task;
  flush->wanted = *wanted;
  flush->save = command.save;
  flush->done = [](BlockRequest& request) noexcept {
    const std::unique_ptr<Flush> own(static_cast<Flush*>(&request));
    if (request.status != BlockStatus::ok) return own->unit->fail(*own->task, request.status, std::nullopt);
    put_in_force(*own->unit, *own->task, own->wanted, own->save);
  };
  unit.store().submit(*flush.release());
}

}  // namespace mpath::target
