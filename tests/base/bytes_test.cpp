#include "base/bytes.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace mpath {
namespace {

std::vector<std::byte> bytes_of(std::initializer_list<unsigned> values) {
  std::vector<std::byte> result;
  for (const unsigned value : values) result.push_back(static_cast<std::byte>(value));
  return result;
}

TEST(Reader, ReadsBothByteOrders) {
  const auto data = bytes_of({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8});
  Reader reader(data);
  EXPECT_EQ(reader.u8(), 1);
  EXPECT_EQ(reader.u16(), 0x0203);
  EXPECT_EQ(reader.u24(), 0x040506u);
  EXPECT_EQ(reader.u32(), 0x0708090au);
  EXPECT_EQ(reader.u64(), 0x0102030405060708u);
  EXPECT_EQ(reader.u16_le(), 0x0201);
  EXPECT_EQ(reader.u32_le(), 0x04030201u);
  EXPECT_EQ(reader.position(), 24u);
  EXPECT_EQ(reader.u64_le(), 0x0807060504030201u);
  EXPECT_TRUE(reader.at_end());
}

TEST(Reader, YieldsZeroesPastTheEndAndStaysFailed) {
  const auto data = bytes_of({1, 2, 3});
  Reader reader(data);
  EXPECT_EQ(reader.u32(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.u8(), 0) << "what was left is not given out after a failure";
  EXPECT_EQ(reader.remaining(), 0u);
  EXPECT_FALSE(reader.at_end());
}

TEST(Reader, ClearsTheTargetOfAShortCopy) {
  const auto data = bytes_of({1});
  std::array<std::byte, 2> out{std::byte{9}, std::byte{9}};
  Reader reader(data);
  reader.copy_to(out);
  EXPECT_EQ(out, (std::array<std::byte, 2>{}));
  EXPECT_FALSE(reader.ok());
}

TEST(Reader, NeverReadsPastAnExactBuffer) {
  for (std::size_t length = 0; length < 9; ++length) {
    const std::vector<std::byte> exact(length, std::byte{0xff});
    Reader reader(exact);
    EXPECT_EQ(reader.u64() != 0, length >= 8) << length;
    EXPECT_EQ(reader.ok(), length >= 8) << length;
  }
}

TEST(Writer, WritesWhatTheReaderReads) {
  std::array<std::byte, 64> out{};
  Writer writer(out);
  writer.u8(0xab);
  writer.u16(0x1234);
  writer.u24(0xfedcba);
  writer.u32(0xdeadbeef);
  writer.u48(0x112233445566);
  writer.u64(0x0123456789abcdef);
  writer.u16_le(0x1234);
  writer.u32_le(0xdeadbeef);
  writer.u64_le(0x0123456789abcdef);
  writer.text("iqn");
  writer.skip(2);
  ASSERT_TRUE(writer.ok());
  Reader reader(writer.written());
  EXPECT_EQ(reader.u8(), 0xab);
  EXPECT_EQ(reader.u16(), 0x1234);
  EXPECT_EQ(reader.u24(), 0xfedcbau);
  EXPECT_EQ(reader.u32(), 0xdeadbeefu);
  EXPECT_EQ(reader.u48(), 0x112233445566u);
  EXPECT_EQ(reader.u64(), 0x0123456789abcdefu);
  EXPECT_EQ(reader.u16_le(), 0x1234);
  EXPECT_EQ(reader.u32_le(), 0xdeadbeefu);
  EXPECT_EQ(reader.u64_le(), 0x0123456789abcdefu);
  EXPECT_EQ(reader.text(3), "iqn");
  EXPECT_EQ(reader.u16(), 0);
  EXPECT_TRUE(reader.at_end());
}

TEST(Writer, WritesNothingPastTheEnd) {
  std::array<std::byte, 4> out{};
  const std::span<std::byte> room = std::span(out).first(3);
  Writer writer(room);
  writer.u16(0xffff);
  writer.u16(0xffff);
  EXPECT_FALSE(writer.ok());
  writer.u8(0xff);
  EXPECT_FALSE(writer.ok());
  EXPECT_EQ(writer.written().size(), 2u);
  EXPECT_EQ(out[2], std::byte{0});
  EXPECT_EQ(out[3], std::byte{0});
}

}  // namespace
}  // namespace mpath
