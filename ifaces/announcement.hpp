// What tells the neighbours on a network that an address has moved to another network card: bytes only, no socket.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace mpath {

using MacBytes = std::array<std::byte, 6>;

enum class ArpForm : std::uint8_t { request, reply };

// A gratuitous ARP packet (RFC 5227, 3), without its Ethernet header: sender and target are both the address. In a
// reply the target's hardware address is the sender's too: Linux takes only such a one for gratuitous.
[[nodiscard]] std::vector<std::byte> gratuitous_arp(ArpForm form, const MacBytes& mac,
                                                    std::span<const std::byte, 4> address);

// An unsolicited neighbour advertisement (RFC 4861, 4.4) with the override flag; the checksum is the kernel's business.
[[nodiscard]] std::vector<std::byte> neighbour_advertisement(const MacBytes& mac,
                                                             std::span<const std::byte, 16> address);

// Who announces the address in a packet that was heard: the hardware address, when it is an announcement of this
// address at all. For IPv4 any ARP packet of the address's owner counts.
[[nodiscard]] std::optional<MacBytes> arp_sender(std::span<const std::byte> packet,
                                                 std::span<const std::byte, 4> address);
[[nodiscard]] std::optional<MacBytes> advertisement_sender(std::span<const std::byte> packet,
                                                           std::span<const std::byte, 16> address);

}  // namespace mpath
