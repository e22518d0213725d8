#include "wire/iscsi_text.hpp"

#include <gtest/gtest.h>

#include "tests/wire/hex.hpp"
#include "wire/error.hpp"
#include "wire/iscsi_keys.hpp"

namespace mpath::iscsi {
namespace {

using namespace std::string_literals;
using test::bytes_of;

TEST(Text, RoundTripsAtEveryLength) {
  const KeyValues pairs = {{"TargetName", "iqn.2025-11.x:y"}, {"X-com.example.key", ""}, {"A", "b=c"}};
  const auto text = encode_text(pairs);
  EXPECT_EQ(*decode_text(text), pairs);
  test::at_every_length(text, [&](std::span<const std::byte> part) {
    const auto decoded = decode_text(part);
    const bool at_a_pair = part.empty() || part.back() == std::byte{0};
    EXPECT_EQ(decoded.has_value(), at_a_pair);
    if (!decoded) {
      EXPECT_EQ(decoded.error(), WireErrc::truncated);
    }
  });
}

TEST(Text, PaddingAtTheEndIsForgiven) {
  EXPECT_EQ(decode_text(bytes_of("A=b\0\0\0"s))->size(), 1U);
  EXPECT_EQ(decode_text(bytes_of("A=b\0\0C=d\0"s)).error(), WireErrc::bad_field);
}

TEST(Text, WhatIsNoPairIsRefused) {
  for (const auto& text : {"A\0"s, "=b\0"s, "A b=c\0"s, std::string(64, 'k') + "=v\0"s, "\xff=v\0"s}) {
    EXPECT_EQ(decode_text(bytes_of(text)).error(), WireErrc::bad_field) << text;
  }
  EXPECT_TRUE(decode_text(bytes_of(std::string(63, 'k') + "=v\0"s)));
  EXPECT_EQ(decode_text(bytes_of("k="s + std::string(8193, 'v') + "\0"s)).error(), WireErrc::bad_length);
}

TEST(Numbers, AreDecimalOrHexadecimalAndNothingElse) {
  EXPECT_EQ(parse_number("0"), 0U);
  EXPECT_EQ(parse_number("262144"), 262144U);
  EXPECT_EQ(parse_number("0x40000"), 0x40000U);
  EXPECT_EQ(parse_number("0XfF"), 255U);
  EXPECT_EQ(parse_number("18446744073709551615"), ~std::uint64_t{0});
  for (const char* text : {"", "0x", "-1", "+1", " 1", "1 ", "1k", "18446744073709551616", "0x1g"}) {
    EXPECT_FALSE(parse_number(text)) << text;
  }
}

TEST(BinaryValues, AreHexOrBase64) {
  EXPECT_EQ(parse_binary("0x0aFF", 2), test::hex("0aff"));
  EXPECT_EQ(parse_binary("0xaff", 2), test::hex("0aff"));
  EXPECT_EQ(parse_binary("0bAQID", 3), test::hex("010203"));
  EXPECT_EQ(parse_binary("0bAQI=", 3), test::hex("0102"));
  EXPECT_EQ(parse_binary("0bAQ==", 3), test::hex("01"));
  for (const char* text : {"", "0x", "0b", "0x0g", "0bAQI", "0bA===", "0b====", "0bA!ID", "abcd", "0x010203"}) {
    EXPECT_FALSE(parse_binary(text, 2)) << text;
  }
  EXPECT_EQ(hex_constant(test::hex("00ff")), "0x00ff");
}

struct AddressRow {
  const char* text;
  TargetAddress address;
};
class Addresses : public testing::TestWithParam<AddressRow> {};

TEST_P(Addresses, AreRead) {
  const auto address = parse_target_address(GetParam().text);
  ASSERT_TRUE(address);
  EXPECT_TRUE(*address == GetParam().address);
  EXPECT_TRUE(*parse_target_address(format_target_address(*address)) == *address);
}

INSTANTIATE_TEST_SUITE_P(All, Addresses,
                         testing::Values(AddressRow{"10.0.0.1:3260,1", {"10.0.0.1", 3260, 1}},
                                         AddressRow{"10.0.0.1", {"10.0.0.1"}},
                                         AddressRow{"10.0.0.1,65535", {"10.0.0.1", 3260, 65535}},
                                         AddressRow{"storage.example:3261", {"storage.example", 3261}},
                                         AddressRow{"[fe80::1]:3260,2", {"fe80::1", 3260, 2}},
                                         AddressRow{"[2001:db8::1]", {"2001:db8::1"}}));

TEST(Addresses, GarbageIsRefused) {
  for (const char* text :
       {"", ":3260", "a:", "a:0", "a:65536", "a:b", "a,", "a,x", "a,65536", "[::1", "[::1]x", "[]:1", "a b:1"}) {
    EXPECT_FALSE(parse_target_address(text)) << text;
  }
}

TEST(SendTargets, GroupsPortalsByTarget) {
  const std::vector<DiscoveredTarget> targets = {{"iqn.2025-11.x:a", {{"10.0.0.1", 3260, 1}, {"10.0.1.1", 3260, 1}}},
                                                 {"iqn.2025-11.x:b", {}}};
  EXPECT_EQ(*parse_send_targets(format_send_targets(targets)), targets);
}

TEST(SendTargets, LeavesOutAddressesItCannotRead) {
  const KeyValues pairs = {
      {"TargetName", "iqn.2025-11.x:a"}, {"TargetAddress", "a:99999"}, {"TargetAddress", "10.0.0.1"}};
  EXPECT_EQ(parse_send_targets(pairs)->at(0).addresses.size(), 1U);
}

TEST(SendTargets, RefusesNonsense) {
  EXPECT_FALSE(parse_send_targets(KeyValues{{"TargetAddress", "10.0.0.1"}}));
  EXPECT_FALSE(parse_send_targets(KeyValues{{"TargetName", "not a name"}}));
  KeyValues many = {{"TargetName", "iqn.2025-11.x:a"}};
  many.resize(limits::portals_max + 2, {"TargetAddress", "10.0.0.1"});
  EXPECT_EQ(parse_send_targets(many).error(), WireErrc::bad_length);
}

// --- keys ------------------------------------------------------------------------------------------------------------

TEST(KeyTable, NamesAreUniqueAndFound) {
  for (const KeySpec& spec : key_table()) {
    EXPECT_EQ(find_key(spec.name), &spec);
    EXPECT_EQ(key_spec(spec.id).name, spec.name);
    EXPECT_LE(spec.name.size(), limits::key_name_bytes_max);
  }
  EXPECT_EQ(find_key("X-unknown"), nullptr);
}

TEST(KeyTable, FallbacksAreValuesOfTheirKey) {
  for (const KeySpec& spec : key_table()) {
    if (!spec.fallback.empty()) {
      EXPECT_TRUE(valid_value(spec, spec.fallback)) << spec.name;
    }
  }
}

TEST(KeyTable, NumbersAreHeldToTheirRange) {
  for (const KeySpec& spec : key_table()) {
    if (spec.rule != Rule::minimum && spec.rule != Rule::maximum) continue;
    EXPECT_TRUE(valid_value(spec, std::to_string(spec.least))) << spec.name;
    EXPECT_TRUE(valid_value(spec, std::to_string(spec.most))) << spec.name;
    EXPECT_FALSE(valid_value(spec, std::to_string(spec.most + 1))) << spec.name;
    if (spec.least > 0) {
      EXPECT_FALSE(valid_value(spec, std::to_string(spec.least - 1))) << spec.name;
    }
    EXPECT_FALSE(valid_value(spec, "many")) << spec.name;
  }
}

struct RuleRow {
  Key key;
  const char* offer;
  const char* own;
  const char* reply;
};
class Rules : public testing::TestWithParam<RuleRow> {};

TEST_P(Rules, GiveTheReplyThatTheOffererTakes) {
  const auto [key, offer, own, reply] = GetParam();
  EXPECT_EQ(respond(key_spec(key), offer, own), reply);
  if (reply == reply_reject) {
    EXPECT_FALSE(conclude(key_spec(key), offer, reply));
  } else {
    EXPECT_EQ(*conclude(key_spec(key), offer, reply), reply);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Rules,
    testing::Values(
        RuleRow{Key::header_digest, "CRC32C,None", "None,CRC32C", "CRC32C"},
        RuleRow{Key::header_digest, "CRC32C,None", "None", "None"},
        RuleRow{Key::header_digest, "CRC32C", "None", "Reject"}, RuleRow{Key::header_digest, "", "None", "Reject"},
        RuleRow{Key::auth_method, "CHAP,None", "CHAP", "CHAP"}, RuleRow{Key::auth_method, "None", "CHAP", "Reject"},
        RuleRow{Key::immediate_data, "Yes", "Yes", "Yes"}, RuleRow{Key::immediate_data, "Yes", "No", "No"},
        RuleRow{Key::immediate_data, "No", "Yes", "No"}, RuleRow{Key::initial_r2t, "No", "No", "No"},
        RuleRow{Key::initial_r2t, "No", "Yes", "Yes"}, RuleRow{Key::initial_r2t, "Yes", "No", "Yes"},
        RuleRow{Key::initial_r2t, "maybe", "No", "Reject"},
        RuleRow{Key::max_burst_length, "1048576", "262144", "262144"},
        RuleRow{Key::max_burst_length, "65536", "262144", "65536"},
        RuleRow{Key::max_burst_length, "0", "262144", "Reject"},
        RuleRow{Key::max_burst_length, "16777216", "262144", "Reject"}, RuleRow{Key::default_time2wait, "0", "2", "2"},
        RuleRow{Key::default_time2wait, "5", "2", "5"}, RuleRow{Key::error_recovery_level, "2", "0", "0"}));

TEST(Conclude, RefusesAnswersThatTheOfferDoesNotAllow) {
  EXPECT_FALSE(conclude(key_spec(Key::header_digest), "None", "CRC32C"));
  EXPECT_FALSE(conclude(key_spec(Key::max_burst_length), "65536", "65537"));
  EXPECT_FALSE(conclude(key_spec(Key::default_time2wait), "2", "1"));
  EXPECT_FALSE(conclude(key_spec(Key::immediate_data), "No", "Yes"));
  EXPECT_FALSE(conclude(key_spec(Key::initial_r2t), "Yes", "No"));
  EXPECT_FALSE(conclude(key_spec(Key::initial_r2t), "Yes", ""));
}

TEST(Conclude, TakesTheFallbackWhenThePeerDoesNotKnowTheKey) {
  EXPECT_EQ(*conclude(key_spec(Key::initial_r2t), "No", reply_not_understood), "Yes");
  EXPECT_EQ(*conclude(key_spec(Key::max_connections), "4", reply_irrelevant), "1");
}

Wishes generous() {
  return {.header_digests = "CRC32C,None",
          .data_digests = "None",
          .receive_segment_max = 131072,
          .initial_r2t = false,
          .immediate_data = true,
          .max_burst = 1 << 20,
          .first_burst = 1 << 18,
          .time2wait = 0,
          .time2retain = 0};
}

TEST(Negotiation, BothSidesEndWithTheSame) {
  Negotiation initiator(Side::initiator, generous());
  Wishes frugal{.header_digests = "CRC32C,None", .receive_segment_max = 65536, .max_burst = 1 << 17, .time2wait = 2};
  Negotiation target(Side::target, frugal);
  const auto request = initiator.offers();
  const auto taken = target.take(request);
  ASSERT_TRUE(taken);
  KeyValues response = taken->replies;
  for (const KeyValue& pair : target.offers()) response.push_back(pair);
  const auto answer = initiator.take(response);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->replies.empty());

  const Parameters ours = initiator.finish();
  const Parameters theirs = target.finish();
  EXPECT_TRUE(ours.header_digest);
  EXPECT_EQ(ours.max_burst, 1U << 17);
  EXPECT_EQ(ours.first_burst, 65536U);
  EXPECT_EQ(ours.time2wait, 2U);
  EXPECT_FALSE(ours.initial_r2t);
  EXPECT_EQ(ours.send_segment_max, 65536U);
  EXPECT_EQ(theirs.send_segment_max, 131072U);
  EXPECT_EQ(ours.receive_segment_max, theirs.send_segment_max);
  Parameters mirrored = theirs;
  std::swap(mirrored.receive_segment_max, mirrored.send_segment_max);
  EXPECT_TRUE(ours == mirrored);
}

TEST(Negotiation, SilenceLeavesTheFallbacks) {
  Negotiation initiator(Side::initiator, generous());
  static_cast<void>(initiator.offers());
  const Parameters parameters = initiator.finish();
  EXPECT_FALSE(parameters.header_digest);
  EXPECT_TRUE(parameters.initial_r2t);
  EXPECT_EQ(parameters.send_segment_max, 8192U);
}

TEST(Negotiation, ATargetMayProposeToo) {
  Negotiation initiator(Side::initiator, generous());
  const auto taken = initiator.take(KeyValues{{"MaxBurstLength", "65536"}, {"TargetAlias", "x"}});
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->replies, (KeyValues{{"MaxBurstLength", "65536"}}));
  EXPECT_EQ(taken->others, (KeyValues{{"TargetAlias", "x"}}));
  for (const KeyValue& pair : initiator.offers()) EXPECT_NE(pair.key, "MaxBurstLength");
  EXPECT_EQ(initiator.finish().max_burst, 65536U);
  EXPECT_EQ(initiator.finish().first_burst, 65536U);
}

TEST(Negotiation, UnknownKeysAreNotUnderstood) {
  Negotiation target(Side::target, {});
  EXPECT_EQ(target.take(KeyValues{{"X-new", "1"}})->replies, (KeyValues{{"X-new", "NotUnderstood"}}));
  EXPECT_TRUE(target.take(KeyValues{{"X-old", "NotUnderstood"}})->replies.empty());
}

TEST(Negotiation, ObsoleteKeysGetTheAnswersTheRfcLeaves) {
  Negotiation target(Side::target, {});
  EXPECT_EQ(target.take(KeyValues{{"IFMarker", "Yes"}, {"OFMarkInt", "1~9"}})->replies,
            (KeyValues{{"IFMarker", "No"}, {"OFMarkInt", "Reject"}}));
}

TEST(Negotiation, DiscoverySessionsLeaveDataKeysAlone) {
  Negotiation target(Side::target, {.discovery = true});
  EXPECT_EQ(target.take(KeyValues{{"InitialR2T", "No"}})->replies, (KeyValues{{"InitialR2T", "Irrelevant"}}));
  Negotiation initiator(Side::initiator, {.discovery = true});
  for (const KeyValue& pair : initiator.offers()) EXPECT_FALSE(find_key(pair.key)->normal_only) << pair.key;
}

TEST(Negotiation, ViolationsEndIt) {
  const KeyValues bad[] = {
      {{"MaxRecvDataSegmentLength", "0"}},
      {{"MaxRecvDataSegmentLength", "511"}},
      {{"MaxRecvDataSegmentLength", "16777216"}},
      {{"InitialR2T", "Yes"}, {"InitialR2T", "Yes"}},
      {{"TargetAlias", "from an initiator"}},
      {{"SessionType", "Unusual"}},
      {{"InitiatorName", "me"}},
  };
  for (const KeyValues& pairs : bad) {
    Negotiation target(Side::target, {});
    EXPECT_FALSE(target.take(pairs)) << pairs.front().key;
  }
}

}  // namespace
}  // namespace mpath::iscsi
