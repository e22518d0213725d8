#include "wire/scsi_sense.hpp"

#include <gtest/gtest.h>

#include "tests/wire/hex.hpp"
#include "wire/error.hpp"

namespace mpath::scsi {
namespace {

using test::hex;
using test::to_hex;

struct SenseRow {
  const char* name;
  const char* bytes;
  SenseData data;
};
class SenseTable : public testing::TestWithParam<SenseRow> {};

TEST_P(SenseTable, Decodes) {
  const auto data = decode_sense(hex(GetParam().bytes));
  ASSERT_TRUE(data);
  EXPECT_TRUE(*data == GetParam().data);
}

TEST_P(SenseTable, Encodes) {
  EXPECT_EQ(to_hex(encode_sense(GetParam().data).view()), GetParam().bytes);
}

TEST_P(SenseTable, TakesEveryShorterLengthAsFarAsItGoes) {
  const auto bytes = hex(GetParam().bytes);
  test::at_every_length(bytes, [&](std::span<const std::byte> part) {
    const auto data = decode_sense(part);
    ASSERT_EQ(data.has_value(), !part.empty());
    if (!data) return;
    EXPECT_EQ(data->sense.key, part.size() > 2 || (data->descriptor_format && part.size() > 1)
                                   ? GetParam().data.sense.key
                                   : SenseKey::no_sense);
  });
}

INSTANTIATE_TEST_SUITE_P(
    All, SenseTable,
    testing::Values(SenseRow{"fixed",
                             "70000500000000"
                             "0a"
                             "00000000"
                             "2400"
                             "00000000",
                             {.sense = sense::invalid_field_in_cdb}},
                    SenseRow{"fixed_information",
                             "f0000300001234"
                             "0a"
                             "00000000"
                             "1100"
                             "00000000",
                             {.sense = sense::read_error, .information = 0x1234}},
                    SenseRow{"fixed_deferred",
                             "71000300000000"
                             "0a"
                             "00000000"
                             "0c00"
                             "00000000",
                             {.sense = sense::write_error, .deferred = true}},
                    SenseRow{"descriptor", "7206290700000000", {.sense = sense::nexus_loss, .descriptor_format = true}},
                    SenseRow{"descriptor_information",
                             "720311000000000c"
                             "000a8000"
                             "0000000123456789",
                             {.sense = sense::read_error, .descriptor_format = true, .information = 0x123456789}},
                    SenseRow{"descriptor_deferred",
                             "73030c0000000000",
                             {.sense = sense::write_error, .deferred = true, .descriptor_format = true}}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(DecodeSense, SkipsDescriptorsOfOtherTypes) {
  const auto data =
      decode_sense(hex("7205240000000014"
                       "02060000c0000100"
                       "000a8000"
                       "0000000000000007"));
  ASSERT_TRUE(data);
  EXPECT_EQ(data->information, 7U);
}

TEST(DecodeSense, StopsAtADescriptorThatRunsPastTheEnd) {
  const auto data =
      decode_sense(hex("7205240000000004"
                       "00ff8000"));
  ASSERT_TRUE(data);
  EXPECT_EQ(data->sense, sense::invalid_field_in_cdb);
  EXPECT_FALSE(data->information);
}

TEST(DecodeSense, RefusesWhatIsNotSense) {
  EXPECT_EQ(decode_sense({}).error(), WireErrc::truncated);
  EXPECT_EQ(decode_sense(hex("000005")).error(), WireErrc::bad_opcode);
  EXPECT_EQ(decode_sense(hex("7f0005")).error(), WireErrc::bad_opcode);
}

TEST(EncodeSense, LeavesOutInformationThatFixedFormatCannotHold) {
  const auto bytes = encode_sense({.sense = sense::read_error, .information = 0x100000000});
  EXPECT_FALSE(decode_sense(bytes.view())->information);
}

TEST(DescribeSense, NamesWhatItKnows) {
  EXPECT_EQ(describe(sense::lba_out_of_range), "illegal request 05/21/00 (logical block address out of range)");
  EXPECT_EQ(describe({SenseKey::hardware_error, 0x99, 0x01}), "hardware error 04/99/01");
}

}  // namespace
}  // namespace mpath::scsi
