#include "target/scsi/access.hpp"

#include <algorithm>

namespace mpath::target {
namespace {

constexpr std::uint8_t start_bit = 0x01;
constexpr std::uint8_t power_condition_mask = 0xf0;
constexpr std::uint8_t prevent_mask = 0x03;

std::uint8_t byte_at(std::span<const std::byte> cdb, std::size_t at) {
  return at < cdb.size() ? std::to_integer<std::uint8_t>(cdb[at]) : 0;
}

// The classes whose meaning is in the CDB become one of the others.
AccessClass settled(const CommandRow& row, std::span<const std::byte> cdb) {
  switch (row.access) {
    case AccessClass::prevent:
      return (byte_at(cdb, 4) & prevent_mask) == 0 ? AccessClass::always : AccessClass::writes;
    case AccessClass::start_stop: {  // SBC-3 table 13: START 1 and POWER CONDITION 0 is allowed
      const std::uint8_t flags = byte_at(cdb, 4);
      const bool starts = (flags & start_bit) != 0 && (flags & power_condition_mask) == 0;
      return starts ? AccessClass::always : AccessClass::writes;
    }
    case AccessClass::always:
    case AccessClass::reads:
    case AccessClass::writes:
    case AccessClass::reserve:
    case AccessClass::persistent:
      return row.access;
  }
  return row.access;
}

// SPC-4 5.13.3: RESERVE and RELEASE are good and do nothing for those that hold the persistent reservation or share in
// it; for everybody else they conflict as soon as there is a registration (SPC-2 5.5.1).
Verdict judge_reserve(const Reservations& reservations, const NexusName& nexus) {
  if (reservations.registrations.empty()) return Verdict::allowed;
  if (!reservations.held) return Verdict::conflict;
  switch (role_of(reservations, nexus)) {
    case Role::holder:
      return Verdict::allowed;
    case Role::registrant:
      return registrants_only(reservations.held->type) ? Verdict::allowed : Verdict::conflict;
    case Role::stranger:
      return Verdict::conflict;
  }
  return Verdict::conflict;
}

// SPC-2 5.5.1: whoever did not reserve may hardly do anything, and nobody may use the other kind of reservation.
Verdict judge_reserved(const CommandRow& row, AccessClass access, bool starts_or_allows, bool is_holder) {
  constexpr std::uint8_t persistent_reserve_in = 0x5e;
  if (access == AccessClass::persistent || row.opcode == persistent_reserve_in) return Verdict::conflict;
  return is_holder || row.under_reserve || starts_or_allows ? Verdict::allowed : Verdict::conflict;
}

}  // namespace

bool same_port(const TargetPort& one, const TargetPort& other) {
  return one.portal_group == other.portal_group && one.target == other.target;
}

bool is_nexus(const Registration& registration, const NexusName& nexus) {
  return registration.initiator == nexus.initiator && same_port(registration.target, nexus.target);
}

bool is_nexus(const NexusName& one, const NexusName& other) {
  return one.initiator == other.initiator && same_port(one.target, other.target);
}

const Registration* find_registration(const Reservations& reservations, const NexusName& nexus) {
  const auto found = std::ranges::find_if(reservations.registrations,
                                          [&](const Registration& known) { return is_nexus(known, nexus); });
  return found == reservations.registrations.end() ? nullptr : &*found;
}

bool all_registrants(ReservationType type) {
  return type == ReservationType::write_exclusive_all_registrants ||
         type == ReservationType::exclusive_access_all_registrants;
}

bool registrants_only(ReservationType type) {
  return type == ReservationType::write_exclusive_registrants_only ||
         type == ReservationType::exclusive_access_registrants_only;
}

bool exclusive(ReservationType type) {
  return type == ReservationType::exclusive_access || type == ReservationType::exclusive_access_registrants_only ||
         type == ReservationType::exclusive_access_all_registrants;
}

bool shared(ReservationType type) {
  return all_registrants(type) || registrants_only(type);
}

Role role_of(const Reservations& reservations, const NexusName& nexus) {
  if (find_registration(reservations, nexus) == nullptr) return Role::stranger;
  if (!reservations.held) return Role::registrant;
  if (all_registrants(reservations.held->type)) return Role::holder;
  return reservations.held->holder && is_nexus(*reservations.held->holder, nexus) ? Role::holder : Role::registrant;
}

Verdict judge(const CommandRow& row, std::span<const std::byte> cdb, const Reservations& reservations,
              const NexusName& nexus) {
  const AccessClass access = settled(row, cdb);
  if (reservations.reserved) {
    const bool by_fields = access == AccessClass::always && access != row.access;
    return judge_reserved(row, access, by_fields, is_nexus(*reservations.reserved, nexus));
  }
  if (access == AccessClass::reserve) return judge_reserve(reservations, nexus);
  if (access == AccessClass::always || access == AccessClass::persistent) return Verdict::allowed;
  if (!reservations.held) return Verdict::allowed;
  const ReservationType type = reservations.held->type;
  if (access == AccessClass::reads && !exclusive(type)) return Verdict::allowed;
  switch (role_of(reservations, nexus)) {
    case Role::holder:
      return Verdict::allowed;
    case Role::registrant:
      return registrants_only(type) ? Verdict::allowed : Verdict::conflict;
    case Role::stranger:
      return Verdict::conflict;
  }
  return Verdict::conflict;
}

}  // namespace mpath::target
