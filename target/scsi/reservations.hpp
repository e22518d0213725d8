// Persistent reservations as a state machine: what each service action of PERSISTENT RESERVE OUT makes of the
// registrations and the reservation, whom it tells, and whose tasks it ends (SPC-4 5.13).
//
//               REGISTER                          RESERVE
//   stranger ----------------> registrant -----------------------> holder
//            <----------------            <-----------------------
//       service key 0, CLEAR, PREEMPT        RELEASE; gone with its registration
//
// Pure. A step that is refused leaves everything as it was; PRGENERATION counts registrations, CLEAR and PREEMPT, but
// not RESERVE and RELEASE.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "target/scsi/lu_state.hpp"
#include "wire/scsi_reservation.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::target {

inline constexpr std::size_t registrations_max = 4096;

// Who sends, and what there is to name: the ports of the target device, and the initiator ports that are logged in (for
// TransportIDs that name a whole device).
struct ReservationScene {
  NexusName sender;
  std::span<const TargetPort> ports;
  std::span<const InitiatorPort> present;
};

struct ReservationStep {
  scsi::Status status = scsi::Status::good;
  scsi::Sense sense;  // with CHECK CONDITION
  std::uint16_t field = 0;
  bool field_in_cdb = false;
  Reservations next;
  struct Notice {
    NexusName nexus;
    scsi::Sense condition;
    friend bool operator==(const Notice&, const Notice&) = default;
  };
  std::vector<Notice> notices;
  std::vector<NexusName> preempted;  // PREEMPT AND ABORT ends their tasks
};

// Every service action but REGISTER AND MOVE. `scope` and `type` as in the CDB.
[[nodiscard]] ReservationStep persistent_step(const Reservations& now, scsi::PersistentService service,
                                              std::uint8_t scope, std::uint8_t type,
                                              const scsi::PersistentOutList& list, const ReservationScene& scene);
[[nodiscard]] ReservationStep move_step(const Reservations& now, const scsi::RegisterAndMoveList& list,
                                        const ReservationScene& scene);

// RESERVE(6) and (10), RELEASE(6) and (10), after access rules let them through.
[[nodiscard]] scsi::Status reserve(Reservations& reservations, const NexusName& nexus);
void release(Reservations& reservations, const NexusName& nexus);

// PERSISTENT RESERVE IN.
[[nodiscard]] scsi::ReservationKeys read_keys(const Reservations& reservations);
[[nodiscard]] scsi::ReservationAnswer read_reservation(const Reservations& reservations);
[[nodiscard]] scsi::ReservationCapabilities reservation_capabilities(const Reservations& reservations);
[[nodiscard]] scsi::FullStatusAnswer read_full_status(const Reservations& reservations);

}  // namespace mpath::target
