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
        CdbRow{"report_target_port_groups", report_target_port_groups_cdb(512), "a30a00000000000002000000",
               ReportTargetPortGroups{.length = 512}}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(ParseCdb, RefusesOpcodesItDoesNotKnow) {
  for (const char* bytes :
       {"04000000000000000000", "7f00000000000000000000000000000000", "c0000000000000000000000000000000",
        "9e110000000000000000000000200000", "a30c00000000000002000000"}) {
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
