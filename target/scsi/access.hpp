// Reservations: who may run what. One decision for every command and both kinds of reservation.
//
// Pure.
#pragma once

#include <span>

#include "target/scsi/command_table.hpp"
#include "target/scsi/lu_state.hpp"

namespace mpath::target {

// What an I_T nexus is to the persistent reservation.
enum class Role : std::uint8_t {
  holder,      // it holds the reservation; with the all-registrants types every registrant does
  registrant,  // it has a registration
  stranger,
};
[[nodiscard]] Role role_of(const Reservations& reservations, const NexusName& nexus);
// The registration of a nexus, or null.
[[nodiscard]] const Registration* find_registration(const Reservations& reservations, const NexusName& nexus);
// Ports are the same when name and portal group are: the identifiers that SCSI gives them follow from the
// configuration.
[[nodiscard]] bool same_port(const TargetPort& one, const TargetPort& other);
[[nodiscard]] bool is_nexus(const Registration& registration, const NexusName& nexus);
[[nodiscard]] bool is_nexus(const NexusName& one, const NexusName& other);

[[nodiscard]] bool all_registrants(ReservationType type);
[[nodiscard]] bool registrants_only(ReservationType type);  // types 5 and 6
[[nodiscard]] bool exclusive(ReservationType type);         // keeps readers out too
// The types whose end the registrants hear of.
[[nodiscard]] bool shared(ReservationType type);

enum class Verdict : std::uint8_t { allowed, conflict };
// `row` is the command's own (find_command). RESERVE and RELEASE are judged here as far as persistent reservations go.
[[nodiscard]] Verdict judge(const CommandRow& row, std::span<const std::byte> cdb, const Reservations& reservations,
                            const NexusName& nexus);

}  // namespace mpath::target
