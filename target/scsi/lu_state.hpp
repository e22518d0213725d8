// The SCSI state of one logical unit that outlives a command: one value, so that it can be written down, shown, and one
// day be replicated as an ordered log. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "target/scsi/nexus.hpp"
#include "wire/scsi_data.hpp"

namespace mpath::target {

// Persistent reservations, SPC-4 5.13. On the wire: never renumber.
enum class ReservationType : std::uint8_t {
  write_exclusive = 1,
  exclusive_access = 3,
  write_exclusive_registrants_only = 5,
  exclusive_access_registrants_only = 6,
  write_exclusive_all_registrants = 7,
  exclusive_access_all_registrants = 8,
};

struct Registration {
  InitiatorPort initiator;
  TargetPort target;
  std::uint64_t key = 0;
  friend bool operator==(const Registration&, const Registration&) = default;
};

struct PersistentReservation {
  ReservationType type = ReservationType::write_exclusive;
  std::uint64_t key = 0;
  std::optional<Registration> holder;  // none for the all-registrants types
  friend bool operator==(const PersistentReservation&, const PersistentReservation&) = default;
};

struct Reservations {
  std::uint32_t generation = 0;  // PRGENERATION; not durable by SPC-4
  bool persist = false;          // APTPL: registrations and reservation survive a power cycle
  std::vector<Registration> registrations;
  std::optional<PersistentReservation> held;
  std::optional<NexusName> reserved;  // RESERVE(6) and (10)
  friend bool operator==(const Reservations&, const Reservations&) = default;
};

// Mode parameters that can be changed: current values, and the saved ones that a reset goes back to.
struct ModeValues {
  bool write_cache = true;                    // 08h WCE
  bool descriptor_sense = false;              // 0Ah D_SENSE
  bool software_write_protect = false;        // 0Ah SWP
  bool aborted_task_status = false;           // 0Ah TAS
  std::uint8_t task_set_type = 0;             // 0Ah TST
  std::uint8_t queue_error = 0;               // 0Ah QERR
  std::uint8_t unit_attention_interlock = 0;  // 0Ah UA_INTLCK_CTRL
  bool read_cache_disabled = false;           // 08h RCD
  friend bool operator==(const ModeValues&, const ModeValues&) = default;
};

struct SanitizeState {
  enum class Phase : std::uint8_t { none, running, failed };
  enum class Method : std::uint8_t { overwrite = 1, block_erase = 2 };
  Phase phase = Phase::none;
  Method method = Method::overwrite;
  bool exit_allowed = false;  // AUSE
  bool invert = false;
  std::uint8_t passes = 1;
  std::uint64_t done_bytes = 0;  // of all passes; durable now and then
  std::vector<std::byte> pattern;
  friend bool operator==(const SanitizeState&, const SanitizeState&) = default;
};

// States of target port groups as a pair has them: which node serves decides. They lie over those of LuState.
using ClusterAccess = std::map<std::uint16_t, scsi::AccessState>;

struct LuState {
  Reservations reservations;
  ModeValues modes;
  ModeValues saved_modes;
  std::map<std::uint16_t, scsi::AccessState> access;  // by target port group; those not named are optimized
  SanitizeState sanitize;
  friend bool operator==(const LuState&, const LuState&) = default;
};

// What survives a power cycle: registrations only with APTPL, never RESERVE(6), the saved mode values.
[[nodiscard]] LuState after_power_cycle(const LuState& state);

// The durable form: text with a version and a checksum. Decoding fails with WireErrc::bad_field (also when no unit could
// have come to such a state), bad_length (cut off), bad_digest, and an unknown version with bad_version.
[[nodiscard]] std::string encode_lu_state(const LuState& state);
[[nodiscard]] Result<LuState> decode_lu_state(std::string_view text);

}  // namespace mpath::target
