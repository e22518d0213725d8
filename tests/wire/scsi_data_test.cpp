#include "wire/scsi_data.hpp"

#include <gtest/gtest.h>

#include "tests/wire/hex.hpp"
#include "wire/error.hpp"

namespace mpath::scsi {
namespace {

using test::at_every_length;
using test::bytes_of;
using test::hex;
using test::to_hex;

InquiryData disk() {
  return {.version = 5,
          .tpgs = 1,
          .command_queue = true,
          .vendor = "MPATH",
          .product = "VIRTUAL-DISK",
          .revision = "0001",
          .versions = {0x0960, 0x04c0}};
}

TEST(Inquiry, RoundTrips) {
  const auto decoded = decode_inquiry(encode_inquiry(disk()));
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(*decoded == disk());
}

TEST(Inquiry, Needs36Bytes) {
  const auto bytes = encode_inquiry(disk());
  at_every_length(bytes, [](std::span<const std::byte> part) {
    EXPECT_EQ(decode_inquiry(part).has_value(), part.size() >= 36) << part.size();
  });
}

TEST(Inquiry, KnowsAnEmptyLun) {
  auto bytes = encode_inquiry({.qualifier = 3, .type = 0x1f});
  const auto decoded = decode_inquiry(bytes);
  EXPECT_EQ(decoded->qualifier, 3);
  EXPECT_EQ(decoded->type, 0x1f);
}

TEST(VpdSupported, RoundTripsAndIsTruncatedWhenShort) {
  const std::vector<std::uint8_t> pages = {0x00, 0x80, 0x83, 0xb0, 0xb2};
  const auto bytes = encode_vpd_supported(pages);
  EXPECT_EQ(to_hex(bytes), "00000005008083b0b2");
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_vpd_supported(part).has_value(), part.size() >= bytes.size());
  });
  EXPECT_EQ(*decode_vpd_supported(bytes), pages);
}

TEST(Vpd, AnotherPageThanAskedForIsRefused) {
  EXPECT_EQ(decode_vpd_serial(hex("00000000")).error(), WireErrc::bad_opcode);
  EXPECT_EQ(decode_vpd_device_id(hex("00800000")).error(), WireErrc::bad_opcode);
}

TEST(VpdSerial, LosesItsBlanks) {
  EXPECT_EQ(*decode_vpd_serial(encode_vpd_serial("  beaf11  ")), "beaf11");
  EXPECT_EQ(*decode_vpd_serial(encode_vpd_serial("    ")), "");
}

std::vector<Designator> designators() {
  return {{.type = DesignatorType::naa, .bytes = hex("60014051234567890abcdef012345678")},
          {.type = DesignatorType::t10_vendor_id, .code_set = CodeSet::ascii, .bytes = bytes_of("MPATH   serial")},
          {.association = Association::target_port,
           .type = DesignatorType::relative_target_port,
           .protocol = 5,
           .bytes = hex("00000001")},
          {.association = Association::target_port,
           .type = DesignatorType::scsi_name,
           .code_set = CodeSet::utf8,
           .protocol = 5,
           .bytes = bytes_of(std::string("iqn.2025-11.local:t,t,0x0001\0\0", 30))}};
}

TEST(VpdDeviceId, RoundTrips) {
  const auto decoded = decode_vpd_device_id(encode_vpd_device_id(designators()));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->designators, designators());
  EXPECT_FALSE(decoded->damaged);
}

TEST(VpdDeviceId, AsksForMoreWhenCutByTheAllocationLength) {
  const auto bytes = encode_vpd_device_id(designators());
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_vpd_device_id(part).has_value(), part.size() >= bytes.size());
    EXPECT_EQ(wanted_bytes(LengthField::vpd, part), part.size() >= 4 ? bytes.size() : 0);
  });
}

TEST(VpdDeviceId, KeepsWhatStandsBeforeADamagedDesignator) {
  const auto decoded =
      decode_vpd_device_id(hex("00830011"
                               "0103000800112233"
                               "44556677"
                               "0103001400"));
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(decoded->damaged);
  ASSERT_EQ(decoded->designators.size(), 1U);
  EXPECT_EQ(to_hex(decoded->designators[0].bytes), "0011223344556677");
}

TEST(VpdDeviceId, TakesDesignatorsWithoutBytes) {
  const auto decoded =
      decode_vpd_device_id(hex("00830004"
                               "01030000"));
  ASSERT_EQ(decoded->designators.size(), 1U);
  EXPECT_TRUE(decoded->designators[0].bytes.empty());
}

TEST(VpdBlockLimits, RoundTrips) {
  const BlockLimits limits{.write_same_nonzero = true,
                           .compare_and_write_max = 1,
                           .transfer_granularity = 8,
                           .transfer_max = 2048,
                           .transfer_optimal = 1024,
                           .prefetch_max = 4096,
                           .unmap_blocks_max = 0xffffffff,
                           .unmap_ranges_max = 128,
                           .unmap_granularity = 8,
                           .unmap_alignment = 0,
                           .write_same_max = 0x100000000,
                           .atomic_max = 256,
                           .atomic_alignment = 8,
                           .atomic_granularity = 8,
                           .atomic_max_with_boundary = 128,
                           .atomic_boundary_max = 64};
  const auto bytes = encode_vpd_block_limits(limits);
  EXPECT_EQ(bytes.size(), 64U);
  EXPECT_TRUE(*decode_vpd_block_limits(bytes) == limits);
}

TEST(VpdBlockLimits, OfOldTargetsHasNoUnmapFields) {
  const auto limits =
      decode_vpd_block_limits(hex("00b0000c"
                                  "00000008"
                                  "00000800"
                                  "00000400"));
  ASSERT_TRUE(limits);
  EXPECT_EQ(limits->transfer_max, 0x800U);
  EXPECT_EQ(limits->unmap_blocks_max, 0U);
  EXPECT_EQ(decode_vpd_block_limits(hex("00b0000b"
                                        "00000008"
                                        "00000800"
                                        "000004"))
                .error(),
            WireErrc::truncated);
}

TEST(VpdProvisioning, RoundTrips) {
  const Provisioning thin{
      .threshold_exponent = 11, .unmap = true, .write_same_16 = true, .reads_zeroes = true, .type = 2};
  EXPECT_TRUE(*decode_vpd_provisioning(encode_vpd_provisioning(thin)) == thin);
}

TEST(VpdProvisioning, AVendorsPatternIsNotZeroes) {
  EXPECT_FALSE(decode_vpd_provisioning(hex("00b2000400880200"))->reads_zeroes);
  EXPECT_TRUE(decode_vpd_provisioning(hex("00b2000400840200"))->reads_zeroes);
}

TEST(VpdRotation, RoundTrips) {
  EXPECT_EQ(*decode_vpd_rotation(encode_vpd_rotation(1)), 1);
}

TEST(Capacity, Form16RoundTrips) {
  const Capacity capacity{.last_lba = 0x123456789,
                          .block_bytes = 4096,
                          .physical_exponent = 3,
                          .lowest_aligned = 7,
                          .thin = true,
                          .reads_zeroes = true,
                          .protection = 1};
  EXPECT_TRUE(*decode_capacity_16(encode_capacity_16(capacity)) == capacity);
}

TEST(Capacity, Form10SaysSoWhenItCannotSay) {
  const auto decoded = decode_capacity_10(encode_capacity_10({.last_lba = 0x100000000}));
  EXPECT_EQ(decoded->last_lba, capacity_10_overflow);
}

TEST(Capacity, IsTruncatedWhenShort) {
  at_every_length(encode_capacity_10({.last_lba = 7}), [](std::span<const std::byte> part) {
    EXPECT_EQ(decode_capacity_10(part).has_value(), part.size() >= 8);
  });
  at_every_length(encode_capacity_16({.last_lba = 7}), [](std::span<const std::byte> part) {
    EXPECT_EQ(decode_capacity_16(part).has_value(), part.size() >= 12);
  });
}

TEST(Capacity, RefusesBlockSizesNobodyCanUse) {
  for (const char* size : {"00000000", "00000001", "00000208", "00020000", "ffffffff"}) {
    EXPECT_EQ(decode_capacity_10(hex(std::string("00000007") + size)).error(), WireErrc::bad_field) << size;
    EXPECT_EQ(decode_capacity_16(hex(std::string("0000000000000007") + size)).error(), WireErrc::bad_field) << size;
  }
}

TEST(Capacity, RefusesASizeThatOverflows) {
  EXPECT_EQ(decode_capacity_16(hex("ffffffffffffffff00000200")).error(), WireErrc::bad_field);
}

TEST(Luns, RoundTripAndAskForMore) {
  const std::vector<Lun> luns = {Lun{0}, Lun{1}, Lun{256}, Lun{20000}};
  const auto bytes = encode_luns(luns);
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_luns(part).has_value(), part.size() >= bytes.size());
    EXPECT_EQ(wanted_bytes(LengthField::luns, part), part.size() >= 4 ? bytes.size() : 0);
  });
  EXPECT_EQ(decode_luns(bytes)->luns, luns);
}

TEST(Luns, CountsTheOnesItCannotAddress) {
  const auto list =
      decode_luns(hex("0000001000000000"
                      "c101000000000000"
                      "0001000000000000"));
  ASSERT_TRUE(list);
  EXPECT_EQ(list->foreign, 1U);
  EXPECT_EQ(list->luns, std::vector{Lun{1}});
}

TEST(LbaStatus, GivesTheDescriptorsThatAreThere) {
  const std::vector<LbaRange> ranges = {{.lba = 0, .blocks = 8, .state = LbaState::mapped},
                                        {.lba = 8, .blocks = 2048, .state = LbaState::deallocated},
                                        {.lba = 2056, .blocks = 1, .state = LbaState::anchored}};
  const auto bytes = encode_lba_status(ranges);
  EXPECT_EQ(*decode_lba_status(bytes), ranges);
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    const auto decoded = decode_lba_status(part);
    ASSERT_EQ(decoded.has_value(), part.size() >= 8);
    if (decoded) {
      EXPECT_EQ(decoded->size(), std::min<std::size_t>((part.size() - 8) / 16, 3));
    }
  });
}

TEST(LbaStatus, DoesNotGuessAtUnknownStates) {
  const auto decoded =
      decode_lba_status(hex("0000001400000000"
                            "000000000000000000000008"
                            "07000000"));
  EXPECT_EQ(decoded->at(0).state, LbaState::unknown);
}

TEST(PortGroups, RoundTripAndAskForMore) {
  const std::vector<PortGroup> groups = {
      {.id = 1, .state = AccessState::optimized, .preferred = true, .supported = 0x8f, .status = 2, .ports = {1, 2}},
      {.id = 2, .state = AccessState::standby, .supported = 0x8f, .ports = {3}}};
  const auto bytes = encode_port_groups(groups);
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_port_groups(part).has_value(), part.size() >= bytes.size());
  });
  EXPECT_EQ(*decode_port_groups(bytes), groups);
}

TEST(PortGroups, AReportSaysItselfWhichFormItHas) {
  const std::vector<PortGroup> groups = {{.id = 1, .state = AccessState::transitioning, .preferred = true, .ports = {1, 2}},
                                         {.id = 2, .state = AccessState::standby, .ports = {3}}};
  const auto plain = decode_port_group_report(encode_port_groups(groups));
  const auto extended = decode_port_group_report(encode_port_groups_extended(groups, 7));
  ASSERT_TRUE(plain && extended);
  EXPECT_EQ(plain->groups, groups);
  EXPECT_EQ(plain->transition_seconds, 0U);
  EXPECT_EQ(extended->groups, groups);
  EXPECT_EQ(extended->transition_seconds, 7U);
  at_every_length(encode_port_groups_extended(groups, 7), [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_port_group_report(part).has_value(), part.size() >= encode_port_groups_extended(groups, 7).size());
  });
}

struct StateWord {
  std::string_view word;
  std::optional<AccessState> state;
};
class AccessStateWord : public testing::TestWithParam<StateWord> {};
TEST_P(AccessStateWord, IsFound) {
  EXPECT_EQ(find_access_state(GetParam().word), GetParam().state);
}
INSTANTIATE_TEST_SUITE_P(
    Words, AccessStateWord,
    testing::Values(
        StateWord{"active/optimized", AccessState::optimized}, StateWord{"Active/Optimized", AccessState::optimized},
        StateWord{"optimized", AccessState::optimized}, StateWord{"active/non-optimized", AccessState::non_optimized},
        StateWord{"Active/NonOptimized", AccessState::non_optimized},
        StateWord{"nonoptimized", AccessState::non_optimized}, StateWord{"non-optimized", AccessState::non_optimized},
        StateWord{"Standby", AccessState::standby}, StateWord{"UNAVAILABLE", AccessState::unavailable},
        StateWord{"LBA Dependent", AccessState::lba_dependent}, StateWord{"Offline", AccessState::offline},
        StateWord{"Transitioning", AccessState::transitioning}, StateWord{"", std::nullopt},
        StateWord{"stand", std::nullopt}, StateWord{"standby ", std::nullopt}, StateWord{"reserved", std::nullopt}));
TEST(AccessStateName, EveryOneIsFound) {
  for (const auto state :
       {AccessState::optimized, AccessState::non_optimized, AccessState::standby, AccessState::unavailable,
        AccessState::lba_dependent, AccessState::offline, AccessState::transitioning})
    EXPECT_EQ(find_access_state(name(state)), state) << name(state);
}

TEST(PortGroups, RefusesPortsBeyondTheLength) {
  EXPECT_EQ(decode_port_groups(hex("00000008"
                                   "000f000100000001"))
                .error(),
            WireErrc::bad_length);
}

TEST(ModeSense, RoundTripsInBothForms) {
  const ModeData mode{.write_protected = true, .dpo_fua = true, .write_cache = true, .read_cache_disabled = true};
  EXPECT_TRUE(*decode_mode_sense(encode_mode_sense(mode, true), true) == mode);
  EXPECT_TRUE(*decode_mode_sense(encode_mode_sense(mode, false), false) == mode);
  const ModeData none{.write_protected = true};
  EXPECT_TRUE(*decode_mode_sense(encode_mode_sense(none, true), true) == none);
}

TEST(ModeSense, FindsTheCachingPageBehindBlockDescriptorsAndOtherPages) {
  const auto mode = decode_mode_sense(hex("19000008"
                                          "0000000000000200"
                                          "4a010002ffff"
                                          "080604000000000000"),
                                      true);
  ASSERT_TRUE(mode);
  EXPECT_EQ(mode->write_cache, true);
}

TEST(ModeSense, SurvivesEveryLength) {
  const auto bytes = encode_mode_sense({.write_cache = true}, true);
  at_every_length(bytes, [](std::span<const std::byte> part) {
    EXPECT_EQ(decode_mode_sense(part, true).has_value(), part.size() >= 4);
  });
}

}  // namespace
}  // namespace mpath::scsi
