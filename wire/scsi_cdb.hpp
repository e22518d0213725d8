// Command descriptor blocks, both directions: builders for initiators, one total parser for targets.
//
// Pure: SPC-4 and SBC-3 layouts, nothing else. Builders take what the command needs and pick the shortest form that
// holds it; parse_cdb() turns bytes into one struct per command, long and short forms alike.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "wire/scsi.hpp"

namespace mpath::scsi {

// On the wire: never renumber.
enum class Opcode : std::uint8_t {
  test_unit_ready = 0x00,
  request_sense = 0x03,
  read_6 = 0x08,
  write_6 = 0x0a,
  inquiry = 0x12,
  mode_select_6 = 0x15,
  reserve_6 = 0x16,
  release_6 = 0x17,
  mode_sense_6 = 0x1a,
  start_stop_unit = 0x1b,
  prevent_allow = 0x1e,
  read_capacity_10 = 0x25,
  read_10 = 0x28,
  write_10 = 0x2a,
  write_and_verify_10 = 0x2e,
  verify_10 = 0x2f,
  pre_fetch_10 = 0x34,
  synchronize_cache_10 = 0x35,
  read_defect_data_10 = 0x37,
  write_same_10 = 0x41,
  unmap = 0x42,
  sanitize = 0x48,
  log_sense = 0x4d,
  mode_select_10 = 0x55,
  reserve_10 = 0x56,
  release_10 = 0x57,
  mode_sense_10 = 0x5a,
  persistent_reserve_in = 0x5e,
  persistent_reserve_out = 0x5f,
  extended_copy = 0x83,
  receive_copy_results = 0x84,
  read_16 = 0x88,
  compare_and_write = 0x89,
  write_16 = 0x8a,
  orwrite_16 = 0x8b,
  write_and_verify_16 = 0x8e,
  verify_16 = 0x8f,
  pre_fetch_16 = 0x90,
  synchronize_cache_16 = 0x91,
  write_same_16 = 0x93,
  write_atomic_16 = 0x9c,
  service_action_in_16 = 0x9e,
  report_luns = 0xa0,
  maintenance_in = 0xa3,
  maintenance_out = 0xa4,
  read_12 = 0xa8,
  write_12 = 0xaa,
  write_and_verify_12 = 0xae,
  verify_12 = 0xaf,
  read_defect_data_12 = 0xb7,
};

// A pending unit attention is told in the place of this command's own answer. Three are carried out whatever is pending,
// SPC-4 5.14.
[[nodiscard]] constexpr bool tells_unit_attention(Opcode opcode) {
  return opcode != Opcode::inquiry && opcode != Opcode::report_luns && opcode != Opcode::request_sense;
}

// VPD page codes, SPC-4 7.8 and SBC-3 6.6.
enum class VpdPage : std::uint8_t {
  supported = 0x00,
  serial_number = 0x80,
  device_id = 0x83,
  extended_inquiry = 0x86,
  mode_page_policy = 0x87,
  scsi_ports = 0x88,
  third_party_copy = 0x8f,
  block_limits = 0xb0,
  block_characteristics = 0xb1,
  provisioning = 0xb2,
};

inline constexpr std::uint8_t mode_page_caching = 0x08;
inline constexpr std::uint8_t mode_page_all = 0x3f;

// One struct per command; `length` is the allocation or parameter list length in bytes.
struct TestUnitReady {
  friend bool operator==(const TestUnitReady&, const TestUnitReady&) = default;
};
struct RequestSense {
  bool descriptor = false;
  std::uint8_t length = 252;
  friend bool operator==(const RequestSense&, const RequestSense&) = default;
};
struct Inquiry {
  bool evpd = false;
  std::uint8_t page = 0;
  std::uint16_t length = 255;
  friend bool operator==(const Inquiry&, const Inquiry&) = default;
};
struct ReadCapacity10 {
  friend bool operator==(const ReadCapacity10&, const ReadCapacity10&) = default;
};
struct ReadCapacity16 {
  std::uint32_t length = 32;
  friend bool operator==(const ReadCapacity16&, const ReadCapacity16&) = default;
};
struct ReportLuns {
  std::uint8_t select = 0;
  std::uint32_t length = 0;
  friend bool operator==(const ReportLuns&, const ReportLuns&) = default;
};
struct ModeSense {
  bool short_form = true;  // MODE SENSE(6)
  bool no_block_descriptors = true;
  std::uint8_t control = 0;  // 0 current, 1 changeable, 2 default, 3 saved
  std::uint8_t page = 0;
  std::uint8_t subpage = 0;
  std::uint16_t length = 0;
  friend bool operator==(const ModeSense&, const ModeSense&) = default;
};
struct Read {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  bool fua = false;
  bool dpo = false;
  std::uint8_t protect = 0;
  friend bool operator==(const Read&, const Read&) = default;
};
struct Write {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  bool fua = false;
  bool dpo = false;
  std::uint8_t protect = 0;
  friend bool operator==(const Write&, const Write&) = default;
};
struct Verify {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  std::uint8_t byte_check = 0;  // 0: medium only, 1: against the data-out buffer, 3: against one block
  bool dpo = false;
  std::uint8_t protect = 0;
  friend bool operator==(const Verify&, const Verify&) = default;
};
struct SynchronizeCache {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;  // 0: to the end
  bool immediate = false;
  friend bool operator==(const SynchronizeCache&, const SynchronizeCache&) = default;
};
struct PreFetch {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  bool immediate = false;
  friend bool operator==(const PreFetch&, const PreFetch&) = default;
};
struct WriteSame {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  bool unmap = false;
  bool anchor = false;
  bool no_data_out = false;  // NDOB: zeroes, nothing is sent; WRITE SAME(16) only
  std::uint8_t protect = 0;
  bool physical = false;  // PBDATA and LBDATA of old standards
  friend bool operator==(const WriteSame&, const WriteSame&) = default;
};
struct Unmap {
  bool anchor = false;
  std::uint16_t length = 0;
  friend bool operator==(const Unmap&, const Unmap&) = default;
};
struct GetLbaStatus {
  std::uint64_t lba = 0;
  std::uint32_t length = 0;
  friend bool operator==(const GetLbaStatus&, const GetLbaStatus&) = default;
};
struct ReportTargetPortGroups {
  bool extended = false;  // ask for the extended header
  std::uint32_t length = 0;
  friend bool operator==(const ReportTargetPortGroups&, const ReportTargetPortGroups&) = default;
};

struct WriteAndVerify {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  std::uint8_t byte_check = 0;
  bool dpo = false;
  std::uint8_t protect = 0;
  friend bool operator==(const WriteAndVerify&, const WriteAndVerify&) = default;
};
struct CompareAndWrite {
  std::uint64_t lba = 0;
  std::uint8_t blocks = 0;  // of each half: as many to compare, then as many to write
  bool fua = false;
  bool dpo = false;
  std::uint8_t protect = 0;
  friend bool operator==(const CompareAndWrite&, const CompareAndWrite&) = default;
};
struct OrWrite {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  bool fua = false;
  bool dpo = false;
  std::uint8_t protect = 0;
  friend bool operator==(const OrWrite&, const OrWrite&) = default;
};
struct WriteAtomic {
  std::uint64_t lba = 0;
  std::uint16_t blocks = 0;
  std::uint16_t boundary = 0;
  bool fua = false;
  bool dpo = false;
  std::uint8_t protect = 0;
  friend bool operator==(const WriteAtomic&, const WriteAtomic&) = default;
};
struct Sanitize {
  std::uint8_t service = 0;  // 1 overwrite, 2 block erase, 3 cryptographic erase, 1fh exit failure mode
  bool immediate = false;
  bool unrestricted_exit = false;  // AUSE
  std::uint16_t length = 0;
  friend bool operator==(const Sanitize&, const Sanitize&) = default;
};
struct StartStopUnit {
  bool immediate = false;
  std::uint8_t power_condition = 0;
  std::uint8_t modifier = 0;
  bool no_flush = false;
  bool load_eject = false;
  bool start = false;
  friend bool operator==(const StartStopUnit&, const StartStopUnit&) = default;
};
struct PreventAllow {
  std::uint8_t prevent = 0;  // 0: allow
  friend bool operator==(const PreventAllow&, const PreventAllow&) = default;
};
struct ModeSelect {
  bool short_form = true;
  bool page_format = true;
  bool save = false;
  std::uint16_t length = 0;
  friend bool operator==(const ModeSelect&, const ModeSelect&) = default;
};
struct LogSense {
  bool save = false;
  std::uint8_t control = 0;
  std::uint8_t page = 0;
  std::uint8_t subpage = 0;
  std::uint16_t parameter = 0;
  std::uint16_t length = 0;
  friend bool operator==(const LogSense&, const LogSense&) = default;
};
struct Reserve {  // RESERVE(6) and (10)
  bool third_party = false;
  bool extent = false;
  std::uint16_t length = 0;
  friend bool operator==(const Reserve&, const Reserve&) = default;
};
struct Release {
  bool third_party = false;
  bool extent = false;
  std::uint16_t length = 0;
  friend bool operator==(const Release&, const Release&) = default;
};
struct PersistentReserveIn {
  std::uint8_t service = 0;  // 0 keys, 1 reservation, 2 capabilities, 3 full status
  std::uint16_t length = 0;
  friend bool operator==(const PersistentReserveIn&, const PersistentReserveIn&) = default;
};
struct PersistentReserveOut {
  std::uint8_t service = 0;  // 0 register ... 7 register and move
  std::uint8_t scope = 0;
  std::uint8_t type = 0;
  std::uint32_t length = 0;
  friend bool operator==(const PersistentReserveOut&, const PersistentReserveOut&) = default;
};
struct ReportSupportedOpcodes {
  bool timeouts = false;  // RCTD
  std::uint8_t options = 0;
  std::uint8_t opcode = 0;
  std::uint16_t service = 0;
  std::uint32_t length = 0;
  friend bool operator==(const ReportSupportedOpcodes&, const ReportSupportedOpcodes&) = default;
};
struct ReportSupportedTaskFunctions {
  bool extended = false;
  std::uint32_t length = 0;
  friend bool operator==(const ReportSupportedTaskFunctions&, const ReportSupportedTaskFunctions&) = default;
};
struct SetTargetPortGroups {
  std::uint32_t length = 0;
  friend bool operator==(const SetTargetPortGroups&, const SetTargetPortGroups&) = default;
};
struct ReadDefectData {
  bool short_form = true;  // (10)
  bool primary = false;    // which lists: REQ_PLIST, REQ_GLIST
  bool grown = false;
  std::uint8_t format = 0;
  std::uint32_t index = 0;  // (12) only
  std::uint32_t length = 0;
  friend bool operator==(const ReadDefectData&, const ReadDefectData&) = default;
};
struct ExtendedCopy {
  std::uint8_t service = 0;  // 0: LID1
  std::uint32_t length = 0;
  friend bool operator==(const ExtendedCopy&, const ExtendedCopy&) = default;
};
struct ReceiveCopyResults {
  std::uint8_t service = 0;  // 0 status, 1 data, 3 operating parameters, 4 failed segment details
  std::uint8_t list_id = 0;
  std::uint32_t length = 0;
  friend bool operator==(const ReceiveCopyResults&, const ReceiveCopyResults&) = default;
};

using Command = std::variant<TestUnitReady, RequestSense, Inquiry, ReadCapacity10, ReadCapacity16, ReportLuns,
                             ModeSense, Read, Write, Verify, SynchronizeCache, PreFetch, WriteSame, Unmap, GetLbaStatus,
                             ReportTargetPortGroups, WriteAndVerify, CompareAndWrite, OrWrite, WriteAtomic, Sanitize,
                             StartStopUnit, PreventAllow, ModeSelect, LogSense, Reserve, Release, PersistentReserveIn,
                             PersistentReserveOut, ReportSupportedOpcodes, ReportSupportedTaskFunctions,
                             SetTargetPortGroups, ReadDefectData, ExtendedCopy, ReceiveCopyResults>;

// Fails with bad_opcode (answer: invalid command operation code) or truncated (shorter than its group says). Bytes
// beyond the length of the command are padding of the transport and are ignored.
[[nodiscard]] Result<Command> parse_cdb(std::span<const std::byte> cdb);

// Bytes of a CDB by the group of its opcode; 0 for vendor and variable-length groups.
[[nodiscard]] std::uint8_t cdb_length(std::uint8_t opcode);

[[nodiscard]] Cdb test_unit_ready_cdb();
[[nodiscard]] Cdb request_sense_cdb(bool descriptor = false);
[[nodiscard]] Cdb inquiry_cdb(std::uint16_t length = 255);
[[nodiscard]] Cdb inquiry_vpd_cdb(VpdPage page, std::uint16_t length);
[[nodiscard]] Cdb read_capacity_10_cdb();
[[nodiscard]] Cdb read_capacity_16_cdb();
[[nodiscard]] Cdb report_luns_cdb(std::uint32_t length);
[[nodiscard]] Cdb mode_sense_6_cdb(std::uint8_t page, std::uint8_t length = 192);
[[nodiscard]] Cdb mode_sense_10_cdb(std::uint8_t page, std::uint16_t length = 512);
// Form 10 when LBA and count fit, form 16 otherwise.
[[nodiscard]] Cdb read_cdb(std::uint64_t lba, std::uint32_t blocks, bool fua = false);
[[nodiscard]] Cdb write_cdb(std::uint64_t lba, std::uint32_t blocks, bool fua = false);
[[nodiscard]] Cdb verify_cdb(std::uint64_t lba, std::uint32_t blocks);
// `blocks` 0 means to the end: the defaults flush everything.
[[nodiscard]] Cdb synchronize_cache_cdb(std::uint64_t lba = 0, std::uint32_t blocks = 0);
[[nodiscard]] Cdb pre_fetch_cdb(std::uint64_t lba,
                                std::uint32_t blocks);       // form 16, IMMED: does not wait for the medium
[[nodiscard]] Cdb write_same_cdb(const WriteSame& command);  // form 16
[[nodiscard]] Cdb unmap_cdb(std::uint16_t parameter_length, bool anchor = false);
[[nodiscard]] Cdb get_lba_status_cdb(std::uint64_t lba, std::uint32_t length);
[[nodiscard]] Cdb report_target_port_groups_cdb(std::uint32_t length, bool extended = false);

// UNMAP parameter list, SBC-3 5.28.2.
struct UnmapRange {
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;
  friend bool operator==(const UnmapRange&, const UnmapRange&) = default;
};
inline constexpr std::size_t unmap_header_bytes = 8;
inline constexpr std::size_t unmap_range_bytes = 16;
[[nodiscard]] constexpr std::size_t unmap_list_bytes(std::size_t ranges) {
  return unmap_header_bytes + ranges * unmap_range_bytes;
}
// Writes the list of at most 4095 ranges into `out` (unmap_list_bytes() of them). Returns the bytes used, 0 when it
// does not fit.
[[nodiscard]] std::size_t encode_unmap_list(std::span<const UnmapRange> ranges, std::span<std::byte> out);
// A descriptor cut off by the length fields is not processed, as SBC-3 says. Fails with truncated, bad_length.
[[nodiscard]] Result<std::vector<UnmapRange>> decode_unmap_list(std::span<const std::byte> list);

// How `lun` stands in iSCSI PDUs and REPORT LUNS (SAM-5, 4.7): peripheral addressing up to 255, flat up to 16383,
// extended flat up to 2^24-1. Anything above becomes "logical unit not specified", which every target refuses.
[[nodiscard]] std::array<std::byte, 8> lun_field(Lun lun);
// Fails with bad_field for addresses that name no single-level unit (hierarchies, well known units).
[[nodiscard]] Result<Lun> parse_lun_field(std::span<const std::byte, 8> field);
// The 16 bits that libiscsi puts first in the field; only LUNs up to 16383 have them, others become 0xffff.
[[nodiscard]] std::uint16_t lun_for_libiscsi(Lun lun);

}  // namespace mpath::scsi
