#include "wire/scsi_cdb.hpp"

#include <gtest/gtest.h>

#include "tests/wire/hex.hpp"
#include "wire/error.hpp"

namespace mpath::scsi {
namespace {

using test::to_hex;

struct CdbRow {
  const char* name;
  Cdb cdb;
  const char* bytes;
  Command parsed;
};

class CdbTable : public testing::TestWithParam<CdbRow> {};

TEST_P(CdbTable, BuildsTheBytesOfTheStandard) {
  EXPECT_EQ(to_hex(GetParam().cdb.view()), GetParam().bytes);
}

TEST_P(CdbTable, ParsesBackToWhatItWasBuiltFrom) {
  const auto parsed = parse_cdb(GetParam().cdb.view());
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(*parsed == GetParam().parsed);
}

TEST_P(CdbTable, IsTruncatedAtEveryShorterLength) {
  const Cdb& cdb = GetParam().cdb;
  test::at_every_length(cdb.view(), [&](std::span<const std::byte> bytes) {
    const auto parsed = parse_cdb(bytes);
    EXPECT_EQ(parsed.has_value(), bytes.size() >= cdb.length) << bytes.size();
    if (!parsed) {
      EXPECT_EQ(parsed.error(), WireErrc::truncated);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(
    All, CdbTable,
    testing::Values(
        CdbRow{"test_unit_ready", test_unit_ready_cdb(), "000000000000", TestUnitReady{}},
        CdbRow{"request_sense", request_sense_cdb(), "03000000fc00", RequestSense{}},
        CdbRow{"request_sense_descriptor", request_sense_cdb(true), "03010000fc00", RequestSense{.descriptor = true}},
        CdbRow{"inquiry", inquiry_cdb(), "12000000ff00", Inquiry{}},
        CdbRow{"inquiry_83", inquiry_vpd_cdb(VpdPage::device_id, 1024), "120183040000",
               Inquiry{.evpd = true, .page = 0x83, .length = 1024}},
        CdbRow{"read_capacity_10", read_capacity_10_cdb(), "25000000000000000000", ReadCapacity10{}},
        CdbRow{"read_capacity_16", read_capacity_16_cdb(), "9e100000000000000000000000200000", ReadCapacity16{}},
        CdbRow{"report_luns", report_luns_cdb(4096), "a00000000000000010000000", ReportLuns{.length = 4096}},
        CdbRow{"mode_sense_6", mode_sense_6_cdb(mode_page_caching), "1a080800c000",
               ModeSense{.page = 8, .length = 192}},
        CdbRow{"mode_sense_10", mode_sense_10_cdb(mode_page_all), "5a083f00000000020000",
               ModeSense{.short_form = false, .page = 0x3f, .length = 512}},
        CdbRow{"read_10", read_cdb(0x01020304, 0xffff), "28000102030400ffff00",
               Read{.lba = 0x01020304, .blocks = 0xffff}},
        CdbRow{"read_10_fua", read_cdb(1, 2, true), "28080000000100000200", Read{.lba = 1, .blocks = 2, .fua = true}},
        CdbRow{"read_10_highest_lba", read_cdb(0xffffffff, 1), "2800ffffffff00000100",
               Read{.lba = 0xffffffff, .blocks = 1}},
        CdbRow{"read_16_by_lba", read_cdb(0x100000000, 1), "88000000000100000000000000010000",
               Read{.lba = 0x100000000, .blocks = 1}},
        CdbRow{"read_16_by_count", read_cdb(0, 0x10000), "88000000000000000000000100000000", Read{.blocks = 0x10000}},
        CdbRow{"write_10", write_cdb(8, 8), "2a000000000800000800", Write{.lba = 8, .blocks = 8}},
        CdbRow{"write_16_fua", write_cdb(0x100000000, 1, true), "8a080000000100000000000000010000",
               Write{.lba = 0x100000000, .blocks = 1, .fua = true}},
        CdbRow{"verify_10", verify_cdb(8, 8), "2f000000000800000800", Verify{.lba = 8, .blocks = 8}},
        CdbRow{"verify_16", verify_cdb(8, 0x10000), "8f000000000000000008000100000000",
               Verify{.lba = 8, .blocks = 0x10000}},
        CdbRow{"synchronize_cache_all", synchronize_cache_cdb(), "35000000000000000000", SynchronizeCache{}},
        CdbRow{"synchronize_cache_16", synchronize_cache_cdb(0x100000000, 5), "91000000000100000000000000050000",
               SynchronizeCache{.lba = 0x100000000, .blocks = 5}},
        CdbRow{"pre_fetch", pre_fetch_cdb(16, 8), "90020000000000000010000000080000",
               PreFetch{.lba = 16, .blocks = 8, .immediate = true}},
        CdbRow{"write_same", write_same_cdb({.lba = 16, .blocks = 8}), "93000000000000000010000000080000",
               WriteSame{.lba = 16, .blocks = 8}},
        CdbRow{"write_same_all_flags",
               write_same_cdb({.lba = 16, .blocks = 8, .unmap = true, .anchor = true, .no_data_out = true}),
               "93190000000000000010000000080000",
               WriteSame{.lba = 16, .blocks = 8, .unmap = true, .anchor = true, .no_data_out = true}},
        CdbRow{"unmap", unmap_cdb(24), "42000000000000001800", Unmap{.length = 24}},
        CdbRow{"unmap_anchor", unmap_cdb(24, true), "42010000000000001800", Unmap{.anchor = true, .length = 24}},
        CdbRow{"get_lba_status", get_lba_status_cdb(7, 256), "9e120000000000000007000001000000",
               GetLbaStatus{.lba = 7, .length = 256}},
        CdbRow{"report_target_port_groups_extended", report_target_port_groups_cdb(512, true), "a32a00000000000002000000",
               ReportTargetPortGroups{.extended = true, .length = 512}},
        CdbRow{"report_target_port_groups", report_target_port_groups_cdb(512), "a30a00000000000002000000",
               ReportTargetPortGroups{.length = 512}}),
    [](const auto& row) { return std::string(row.param.name); });

// Commands that only a target meets: parsed, never built.
struct ParseRow {
  const char* name;
  const char* bytes;
  Command parsed;
};

class ParseTable : public testing::TestWithParam<ParseRow> {};

TEST_P(ParseTable, ReadsEveryField) {
  const auto parsed = parse_cdb(test::hex(GetParam().bytes));
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(*parsed == GetParam().parsed);
}

TEST_P(ParseTable, IsTruncatedAtEveryShorterLength) {
  const auto cdb = test::hex(GetParam().bytes);
  ASSERT_EQ(cdb.size(), cdb_length(std::to_integer<std::uint8_t>(cdb[0])));
  test::at_every_length(cdb, [&](std::span<const std::byte> bytes) {
    const auto parsed = parse_cdb(bytes);
    EXPECT_EQ(parsed.has_value(), bytes.size() >= cdb.size()) << bytes.size();
    if (!parsed) {
      EXPECT_EQ(parsed.error(), WireErrc::truncated);
    }
  });
}

TEST_P(ParseTable, EveryOtherOpcodeIsAnotherCommandOrNone) {
  auto cdb = test::hex(GetParam().bytes);
  cdb.resize(16);
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    cdb[0] = static_cast<std::byte>(opcode);
    const auto parsed = parse_cdb(cdb);
    if (!parsed) {
      EXPECT_EQ(parsed.error(), WireErrc::bad_opcode) << opcode;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, ParseTable,
    testing::Values(
        ParseRow{"read_6", "08 12 3456 78 00", Read{.lba = 0x123456, .blocks = 0x78}},
        ParseRow{"read_6_of_256_blocks", "08 ff ffff 00 00", Read{.lba = 0x1fffff, .blocks = 256}},
        ParseRow{"read_10_of_nothing", "28 00 00000001 00 0000 00", Read{.lba = 1}},
        ParseRow{"read_10_all_flags", "28 f8 01020304 1f 0506 00",
                 Read{.lba = 0x01020304, .blocks = 0x0506, .fua = true, .dpo = true, .protect = 7}},
        ParseRow{"read_12", "a8 30 01020304 05060708 00 00",
                 Read{.lba = 0x01020304, .blocks = 0x05060708, .dpo = true, .protect = 1}},
        ParseRow{"read_16", "88 08 0102030405060708 090a0b0c 00 00",
                 Read{.lba = 0x0102030405060708, .blocks = 0x090a0b0c, .fua = true}},
        ParseRow{"write_6", "0a 00 0010 08 00", Write{.lba = 16, .blocks = 8}},
        ParseRow{"write_6_of_256_blocks", "0a e0 0000 00 00", Write{.blocks = 256}},
        ParseRow{"write_12", "aa 08 01020304 05060708 00 00",
                 Write{.lba = 0x01020304, .blocks = 0x05060708, .fua = true}},
        ParseRow{"write_and_verify_10", "2e 52 01020304 00 0506 00",
                 WriteAndVerify{.lba = 0x01020304, .blocks = 0x0506, .byte_check = 1, .dpo = true, .protect = 2}},
        ParseRow{"write_and_verify_12", "ae 06 01020304 05060708 00 00",
                 WriteAndVerify{.lba = 0x01020304, .blocks = 0x05060708, .byte_check = 3}},
        ParseRow{"write_and_verify_16", "8e 00 0102030405060708 090a0b0c 00 00",
                 WriteAndVerify{.lba = 0x0102030405060708, .blocks = 0x090a0b0c}},
        ParseRow{"verify_10", "2f 72 01020304 00 0506 00",
                 Verify{.lba = 0x01020304, .blocks = 0x0506, .byte_check = 1, .dpo = true, .protect = 3}},
        ParseRow{"verify_12", "af 06 01020304 05060708 00 00",
                 Verify{.lba = 0x01020304, .blocks = 0x05060708, .byte_check = 3}},
        ParseRow{"verify_16", "8f 04 0102030405060708 090a0b0c 00 00",
                 Verify{.lba = 0x0102030405060708, .blocks = 0x090a0b0c, .byte_check = 2}},
        ParseRow{"compare_and_write", "89 38 0102030405060708 000000 09 00 00",
                 CompareAndWrite{.lba = 0x0102030405060708, .blocks = 9, .fua = true, .dpo = true, .protect = 1}},
        ParseRow{"orwrite", "8b 28 0102030405060708 090a0b0c 00 00",
                 OrWrite{.lba = 0x0102030405060708, .blocks = 0x090a0b0c, .fua = true, .protect = 1}},
        ParseRow{
            "write_atomic", "9c 50 0102030405060708 090a 0b0c 00 00",
            WriteAtomic{.lba = 0x0102030405060708, .blocks = 0x0b0c, .boundary = 0x090a, .dpo = true, .protect = 2}},
        ParseRow{"sanitize_overwrite", "48 a1 0000000000 0102 00",
                 Sanitize{.service = 1, .immediate = true, .unrestricted_exit = true, .length = 0x0102}},
        ParseRow{"sanitize_exit", "48 1f 0000000000 0000 00", Sanitize{.service = 0x1f}},
        ParseRow{"start_stop_unit", "1b 01 00 0f f7 00",
                 StartStopUnit{.immediate = true,
                               .power_condition = 15,
                               .modifier = 15,
                               .no_flush = true,
                               .load_eject = true,
                               .start = true}},
        ParseRow{"start_stop_unit_eject", "1b 00 00 00 02 00", StartStopUnit{.load_eject = true}},
        ParseRow{"prevent_allow", "1e 00 0000 03 00", PreventAllow{.prevent = 3}},
        ParseRow{"mode_select_6", "15 11 0000 18 00",
                 ModeSelect{.short_form = true, .page_format = true, .save = true, .length = 0x18}},
        ParseRow{"mode_select_10", "55 00 0000000000 0102 00",
                 ModeSelect{.short_form = false, .page_format = false, .length = 0x0102}},
        ParseRow{"mode_sense_6_changeable", "1a 00 4a 01 ff 00",
                 ModeSense{.no_block_descriptors = false, .control = 1, .page = 0x0a, .subpage = 1, .length = 255}},
        ParseRow{
            "log_sense", "4d 01 4d 02 00 0304 0506 00",
            LogSense{.save = true, .control = 1, .page = 0x0d, .subpage = 2, .parameter = 0x0304, .length = 0x0506}},
        ParseRow{"reserve_6", "16 11 00 0102 00", Reserve{.third_party = true, .extent = true, .length = 0x0102}},
        ParseRow{"reserve_10", "56 10 00 00 000000 0102 00", Reserve{.third_party = true, .length = 0x0102}},
        ParseRow{"release_6", "17 00 00 0000 00", Release{}},
        ParseRow{"release_10", "57 01 00 00 000000 0000 00", Release{.extent = true}},
        ParseRow{"persistent_reserve_in", "5e 03 0000000000 0102 00",
                 PersistentReserveIn{.service = 3, .length = 0x0102}},
        ParseRow{"persistent_reserve_out", "5f 07 18 0000 00000028 00",
                 PersistentReserveOut{.service = 7, .scope = 1, .type = 8, .length = 40}},
        ParseRow{"report_target_port_groups_extended", "a3 2a 00000000 00000400 00 00",
                 ReportTargetPortGroups{.extended = true, .length = 1024}},
        ParseRow{
            "report_supported_opcodes", "a3 0c 83 9e 0010 00000100 00 00",
            ReportSupportedOpcodes{.timeouts = true, .options = 3, .opcode = 0x9e, .service = 0x10, .length = 256}},
        ParseRow{"report_supported_task_functions", "a3 0d 80 00 0000 00000010 00 00",
                 ReportSupportedTaskFunctions{.extended = true, .length = 16}},
        ParseRow{"set_target_port_groups", "a4 0a 00000000 00000008 00 00", SetTargetPortGroups{.length = 8}},
        ParseRow{"read_defect_data_10", "37 00 1d 00000000 0102 00",
                 ReadDefectData{.primary = true, .grown = true, .format = 5, .length = 0x0102}},
        ParseRow{
            "read_defect_data_12", "b7 0d 01020304 05060708 00 00",
            ReadDefectData{.short_form = false, .grown = true, .format = 5, .index = 0x01020304, .length = 0x05060708}},
        ParseRow{"extended_copy", "83 01 0000000000000000 01020304 00 00",
                 ExtendedCopy{.service = 1, .length = 0x01020304}},
        ParseRow{"receive_copy_results", "84 03 05 00000000000000 01020304 00 00",
                 ReceiveCopyResults{.service = 3, .list_id = 5, .length = 0x01020304}},
        ParseRow{"write_same_10", "41 38 01020304 00 0506 00",
                 WriteSame{.lba = 0x01020304, .blocks = 0x0506, .unmap = true, .anchor = true, .protect = 1}},
        ParseRow{"write_same_10_has_no_ndob", "41 01 01020304 00 0506 00",
                 WriteSame{.lba = 0x01020304, .blocks = 0x0506}},
        ParseRow{"write_same_16_physical", "93 04 0102030405060708 090a0b0c 00 00",
                 WriteSame{.lba = 0x0102030405060708, .blocks = 0x090a0b0c, .physical = true}},
        ParseRow{"synchronize_cache_10_immediate", "35 02 01020304 00 0506 00",
                 SynchronizeCache{.lba = 0x01020304, .blocks = 0x0506, .immediate = true}},
        ParseRow{"pre_fetch_10", "34 00 01020304 00 0506 00", PreFetch{.lba = 0x01020304, .blocks = 0x0506}}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(ParseCdb, RefusesOpcodesItDoesNotKnow) {
  for (const char* bytes :
       {"04000000000000000000", "7f00000000000000000000000000000000", "c0000000000000000000000000000000",
        "9e110000000000000000000000200000", "a30b00000000000002000000", "a40b00000000000002000000"}) {
    const auto parsed = parse_cdb(test::hex(bytes));
    ASSERT_FALSE(parsed) << bytes;
    EXPECT_EQ(parsed.error(), WireErrc::bad_opcode) << bytes;
  }
}

TEST(ParseCdb, AcceptsThePaddingOfTheTransport) {
  Cdb cdb = read_cdb(5, 1);
  const auto parsed = parse_cdb(cdb.bytes);
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(*parsed == Command(Read{.lba = 5, .blocks = 1}));
}

TEST(UnmapList, RoundTrips) {
  const std::vector<UnmapRange> ranges = {{.lba = 8, .blocks = 16}, {.lba = 0x123456789a, .blocks = 0xffffffff}};
  std::vector<std::byte> list(unmap_list_bytes(ranges.size()));
  ASSERT_EQ(encode_unmap_list(ranges, list), list.size());
  EXPECT_EQ(to_hex(list),
            "0026002000000000"
            "00000000000000080000001000000000"
            "000000123456789affffffff00000000");
  const auto decoded = decode_unmap_list(list);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, ranges);
}

TEST(UnmapList, DoesNotFitWhereOneByteIsMissing) {
  const std::vector<UnmapRange> ranges(2);
  std::vector<std::byte> list(unmap_list_bytes(ranges.size()) - 1);
  EXPECT_EQ(encode_unmap_list(ranges, list), 0U);
}

TEST(UnmapList, HoldsAtMost4095Ranges) {
  std::vector<std::byte> list(unmap_list_bytes(4096));
  EXPECT_EQ(encode_unmap_list(std::vector<UnmapRange>(4096), list), 0U);
  EXPECT_NE(encode_unmap_list(std::vector<UnmapRange>(4095), list), 0U);
}

TEST(UnmapList, IsTruncatedAtEveryShorterLength) {
  const std::vector<UnmapRange> ranges(2);
  std::vector<std::byte> list(unmap_list_bytes(ranges.size()));
  ASSERT_NE(encode_unmap_list(ranges, list), 0U);
  test::at_every_length(list, [&](std::span<const std::byte> bytes) {
    EXPECT_EQ(decode_unmap_list(bytes).has_value(), bytes.size() >= list.size()) << bytes.size();
  });
}

TEST(UnmapList, RefusesDescriptorsBeyondTheDataLength) {
  EXPECT_EQ(decode_unmap_list(test::hex("0006001000000000 00000000000000080000001000000000")).error(),
            WireErrc::bad_length);
}

struct LunRow {
  std::uint64_t lun;
  const char* field;
  std::uint16_t libiscsi;
};
class LunTable : public testing::TestWithParam<LunRow> {};

TEST_P(LunTable, HasItsAddressingForm) {
  const auto [lun, field, libiscsi] = GetParam();
  EXPECT_EQ(to_hex(lun_field(Lun{lun})), field);
  EXPECT_EQ(lun_for_libiscsi(Lun{lun}), libiscsi);
}

TEST_P(LunTable, ParsesBack) {
  const auto [lun, field, libiscsi] = GetParam();
  const auto parsed = parse_lun_field(lun_field(Lun{lun}));
  if (lun > 0xffffff) {
    EXPECT_FALSE(parsed);
  } else {
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->value, lun);
  }
}

INSTANTIATE_TEST_SUITE_P(All, LunTable,
                         testing::Values(LunRow{0, "0000000000000000", 0}, LunRow{1, "0001000000000000", 1},
                                         LunRow{255, "00ff000000000000", 255}, LunRow{256, "4100000000000000", 0x4100},
                                         LunRow{0x3fff, "7fff000000000000", 0x7fff},
                                         LunRow{0x4000, "d200400000000000", 0xffff},
                                         LunRow{0xffffff, "d2ffffff00000000", 0xffff},
                                         LunRow{0x1000000, "ffffffffffffffff", 0xffff}));

TEST(LunField, RefusesHierarchiesAndWellKnownUnits) {
  for (const char* text :
       {"0101000000000000", "0001000100000000", "8001000000000000", "c101000000000000", "4001000000000001"}) {
    std::array<std::byte, 8> field;
    const auto bytes = test::hex(text);
    std::copy(bytes.begin(), bytes.end(), field.begin());
    EXPECT_FALSE(parse_lun_field(field)) << text;
  }
}

TEST(LunField, ReadsSmallLunsInFlatFormToo) {
  std::array<std::byte, 8> field{std::byte{0x40}, std::byte{0x05}};
  EXPECT_EQ(parse_lun_field(field)->value, 5U);
}

}  // namespace
}  // namespace mpath::scsi
