#include "wire/nbd.hpp"

#include <gtest/gtest.h>

#include "tests/wire/hex.hpp"
#include "wire/error.hpp"

namespace mpath::nbd {
namespace {

using test::at_every_length;
using test::hex;
using test::to_hex;

// The bytes of `text` as a span of fixed size.
template <std::size_t size>
std::array<std::byte, size> fixed(const char* text) {
  const auto bytes = hex(text);
  std::array<std::byte, size> out{};
  EXPECT_EQ(bytes.size(), size);
  std::copy_n(bytes.begin(), std::min(size, bytes.size()), out.begin());
  return out;
}

TEST(NbdGreeting, HasBothMagics) {
  std::array<std::byte, greeting_bytes> bytes{};
  encode_greeting(handshake_flag::fixed_newstyle | handshake_flag::no_zeroes, bytes);
  EXPECT_EQ(to_hex(bytes),
            "4e42444d41474943"
            "49484156454f5054"
            "0003");
  EXPECT_EQ(*decode_greeting(bytes), 3);
}

TEST(NbdGreeting, OldstyleServersAreRefused) {
  EXPECT_EQ(decode_greeting(fixed<18>("4e42444d41474943"
                                      "00420281861253"
                                      "000000"))
                .error(),
            WireErrc::bad_opcode);
}

TEST(NbdOption, RoundTrips) {
  const auto bytes = encode_option(Option::go, hex("0102"));
  EXPECT_EQ(to_hex(bytes),
            "49484156454f5054"
            "00000007"
            "00000002"
            "0102");
  const auto header = decode_option_header(std::span(bytes).first<option_header_bytes>());
  ASSERT_TRUE(header);
  EXPECT_EQ(*header, (OptionHeader{.option = Option::go, .length = 2}));
}

TEST(NbdOption, WrongMagicIsRefused) {
  EXPECT_EQ(decode_option_header(fixed<16>("49484156454f5055"
                                           "00000007"
                                           "00000000"))
                .error(),
            WireErrc::bad_opcode);
}

TEST(NbdOption, UnknownNumbersComeThrough) {
  EXPECT_EQ(decode_option_header(fixed<16>("49484156454f5054"
                                           "00000fff"
                                           "ffffffff"))
                ->length,
            0xffffffffU);
}

TEST(NbdOptionReply, RoundTrips) {
  const auto bytes = encode_option_error(Option::list, OptionReply::err_unsup, "no");
  EXPECT_EQ(to_hex(bytes),
            "0003e889045565a9"
            "00000003"
            "80000001"
            "00000002"
            "6e6f");
  const auto header = decode_option_reply_header(std::span(bytes).first<option_reply_header_bytes>());
  ASSERT_TRUE(header);
  EXPECT_EQ(*header, (OptionReplyHeader{.option = Option::list, .reply = OptionReply::err_unsup, .length = 2}));
  EXPECT_TRUE(is_error(header->reply));
  EXPECT_FALSE(is_error(OptionReply::ack));
}

TEST(NbdInfoRequest, IsExactlyAsLongAsItsFormat) {
  const InfoRequest request{.name = "disk", .infos = {3, 0xffff}};
  const auto bytes = encode_info_request(request);
  EXPECT_EQ(to_hex(bytes),
            "00000004"
            "6469736b"
            "0002"
            "0003"
            "ffff");
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    const auto decoded = decode_info_request(part);
    ASSERT_EQ(decoded.has_value(), part.size() == bytes.size());
    if (!decoded) {
      EXPECT_EQ(decoded.error(), part.size() < bytes.size() ? WireErrc::truncated : WireErrc::trailing);
    } else {
      EXPECT_EQ(*decoded, request);
    }
  });
}

TEST(NbdInfoRequest, LongNamesAndManyInfosAreRefused) {
  EXPECT_TRUE(decode_info_request(encode_info_request({.name = std::string(limits::string_bytes_max, 'x')})));
  EXPECT_FALSE(decode_info_request(encode_info_request({.name = std::string(limits::string_bytes_max + 1, 'x')})));
  EXPECT_FALSE(
      decode_info_request(hex("ffffffff"
                              "0000")));
  const std::vector<std::uint16_t> many(limits::info_requests_max + 1);
  EXPECT_EQ(decode_info_request(encode_info_request({.name = "", .infos = many})).error(), WireErrc::bad_length);
}

TEST(NbdMetaRequest, IsExactlyAsLongAsItsFormat) {
  const MetaRequest request{.name = "d", .queries = {"base:allocation", "base:", ""}};
  const auto bytes = encode_meta_request(request);
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    const auto decoded = decode_meta_request(part);
    ASSERT_EQ(decoded.has_value(), part.size() == bytes.size());
    if (decoded) {
      EXPECT_EQ(*decoded, request);
    }
  });
}

TEST(NbdMetaRequest, ManyQueriesAreRefused) {
  EXPECT_EQ(decode_meta_request(hex("00000000"
                                    "ffffffff"))
                .error(),
            WireErrc::bad_length);
}

TEST(NbdServerEntry, RoundTrips) {
  const ServerEntry entry{.name = "mpatha", .description = "two paths"};
  const auto bytes = encode_server_entry(entry);
  EXPECT_EQ(*decode_server_entry(bytes), entry);
  at_every_length(bytes, [](std::span<const std::byte> part) {
    EXPECT_EQ(decode_server_entry(part).has_value(), part.size() >= 10);
  });
}

TEST(NbdInfo, RoundTrips) {
  const ExportInfo info{.size_bytes = 1 << 30, .flags = export_flag::has_flags | export_flag::send_flush};
  const auto bytes = encode_info_export(info);
  EXPECT_EQ(to_hex(bytes),
            "0000"
            "0000000040000000"
            "0005");
  EXPECT_EQ(*decode_info_type(bytes), InfoType::export_info);
  EXPECT_EQ(*decode_info_export(bytes), info);
  at_every_length(bytes, [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_info_export(part).has_value(), part.size() == bytes.size());
  });

  const BlockSizeInfo sizes{.minimum = 512, .preferred = 4096, .maximum = 1 << 25};
  const auto size_bytes = encode_info_block_size(sizes);
  EXPECT_EQ(to_hex(size_bytes),
            "0003"
            "00000200"
            "00001000"
            "02000000");
  EXPECT_EQ(*decode_info_block_size(size_bytes), sizes);
  at_every_length(size_bytes, [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_info_block_size(part).has_value(), part.size() == size_bytes.size());
  });

  EXPECT_EQ(*decode_info_text(encode_info_text(InfoType::description, "about")), "about");
  EXPECT_EQ(decode_info_type(hex("00")).error(), WireErrc::truncated);
}

TEST(NbdExportName, AnswerIsPaddedUnlessAgreedOtherwise) {
  const ExportInfo info{.size_bytes = 4096, .flags = 1};
  EXPECT_EQ(encode_export_name_answer(info, true).size(), 10U);
  EXPECT_EQ(encode_export_name_answer(info, false).size(), 134U);
  EXPECT_EQ(*decode_export_name_answer(encode_export_name_answer(info, false)), info);
}

TEST(NbdMetaContext, RoundTrips) {
  const MetaContext context{.id = 1, .name = std::string(base_allocation)};
  EXPECT_EQ(*decode_meta_context(encode_meta_context(context)), context);
  EXPECT_FALSE(decode_meta_context(hex("000000")));
}

TEST(NbdRequest, RoundTrips) {
  const Request request{.flags = command_flag::fua | command_flag::no_hole,
                        .command = Command::write_zeroes,
                        .cookie = 0x1122334455667788,
                        .offset = 0x0102030405060708,
                        .length = 0x01000000};
  std::array<std::byte, request_bytes> bytes{};
  encode_request(request, bytes);
  EXPECT_EQ(to_hex(bytes),
            "25609513"
            "0003"
            "0006"
            "1122334455667788"
            "0102030405060708"
            "01000000");
  EXPECT_EQ(*decode_request(bytes), request);
  bytes[0] = std::byte{0};
  EXPECT_EQ(decode_request(bytes).error(), WireErrc::bad_opcode);
}

TEST(NbdSimpleReply, RoundTrips) {
  const SimpleReply reply{.error = Error::nospc, .cookie = 42};
  std::array<std::byte, simple_reply_bytes> bytes{};
  encode_simple_reply(reply, bytes);
  EXPECT_EQ(to_hex(bytes),
            "67446698"
            "0000001c"
            "000000000000002a");
  EXPECT_EQ(*decode_simple_reply(bytes), reply);
}

TEST(NbdChunk, DataPrefixHoldsHeaderAndOffset) {
  std::array<std::byte, data_chunk_prefix_bytes> bytes{};
  encode_data_chunk_prefix(42, true, 0x10000, 4096, bytes);
  EXPECT_EQ(to_hex(bytes),
            "668e33ef"
            "0001"
            "0001"
            "000000000000002a"
            "00001008"
            "0000000000010000");
  const auto header = decode_chunk_header(std::span(bytes).first<chunk_header_bytes>());
  EXPECT_EQ(*header, (ChunkHeader{.flags = 1, .type = ChunkType::offset_data, .cookie = 42, .length = 4104}));
  EXPECT_EQ(decode_offset(std::span(bytes).last<offset_bytes>()), 0x10000U);
}

TEST(NbdChunk, HoleRoundTrips) {
  std::array<std::byte, hole_chunk_bytes> bytes{};
  encode_hole_chunk(42, false, {.offset = 512, .length = 1024}, bytes);
  EXPECT_EQ(to_hex(bytes),
            "668e33ef"
            "0000"
            "0002"
            "000000000000002a"
            "0000000c"
            "0000000000000200"
            "00000400");
  EXPECT_EQ(decode_hole(std::span(bytes).last<hole_bytes>()), (Hole{.offset = 512, .length = 1024}));
}

TEST(NbdChunk, NoneEndsTheReply) {
  std::array<std::byte, chunk_header_bytes> bytes{};
  encode_none_chunk(42, bytes);
  EXPECT_EQ(*decode_chunk_header(bytes), (ChunkHeader{.flags = chunk_flag::done, .cookie = 42}));
}

TEST(NbdChunk, BlockStatusRoundTrips) {
  const BlockStatus status{
      .context_id = 1,
      .extents = {{.length = 4096, .flags = 0}, {.length = 8192, .flags = extent_flag::hole | extent_flag::zero}}};
  const auto bytes = encode_block_status_chunk(7, true, status);
  const auto payload = std::span<const std::byte>(bytes).subspan(chunk_header_bytes);
  EXPECT_EQ(to_hex(payload),
            "00000001"
            "0000100000000000"
            "0000200000000003");
  EXPECT_EQ(*decode_block_status(payload), status);
  at_every_length(payload, [&](std::span<const std::byte> part) {
    const bool whole = part.size() == 12 || part.size() == 20;
    EXPECT_EQ(decode_block_status(part).has_value(), whole) << part.size();
  });
}

TEST(NbdChunk, BlockStatusWithoutLengthIsRefused) {
  EXPECT_EQ(decode_block_status(hex("00000001"
                                    "0000000000000000"))
                .error(),
            WireErrc::bad_field);
}

TEST(NbdChunk, ErrorsRoundTrip) {
  const auto plain = encode_error_chunk(7, true, Error::inval, "bad");
  EXPECT_EQ(to_hex(plain),
            "668e33ef"
            "0001"
            "8001"
            "0000000000000007"
            "00000009"
            "00000016"
            "0003"
            "626164");
  const ErrorPayload payload{.error = Error::io, .text = "medium", .offset = 4096};
  const auto bytes = encode_error_offset_chunk(7, false, payload);
  const auto body = std::span<const std::byte>(bytes).subspan(chunk_header_bytes);
  EXPECT_EQ(*decode_error(ChunkType::error_offset, body), payload);
  at_every_length(body, [&](std::span<const std::byte> part) {
    EXPECT_EQ(decode_error(ChunkType::error_offset, part).has_value(), part.size() >= body.size());
  });
}

}  // namespace
}  // namespace mpath::nbd
