// Commands that tell about the medium, or take it out: TEST UNIT READY, READ CAPACITY, READ DEFECT DATA, LOG SENSE,
// START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL.
#include "target/scsi/medium_commands.hpp"

#include <algorithm>
#include <limits>

#include "base/bytes.hpp"
#include "target/scsi/command_support.hpp"
#include "wire/scsi_log.hpp"

namespace mpath::target {
namespace {

constexpr scsi::Sense removal_prevented{scsi::SenseKey::illegal_request, 0x53, 0x02};
constexpr scsi::Sense medium_may_have_changed{scsi::SenseKey::unit_attention, 0x28, 0x00};
constexpr std::size_t capacity_10_bytes = 8;

scsi::Capacity capacity(UnitCore& core) {
  const std::uint64_t blocks = core.block_count();
  return {.last_lba = blocks > 0 ? blocks - 1 : 0,
          .block_bytes = block_bytes(core),
          .physical_exponent = core.options().physical_exponent,
          .thin = core.options().thin,
          .reads_zeroes = core.options().thin};
}

scsi::ProvisioningCounts provisioning_counts(UnitCore& core) {
  if (core.journal() == nullptr) return {};
  const Store::Usage usage = core.journal()->usage();
  const std::uint64_t unit = std::uint64_t{block_bytes(core)} << provisioning(core).threshold_exponent;
  const auto count = [unit](std::uint64_t bytes) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes / unit, std::numeric_limits<std::uint32_t>::max()));
  };
  return {.available = count(usage.available_bytes), .used = count(usage.allocated_bytes)};
}

std::vector<scsi::LogPageCode> log_pages(UnitCore& core) {
  std::vector<scsi::LogPageCode> pages = {{.page = scsi::log_page_supported}};
  if (core.options().thin) pages.push_back({.page = scsi::log_page_provisioning});
  pages.push_back({.page = scsi::log_page_temperature});
  pages.push_back({.page = scsi::log_page_informational_exceptions});
  return pages;
}

// None for pages that are not there.
std::optional<scsi::LogPage> log_page(UnitCore& core, std::uint8_t page) {
  if (page == scsi::log_page_provisioning && core.options().thin) {
    return scsi::provisioning_log_page(provisioning_counts(core));
  }
  if (page == scsi::log_page_temperature) return scsi::temperature_log_page();
  if (page == scsi::log_page_informational_exceptions) return scsi::informational_exceptions_log_page({});
  return std::nullopt;
}

Part<Outcome> flush_before_stop(UnitCore& core) {
  StoreIo io(core.store(), BlockOp::flush, 0, 0);
  const BlockStatus status = co_await io;
  if (status != BlockStatus::ok && status != BlockStatus::read_only) co_return Outcome::write_error(status, 0);
  co_return Outcome();
}

// Stops, and takes the medium out when that is wanted. What was written is on the medium before.
Job stop(UnitCore& core, Task& task, bool flush, bool eject) {
  Outcome outcome;
  if (flush) {
    Part<Outcome> flushing = flush_before_stop(core);
    outcome = co_await flushing;
  }
  if (eject && outcome.kind == Outcome::Kind::good && !core.aborted(task)) core.medium().set_present(false);
  finish(core, task, outcome);
}

}  // namespace

void run(UnitCore& core, Task& task, const scsi::TestUnitReady&) {
  core.good(task);
}

void run(UnitCore& core, Task& task, const scsi::ReadCapacity10&) {
  scsi::Capacity told = capacity(core);
  told.last_lba = std::min(told.last_lba, scsi::capacity_10_overflow);
  core.answer(task, scsi::encode_capacity_10(told), capacity_10_bytes);
}

void run(UnitCore& core, Task& task, const scsi::ReadCapacity16& command) {
  core.answer(task, scsi::encode_capacity_16(capacity(core)), command.length);
}

// The stores have no defects that they know of: the lists are there, and empty.
void run(UnitCore& core, Task& task, const scsi::ReadDefectData& command) {
  scsi::Bytes bytes(command.short_form ? 4 : 8);
  Writer w(bytes);
  w.skip(1);
  w.u8(static_cast<std::uint8_t>((command.primary ? 0x10 : 0) | (command.grown ? 0x08 : 0) | command.format));
  core.answer(task, bytes, command.length);
}

void run(UnitCore& core, Task& task, const scsi::LogSense& command) {
  // Nothing is saved, and there are only current values.
  if (command.save) {
    refuse_field(core, task, 1);
    return;
  }
  const auto pages = log_pages(core);
  const bool known = std::any_of(pages.begin(), pages.end(),
                                 [&command](const scsi::LogPageCode& code) { return code.page == command.page; });
  const bool lists = command.subpage == scsi::log_subpage_all;
  if (!known || (command.subpage != 0 && !lists)) {
    refuse_field(core, task, known ? 3 : 2);
    return;
  }
  if (command.page == scsi::log_page_supported) {
    if (!lists) {
      core.answer(task, scsi::encode_log_pages(pages, false), command.length);
      return;
    }
    std::vector<scsi::LogPageCode> all = pages;
    for (const scsi::LogPageCode& code : pages) all.push_back({.page = code.page, .subpage = scsi::log_subpage_all});
    std::sort(all.begin(), all.end(), [](const scsi::LogPageCode& a, const scsi::LogPageCode& b) {
      return std::pair(a.page, a.subpage) < std::pair(b.page, b.subpage);
    });
    core.answer(task, scsi::encode_log_pages(all, true), command.length);
    return;
  }
  if (lists) {
    const std::uint8_t subpages[] = {0x00, scsi::log_subpage_all};
    core.answer(task, scsi::encode_log_subpages(command.page, subpages), command.length);
    return;
  }
  auto page = log_page(core, command.page);
  CHECK(page.has_value());
  // PARAMETER POINTER: those before it are left out; past the last one there is nothing to tell.
  if (command.parameter > page->parameters.back().code) {
    refuse_field(core, task, 5);
    return;
  }
  std::erase_if(page->parameters,
                [&command](const scsi::LogParameter& parameter) { return parameter.code < command.parameter; });
  core.answer(task, scsi::encode_log_page(*page), command.length);
}

void run(UnitCore& core, Task& task, const scsi::StartStopUnit& command) {
  MediumState& medium = core.medium();
  // A power condition is entered in no time, and LOEJ and START mean nothing beside it (SBC-3, 5.25).
  if (command.power_condition != 0) {
    core.good(task);
    return;
  }
  if (command.load_eject && !core.options().removable) {
    refuse_field(core, task, 4);
    return;
  }
  if (command.load_eject && medium.removal_prevented()) {
    core.fail(task, removal_prevented);
    return;
  }
  if (command.start) {
    if (command.load_eject && !medium.present()) {
      medium.set_present(true);
      core.attention(medium_may_have_changed, task.nexus);
    }
    core.good(task);
    return;
  }
  const bool flush = !command.no_flush && medium.present();
  stop(core, task, flush, command.load_eject);
}

void run(UnitCore& core, Task& task, const scsi::PreventAllow& command) {
  if (command.prevent > 1) {  // 2 and 3 were for changers
    refuse_field(core, task, 4);
    return;
  }
  core.medium().prevent_removal(*task.nexus, command.prevent == 1);
  core.good(task);
}

}  // namespace mpath::target
