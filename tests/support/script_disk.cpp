#include "tests/support/script_disk.hpp"

#include <algorithm>

#include "tests/wire/hex.hpp"

namespace mpath::test {
namespace {

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

ScsiAnswer cut(std::vector<std::byte> data, std::size_t length) {
  if (data.size() > length) data.resize(length);
  return {.data = std::move(data)};
}

constexpr std::uint64_t write_same_blocks_max = 0x10000;

}  // namespace

ScsiAnswer check_condition(const scsi::Sense& sense) {
  return {.status = scsi::Status::check_condition, .sense = scsi::SenseData{.sense = sense}};
}

ScriptDisk::ScriptDisk(DiskConfig settings) : config(std::move(settings)) {
  resize(config.blocks);
}

void ScriptDisk::resize(std::uint64_t blocks) {
  config.blocks = blocks;
  bytes_.resize(blocks * config.block_bytes);
  mapped_.resize(blocks);
}

bool ScriptDisk::in_range(std::uint64_t lba, std::uint64_t blocks) const {
  return lba <= config.blocks && blocks <= config.blocks - lba;
}

std::span<std::byte> ScriptDisk::place(std::uint64_t lba, std::uint64_t blocks) {
  return std::span(bytes_).subspan(lba * config.block_bytes, blocks * config.block_bytes);
}

std::vector<std::byte> ScriptDisk::read(std::uint64_t offset, std::size_t length) const {
  const auto part = std::span(bytes_).subspan(offset, length);
  return {part.begin(), part.end()};
}

void ScriptDisk::unmap(std::uint64_t lba, std::uint64_t blocks) {
  std::ranges::fill(place(lba, blocks), std::byte{0});
  std::fill_n(mapped_.begin() + static_cast<std::ptrdiff_t>(lba), blocks, false);
}

std::size_t ScriptDisk::data_out_bytes(const scsi::Command& command) const {
  if (const auto* write = std::get_if<scsi::Write>(&command)) return std::size_t{write->blocks} * config.block_bytes;
  if (const auto* same = std::get_if<scsi::WriteSame>(&command)) return same->no_data_out ? 0 : config.block_bytes;
  if (const auto* list = std::get_if<scsi::Unmap>(&command)) return list->length;
  if (const auto* verify = std::get_if<scsi::Verify>(&command)) {
    return verify->byte_check == 1 ? std::size_t{verify->blocks} * config.block_bytes : 0;
  }
  return 0;
}

ScsiAnswer ScriptDisk::execute(const scsi::Command& command, std::span<const std::byte> data_out,
                               std::span<const scsi::Lun> luns) {
  const scsi::Capacity capacity{.last_lba = config.blocks - 1,
                                .block_bytes = config.block_bytes,
                                .physical_exponent = static_cast<std::uint8_t>(config.block_bytes == 512 ? 3 : 0),
                                .thin = config.thin,
                                .reads_zeroes = config.thin};
  return std::visit(
      Overloaded{
          [](const scsi::TestUnitReady&) { return ScsiAnswer{}; },
          [](const scsi::RequestSense& c) {
            const auto sense = scsi::encode_sense({.descriptor_format = c.descriptor});
            return cut({sense.view().begin(), sense.view().end()}, c.length);
          },
          [&](const scsi::Inquiry& c) { return inquiry(c); },
          [&](const scsi::ReadCapacity10&) { return cut(scsi::encode_capacity_10(capacity), 8); },
          [&](const scsi::ReadCapacity16& c) { return cut(scsi::encode_capacity_16(capacity), c.length); },
          [&](const scsi::ReportLuns& c) { return cut(scsi::encode_luns(luns), c.length); },
          [&](const scsi::ModeSense& c) {
            scsi::ModeData mode{.write_protected = config.write_protected, .dpo_fua = true};
            if (c.page == scsi::mode_page_caching || c.page == scsi::mode_page_all)
              mode.write_cache = config.write_cache;
            return cut(scsi::encode_mode_sense(mode, c.short_form), c.length);
          },
          [&](const scsi::Read& c) {
            if (!in_range(c.lba, c.blocks)) return check_condition(scsi::sense::lba_out_of_range);
            const auto part = place(c.lba, c.blocks);
            return ScsiAnswer{.data = {part.begin(), part.end()}};
          },
          [&](const scsi::Write& c) { return write(c, data_out); },
          [&](const scsi::Verify& c) {
            if (!in_range(c.lba, c.blocks)) return check_condition(scsi::sense::lba_out_of_range);
            if (c.byte_check == 1 && !std::ranges::equal(place(c.lba, c.blocks), data_out)) {
              return check_condition(scsi::sense::miscompare);
            }
            return ScsiAnswer{};
          },
          [&](const scsi::SynchronizeCache& c) {
            return in_range(c.lba, c.blocks) ? ScsiAnswer{} : check_condition(scsi::sense::lba_out_of_range);
          },
          [&](const scsi::PreFetch& c) {
            if (!in_range(c.lba, c.blocks)) return check_condition(scsi::sense::lba_out_of_range);
            return ScsiAnswer{.status = scsi::Status::condition_met};
          },
          [&](const scsi::WriteSame& c) { return write_same(c, data_out); },
          [&](const scsi::Unmap&) { return unmap_list(data_out); },
          [&](const scsi::GetLbaStatus& c) { return lba_status(c); },
          [&](const scsi::ReportTargetPortGroups& c) {
            if (config.tpgs == 0) return check_condition(scsi::sense::invalid_opcode);
            const scsi::PortGroup group{
                .id = config.port_group, .state = config.access, .supported = 0x8f, .ports = {config.port_group}};
            return cut(scsi::encode_port_groups(std::span(&group, 1)), c.length);
          },
          // The commands that only mptargetd has.
          [](const auto&) { return check_condition(scsi::sense::invalid_opcode); },
      },
      command);
}

ScsiAnswer ScriptDisk::execute_absent(const scsi::Command& command, std::span<const scsi::Lun> luns) {
  if (const auto* report = std::get_if<scsi::ReportLuns>(&command)) return cut(scsi::encode_luns(luns), report->length);
  if (const auto* inquiry = std::get_if<scsi::Inquiry>(&command); inquiry != nullptr && !inquiry->evpd) {
    return cut(scsi::encode_inquiry({.qualifier = 3, .type = 0x1f, .version = 5}), inquiry->length);
  }
  return check_condition(scsi::sense::lun_not_supported);
}

ScsiAnswer ScriptDisk::inquiry(const scsi::Inquiry& command) const {
  if (!command.evpd) {
    if (command.page != 0) return check_condition(scsi::sense::invalid_field_in_cdb);
    return cut(scsi::encode_inquiry({.version = 5,
                                     .tpgs = config.tpgs,
                                     .command_queue = true,
                                     .vendor = "MPATH",
                                     .product = "SCRIPT",
                                     .revision = "1"}),
               command.length);
  }
  const std::uint8_t pages[] = {0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2};
  switch (static_cast<scsi::VpdPage>(command.page)) {
    case scsi::VpdPage::supported:
      return cut(scsi::encode_vpd_supported(pages), command.length);
    case scsi::VpdPage::serial_number:
      return cut(scsi::encode_vpd_serial(config.serial), command.length);
    case scsi::VpdPage::device_id: {
      const std::vector<scsi::Designator> ids = {
          {.type = scsi::DesignatorType::naa, .bytes = hex(config.naa)},
          {.type = scsi::DesignatorType::t10_vendor_id,
           .code_set = scsi::CodeSet::ascii,
           .bytes = bytes_of("MPATH   " + config.serial)},
          {.association = scsi::Association::target_port,
           .type = scsi::DesignatorType::target_port_group,
           .protocol = 5,
           .bytes = {std::byte{0}, std::byte{0}, static_cast<std::byte>(config.port_group >> 8),
                     static_cast<std::byte>(config.port_group)}}};
      return cut(scsi::encode_vpd_device_id(ids), command.length);
    }
    case scsi::VpdPage::block_limits:
      return cut(scsi::encode_vpd_block_limits({.transfer_max = config.transfer_blocks_max,
                                                .unmap_blocks_max = 0x10000,
                                                .unmap_ranges_max = 64,
                                                .unmap_granularity = 1,
                                                .write_same_max = write_same_blocks_max}),
                 command.length);
    case scsi::VpdPage::block_characteristics:
      return cut(scsi::encode_vpd_rotation(1), command.length);
    case scsi::VpdPage::provisioning:
      return cut(scsi::encode_vpd_provisioning({.unmap = config.thin,
                                                .write_same_16 = config.thin,
                                                .reads_zeroes = config.thin,
                                                .type = static_cast<std::uint8_t>(config.thin ? 2 : 0)}),
                 command.length);
    case scsi::VpdPage::extended_inquiry:
    case scsi::VpdPage::mode_page_policy:
    case scsi::VpdPage::scsi_ports:
    case scsi::VpdPage::third_party_copy:
      break;
  }
  return check_condition(scsi::sense::invalid_field_in_cdb);
}

ScsiAnswer ScriptDisk::write(const scsi::Write& command, std::span<const std::byte> data) {
  if (config.write_protected) return check_condition(scsi::sense::write_protected);
  if (!in_range(command.lba, command.blocks)) return check_condition(scsi::sense::lba_out_of_range);
  const auto part = place(command.lba, command.blocks);
  std::copy_n(data.begin(), std::min(data.size(), part.size()), part.begin());
  std::fill_n(mapped_.begin() + static_cast<std::ptrdiff_t>(command.lba), command.blocks, true);
  return {};
}

ScsiAnswer ScriptDisk::write_same(const scsi::WriteSame& command, std::span<const std::byte> data) {
  if (config.write_protected) return check_condition(scsi::sense::write_protected);
  const std::uint64_t blocks =
      command.blocks != 0 ? command.blocks : config.blocks - std::min(command.lba, config.blocks);
  if (!in_range(command.lba, blocks)) return check_condition(scsi::sense::lba_out_of_range);
  if (blocks > write_same_blocks_max) return check_condition(scsi::sense::invalid_field_in_cdb);
  const bool zeroes = command.no_data_out || std::ranges::all_of(data, [](std::byte b) { return b == std::byte{0}; });
  if (command.unmap && zeroes) {
    unmap(command.lba, blocks);
    return {};
  }
  const std::vector<std::byte> zero_block(config.block_bytes);
  const auto block = command.no_data_out ? std::span<const std::byte>(zero_block) : data;
  if (block.size() != config.block_bytes) return check_condition(scsi::sense::invalid_field_in_cdb);
  for (std::uint64_t i = 0; i < blocks; ++i) std::ranges::copy(block, place(command.lba + i, 1).begin());
  std::fill_n(mapped_.begin() + static_cast<std::ptrdiff_t>(command.lba), blocks, true);
  return {};
}

ScsiAnswer ScriptDisk::unmap_list(std::span<const std::byte> data) {
  if (config.write_protected) return check_condition(scsi::sense::write_protected);
  if (!config.thin) return check_condition(scsi::sense::invalid_opcode);
  const auto ranges = scsi::decode_unmap_list(data);
  if (!ranges) return check_condition(scsi::sense::parameter_list_length);
  for (const scsi::UnmapRange& range : *ranges) {
    if (!in_range(range.lba, range.blocks)) return check_condition(scsi::sense::lba_out_of_range);
  }
  for (const scsi::UnmapRange& range : *ranges) unmap(range.lba, range.blocks);
  return {};
}

ScsiAnswer ScriptDisk::lba_status(const scsi::GetLbaStatus& command) const {
  if (!in_range(command.lba, 1)) return check_condition(scsi::sense::lba_out_of_range);
  std::vector<scsi::LbaRange> ranges;
  for (std::uint64_t lba = command.lba; lba < config.blocks && ranges.size() < 64;) {
    std::uint64_t end = lba;
    while (end < config.blocks && mapped_[end] == mapped_[lba]) ++end;
    ranges.push_back({.lba = lba,
                      .blocks = static_cast<std::uint32_t>(end - lba),
                      .state = mapped_[lba] ? scsi::LbaState::mapped : scsi::LbaState::deallocated});
    lba = end;
  }
  return cut(scsi::encode_lba_status(ranges), command.length);
}

}  // namespace mpath::test
