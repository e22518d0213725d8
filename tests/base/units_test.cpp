#include "base/units.hpp"

#include <gtest/gtest.h>

namespace mpath {
namespace {

using namespace std::chrono_literals;

struct TimeRow {
  const char* text;
  std::chrono::milliseconds value;
};

TEST(Units, ReadsTimes) {
  for (const TimeRow& row : {TimeRow{"15s", 15s}, {"500ms", 500ms}, {"2m", 2min}, {"2min", 2min}, {"1h", 1h}, {"1d", 24h}, {"7", 7s},
                             {"0", 0ms}, {"1.5s", 1500ms}, {"0.25s", 250ms}, {"1000us", 1ms}}) {
    const auto value = parse_duration(row.text);
    ASSERT_TRUE(value) << row.text << ": " << value.error();
    EXPECT_EQ(*value, row.value) << row.text;
  }
  EXPECT_EQ(parse_duration("7", 1ms), 7ms);
}

TEST(Units, RefusesWhatIsNoTime) {
  for (const char* text : {"", "s", "-1s", "+1", "1 s", "1x", "1..5s", ".5s", "5.s", "1.5.5s", "1us", "0.0001s", "99999999999999999999s",
                           "9223372036854775807d", "1s ", "0x10", "1.1234567890123456789012s"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Units, ReadsSizes) {
  EXPECT_EQ(parse_size("64k"), 65536u);
  EXPECT_EQ(parse_size("64K"), 65536u);
  EXPECT_EQ(parse_size("1M"), 1048576u);
  EXPECT_EQ(parse_size("1MiB"), 1048576u);
  EXPECT_EQ(parse_size("1MB"), 1048576u);
  EXPECT_EQ(parse_size("1.5G"), 1610612736u);
  EXPECT_EQ(parse_size("2T"), std::uint64_t{2} << 40);
  EXPECT_EQ(parse_size("512"), 512u);
  EXPECT_EQ(parse_size("512b"), 512u);
  EXPECT_EQ(parse_size("8", 512), 4096u);
  for (const char* text : {"", "k", "1kk", "1z", "-1", "1 k", "1i", "9999999999P", "0.3"}) EXPECT_FALSE(parse_size(text)) << text;
}

TEST(Units, ReadsYesAndNo) {
  for (const char* text : {"yes", "Yes", "ON", "true", "1"}) EXPECT_EQ(parse_yes_no(text), true) << text;
  for (const char* text : {"no", "No", "off", "False", "0"}) EXPECT_EQ(parse_yes_no(text), false) << text;
  for (const char* text : {"", "y", "2", "yes "}) EXPECT_FALSE(parse_yes_no(text).has_value()) << text;
}

TEST(Units, ReadsNumbersWithinTheirRange) {
  EXPECT_EQ(parse_integer("-1"), -1);
  EXPECT_EQ(parse_integer("128", 1, 128), 128);
  for (const char* text : {"", "129", "0", "1x", "0x1", " 1", "1 ", "--1", "99999999999999999999"}) {
    EXPECT_FALSE(parse_integer(text, 1, 128)) << text;
  }
  EXPECT_EQ(parse_integer("129", 1, 128).error(), "129 is outside 1..128");
}

TEST(Units, ReadsFractions) {
  EXPECT_EQ(parse_fraction("0.5"), 0.5);
  EXPECT_EQ(parse_fraction("50%"), 0.5);
  for (const char* text : {"", "1.1", "-0.1", "101%", "nan", "inf", "x", "%"}) EXPECT_FALSE(parse_fraction(text)) << text;
}

TEST(Units, WritesWhatItReads) {
  for (const char* text : {"15s", "500ms", "1h", "2m", "1d", "1500ms", "0s"}) {
    EXPECT_EQ(format_duration(*parse_duration(text)), text);
  }
  EXPECT_EQ(format_duration(250us), "250us");
  for (const char* text : {"64k", "1M", "1000", "1536M", "0", "2T"}) EXPECT_EQ(format_size(*parse_size(text)), text);
}

}  // namespace
}  // namespace mpath
