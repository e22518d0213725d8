// INQUIRY: what the unit is, and its pages of vital product data.
#include <algorithm>
#include <utility>

#include "target/scsi/commands.hpp"
#include "target/scsi/identity.hpp"
#include "target/scsi/medium_commands.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;

constexpr std::uint8_t spc_4 = 6;
constexpr std::uint8_t tpgs_implicit = 1;
constexpr std::uint8_t tpgs_both = 3;  // implicit and explicit
constexpr std::uint8_t protocol_iscsi = 5;
// SAM-5, SPC-4, SBC-3, iSCSI; no version of a standard claimed (SPC-4 table 145).
constexpr std::uint16_t versions[] = {0x00a0, 0x0460, 0x04c0, 0x0960};
constexpr std::uint8_t pages[] = {0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8f, 0xb0, 0xb1, 0xb2};
constexpr std::uint16_t does_not_rotate = 1;
constexpr std::uint8_t reads_after_erase = 1;  // WABEREQ: what SANITIZE BLOCK ERASE left can be read, as zeroes

scsi::Bytes standard_data(const UnitSeat& unit) {
  const LuOptions& options = unit.options();
  return scsi::encode_inquiry({.removable = options.removable,
                               .version = spc_4,
                               .tpgs = unit.pair_decides_access() ? tpgs_implicit : tpgs_both,
                               .command_queue = true,
                               .third_party_copy = true,
                               .vendor = std::string(vendor_id),
                               .product = options.product,
                               .revision = options.revision,
                               .versions = {std::begin(versions), std::end(versions)}});
}

scsi::Bytes text_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// SCSI names are UTF-8, end with a zero and are padded to a multiple of four (SPC-4 7.8.6.11).
scsi::Bytes name_bytes(std::string_view name) {
  scsi::Bytes bytes = text_bytes(name);
  bytes.resize((bytes.size() + 4) / 4 * 4);
  return bytes;
}

scsi::Bytes number_bytes(std::uint16_t number) {
  return {std::byte{0}, std::byte{0}, static_cast<std::byte>(number >> 8), static_cast<std::byte>(number)};
}

// RFC 7143 4.2.7.2: target name, ",t,0x", portal group tag in four digits.
scsi::Designator port_name(const TargetPort& port) {
  constexpr char digits[] = "0123456789abcdef";
  std::string name = port.target + ",t,0x";
  for (int shift = 12; shift >= 0; shift -= 4) name += digits[port.portal_group >> shift & 0x0f];
  return {.association = scsi::Association::target_port,
          .type = scsi::DesignatorType::scsi_name,
          .code_set = scsi::CodeSet::utf8,
          .protocol = protocol_iscsi,
          .bytes = name_bytes(name)};
}

scsi::Designator of_port(scsi::DesignatorType type, std::uint16_t number) {
  return {.association = scsi::Association::target_port,
          .type = type,
          .protocol = protocol_iscsi,
          .bytes = number_bytes(number)};
}

// The unit's own names first; then the port through which it was asked, then the target device.
std::vector<scsi::Designator> designators(const LuOptions& options, const TargetPort& port) {
  using scsi::CodeSet;
  using scsi::DesignatorType;
  const auto naa = naa6(options.uuid);
  const auto eui = eui64(options.uuid);
  std::string t10(vendor_id);
  t10.resize(8, ' ');
  t10 += serial_number(options.uuid);
  return {{.type = DesignatorType::naa, .bytes = {naa.begin(), naa.end()}},
          {.type = DesignatorType::eui64, .bytes = {eui.begin(), eui.end()}},
          {.type = DesignatorType::t10_vendor_id, .code_set = CodeSet::ascii, .bytes = text_bytes(t10)},
          of_port(DesignatorType::relative_target_port, port.relative_id),
          of_port(DesignatorType::target_port_group, port.alua_group),
          port_name(port),
          {.association = scsi::Association::target_device,
           .type = DesignatorType::scsi_name,
           .code_set = CodeSet::utf8,
           .protocol = protocol_iscsi,
           .bytes = name_bytes(port.target)}};
}

// The ports of the target by which we were asked: other targets that hold the unit are other SCSI devices.
scsi::Bytes ports_page(const LuOptions& options, const TargetPort& asked) {
  std::vector<scsi::ScsiPort> ports;
  for (const TargetPort& port : options.ports) {
    if (port.target == asked.target)
      ports.push_back({.relative_id = port.relative_id, .designators = {port_name(port)}});
  }
  if (ports.empty()) ports.push_back({.relative_id = asked.relative_id, .designators = {port_name(asked)}});
  return scsi::encode_vpd_scsi_ports(ports);
}

// Empty: there is no such page.
scsi::Bytes vpd_page(UnitSeat& unit, const Nexus& nexus, std::uint8_t page) {
  using scsi::VpdPage;
  const LuOptions& options = unit.options();
  if (std::ranges::find(pages, page) == std::end(pages)) return {};
  switch (static_cast<VpdPage>(page)) {
    case VpdPage::supported:
      return scsi::encode_vpd_supported(pages);
    case VpdPage::serial_number:
      return scsi::encode_vpd_serial(serial_number(options.uuid));
    case VpdPage::device_id:
      return scsi::encode_vpd_device_id(designators(options, nexus.name.target));
    case VpdPage::extended_inquiry:
      return scsi::encode_vpd_extended_inquiry({.head_of_queue = true,
                                                .ordered = true,
                                                .simple = true,
                                                .volatile_cache = unit.state().modes.write_cache,
                                                .progress_in_sense = true});
    case VpdPage::mode_page_policy: {
      constexpr scsi::ModePagePolicy all{.page = scsi::mode_page_all, .subpage = 0xff};  // shared
      return scsi::encode_vpd_mode_page_policy(std::span(&all, 1));
    }
    case VpdPage::scsi_ports:
      return ports_page(options, nexus.name.target);
    case VpdPage::third_party_copy:
      return third_party_copy_page(unit);
    case VpdPage::block_limits:
      return scsi::encode_vpd_block_limits(block_limits(unit));
    case VpdPage::block_characteristics:
      return scsi::encode_vpd_rotation(does_not_rotate, reads_after_erase);
    case VpdPage::provisioning:
      return scsi::encode_vpd_provisioning(provisioning(unit));
  }
  return {};
}

}  // namespace

void run(UnitSeat& unit, Task& task, const scsi::Inquiry& command) {
  if (!command.evpd) {
    if (command.page != 0) return unit.fail(task, sense::invalid_field_in_cdb, {.field = std::uint16_t{2}});
    return unit.answer(task, standard_data(unit), command.length);
  }
  const scsi::Bytes page = vpd_page(unit, *task.nexus, command.page);
  if (page.empty()) return unit.fail(task, sense::invalid_field_in_cdb, {.field = std::uint16_t{2}});
  unit.answer(task, page, command.length);
}

}  // namespace mpath::target
