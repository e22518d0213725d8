// EXTENDED COPY (LID1) parameter lists, RECEIVE COPY RESULTS answers and the third-party copy page (SPC-4 6.4, 6.22,
// 7.8.17). Pure.
//
// Known descriptors: E4h (a copy target by its identification) and 02h (blocks to blocks). Others are named as faults.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <vector>

#include "wire/scsi_data.hpp"

namespace mpath::scsi {

// On the wire: never renumber.
enum class CopyListUse : std::uint8_t { hold = 0, reserved = 1, discard = 2, none = 3 };

struct CopyTarget {
  Designator designator;
  std::uint8_t device_type = 0;  // 0: a disk
  std::uint32_t block_bytes = 0;
  friend bool operator==(const CopyTarget&, const CopyTarget&) = default;
};
struct CopySegment {
  bool count_of_destination = false;  // DC: `blocks` are the destination's
  std::uint16_t source = 0;           // index into the targets
  std::uint16_t destination = 0;
  std::uint16_t blocks = 0;
  std::uint64_t source_lba = 0;
  std::uint64_t destination_lba = 0;
  friend bool operator==(const CopySegment&, const CopySegment&) = default;
};
struct CopyParameters {
  std::uint8_t list_id = 0;
  CopyListUse use = CopyListUse::hold;
  std::vector<CopyTarget> targets;
  std::vector<CopySegment> segments;
  friend bool operator==(const CopyParameters&, const CopyParameters&) = default;
};

// What a copy manager can take.
struct CopyLimits {
  std::uint16_t targets_max = 0;
  std::uint16_t segments_max = 0;
  std::uint32_t list_bytes_max = 0;  // both descriptor lists together
  std::uint32_t segment_bytes_max = 0;
  friend bool operator==(const CopyLimits&, const CopyLimits&) = default;
};

// Each has a sense code of its own.
enum class CopyFault : std::uint8_t {
  list_length,  // the list ends before its descriptors do, or they are too long for us
  too_many_targets,
  unsupported_target,
  too_many_segments,
  unsupported_segment,
  inline_data,
  bad_field,
};
[[nodiscard]] std::expected<CopyParameters, CopyFault> decode_copy_parameters(std::span<const std::byte> list,
                                                                              const CopyLimits& limits);
// Designators of more than 20 bytes are cut off, as the descriptor has no room for them.
[[nodiscard]] Bytes encode_copy_parameters(const CopyParameters& parameters);

// RECEIVE COPY RESULTS. On the wire: never renumber.
enum class CopyState : std::uint8_t { running = 0, good = 1, failed = 2 };
struct CopyStatus {
  CopyState state = CopyState::running;
  std::uint16_t segments = 0;  // worked through
  std::uint64_t bytes = 0;     // written; told in KiB when it is too much for the field
};
[[nodiscard]] Bytes encode_copy_status(const CopyStatus& status);
[[nodiscard]] Bytes encode_failed_segment_details(Status status, std::span<const std::byte> sense);
[[nodiscard]] Bytes encode_copy_operating_parameters(const CopyLimits& limits);

// VPD page 8Fh.
[[nodiscard]] Bytes encode_vpd_third_party_copy(const CopyLimits& limits);

}  // namespace mpath::scsi
