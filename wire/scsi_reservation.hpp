// Persistent reservations as bytes: the parameter lists of PERSISTENT RESERVE OUT, the answers of PERSISTENT RESERVE
// IN, and the TransportIDs of iSCSI in both (SPC-4 6.15, 6.16, 7.6.4.6).
//
// Pure, both directions.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "wire/scsi_data.hpp"

namespace mpath::scsi {

// An initiator port of iSCSI; without ISID the whole initiator device.
struct TransportId {
  std::string name;
  std::optional<std::array<std::uint8_t, 6>> isid;
  friend bool operator==(const TransportId&, const TransportId&) = default;
};
[[nodiscard]] Bytes encode_transport_id(const TransportId& id);
// One TransportID at the front; `used` says how long it was. Fails with truncated, or bad_field for another protocol, a
// name that does not end, or an ISID that is none.
[[nodiscard]] Result<TransportId> decode_transport_id(std::span<const std::byte> bytes, std::size_t& used);

// On the wire: never renumber.
enum class PersistentService : std::uint8_t {
  register_key = 0,
  reserve = 1,
  release = 2,
  clear = 3,
  preempt = 4,
  preempt_and_abort = 5,
  register_and_ignore = 6,
  register_and_move = 7,
};

// The list of every service action but REGISTER AND MOVE.
struct PersistentOutList {
  std::uint64_t key = 0;
  std::uint64_t service_key = 0;
  bool spec_i_pt = false;
  bool all_tg_pt = false;
  bool aptpl = false;
  std::vector<TransportId> initiators;  // of SPEC_I_PT
  friend bool operator==(const PersistentOutList&, const PersistentOutList&) = default;
};
inline constexpr std::size_t persistent_out_list_bytes = 24;
// `registers`: of a service action that knows SPEC_I_PT; the others ignore it. Fails with bad_length when the list is
// not as long as it must be, otherwise as decode_transport_id().
[[nodiscard]] Result<PersistentOutList> decode_persistent_out(std::span<const std::byte> list, bool registers);
[[nodiscard]] Bytes encode_persistent_out(const PersistentOutList& list);

struct RegisterAndMoveList {
  std::uint64_t key = 0;
  std::uint64_t service_key = 0;
  bool unregister = false;
  bool aptpl = false;
  std::uint16_t relative_port = 0;
  TransportId initiator;
  friend bool operator==(const RegisterAndMoveList&, const RegisterAndMoveList&) = default;
};
[[nodiscard]] Result<RegisterAndMoveList> decode_register_and_move(std::span<const std::byte> list);
[[nodiscard]] Bytes encode_register_and_move(const RegisterAndMoveList& list);

// PERSISTENT RESERVE IN.
struct ReservationKeys {
  std::uint32_t generation = 0;
  std::vector<std::uint64_t> keys;
  friend bool operator==(const ReservationKeys&, const ReservationKeys&) = default;
};
[[nodiscard]] Bytes encode_reservation_keys(const ReservationKeys& keys);
[[nodiscard]] Result<ReservationKeys> decode_reservation_keys(std::span<const std::byte> data);

struct ReservationHeld {
  std::uint64_t key = 0;
  std::uint8_t type = 0;
  friend bool operator==(const ReservationHeld&, const ReservationHeld&) = default;
};
struct ReservationAnswer {
  std::uint32_t generation = 0;
  std::optional<ReservationHeld> held;
  friend bool operator==(const ReservationAnswer&, const ReservationAnswer&) = default;
};
[[nodiscard]] Bytes encode_reservation(const ReservationAnswer& answer);
[[nodiscard]] Result<ReservationAnswer> decode_reservation(std::span<const std::byte> data);

struct ReservationCapabilities {
  bool compatible_reserve = false;  // CRH
  bool spec_i_pt = false;           // SIP_C
  bool all_tg_pt = false;           // ATP_C
  bool persist_capable = false;     // PTPL_C
  bool persist_active = false;      // PTPL_A
  std::uint8_t allow_commands = 0;
  std::uint16_t types = 0;  // as on the wire; 0: not said
  friend bool operator==(const ReservationCapabilities&, const ReservationCapabilities&) = default;
};
[[nodiscard]] Bytes encode_reservation_capabilities(const ReservationCapabilities& capabilities);
[[nodiscard]] Result<ReservationCapabilities> decode_reservation_capabilities(std::span<const std::byte> data);

struct FullStatus {
  std::uint64_t key = 0;
  bool all_tg_pt = false;
  bool holder = false;
  std::uint8_t type = 0;  // of the reservation, for holders
  std::uint16_t relative_port = 0;
  TransportId initiator;
  friend bool operator==(const FullStatus&, const FullStatus&) = default;
};
struct FullStatusAnswer {
  std::uint32_t generation = 0;
  std::vector<FullStatus> entries;
  friend bool operator==(const FullStatusAnswer&, const FullStatusAnswer&) = default;
};
[[nodiscard]] Bytes encode_full_status(const FullStatusAnswer& answer);
[[nodiscard]] Result<FullStatusAnswer> decode_full_status(std::span<const std::byte> data);

}  // namespace mpath::scsi
