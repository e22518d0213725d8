#include "wire/scsi_copy.hpp"

#include <gtest/gtest.h>

#include "tests/wire/hex.hpp"

namespace mpath::scsi {
namespace {

using test::at_every_length;
using test::hex;
using test::to_hex;

constexpr CopyLimits limits{.targets_max = 2, .segments_max = 3, .list_bytes_max = 148, .segment_bytes_max = 1 << 20};

CopyParameters two_units(std::size_t segments = 1) {
  CopyTarget target{.designator = {.type = DesignatorType::naa, .bytes = hex("6024d50000000000000000000000000a")},
                    .block_bytes = 512};
  CopyParameters parameters{.list_id = 9, .use = CopyListUse::discard, .targets = {target, target}};
  parameters.targets[1].designator.bytes = hex("6024d50000000000000000000000000b");
  for (std::size_t i = 0; i < segments; ++i) {
    parameters.segments.push_back(
        {.source = 0, .destination = 1, .blocks = 8, .source_lba = i, .destination_lba = 0x123456789abc});
  }
  return parameters;
}

TEST(CopyParameters, RoundTripAndAreRefusedAtEveryShorterLength) {
  const auto bytes = encode_copy_parameters(two_units());
  EXPECT_EQ(bytes.size(), 16u + 2 * 32 + 28);
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    const auto decoded = decode_copy_parameters(part, limits);
    EXPECT_EQ(decoded.has_value(), part.size() >= bytes.size()) << part.size();
    if (!decoded) {
      EXPECT_EQ(decoded.error(), CopyFault::list_length) << part.size();
    }
  });
  EXPECT_TRUE(*decode_copy_parameters(bytes, limits) == two_units());
}

TEST(CopyParameters, MayFillTheLimitsButNotPassThem) {
  CopyParameters most = two_units(3);
  EXPECT_TRUE(decode_copy_parameters(encode_copy_parameters(most), limits));
  CopyLimits roomy = limits;
  roomy.list_bytes_max = 4096;
  most.segments.push_back(most.segments[0]);
  EXPECT_EQ(decode_copy_parameters(encode_copy_parameters(most), roomy).error(), CopyFault::too_many_segments);
  EXPECT_EQ(decode_copy_parameters(encode_copy_parameters(most), limits).error(), CopyFault::list_length);
  CopyParameters targets = two_units();
  targets.targets.push_back(targets.targets[0]);
  EXPECT_EQ(decode_copy_parameters(encode_copy_parameters(targets), limits).error(), CopyFault::too_many_targets);
}

TEST(CopyParameters, NameTheDescriptorsThatAreUnknown) {
  auto bytes = encode_copy_parameters(two_units());
  auto target = bytes;
  target[16] = std::byte{0xe0};
  EXPECT_EQ(decode_copy_parameters(target, limits).error(), CopyFault::unsupported_target);
  auto segment = bytes;
  segment[16 + 64] = std::byte{0x03};
  EXPECT_EQ(decode_copy_parameters(segment, limits).error(), CopyFault::unsupported_segment);
  auto longer_name = bytes;
  longer_name[16 + 7] = std::byte{21};
  EXPECT_EQ(decode_copy_parameters(longer_name, limits).error(), CopyFault::bad_field);
  auto inline_data = bytes;
  inline_data[15] = std::byte{4};
  inline_data.resize(bytes.size() + 4);
  EXPECT_EQ(decode_copy_parameters(inline_data, limits).error(), CopyFault::inline_data);
  auto reserved = bytes;
  reserved[1] = std::byte{1 << 3};
  EXPECT_EQ(decode_copy_parameters(reserved, limits).error(), CopyFault::bad_field);
}

TEST(CopyResults, HaveTheirPlaces) {
  EXPECT_EQ(to_hex(encode_copy_status({.state = CopyState::good, .segments = 2, .bytes = 0x1000})),
            "00000008"
            "01"
            "0002"
            "00"
            "00001000");
  EXPECT_EQ(to_hex(encode_copy_status({.state = CopyState::failed, .bytes = std::uint64_t{1} << 40})),
            "00000008"
            "02"
            "0000"
            "01"
            "40000000");
  const auto details = encode_failed_segment_details(Status::check_condition, hex("70000a"));
  EXPECT_EQ(details.size(), 63u);
  EXPECT_EQ(to_hex(std::span(details).first(4)), "0000003b");
  EXPECT_EQ(to_hex(std::span(details).subspan(56)),
            "02000003"
            "70000a");
  const auto operating = encode_copy_operating_parameters(limits);
  EXPECT_EQ(to_hex(std::span(operating).first(20)),
            "0000002a"
            "01000000"
            "0002"
            "0003"
            "00000094"
            "00100000");
  EXPECT_EQ(to_hex(std::span(operating).subspan(43)), "0202e4");
}

// Each descriptor of the page begins on a boundary of four, and they fill it.
TEST(VpdThirdPartyCopy, IsAListOfDescriptors) {
  const auto page = encode_vpd_third_party_copy(limits);
  EXPECT_EQ(std::to_integer<int>(page[1]), 0x8f);
  EXPECT_EQ(page.size(), 4u + (std::to_integer<std::size_t>(page[2]) << 8 | std::to_integer<std::size_t>(page[3])));
  std::vector<unsigned> types;
  std::size_t at = 4;
  while (at + 4 <= page.size()) {
    types.push_back(std::to_integer<unsigned>(page[at]) << 8 | std::to_integer<unsigned>(page[at + 1]));
    const auto length = std::to_integer<std::size_t>(page[at + 2]) << 8 | std::to_integer<std::size_t>(page[at + 3]);
    EXPECT_EQ(length % 4, 0u);
    at += 4 + length;
  }
  EXPECT_EQ(at, page.size());
  EXPECT_EQ(types, (std::vector<unsigned>{0x0001, 0x0004, 0x0008, 0x8001}));
}

}  // namespace
}  // namespace mpath::scsi
