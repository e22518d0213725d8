// What a unit says about itself: INQUIRY and its pages, and the names that follow from its UUID.
#include <gtest/gtest.h>

#include "target/scsi/identity.hpp"
#include "tests/target/scsi/quiet_unit.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using Quiet = test::QuietUnit;

TEST(Inquiry, SaysWhatTheUnitCan) {
  Quiet world;
  const auto inquiry = scsi::decode_inquiry(world.run(0, scsi::inquiry_cdb())->answer());
  ASSERT_TRUE(inquiry);
  EXPECT_EQ(inquiry->vendor, "MPATH");
  EXPECT_EQ(inquiry->tpgs, 3);
  EXPECT_EQ(inquiry->version, 6);
  EXPECT_TRUE(inquiry->command_queue && inquiry->third_party_copy);
  EXPECT_EQ(inquiry->versions, (std::vector<std::uint16_t>{0x00a0, 0x0460, 0x04c0, 0x0960}));
}

TEST(Inquiry, EveryPageItListsIsThere) {
  Quiet world;
  const auto pages =
      scsi::decode_vpd_supported(world.run(0, scsi::inquiry_vpd_cdb(scsi::VpdPage::supported, 255))->answer());
  ASSERT_TRUE(pages);
  EXPECT_EQ(*pages, (std::vector<std::uint8_t>{0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8f, 0xb0, 0xb1, 0xb2}));
  for (const std::uint8_t page : *pages) {
    const auto call = world.run(0, scsi::inquiry_vpd_cdb(static_cast<scsi::VpdPage>(page), 1024));
    ASSERT_TRUE(call->good()) << unsigned{page};
    const auto answer = call->answer();
    EXPECT_EQ(answer[1], std::byte{page});
    EXPECT_EQ(scsi::wanted_bytes(scsi::LengthField::vpd, answer), answer.size()) << unsigned{page};
  }
  EXPECT_EQ(world.run(0, scsi::inquiry_vpd_cdb(static_cast<scsi::VpdPage>(0xc0), 255))->told(),
            sense::invalid_field_in_cdb);
}

TEST(Inquiry, NamesFollowFromTheUuid) {
  Quiet world;
  const auto id =
      scsi::decode_vpd_device_id(world.run(0, scsi::inquiry_vpd_cdb(scsi::VpdPage::device_id, 1024))->answer());
  ASSERT_TRUE(id && !id->damaged);
  ASSERT_EQ(id->designators.size(), 7u);
  EXPECT_EQ(id->designators[0].type, scsi::DesignatorType::naa);
  EXPECT_EQ(std::to_integer<unsigned>(id->designators[0].bytes[0]) >> 4, 6u);
  Uuid other{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16};
  const auto same = naa6(other);
  EXPECT_TRUE(std::ranges::equal(id->designators[0].bytes, same));
  for (std::size_t octet = 0; octet < other.size(); ++octet) {
    if (octet == 6 || octet == 8 || octet == 14) continue;  // version, variant, and one that does not fit
    Uuid changed = other;
    changed[octet] ^= 0x10;
    EXPECT_NE(naa6(changed), same) << octet;
  }
  EXPECT_EQ(parse_uuid(format_uuid(other)), other);
  EXPECT_FALSE(parse_uuid("01020304-0506-4708-890a-0b0c0d0e0f1"));
  EXPECT_NE(make_uuid(), make_uuid());
}

}  // namespace
}  // namespace mpath::target
