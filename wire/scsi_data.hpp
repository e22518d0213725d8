// What targets say about themselves: INQUIRY, vital product data, capacity, LUN lists, LBA status, port groups, mode
// pages.
//
// Pure, both directions. Decoders take exactly what the target sent and fail with truncated when its length fields
// promise more: the caller then asks again with a larger allocation length (wanted_bytes()). Encoders make the whole
// answer; a target cuts it to the allocation length.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "wire/scsi.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::scsi {

using Bytes = std::vector<std::byte>;

// Standard INQUIRY data, SPC-4 6.6.2.
struct InquiryData {
  std::uint8_t qualifier = 0;  // 0: a unit is there; 1: could be; 3: this LUN cannot exist
  std::uint8_t type = 0;       // 0: disk
  bool removable = false;
  std::uint8_t version = 0;
  bool has_response_data = true;  // response data format 2
  std::uint8_t tpgs = 0;          // 0: no ALUA; 1 implicit, 2 explicit, 3 both
  bool command_queue = false;
  bool third_party_copy = false;
  bool protect = false;
  std::string vendor;  // trailing blanks removed
  std::string product;
  std::string revision;
  std::vector<std::uint16_t> versions;  // version descriptors, zeroes left out
  friend bool operator==(const InquiryData&, const InquiryData&) = default;
};
[[nodiscard]] Result<InquiryData> decode_inquiry(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_inquiry(const InquiryData& inquiry);

// Page 00h: the pages there are.
[[nodiscard]] Result<std::vector<std::uint8_t>> decode_vpd_supported(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_vpd_supported(std::span<const std::uint8_t> pages);

// Page 80h. Blanks at both ends removed.
[[nodiscard]] Result<std::string> decode_vpd_serial(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_vpd_serial(std::string_view serial);

// Page 83h, SPC-4 7.8.6. On the wire: never renumber.
enum class Association : std::uint8_t { logical_unit = 0, target_port = 1, target_device = 2, reserved = 3 };
enum class DesignatorType : std::uint8_t {
  vendor = 0,
  t10_vendor_id = 1,
  eui64 = 2,
  naa = 3,
  relative_target_port = 4,
  target_port_group = 5,
  logical_unit_group = 6,
  md5 = 7,
  scsi_name = 8,
  protocol_port = 9,
  uuid = 10,
};
enum class CodeSet : std::uint8_t { reserved = 0, binary = 1, ascii = 2, utf8 = 3 };

struct Designator {
  Association association = Association::logical_unit;
  DesignatorType type = DesignatorType::vendor;
  CodeSet code_set = CodeSet::binary;
  std::optional<std::uint8_t> protocol;  // set when PIV says that it means something; 5: iSCSI
  Bytes bytes;                           // as sent: no trimming, no length check by type
  friend bool operator==(const Designator&, const Designator&) = default;
};
struct DeviceId {
  std::vector<Designator> designators;  // in the order of the page
  bool damaged = false;                 // a designator ran past the page: it and what follows are left out
  friend bool operator==(const DeviceId&, const DeviceId&) = default;
};
[[nodiscard]] Result<DeviceId> decode_vpd_device_id(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_vpd_device_id(std::span<const Designator> designators);

// Page 86h, SPC-4 7.8.7: what is special about this unit.
struct ExtendedInquiry {
  bool head_of_queue = false;  // task attributes besides SIMPLE
  bool ordered = false;
  bool simple = false;
  bool volatile_cache = false;  // V_SUP
  bool non_volatile_cache = false;
  bool progress_in_sense = false;  // UASK_SUP: sense-key specific data is right in what REQUEST SENSE answers
  friend bool operator==(const ExtendedInquiry&, const ExtendedInquiry&) = default;
};
[[nodiscard]] Result<ExtendedInquiry> decode_vpd_extended_inquiry(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_vpd_extended_inquiry(const ExtendedInquiry& extended);

// Page 87h, SPC-4 7.8.8: which mode pages all nexuses share.
struct ModePagePolicy {
  std::uint8_t page = 0;  // 3fh: all that are not named
  std::uint8_t subpage = 0;
  bool multiple_ports = false;  // MLUS
  std::uint8_t policy = 0;      // 0 shared, 1 per target port, 3 per I_T nexus
  friend bool operator==(const ModePagePolicy&, const ModePagePolicy&) = default;
};
[[nodiscard]] Result<std::vector<ModePagePolicy>> decode_vpd_mode_page_policy(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_vpd_mode_page_policy(std::span<const ModePagePolicy> policies);

// Page 88h, SPC-4 7.8.14: the ports of the target device.
struct ScsiPort {
  std::uint16_t relative_id = 0;
  std::vector<Designator> designators;  // of the target port
  friend bool operator==(const ScsiPort&, const ScsiPort&) = default;
};
[[nodiscard]] Result<std::vector<ScsiPort>> decode_vpd_scsi_ports(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_vpd_scsi_ports(std::span<const ScsiPort> ports);

// Page B0h, SBC-3 6.6.4. Zero means "no limit given".
struct BlockLimits {
  bool write_same_nonzero = false;  // WSNZ: WRITE SAME with a count of 0 is refused
  std::uint8_t compare_and_write_max = 0;
  std::uint16_t transfer_granularity = 0;  // all in blocks
  std::uint32_t transfer_max = 0;
  std::uint32_t transfer_optimal = 0;
  std::uint32_t prefetch_max = 0;
  std::uint32_t unmap_blocks_max = 0;
  std::uint32_t unmap_ranges_max = 0;
  std::uint32_t unmap_granularity = 0;
  std::optional<std::uint32_t> unmap_alignment;
  std::uint64_t write_same_max = 0;
  std::uint32_t atomic_max = 0;  // WRITE ATOMIC (SBC-4), 0: it is not supported
  std::uint32_t atomic_alignment = 0;
  std::uint32_t atomic_granularity = 0;
  std::uint32_t atomic_max_with_boundary = 0;
  std::uint32_t atomic_boundary_max = 0;
  friend bool operator==(const BlockLimits&, const BlockLimits&) = default;
};
// Short pages of old targets (16 bytes of SBC-2) leave the later fields at zero.
[[nodiscard]] Result<BlockLimits> decode_vpd_block_limits(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_vpd_block_limits(const BlockLimits& limits);

// Page B1h: 1 means "does not rotate", 0 "not said", else revolutions per minute.
[[nodiscard]] Result<std::uint16_t> decode_vpd_rotation(std::span<const std::byte> data);
// `reads_after_erase`: WABEREQ, what READ finds after SANITIZE BLOCK ERASE. 0: not said, 1: it reads what is there.
[[nodiscard]] Bytes encode_vpd_rotation(std::uint16_t rotation, std::uint8_t reads_after_erase = 0);

// Page B2h, SBC-3 6.6.6.
struct Provisioning {
  std::uint8_t threshold_exponent = 0;
  bool unmap = false;          // LBPU
  bool write_same_16 = false;  // LBPWS
  bool write_same_10 = false;  // LBPWS10
  bool reads_zeroes = false;   // LBPRZ, any of its forms that mean zeroes
  bool anchor = false;         // ANC_SUP
  std::uint8_t type = 0;       // 0 not said, 1 resource, 2 thin
  friend bool operator==(const Provisioning&, const Provisioning&) = default;
};
[[nodiscard]] Result<Provisioning> decode_vpd_provisioning(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_vpd_provisioning(const Provisioning& provisioning);

// READ CAPACITY(10) and (16).
struct Capacity {
  std::uint64_t last_lba = 0;
  std::uint32_t block_bytes = 512;
  std::uint8_t physical_exponent = 0;  // 2^n logical blocks in a physical one
  std::uint16_t lowest_aligned = 0;
  bool thin = false;            // LBPME
  bool reads_zeroes = false;    // LBPRZ
  std::uint8_t protection = 0;  // 0 none, otherwise the protection type (1, 2, 3)
  friend bool operator==(const Capacity&, const Capacity&) = default;
};
inline constexpr std::uint64_t capacity_10_overflow = 0xffffffff;  // last_lba of form 10: ask with form 16
// Fail with truncated, or bad_field for a block size that is not a power of two from 256 to 64 KiB.
[[nodiscard]] Result<Capacity> decode_capacity_10(std::span<const std::byte> data);
[[nodiscard]] Result<Capacity> decode_capacity_16(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_capacity_10(const Capacity& capacity);
[[nodiscard]] Bytes encode_capacity_16(const Capacity& capacity);

struct LunList {
  std::vector<Lun> luns;
  std::size_t foreign = 0;  // entries in addressing forms that name no single-level unit
  friend bool operator==(const LunList&, const LunList&) = default;
};
[[nodiscard]] Result<LunList> decode_luns(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_luns(std::span<const Lun> luns);

// GET LBA STATUS, SBC-3 5.5.2.
enum class LbaState : std::uint8_t { mapped = 0, deallocated = 1, anchored = 2, unknown = 0xff };
struct LbaRange {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  LbaState state = LbaState::mapped;
  friend bool operator==(const LbaRange&, const LbaRange&) = default;
};
// The descriptors that are wholly there; the length field may promise more (it does when the allocation length was
// short).
[[nodiscard]] Result<std::vector<LbaRange>> decode_lba_status(std::span<const std::byte> data);
[[nodiscard]] Bytes encode_lba_status(std::span<const LbaRange> ranges);

// REPORT TARGET PORT GROUPS, SPC-4 6.37. On the wire: never renumber.
enum class AccessState : std::uint8_t {
  optimized = 0x0,
  non_optimized = 0x1,
  standby = 0x2,
  unavailable = 0x3,
  lba_dependent = 0x4,
  offline = 0xe,
  transitioning = 0xf,
};
[[nodiscard]] const char* name(AccessState state);
// By its name, or another word that people know for it, in any letter case.
[[nodiscard]] std::optional<AccessState> find_access_state(std::string_view word);
struct PortGroup {
  std::uint16_t id = 0;
  AccessState state = AccessState::optimized;
  bool preferred = false;
  std::uint8_t supported = 0;        // bit set of states, as on the wire
  std::uint8_t status = 0;           // why it changed last
  std::vector<std::uint16_t> ports;  // relative target port identifiers
  friend bool operator==(const PortGroup&, const PortGroup&) = default;
};
[[nodiscard]] Result<std::vector<PortGroup>> decode_port_groups(std::span<const std::byte> data, bool extended = false);
[[nodiscard]] Bytes encode_port_groups(std::span<const PortGroup> groups);
// With the extended header: `transition_seconds` is how long an implicit transition may take; 0: not said.
[[nodiscard]] Bytes encode_port_groups_extended(std::span<const PortGroup> groups, std::uint8_t transition_seconds);
// An answer as an initiator meets it: the data says itself which of the two forms it has, because there are targets
// that give the plain one whatever was asked for.
struct PortGroupReport {
  std::vector<PortGroup> groups;
  std::uint8_t transition_seconds = 0;  // how long an implicit transition may take; 0: not said
  friend bool operator==(const PortGroupReport&, const PortGroupReport&) = default;
};
[[nodiscard]] Result<PortGroupReport> decode_port_group_report(std::span<const std::byte> data);
// SET TARGET PORT GROUPS parameter list, SPC-4 6.45. Fails with truncated or bad_length (no whole descriptors).
struct PortGroupChange {
  std::uint16_t id = 0;
  std::uint8_t state = 0;  // as sent: not all values are states
  friend bool operator==(const PortGroupChange&, const PortGroupChange&) = default;
};
[[nodiscard]] Result<std::vector<PortGroupChange>> decode_port_group_changes(std::span<const std::byte> list);
[[nodiscard]] Bytes encode_port_group_changes(std::span<const PortGroupChange> changes);

// MODE SENSE(6) and (10): the header and the caching page.
struct ModeData {
  bool write_protected = false;
  bool dpo_fua = false;              // FUA and DPO are honoured
  std::optional<bool> write_cache;   // WCE; none when the target sent no caching page
  bool read_cache_disabled = false;  // RCD
  friend bool operator==(const ModeData&, const ModeData&) = default;
};
[[nodiscard]] Result<ModeData> decode_mode_sense(std::span<const std::byte> data, bool short_form);
[[nodiscard]] Bytes encode_mode_sense(const ModeData& mode, bool short_form);

// How many bytes the answer says that it has, by the length field of its kind; 0 when not even that is there.
enum class LengthField : std::uint8_t { vpd, luns, port_groups, lba_status, mode_6, mode_10 };
[[nodiscard]] std::size_t wanted_bytes(LengthField kind, std::span<const std::byte> data);

}  // namespace mpath::scsi
