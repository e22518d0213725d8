#include "exports/nbd_handshake.hpp"

#include <gtest/gtest.h>

#include "exports/nbd_rules.hpp"

namespace mpath {
namespace {

using nbd::Bytes;
using nbd::InfoType;
using nbd::Option;
using nbd::OptionReply;
using Outcome = NbdHandshake::Outcome;

const std::vector<NbdOffer> one{{.name = "disk", .description = "a disk", .limits = {.size_bytes = 1 << 20}}};
const std::vector<NbdOffer> none;
const std::vector<NbdOffer> two{
    {.name = "a", .limits = {.size_bytes = 1 << 20}},
    {.name = "b", .limits = {.size_bytes = 2 << 20, .block_size = 4096, .read_only = true}}};

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Bytes flags(std::uint32_t value) {
  Bytes bytes(nbd::client_flags_bytes);
  nbd::encode_client_flags(value, std::span(bytes).first<nbd::client_flags_bytes>());
  return bytes;
}
Bytes text(std::string_view value) {
  const auto bytes = std::as_bytes(std::span(value));
  return {bytes.begin(), bytes.end()};
}
Bytes ask(Option option, const std::string& name, std::vector<std::uint16_t> infos = {}) {
  return nbd::encode_option(option, nbd::encode_info_request({.name = name, .infos = std::move(infos)}));
}
Bytes meta(Option option, const std::string& name, std::vector<std::string> queries) {
  return nbd::encode_option(option, nbd::encode_meta_request({.name = name, .queries = std::move(queries)}));
}
const Bytes hello = flags(3);
const Bytes structured = nbd::encode_option(Option::structured_reply);

// The replies, one line each, as a reader of a trace would write them down.
std::string transcript(std::span<const std::byte> bytes) {
  std::string lines;
  while (bytes.size() >= nbd::option_reply_header_bytes) {
    const auto header = nbd::decode_option_reply_header(bytes.first<nbd::option_reply_header_bytes>());
    if (!header || bytes.size() < nbd::option_reply_header_bytes + header->length) return lines + "garbage\n";
    const auto data = bytes.subspan(nbd::option_reply_header_bytes, header->length);
    bytes = bytes.subspan(nbd::option_reply_header_bytes + header->length);
    const auto number = [](auto value) { return std::to_string(value); };
    switch (header->reply) {
      case OptionReply::ack:
        lines += "ack";
        break;
      case OptionReply::server:
        lines += "server " + nbd::decode_server_entry(data)->name;
        break;
      case OptionReply::info:
        switch (*nbd::decode_info_type(data)) {
          case InfoType::export_info:
            lines += "export " + number(nbd::decode_info_export(data)->size_bytes);
            break;
          case InfoType::block_size:
            lines += "blocks " + number(nbd::decode_info_block_size(data)->minimum) + " " +
                     number(nbd::decode_info_block_size(data)->preferred) + " " +
                     number(nbd::decode_info_block_size(data)->maximum);
            break;
          case InfoType::name:
            lines += "name " + *nbd::decode_info_text(data);
            break;
          case InfoType::description:
            lines += "description " + *nbd::decode_info_text(data);
            break;
        }
        break;
      case OptionReply::meta_context:
        lines += "context " + number(nbd::decode_meta_context(data)->id) + " " + nbd::decode_meta_context(data)->name;
        break;
      case OptionReply::err_unsup:
        lines += "unsup";
        break;
      case OptionReply::err_invalid:
        lines += "invalid";
        break;
      case OptionReply::err_unknown:
        lines += "unknown";
        break;
      case OptionReply::err_too_big:
        lines += "too big";
        break;
      case OptionReply::err_policy:
      case OptionReply::err_platform:
      case OptionReply::err_tls_reqd:
      case OptionReply::err_shutdown:
      case OptionReply::err_block_size_reqd:
      case OptionReply::err_ext_header_reqd:
        lines += "another error";
        break;
    }
    lines += "; ";
  }
  return bytes.empty() ? lines : lines + "half a reply";
}

struct Row {
  const char* name;
  const std::vector<NbdOffer>& offers;
  Bytes said;
  const char* answers;
  Outcome outcome = Outcome::more;
};
class Handshake : public ::testing::TestWithParam<Row> {};

TEST_P(Handshake, AnswersAsTheProtocolSays) {
  const Row& row = GetParam();
  NbdHandshake handshake({});
  Bytes out;
  EXPECT_EQ(handshake.feed(row.said, row.offers, out), row.outcome);
  EXPECT_EQ(transcript(out), row.answers);
}

TEST_P(Handshake, AnswersTheSameByteByByte) {
  const Row& row = GetParam();
  NbdHandshake handshake({});
  Bytes out;
  Outcome outcome = Outcome::more;
  for (const std::byte& byte : row.said) {
    if (outcome == Outcome::more) outcome = handshake.feed({&byte, 1}, row.offers, out);
  }
  EXPECT_EQ(outcome, row.outcome);
  EXPECT_EQ(transcript(out), row.answers);
}

const char* const disk_info = "export 1048576; blocks 512 4096 33554432; ack; ";
INSTANTIATE_TEST_SUITE_P(
    Table, Handshake,
    ::testing::Values(
        Row{"nothing", one, {}, ""}, Row{"flags_only", one, hello, ""},
        Row{"unknown_flags", one, flags(4), "", Outcome::finished},
        Row{"garbage_for_an_option", one, hello + Bytes(16, std::byte{1}), "", Outcome::finished},
        Row{"abort", one, hello + nbd::encode_option(Option::abort), "ack; ", Outcome::finished},
        Row{"list", two, hello + nbd::encode_option(Option::list), "server a; server b; ack; "},
        Row{"list_of_none", none, hello + nbd::encode_option(Option::list), "ack; "},
        Row{"list_with_data", two, hello + nbd::encode_option(Option::list, text("x")), "invalid; "},
        Row{"starttls", one, hello + nbd::encode_option(Option::starttls), "unsup; "},
        Row{"extended_headers", one, hello + nbd::encode_option(Option::extended_headers), "unsup; "},
        Row{"unheard_of", one, hello + nbd::encode_option(static_cast<Option>(4711), text("abc")), "unsup; "},
        Row{"info", one, hello + ask(Option::info, "disk"), disk_info},
        Row{"info_then_go", one, hello + ask(Option::info, "disk") + ask(Option::go, "disk"),
            "export 1048576; blocks 512 4096 33554432; ack; export 1048576; blocks 512 4096 33554432; ack; ",
            Outcome::transmission},
        Row{"go", one, hello + ask(Option::go, "disk"), disk_info, Outcome::transmission},
        Row{"go_default", one, hello + ask(Option::go, ""), disk_info, Outcome::transmission},
        Row{"go_default_of_two", two, hello + ask(Option::go, ""), "unknown; "},
        Row{"go_unknown", one, hello + ask(Option::go, "dis"), "unknown; "},
        Row{"go_with_all_infos", one, hello + ask(Option::go, "", {1, 2, 3, 9}),
            "export 1048576; name disk; description a disk; blocks 512 4096 33554432; ack; ", Outcome::transmission},
        Row{"go_4k_blocks", two, hello + ask(Option::go, "b"), "export 2097152; blocks 4096 4096 33554432; ack; ",
            Outcome::transmission},
        Row{"go_cut_short", one, hello + nbd::encode_option(Option::go, text("abc")), "invalid; "},
        Row{"go_with_a_name_longer_than_its_data", one,
            hello + nbd::encode_option(Option::go, Bytes(6, std::byte{0xff})), "invalid; "},
        Row{"go_with_trailing_bytes", one,
            hello + nbd::encode_option(Option::go, nbd::encode_info_request({.name = "disk"}) + text("x")),
            "invalid; "},
        Row{"structured_twice", one, hello + structured + structured, "ack; ack; "},
        Row{"structured_with_data", one, hello + nbd::encode_option(Option::structured_reply, text("x")), "invalid; "},
        Row{"meta_before_structured", one, hello + meta(Option::set_meta_context, "disk", {"base:allocation"}),
            "invalid; "},
        Row{"list_meta", one, hello + structured + meta(Option::list_meta_context, "disk", {}),
            "ack; context 0 base:allocation; ack; "},
        Row{"list_meta_of_a_namespace", one,
            hello + structured + meta(Option::list_meta_context, "disk", {"x:", "base:"}),
            "ack; context 0 base:allocation; ack; "},
        Row{"list_meta_of_others", one, hello + structured + meta(Option::list_meta_context, "disk", {"qemu:"}),
            "ack; ack; "},
        Row{"set_meta", one, hello + structured + meta(Option::set_meta_context, "", {"qemu:x", "base:allocation"}),
            "ack; context 1 base:allocation; ack; "},
        Row{"set_meta_of_none", one, hello + structured + meta(Option::set_meta_context, "disk", {}), "ack; ack; "},
        Row{"set_meta_of_a_namespace", one, hello + structured + meta(Option::set_meta_context, "disk", {"base:"}),
            "ack; ack; "},
        Row{"set_meta_unknown_export", one,
            hello + structured + meta(Option::set_meta_context, "no", {"base:allocation"}), "ack; unknown; "},
        Row{"set_meta_cut_short", one,
            hello + structured + nbd::encode_option(Option::set_meta_context, text("\0\0\0\1x")), "ack; invalid; "},
        Row{"too_long_an_option", one,
            hello + nbd::encode_option(Option::list, Bytes(70000)) + nbd::encode_option(Option::list),
            "too big; server disk; ack; "},
        Row{"old_client_may_not_ask", one, flags(0) + nbd::encode_option(Option::list), "", Outcome::finished}),
    [](const auto& row) { return row.param.name; });

TEST(Handshake, GreetsAsFixedNewstyle) {
  NbdHandshake handshake({});
  Bytes out;
  handshake.greet(out);
  ASSERT_EQ(out.size(), nbd::greeting_bytes);
  EXPECT_EQ(nbd::decode_greeting(std::span(out).first<nbd::greeting_bytes>()), 3);
}

struct Agreed {
  NbdAgreement agreement;
  Bytes out;
  Outcome outcome;
};
Agreed play(const Bytes& said, const std::vector<NbdOffer>& offers = one, const NbdHandshakeLimits& limits = {}) {
  NbdHandshake handshake(limits);
  Agreed agreed;
  agreed.outcome = handshake.feed(said, offers, agreed.out);
  agreed.agreement = handshake.agreement();
  return agreed;
}

TEST(Handshake, AgreesOnTheOfferedNameAndOnWhatWasSelected) {
  const Bytes select = meta(Option::set_meta_context, "", {"base:allocation"});
  const Agreed agreed = play(hello + structured + select + ask(Option::go, ""));
  EXPECT_EQ(agreed.agreement.export_name, "disk");
  EXPECT_TRUE(agreed.agreement.structured_replies);
  EXPECT_TRUE(agreed.agreement.base_allocation);
}

TEST(Handshake, AContextIsForTheExportItWasSelectedFor) {
  const Bytes select = meta(Option::set_meta_context, "a", {"base:allocation"});
  EXPECT_FALSE(play(hello + structured + select + ask(Option::go, "b"), two).agreement.base_allocation);
  EXPECT_TRUE(play(hello + structured + select + ask(Option::go, "a"), two).agreement.base_allocation);
}

TEST(Handshake, ALaterSelectionReplacesAnEarlierOne) {
  const Bytes select = meta(Option::set_meta_context, "disk", {"base:allocation"});
  const Bytes nothing = meta(Option::set_meta_context, "disk", {});
  EXPECT_FALSE(play(hello + structured + select + nothing + ask(Option::go, "disk")).agreement.base_allocation);
}

TEST(Handshake, OldClientsGetTheirZeroes) {
  const Agreed agreed = play(flags(0) + nbd::encode_option(Option::export_name, text("disk")));
  EXPECT_EQ(agreed.outcome, Outcome::transmission);
  EXPECT_EQ(agreed.out.size(), 10u + 124);
  EXPECT_EQ(nbd::decode_export_name_answer(agreed.out)->size_bytes, 1u << 20);
}

TEST(Handshake, ExportNameWithoutZeroes) {
  const Agreed agreed = play(hello + nbd::encode_option(Option::export_name, text("b")), two);
  EXPECT_EQ(agreed.outcome, Outcome::transmission);
  ASSERT_EQ(agreed.out.size(), 10u);
  EXPECT_EQ(nbd::decode_export_name_answer(agreed.out)->flags, export_flags(two[1].limits, false));
}

TEST(Handshake, AnUnknownExportNameEndsIt) {
  const Agreed agreed = play(hello + nbd::encode_option(Option::export_name, text("c")), two);
  EXPECT_EQ(agreed.outcome, Outcome::finished);
  EXPECT_TRUE(agreed.out.empty());
}

TEST(Handshake, KeepsWhatComesBehindGo) {
  NbdHandshake handshake({});
  Bytes out;
  EXPECT_EQ(handshake.feed(hello + ask(Option::go, "disk") + text("early"), one, out), Outcome::transmission);
  EXPECT_EQ(Bytes(handshake.rest().begin(), handshake.rest().end()), text("early"));
}

TEST(Handshake, SendsAwayWhoAsksTooOften) {
  Bytes said = hello;
  for (int i = 0; i < 8; ++i) said = said + nbd::encode_option(Option::list);
  EXPECT_EQ(play(said, one, {.options_max = 8}).outcome, Outcome::more);
  EXPECT_EQ(play(said + nbd::encode_option(Option::list), one, {.options_max = 8}).outcome, Outcome::finished);
}

TEST(Handshake, SendsAwayWhoAnnouncesAnAbsurdLength) {
  Bytes header = nbd::encode_option(Option::info);
  header[12] = std::byte{0x7f};
  EXPECT_EQ(play(hello + header).outcome, Outcome::finished);
}

TEST(Handshake, NoTruncationOfAWholeHandshakeIsMistakenForItsEnd) {
  const Bytes whole =
      hello + structured + meta(Option::set_meta_context, "", {"base:allocation"}) + ask(Option::go, "disk", {1});
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_EQ(play(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length))).outcome, Outcome::more)
        << length;
  }
  EXPECT_EQ(play(whole).outcome, Outcome::transmission);
}

TEST(Handshake, NoChangedByteMakesItMisbehave) {
  const Bytes whole =
      hello + structured + meta(Option::set_meta_context, "", {"base:allocation"}) + ask(Option::go, "disk");
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const unsigned change : {0x01u, 0x80u, 0xffu}) {
      Bytes said = whole;
      said[at] ^= static_cast<std::byte>(change);
      const Agreed agreed = play(said);
      EXPECT_EQ(transcript(agreed.out).find("garbage"), std::string::npos) << at;
      EXPECT_TRUE(agreed.outcome != Outcome::transmission || agreed.agreement.export_name == "disk") << at;
    }
  }
}

}  // namespace
}  // namespace mpath
