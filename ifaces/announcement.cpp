#include "ifaces/announcement.hpp"

#include <algorithm>

#include "base/bytes.hpp"
#include "base/check.hpp"

namespace mpath {
namespace {

constexpr std::size_t arp_bytes = 28;
constexpr std::uint16_t hardware_ethernet = 1;
constexpr std::uint16_t protocol_ipv4 = 0x0800;
constexpr std::uint16_t operation_request = 1;
constexpr std::uint16_t operation_reply = 2;

constexpr std::size_t advertisement_bytes = 32;
constexpr std::uint8_t type_advertisement = 136;
constexpr std::uint8_t flag_override = 0x20;
constexpr std::uint8_t option_target_link_layer = 2;

}  // namespace

std::vector<std::byte> gratuitous_arp(ArpForm form, const MacBytes& mac, std::span<const std::byte, 4> address) {
  std::vector<std::byte> packet(arp_bytes);
  Writer writer(packet);
  writer.u16(hardware_ethernet);
  writer.u16(protocol_ipv4);
  writer.u8(static_cast<std::uint8_t>(mac.size()));
  writer.u8(static_cast<std::uint8_t>(address.size()));
  writer.u16(form == ArpForm::request ? operation_request : operation_reply);
  writer.bytes(mac);
  writer.bytes(address);
  if (form == ArpForm::request) {
    writer.skip(mac.size());
  } else {
    writer.bytes(mac);
  }
  writer.bytes(address);
  CHECK(writer.ok() && writer.remaining() == 0);
  return packet;
}

std::vector<std::byte> neighbour_advertisement(const MacBytes& mac, std::span<const std::byte, 16> address) {
  std::vector<std::byte> packet(advertisement_bytes);
  Writer writer(packet);
  writer.u8(type_advertisement);
  writer.u8(0);   // code
  writer.u16(0);  // checksum
  writer.u8(flag_override);
  writer.skip(3);
  writer.bytes(address);
  writer.u8(option_target_link_layer);
  writer.u8(1);  // length of the option in units of 8 bytes
  writer.bytes(mac);
  CHECK(writer.ok() && writer.remaining() == 0);
  return packet;
}

std::optional<MacBytes> arp_sender(std::span<const std::byte> packet, std::span<const std::byte, 4> address) {
  Reader reader(packet);
  const bool ethernet = reader.u16() == hardware_ethernet && reader.u16() == protocol_ipv4;
  const bool lengths = reader.u8() == 6 && reader.u8() == 4;
  reader.skip(2);  // request or reply
  MacBytes sender;
  reader.copy_to(sender);
  const auto owner = reader.bytes(address.size());
  if (!reader.ok() || !ethernet || !lengths || !std::ranges::equal(owner, address)) return std::nullopt;
  return sender;
}

std::optional<MacBytes> advertisement_sender(std::span<const std::byte> packet,
                                             std::span<const std::byte, 16> address) {
  Reader reader(packet);
  const bool advertisement = reader.u8() == type_advertisement && reader.u8() == 0;
  reader.skip(6);  // checksum, flags
  const auto owner = reader.bytes(address.size());
  const bool option = reader.u8() == option_target_link_layer && reader.u8() == 1;
  MacBytes sender;
  reader.copy_to(sender);
  if (!reader.ok() || !advertisement || !option || !std::ranges::equal(owner, address)) return std::nullopt;
  return sender;
}

}  // namespace mpath
