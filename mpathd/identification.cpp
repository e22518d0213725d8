#include "mpathd/identification.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "mpathd/alua.hpp"
#include "mpathd/judgement.hpp"
#include "mpathd/wwid.hpp"
#include "wire/scsi_cdb.hpp"
#include "wire/scsi_data.hpp"

namespace mpath {
namespace {

constexpr unsigned attentions_max = 10;  // a nexus holds a few at most; a target that never stops is broken
constexpr std::uint8_t disk_type = 0x00;
constexpr std::uint16_t vpd_bytes = 1024;

std::string sense_text(const scsi::Sense& sense) {
  return fmt::format("sense {:02x}/{:02x}/{:02x}", static_cast<unsigned>(sense.key), sense.asc, sense.ascq);
}

}  // namespace

Identification::Identification() {
  ask(Step::ready);
}

void Identification::ask(Step step) {
  step_ = step;
  const auto query = [this](const scsi::Cdb& cdb, std::uint32_t length) { query_ = Query{cdb, length}; };
  switch (step) {
    case Step::ready:
      return query(scsi::test_unit_ready_cdb(), 0);
    case Step::inquiry:
      return query(scsi::inquiry_cdb(255), 255);
    case Step::vpd_supported:
      return query(scsi::inquiry_vpd_cdb(scsi::VpdPage::supported, 255), 255);
    case Step::vpd_device_id:
      return query(scsi::inquiry_vpd_cdb(scsi::VpdPage::device_id, vpd_bytes), vpd_bytes);
    case Step::vpd_serial:
      return query(scsi::inquiry_vpd_cdb(scsi::VpdPage::serial_number, 255), 255);
    case Step::port_groups_extended:
      return query(scsi::report_target_port_groups_cdb(port_groups_bytes_max, true), port_groups_bytes_max);
    case Step::port_groups:
      return query(scsi::report_target_port_groups_cdb(port_groups_bytes_max), port_groups_bytes_max);
    case Step::capacity_16:
      return query(scsi::read_capacity_16_cdb(), 32);
    case Step::capacity_10:
      return query(scsi::read_capacity_10_cdb(), 8);
    case Step::vpd_limits:
      return query(scsi::inquiry_vpd_cdb(scsi::VpdPage::block_limits, 64), 64);
    case Step::vpd_provisioning:
      return query(scsi::inquiry_vpd_cdb(scsi::VpdPage::provisioning, 64), 64);
    case Step::mode:
      return query(scsi::mode_sense_6_cdb(scsi::mode_page_all), 192);
    case Step::done:
      query_.reset();
      return;
  }
}

// What follows a step, leaving out pages that the target does not list.
void Identification::ask_after(Step step) {
  switch (step) {
    case Step::ready:
      return ask(Step::inquiry);
    case Step::inquiry:
      return ask(Step::vpd_supported);
    case Step::vpd_supported:
      return ask(Step::vpd_device_id);
    case Step::vpd_device_id:
      if (listed(static_cast<std::uint8_t>(scsi::VpdPage::serial_number))) return ask(Step::vpd_serial);
      return ask_after(Step::vpd_serial);
    case Step::vpd_serial:
      if (outcome_.facts.alua && outcome_.port_group) return ask(Step::port_groups_extended);
      return ask(Step::capacity_16);
    case Step::port_groups_extended:
    case Step::port_groups:
      return ask(Step::capacity_16);
    case Step::capacity_16:
    case Step::capacity_10:
      if (listed(static_cast<std::uint8_t>(scsi::VpdPage::block_limits))) return ask(Step::vpd_limits);
      return ask_after(Step::vpd_limits);
    case Step::vpd_limits:
      if (listed(static_cast<std::uint8_t>(scsi::VpdPage::provisioning))) return ask(Step::vpd_provisioning);
      return ask(Step::mode);
    case Step::vpd_provisioning:
      return ask(Step::mode);
    case Step::mode:
    case Step::done:
      return conclude();
  }
}

void Identification::conclude() {
  if (access_ == CheckerState::faulty) return fail(access_, "its target port group is unavailable");
  outcome_.kind = Outcome::Kind::known;
  outcome_.checker = access_;
  ask(Step::done);
}

void Identification::fail(CheckerState checker, std::string text) {
  outcome_.kind = Outcome::Kind::failed;
  outcome_.checker = checker;
  outcome_.text = std::move(text);
  ask(Step::done);
}

bool Identification::listed(std::uint8_t page) const {
  return std::ranges::find(pages_, page) != pages_.end();
}

void Identification::answer(scsi::Status status, const scsi::Sense& sense, std::span<const std::byte> data) {
  const Step step = step_;
  const bool attention = status == scsi::Status::check_condition && sense.key == scsi::SenseKey::unit_attention;
  if (attention) {
    if (++attentions_ > attentions_max) return fail(CheckerState::faulty, "unit attentions without end");
    if (access_changed(sense)) {  // what was told of the port groups, and refused because of them, is of yesterday
      outcome_ = {};
      access_ = CheckerState::ready;
      return ask(Step::ready);
    }
    return ask(step);  // it was not carried out
  }
  if (step == Step::ready) return on_ready(status, sense);
  if (status != scsi::Status::good) return take_refusal(step, status, sense);
  take(step, data);
}

void Identification::on_ready(scsi::Status status, const scsi::Sense& sense) {
  const bool conflict = status == scsi::Status::reservation_conflict;  // it answers, and the LU is there
  const Judgement judgement = judge(status, sense);
  if (judgement.verdict == Verdict::done || conflict) return ask_after(Step::ready);
  if (refused_by_access(sense)) {  // it can still be asked who it is
    access_ = judgement.checker;
    return ask_after(Step::ready);
  }
  if (judgement.verdict == Verdict::path_failed) return fail(judgement.checker, sense_text(sense));
  fail(CheckerState::faulty,
       fmt::format("TEST UNIT READY: status {:#04x} {}", static_cast<unsigned>(status), sense_text(sense)));
}

void Identification::take_refusal(Step step, scsi::Status status, const scsi::Sense& sense) {
  switch (step) {
    case Step::vpd_supported:
    case Step::vpd_serial:
    case Step::vpd_limits:
    case Step::vpd_provisioning:
    case Step::mode:
      return ask_after(step);
    case Step::port_groups_extended:
      outcome_.extended_report = false;
      return ask(Step::port_groups);
    case Step::port_groups:  // INQUIRY promised more than there is
      outcome_.facts.alua = false;
      return ask_after(step);
    case Step::capacity_16:
    case Step::capacity_10: {
      if (refused_by_access(sense)) {
        access_ = judge(status, sense).checker;
        return conclude();
      }
      if (step == Step::capacity_16) return ask(Step::capacity_10);
      [[fallthrough]];
    }
    case Step::ready:
    case Step::inquiry:
    case Step::vpd_device_id:
    case Step::done:
      return fail(CheckerState::faulty, fmt::format("cannot be identified: status {:#04x} {}",
                                                    static_cast<unsigned>(status), sense_text(sense)));
  }
}

void Identification::take(Step step, std::span<const std::byte> data) {
  LuFacts& facts = outcome_.facts;
  switch (step) {
    case Step::inquiry: {
      const auto inquiry = scsi::decode_inquiry(data);
      if (!inquiry) return fail(CheckerState::faulty, "INQUIRY data cannot be read");
      if (inquiry->qualifier != 0 || inquiry->type != disk_type) {
        outcome_.kind = Outcome::Kind::not_a_disk;
        return ask(Step::done);
      }
      facts.vendor = inquiry->vendor;
      facts.product = inquiry->product;
      facts.revision = inquiry->revision;
      facts.alua = inquiry->tpgs != 0;
      break;
    }
    case Step::vpd_supported:
      if (const auto pages = scsi::decode_vpd_supported(data)) pages_ = *pages;
      break;
    case Step::vpd_device_id: {
      const auto page = scsi::decode_vpd_device_id(data);
      if (page) facts.wwid = wwid_of(*page);
      if (page) outcome_.port_group = port_group_of(*page);
      if (facts.wwid.empty()) return fail(CheckerState::faulty, "page 83h names no logical unit");
      break;
    }
    case Step::vpd_serial:
      if (const auto serial = scsi::decode_vpd_serial(data)) facts.serial = *serial;
      break;
    case Step::port_groups_extended:
    case Step::port_groups:
      take_groups(data);
      break;
    case Step::capacity_16:
    case Step::capacity_10: {
      const auto capacity = step == Step::capacity_16 ? scsi::decode_capacity_16(data) : scsi::decode_capacity_10(data);
      const bool sane = capacity && capacity->block_bytes >= 512 && capacity->block_bytes <= 65536 &&
                        (capacity->block_bytes & (capacity->block_bytes - 1)) == 0 &&
                        capacity->last_lba < (std::uint64_t{1} << 62) / capacity->block_bytes;
      if (!sane) return fail(CheckerState::faulty, "capacity cannot be read");
      facts.block_size = capacity->block_bytes;
      facts.size_bytes = (capacity->last_lba + 1) * capacity->block_bytes;
      facts.physical_block_size = capacity->block_bytes << std::min<unsigned>(capacity->physical_exponent, 8);
      facts.thin = capacity->thin;
      facts.reads_zero = capacity->reads_zeroes;
      outcome_.sized = true;
      break;
    }
    case Step::vpd_limits:
      if (const auto limits = scsi::decode_vpd_block_limits(data)) {
        facts.transfer_blocks_max = limits->transfer_max;
        facts.unmap_blocks_max = limits->unmap_blocks_max;
        facts.write_same_blocks_max = limits->write_same_max;
      }
      break;
    case Step::vpd_provisioning:
      if (const auto provisioning = scsi::decode_vpd_provisioning(data)) {
        facts.unmap = provisioning->unmap;
        facts.write_same_unmap = provisioning->write_same_16;
        facts.reads_zero = facts.reads_zero || provisioning->reads_zeroes;
      }
      break;
    case Step::mode:
      if (const auto mode = scsi::decode_mode_sense(data, true)) {
        facts.read_only = mode->write_protected;
        facts.fua = mode->dpo_fua;
        facts.write_cache = mode->write_cache.value_or(true);
      }
      break;
    case Step::ready:
    case Step::done:
      break;
  }
  ask_after(step);
}

// Of the port group that the path leads to; what cannot be read tells nothing.
void Identification::take_groups(std::span<const std::byte> data) {
  const auto report = scsi::decode_port_group_report(data);
  const scsi::PortGroup* ours = report ? find_group(*report, *outcome_.port_group) : nullptr;
  if (ours == nullptr) return;
  outcome_.report = *report;
  access_ = checker_state_of(ours->state);
}

}  // namespace mpath
