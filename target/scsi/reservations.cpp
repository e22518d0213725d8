#include "target/scsi/reservations.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "target/scsi/access.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using scsi::PersistentService;

constexpr std::uint16_t service_key_at = 8;
constexpr std::uint16_t flags_at = 20;
constexpr std::uint16_t transport_ids_at = 24;
constexpr std::uint16_t relative_port_at = 18;
constexpr std::uint16_t scope_and_type_at = 2;

NexusName name_of(const Registration& registration) {
  return {.initiator = registration.initiator, .target = registration.target};
}

std::optional<ReservationType> parse_type(std::uint8_t type) {
  if (type == 1 || type == 3 || (type >= 5 && type <= 8)) return static_cast<ReservationType>(type);
  return std::nullopt;
}

// One step under way: a working copy, and the ways it ends.
class Work {
 public:
  Work(const Reservations& now, const ReservationScene& scene) : now_(now), scene_(scene) { step_.next = now; }

  [[nodiscard]] const Registration* own() const { return find_registration(now_, scene_.sender); }
  [[nodiscard]] Reservations& next() { return step_.next; }

  ReservationStep good() { return std::move(step_); }
  ReservationStep conflict() { return refused(scsi::Status::reservation_conflict); }
  ReservationStep check_condition(const scsi::Sense& condition, std::uint16_t field, bool in_cdb = false) {
    ReservationStep step = refused(scsi::Status::check_condition);
    step.sense = condition;
    step.field = field;
    step.field_in_cdb = in_cdb;
    return step;
  }

  void tell(const NexusName& nexus, const scsi::Sense& condition) {
    if (!is_nexus(nexus, scene_.sender)) step_.notices.push_back({.nexus = nexus, .condition = condition});
  }
  void tell_registrants(const scsi::Sense& condition) {
    for (const Registration& known : step_.next.registrations) tell(name_of(known), condition);
  }
  void preempted(const NexusName& nexus) { step_.preempted.push_back(nexus); }

  // Adds a registration, or gives the one there is another key.
  void put(const InitiatorPort& initiator, const TargetPort& port, std::uint64_t key) {
    const NexusName nexus{.initiator = initiator, .target = port};
    auto& known = step_.next.registrations;
    const auto found = std::ranges::find_if(known, [&](const Registration& other) { return is_nexus(other, nexus); });
    if (found == known.end()) {
      known.push_back({.initiator = initiator, .target = port, .key = key});
      return;
    }
    found->key = key;
    auto& held = step_.next.held;
    if (held && held->holder && is_nexus(*held->holder, nexus)) {
      held->holder = *found;
      held->key = key;
    }
  }
  // Takes a registration away, and what it holds with it.
  void take(const NexusName& nexus) {
    auto& known = step_.next.registrations;
    const bool held_it = holds(nexus);
    std::erase_if(known, [&](const Registration& other) { return is_nexus(other, nexus); });
    if (!held_it) return;
    const ReservationType type = step_.next.held->type;
    if (all_registrants(type) && !known.empty()) return;
    step_.next.held.reset();
    if (shared(type)) tell_registrants(sense::reservations_released);
  }
  void hold(ReservationType type, const Registration& holder) {
    step_.next.held = PersistentReservation{.type = type, .key = holder.key, .holder = std::nullopt};
    if (!all_registrants(type)) step_.next.held->holder = holder;
  }
  [[nodiscard]] bool holds(const NexusName& nexus) const {
    return step_.next.held && role_of(step_.next, nexus) == Role::holder;
  }
  void count() { ++step_.next.generation; }

 private:
  ReservationStep refused(scsi::Status status) {
    ReservationStep step{.status = status};
    step.next = now_;
    return step;
  }

  const Reservations& now_;
  const ReservationScene& scene_;
  ReservationStep step_;
};

// The ports that a registration is for: the one it came through, or all of the target device.
std::vector<TargetPort> ports_for(const ReservationScene& scene, bool all) {
  std::vector<TargetPort> ports;
  if (all) {
    for (const TargetPort& port : scene.ports) {
      if (port.target == scene.sender.target.target) ports.push_back(port);
    }
  }
  const bool has_own =
      std::ranges::any_of(ports, [&](const TargetPort& port) { return same_port(port, scene.sender.target); });
  if (!has_own) ports.push_back(scene.sender.target);
  return ports;
}

// The initiator ports that a TransportID means; none: there is no such port (yet).
std::vector<InitiatorPort> initiators_of(const scsi::TransportId& id, const ReservationScene& scene) {
  if (id.isid) return {{.name = id.name, .isid = *id.isid}};
  std::vector<InitiatorPort> ports;
  for (const InitiatorPort& port : scene.present) {
    if (port.name == id.name && std::ranges::find(ports, port) == ports.end()) ports.push_back(port);
  }
  return ports;
}

ReservationStep register_step(Work& work, bool ignore, const scsi::PersistentOutList& list,
                              const ReservationScene& scene) {
  const Registration* const own = work.own();
  if (!ignore && list.key != (own != nullptr ? own->key : 0)) return work.conflict();
  if (list.spec_i_pt && (ignore || own != nullptr))
    return work.check_condition(sense::invalid_field_in_parameters, flags_at);
  if (own == nullptr && list.service_key == 0) return work.good();
  const auto ports = ports_for(scene, list.all_tg_pt);
  if (list.service_key == 0) {
    if (list.all_tg_pt) {
      for (const TargetPort& port : ports) work.take({.initiator = scene.sender.initiator, .target = port});
    } else {
      work.take(scene.sender);
    }
  } else {
    for (const TargetPort& port : ports) work.put(scene.sender.initiator, port, list.service_key);
    for (const scsi::TransportId& id : list.initiators) {
      const auto initiators = initiators_of(id, scene);
      if (initiators.empty()) return work.check_condition(sense::invalid_field_in_parameters, transport_ids_at);
      for (const InitiatorPort& initiator : initiators) {
        for (const TargetPort& port : ports) {
          const NexusName nexus{.initiator = initiator, .target = port};
          const Registration* const known = find_registration(work.next(), nexus);
          if (known != nullptr && !is_nexus(nexus, scene.sender))
            return work.check_condition(sense::invalid_field_in_parameters, transport_ids_at);
          work.put(initiator, port, list.service_key);
        }
      }
    }
    if (work.next().registrations.size() > registrations_max)
      return work.check_condition(sense::no_registration_resources, 0);
  }
  work.next().persist = list.aptpl;
  work.count();
  return work.good();
}

ReservationStep reserve_step(Work& work, const Reservations& now, ReservationType type, const ReservationScene& scene) {
  if (!now.held) {
    work.hold(type, *work.own());
    return work.good();
  }
  return work.holds(scene.sender) && now.held->type == type ? work.good() : work.conflict();
}

ReservationStep release_step(Work& work, const Reservations& now, std::optional<ReservationType> type,
                             std::uint8_t scope, const ReservationScene& scene) {
  if (!now.held || !work.holds(scene.sender)) return work.good();
  if (scope != 0 || type != now.held->type)
    return work.check_condition(sense::invalid_release, scope_and_type_at, true);
  work.next().held.reset();
  if (shared(now.held->type)) work.tell_registrants(sense::reservations_released);
  return work.good();
}

ReservationStep clear_step(Work& work) {
  work.tell_registrants(sense::reservations_preempted);
  work.next().registrations.clear();
  work.next().held.reset();
  work.count();
  return work.good();
}

// SPC-4 5.13.11.4: registrations with the key go; the reservation too when its holder has it (or with key 0, when all
// registrants hold it), and then it is the sender's.
ReservationStep preempt_step(Work& work, const Reservations& now, std::uint8_t scope,
                             std::optional<ReservationType> type, const scsi::PersistentOutList& list,
                             const ReservationScene& scene) {
  const bool all = now.held && all_registrants(now.held->type);
  const bool takes_over = now.held && (all ? list.service_key == 0 : now.held->holder->key == list.service_key);
  if (list.service_key == 0 && !all) return work.check_condition(sense::invalid_field_in_parameters, service_key_at);
  if (takes_over && (!type || scope != 0))
    return work.check_condition(sense::invalid_field_in_cdb, scope_and_type_at, true);
  std::vector<NexusName> gone;
  for (const Registration& known : now.registrations) {
    const bool is_own = is_nexus(known, scene.sender);
    const bool named = list.service_key == 0 || known.key == list.service_key;
    if (named && !(is_own && takes_over)) gone.push_back(name_of(known));
  }
  if (gone.empty() && !takes_over) return work.conflict();
  if (takes_over) {
    const Registration own = *work.own();
    std::erase_if(work.next().registrations, [&](const Registration& known) {
      return std::ranges::any_of(gone, [&](const NexusName& nexus) { return is_nexus(known, nexus); });
    });
    work.hold(*type, own);
    if (*type != now.held->type && shared(now.held->type)) work.tell_registrants(sense::reservations_released);
  } else {
    for (const NexusName& nexus : gone) work.take(nexus);
  }
  for (const NexusName& nexus : gone) {
    work.tell(nexus, sense::registrations_preempted);
    work.preempted(nexus);
  }
  work.count();
  return work.good();
}

}  // namespace

ReservationStep persistent_step(const Reservations& now, PersistentService service, std::uint8_t scope,
                                std::uint8_t type, const scsi::PersistentOutList& list, const ReservationScene& scene) {
  Work work(now, scene);
  const auto parsed = parse_type(type);
  switch (service) {
    case PersistentService::register_key:
      return register_step(work, false, list, scene);
    case PersistentService::register_and_ignore:
      return register_step(work, true, list, scene);
    case PersistentService::reserve:
    case PersistentService::release:
    case PersistentService::clear:
    case PersistentService::preempt:
    case PersistentService::preempt_and_abort:
    case PersistentService::register_and_move:
      break;
  }
  if (work.own() == nullptr || work.own()->key != list.key) return work.conflict();
  switch (service) {
    case PersistentService::reserve:
      if (!parsed || scope != 0) return work.check_condition(sense::invalid_field_in_cdb, scope_and_type_at, true);
      return reserve_step(work, now, *parsed, scene);
    case PersistentService::release:
      return release_step(work, now, parsed, scope, scene);
    case PersistentService::clear:
      return clear_step(work);
    case PersistentService::preempt:
    case PersistentService::preempt_and_abort:
      return preempt_step(work, now, scope, parsed, list, scene);
    case PersistentService::register_key:
    case PersistentService::register_and_ignore:
    case PersistentService::register_and_move:
      break;
  }
  return work.check_condition(sense::invalid_field_in_cdb, 1, true);
}

ReservationStep move_step(const Reservations& now, const scsi::RegisterAndMoveList& list,
                          const ReservationScene& scene) {
  Work work(now, scene);
  const Registration* const own = work.own();
  if (own == nullptr || own->key != list.key) return work.conflict();
  if (!now.held || all_registrants(now.held->type) || !work.holds(scene.sender)) return work.conflict();
  if (list.service_key == 0) return work.check_condition(sense::invalid_field_in_parameters, service_key_at);
  const auto port = std::ranges::find_if(scene.ports, [&](const TargetPort& known) {
    return known.target == scene.sender.target.target && known.relative_id == list.relative_port;
  });
  if (port == scene.ports.end()) return work.check_condition(sense::invalid_field_in_parameters, relative_port_at);
  const NexusName to{.initiator = {.name = list.initiator.name, .isid = list.initiator.isid.value_or(iscsi::Isid{})},
                     .target = *port};
  if (!list.initiator.isid || is_nexus(to, scene.sender))
    return work.check_condition(sense::invalid_field_in_parameters, transport_ids_at);
  work.put(to.initiator, to.target, list.service_key);
  work.hold(now.held->type, *find_registration(work.next(), to));
  if (list.unregister) work.take(scene.sender);
  if (work.next().registrations.size() > registrations_max)
    return work.check_condition(sense::no_registration_resources, 0);
  work.next().persist = list.aptpl;
  work.count();
  return work.good();
}

scsi::Status reserve(Reservations& reservations, const NexusName& nexus) {
  if (!reservations.registrations.empty()) {  // SPC-4 5.13.3: good without effect, for those who share the reservation
    const bool shares =
        reservations.held &&
        (role_of(reservations, nexus) == Role::holder ||
         (registrants_only(reservations.held->type) && role_of(reservations, nexus) == Role::registrant));
    return shares ? scsi::Status::good : scsi::Status::reservation_conflict;
  }
  if (reservations.reserved && !is_nexus(*reservations.reserved, nexus)) return scsi::Status::reservation_conflict;
  reservations.reserved = nexus;
  return scsi::Status::good;
}

void release(Reservations& reservations, const NexusName& nexus) {
  if (reservations.reserved && is_nexus(*reservations.reserved, nexus)) reservations.reserved.reset();
}

scsi::ReservationKeys read_keys(const Reservations& reservations) {
  scsi::ReservationKeys keys{.generation = reservations.generation, .keys = {}};
  for (const Registration& known : reservations.registrations) keys.keys.push_back(known.key);
  return keys;
}

scsi::ReservationAnswer read_reservation(const Reservations& reservations) {
  scsi::ReservationAnswer answer{.generation = reservations.generation, .held = std::nullopt};
  if (reservations.held) {
    const PersistentReservation& held = *reservations.held;
    answer.held =
        scsi::ReservationHeld{.key = all_registrants(held.type) ? 0 : held.key, .type = std::to_underlying(held.type)};
  }
  return answer;
}

scsi::ReservationCapabilities reservation_capabilities(const Reservations& reservations) {
  constexpr std::uint8_t unit_ready_always_others_past_writers = 3;  // SPC-4 table 221
  constexpr std::uint16_t all_types = 0xea01;
  return {.compatible_reserve = true,
          .spec_i_pt = true,
          .all_tg_pt = true,
          .persist_capable = true,
          .persist_active = reservations.persist,
          .allow_commands = unit_ready_always_others_past_writers,
          .types = all_types};
}

scsi::FullStatusAnswer read_full_status(const Reservations& reservations) {
  scsi::FullStatusAnswer answer{.generation = reservations.generation, .entries = {}};
  for (const Registration& known : reservations.registrations) {
    const bool holder = reservations.held && role_of(reservations, name_of(known)) == Role::holder;
    answer.entries.push_back({.key = known.key,
                              .holder = holder,
                              .type = holder ? std::to_underlying(reservations.held->type) : std::uint8_t{0},
                              .relative_port = known.target.relative_id,
                              .initiator = {.name = known.initiator.name, .isid = known.initiator.isid}});
  }
  return answer;
}

}  // namespace mpath::target
