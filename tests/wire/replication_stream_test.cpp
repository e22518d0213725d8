// What two copies of a unit say on their stream: heads, handshake, proofs; at every length and with every bit damaged.
#include "wire/replication_stream.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/bytes.hpp"
#include "wire/crc32c.hpp"
#include "wire/error.hpp"
#include "wire/hmac.hpp"

namespace mpath::replication {
namespace {

constexpr std::size_t flags_at = 3, op_at = 2, body_bytes_at = 4, checksum_at = 8, body_checksum_at = 12,
                      sequence_at = 16, offset_at = 24, length_at = 32, status_at = 40, reserved_at = 41,
                      number_at = 48;

// What came with version 3 is of that; else those with a number are of version 2, the others of version 1.
std::uint16_t version_of(const StreamHead& head) {
  if (head.receipt || head.op == StreamOp::protocol || head.op == StreamOp::received) return 3;
  return head.number > 0 || head.op == StreamOp::link ? 2 : 1;
}
std::vector<std::byte> encoded(const StreamHead& head, std::uint32_t body_checksum, std::uint16_t version) {
  std::vector<std::byte> bytes(stream_head_bytes(version), std::byte{0xee});
  encode_stream_head(head, body_checksum, version, bytes);
  return bytes;
}

// With a checksum that is right for what the head says now.
void seal(std::span<std::byte> head) {
  Crc32c crc;
  crc.add(head.first(checksum_at));
  crc.add(head.subspan(checksum_at + 4));
  Writer writer(head.subspan(checksum_at, 4));
  writer.u32(crc.value());
}

error_code error_of(std::span<const std::byte> head, std::uint16_t version = 1) {
  const auto decoded = decode_stream_head(head, version);
  return decoded ? error_code() : decoded.error();
}

// ---- heads ---------------------------------------------------------------------------------------------------------

struct HeadRow {
  std::string name;
  StreamHead head;
};

class StreamHeads : public testing::TestWithParam<HeadRow> {
 protected:
  StreamHead head = GetParam().head;
  std::uint32_t body_checksum = head.body_bytes > 0 ? 0xa1b2c3d4 : 0;
  std::uint16_t version = version_of(head);
  std::vector<std::byte> bytes = encoded(head, body_checksum, version);
};

TEST_P(StreamHeads, ComeBack) {
  const auto decoded = decode_stream_head(bytes, version);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->head, head);
  EXPECT_EQ(decoded->body_checksum, body_checksum);
}

TEST_P(StreamHeads, AreWholeOrNothing) {
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(error_of(std::span(bytes).first(size), version), WireErrc::truncated) << size;
  }
}

TEST_P(StreamHeads, MayStandBeforeOtherBytes) {
  std::vector<std::byte> longer(bytes.begin(), bytes.end());
  longer.resize(longer.size() + 100, std::byte{0x77});
  EXPECT_EQ(decode_stream_head(longer, version)->head, head);
}

TEST_P(StreamHeads, AreNotTakenWithAnyBitDamaged) {
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_EQ(error_of(damaged, version), WireErrc::bad_digest) << bit;
  }
}

const StreamHead a_write{.op = StreamOp::write, .sequence = 5, .offset = 1 << 20, .length = 4096, .body_bytes = 4096};

StreamHead numbered(StreamHead head, std::uint64_t number, std::uint64_t seen) {
  head.number = number;
  head.seen = seen;
  return head;
}

INSTANTIATE_TEST_SUITE_P(
    , StreamHeads,
    testing::Values(
        HeadRow{"write", a_write},
        HeadRow{"write_with_all_flags",
                {.op = StreamOp::write,
                 .fua = true,
                 .atomic = true,
                 .fill = true,
                 .sequence = ~std::uint64_t{0},
                 .offset = 0x1122334455667788,
                 .length = stream_body_bytes_max,
                 .body_bytes = stream_body_bytes_max}},
        HeadRow{"zero",
                {.op = StreamOp::zero,
                 .fua = true,
                 .fill = true,
                 .may_unmap = true,
                 .sequence = 6,
                 .offset = 512,
                 .length = std::uint64_t{1} << 40}},
        HeadRow{"flush", {.op = StreamOp::flush, .sequence = 7}},
        HeadRow{"state", {.op = StreamOp::state, .sequence = 8, .body_bytes = 300}},
        HeadRow{"sums",
                {.op = StreamOp::sums,
                 .sequence = 9,
                 .offset = 65536,
                 .length = 3 * sum_block_bytes + 512,
                 .body_bytes = 4 * sizeof(Sum)}},
        HeadRow{"fill_end", {.op = StreamOp::fill_end, .sequence = 10}},
        HeadRow{"map_taken", {.op = StreamOp::map_taken}}, HeadRow{"ack", {.op = StreamOp::ack, .sequence = 11}},
        HeadRow{"ack_of_no_space", {.op = StreamOp::ack, .status = BlockStatus::no_space, .sequence = 11}},
        HeadRow{"ack_of_shutdown", {.op = StreamOp::ack, .status = BlockStatus::shutdown, .sequence = 11}},
        HeadRow{"sums_answer", {.op = StreamOp::sums_answer, .sequence = 9, .body_bytes = 1}},
        HeadRow{"map", {.op = StreamOp::map, .offset = 8, .length = 17, .body_bytes = 3}},
        HeadRow{"last_and_empty_map", {.op = StreamOp::map, .last = true, .offset = 25}},
        HeadRow{"numbered_write", numbered(a_write, 7, 3)},
        HeadRow{"write_with_a_receipt",
                {.op = StreamOp::write, .receipt = true, .sequence = 5, .length = 512, .body_bytes = 512, .number = 7}},
        HeadRow{"zero_with_a_receipt",
                {.op = StreamOp::zero, .receipt = true, .sequence = 5, .length = 512, .number = 8}},
        HeadRow{"received", {.op = StreamOp::received, .sequence = 5, .number = 9, .seen = 7}},
        HeadRow{"protocol", {.op = StreamOp::protocol, .sequence = 1, .number = 1}},
        HeadRow{"numbered_ack", numbered({.op = StreamOp::ack, .sequence = 11}, ~std::uint64_t{0}, ~std::uint64_t{0})},
        HeadRow{"link", {.op = StreamOp::link, .seen = 0x1122334455667788}},
        HeadRow{"link_that_asks", {.op = StreamOp::link, .last = true}}),
    [](const auto& row) { return row.param.name; });

struct BadHeadRow {
  std::string name;
  StreamHead head;
  std::size_t at;  // bytes from here on are
  std::vector<std::uint8_t> become;
  WireErrc error;
};

class BadStreamHeads : public testing::TestWithParam<BadHeadRow> {};

TEST_P(BadStreamHeads, AreRefused) {
  const BadHeadRow& row = GetParam();
  const std::uint16_t version = version_of(row.head);
  auto bytes = encoded(row.head, row.head.body_bytes > 0 ? 1 : 0, version);
  std::ranges::transform(row.become, bytes.begin() + static_cast<std::ptrdiff_t>(row.at),
                         [](std::uint8_t byte) { return std::byte{byte}; });
  seal(bytes);
  EXPECT_EQ(error_of(bytes, version), row.error);
}

const StreamHead an_ack{.op = StreamOp::ack, .sequence = 1};
const StreamHead a_link{.op = StreamOp::link};
const StreamHead a_receipt{.op = StreamOp::received, .sequence = 1, .number = 1};
const StreamHead a_protocol{.op = StreamOp::protocol, .sequence = 2, .number = 1};
const StreamHead a_zero{.op = StreamOp::zero, .sequence = 1, .length = 4096};
const StreamHead a_map{.op = StreamOp::map, .length = 16, .body_bytes = 2};
const StreamHead some_sums{.op = StreamOp::sums, .sequence = 1, .length = 65536, .body_bytes = 16};

INSTANTIATE_TEST_SUITE_P(
    , BadStreamHeads,
    testing::Values(
        BadHeadRow{"later_version", a_write, 0, {0, 2}, WireErrc::bad_version},
        BadHeadRow{"no_version", a_write, 0, {0, 0}, WireErrc::bad_version},
        BadHeadRow{"op_zero", a_write, op_at, {0}, WireErrc::bad_opcode},
        BadHeadRow{"op_beyond", a_write, op_at, {11}, WireErrc::bad_opcode},
        BadHeadRow{"earlier_version", numbered(a_write, 1, 0), 0, {0, 1}, WireErrc::bad_version},
        BadHeadRow{"numbered_op_beyond", numbered(a_write, 1, 0), op_at, {12}, WireErrc::bad_opcode},
        BadHeadRow{
            "write_without_number", numbered(a_write, 1, 0), number_at, {0, 0, 0, 0, 0, 0, 0, 0}, WireErrc::bad_field},
        BadHeadRow{"link_with_number", a_link, number_at, {0, 0, 0, 0, 0, 0, 0, 1}, WireErrc::bad_field},
        BadHeadRow{"fua_link", a_link, flags_at, {0x01}, WireErrc::bad_field},
        BadHeadRow{"link_with_body", a_link, body_bytes_at, {0, 0, 0, 1}, WireErrc::bad_length},
        BadHeadRow{"receipt_before_version_3", a_write, flags_at, {0x20}, WireErrc::bad_field},
        BadHeadRow{"unknown_flag", a_receipt, flags_at, {0x40}, WireErrc::bad_field},
        BadHeadRow{"op_beyond_version_3", a_receipt, op_at, {14}, WireErrc::bad_opcode},
        BadHeadRow{"received_of_a_later_version", a_receipt, 0, {0, 4}, WireErrc::bad_version},
        BadHeadRow{"protocol_zero", a_protocol, sequence_at, {0, 0, 0, 0, 0, 0, 0, 0}, WireErrc::bad_field},
        BadHeadRow{"protocol_beyond", a_protocol, sequence_at, {0, 0, 0, 0, 0, 0, 0, 4}, WireErrc::bad_field},
        BadHeadRow{"write_that_may_unmap", a_write, flags_at, {0x08}, WireErrc::bad_field},
        BadHeadRow{"atomic_zero", a_zero, flags_at, {0x02}, WireErrc::bad_field},
        BadHeadRow{"fua_ack", an_ack, flags_at, {0x01}, WireErrc::bad_field},
        BadHeadRow{"last_write", a_write, flags_at, {0x10}, WireErrc::bad_field},
        BadHeadRow{"fua_map", a_map, flags_at, {0x01}, WireErrc::bad_field},
        BadHeadRow{"unknown_status", an_ack, status_at, {8}, WireErrc::bad_field},
        BadHeadRow{"write_with_status", a_write, status_at, {1}, WireErrc::bad_field},
        BadHeadRow{"reserved", an_ack, reserved_at + 6, {1}, WireErrc::bad_field},
        BadHeadRow{
            "range_that_wraps", a_zero, offset_at, {255, 255, 255, 255, 255, 255, 255, 255}, WireErrc::bad_field},
        BadHeadRow{"checksum_of_no_body", an_ack, body_checksum_at, {0, 0, 0, 1}, WireErrc::bad_field},
        BadHeadRow{"write_without_body", a_write, body_bytes_at, {0, 0, 0, 0}, WireErrc::bad_length},
        BadHeadRow{"write_of_nothing", a_write, length_at, {0, 0, 0, 0, 0, 0, 0, 0}, WireErrc::bad_length},
        BadHeadRow{"write_shorter_than_its_body", a_write, length_at, {0, 0, 0, 0, 0, 0, 8, 0}, WireErrc::bad_length},
        BadHeadRow{"state_beyond_the_limit",
                   {.op = StreamOp::state, .body_bytes = 16},
                   body_bytes_at,
                   {1, 0, 0, 1},
                   WireErrc::bad_length},
        BadHeadRow{"ack_with_body", an_ack, body_bytes_at, {0, 0, 0, 1}, WireErrc::bad_length},
        BadHeadRow{"zero_with_body", a_zero, body_bytes_at, {0, 0, 16, 0}, WireErrc::bad_length},
        BadHeadRow{"sum_too_few", some_sums, length_at, {0, 0, 0, 0, 0, 1, 0, 1}, WireErrc::bad_length},
        BadHeadRow{"sums_of_more_than_there_is",
                   some_sums,
                   length_at,
                   {255, 255, 255, 255, 255, 255, 255, 255},
                   WireErrc::bad_length},
        BadHeadRow{"map_of_a_bit_too_many", a_map, length_at, {0, 0, 0, 0, 0, 0, 0, 17}, WireErrc::bad_length}),
    [](const auto& row) { return row.param.name; });

TEST(StreamHeadDeathTest, AHeadThatThePeerWouldNotTakeIsABug) {
  StreamHead head = a_write;
  head.last = true;
  EXPECT_DEATH(static_cast<void>(encoded(head, 1, 1)), "CHECK|flags");
  head = a_write;
  head.length = 512;
  EXPECT_DEATH(static_cast<void>(encoded(head, 1, 1)), "CHECK|body");
  EXPECT_DEATH(static_cast<void>(encoded(a_write, 1, 2)), "CHECK") << "without a number";
  EXPECT_DEATH(static_cast<void>(encoded({.op = StreamOp::link}, 0, 1)), "CHECK") << "of a later version";
  EXPECT_DEATH(static_cast<void>(encoded({.op = StreamOp::received, .sequence = 5, .number = 1}, 0, 2)), "CHECK");
  EXPECT_DEATH(static_cast<void>(encoded({.op = StreamOp::protocol, .sequence = 4, .number = 1}, 0, 3)), "CHECK");
}

// ---- the handshake -------------------------------------------------------------------------------------------------

template <typename T>
T filled(int seed) {
  T value{};
  for (std::size_t index = 0; index < value.size(); ++index) value[index] = static_cast<std::byte>(index * 7 + seed);
  return value;
}

Hello a_hello() {
  return {.version_min = 1,
          .version_max = 2,
          .cluster = filled<std::array<std::byte, 16>>(1),
          .unit = filled<std::array<std::byte, 16>>(2),
          .unit_name = "disk7",
          .from = Member::b,
          .incarnation = 0xa1a2a3a4a5a6a7a8,
          .view = {.number = 7, .primary = Member::b, .in_sync = {Member::a, Member::b}},
          .size_bytes = 0x1112131415161718,
          .block_bytes = 4096,
          .extent_bytes = 4 << 20,
          .auth = StreamAuth::hmac,
          .nonce = filled<Nonce>(3),
          .stream = 0xc1c2c3c4c5c6c7c8,
          .link = 7,
          .joins = true};
}
// As a node says it that knows version 1 only.
Hello an_old_hello() {
  Hello hello = a_hello();
  hello.version_max = 1;
  hello.stream = hello.link = 0;
  hello.joins = false;
  return hello;
}
Welcome a_welcome() {
  return {.version = 1,
          .from = Member::a,
          .incarnation = 0xb1b2b3b4b5b6b7b8,
          .auth = StreamAuth::hmac,
          .nonce = filled<Nonce>(4),
          .proof = filled<Proof>(5)};
}
Ready a_ready() {
  return {.refusal = StreamRefusal::shape, .text = "1 GiB here, 2 GiB there", .proof = filled<Proof>(6)};
}

template <typename Decode>
void expect_whole_or_nothing(const std::vector<std::byte>& bytes, Decode decode) {
  ASSERT_TRUE(decode(bytes));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(decode(std::vector(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size))).error(),
              WireErrc::truncated)
        << size;
  }
  auto longer = bytes;
  longer.push_back({});
  EXPECT_EQ(decode(longer).error(), WireErrc::trailing);
  auto other = bytes;
  other[0] ^= std::byte{1};
  EXPECT_EQ(decode(other).error(), WireErrc::bad_opcode) << "magic";
  for (std::uint8_t kind = 0; kind < 7; ++kind) {
    if (bytes[4] == std::byte{kind}) continue;
    other = bytes;
    other[4] = std::byte{kind};
    EXPECT_EQ(decode(other).error(), WireErrc::bad_opcode) << int{kind};
  }
  // Every shorter length that the prefix may claim, with as many bytes.
  for (std::size_t size = handshake_prefix_bytes; size < bytes.size(); ++size) {
    other.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    other[7] = static_cast<std::byte>(size - handshake_prefix_bytes);
    other[6] = static_cast<std::byte>((size - handshake_prefix_bytes) >> 8);
    EXPECT_FALSE(decode(other)) << size;
  }
}

TEST(Handshake, ComesBackWholeOrNotAtAll) {
  EXPECT_EQ(decode_hello(encode(a_hello())), a_hello());
  EXPECT_EQ(decode_hello(encode(an_old_hello())), an_old_hello());
  EXPECT_EQ(encode(a_hello()).size(), encode(an_old_hello()).size() + 10) << "an old node passes over the rest";
  expect_whole_or_nothing(encode(an_old_hello()), [](const auto& bytes) { return decode_hello(bytes); });
  EXPECT_EQ(decode_welcome(encode(a_welcome())), a_welcome());
  EXPECT_EQ(decode_proof(encode(filled<Proof>(9))), filled<Proof>(9));
  EXPECT_EQ(decode_ready(encode(a_ready())), a_ready());
  EXPECT_EQ(decode_ready(encode(Ready())), Ready());
  expect_whole_or_nothing(encode(a_hello()), [](const auto& bytes) { return decode_hello(bytes); });
  expect_whole_or_nothing(encode(a_welcome()), [](const auto& bytes) { return decode_welcome(bytes); });
  expect_whole_or_nothing(encode(filled<Proof>(9)), [](const auto& bytes) { return decode_proof(bytes); });
  expect_whole_or_nothing(encode(a_ready()), [](const auto& bytes) { return decode_ready(bytes); });
}

TEST(Handshake, SaysHowLongAMessageIs) {
  auto bytes = encode(a_hello());
  EXPECT_EQ(handshake_length(std::span(bytes).first(handshake_prefix_bytes)), bytes.size());
  EXPECT_EQ(handshake_length(std::span(bytes).first(handshake_prefix_bytes - 1)).error(), WireErrc::truncated);
  bytes[6] = std::byte{0xff};
  EXPECT_EQ(handshake_length(bytes).error(), WireErrc::bad_length);
}

TEST(Handshake, CutsTextsAtTheirLimits) {
  Hello hello = a_hello();
  hello.unit_name.assign(1000, 'n');
  EXPECT_EQ(decode_hello(encode(hello))->unit_name, std::string(255, 'n'));
  const Ready ready{.refusal = StreamRefusal::unit, .text = std::string(5000, 't')};
  EXPECT_EQ(decode_ready(encode(ready))->text, std::string(handshake_text_max, 't'));
  EXPECT_LE(encode(hello).size(), handshake_bytes_max);
  EXPECT_LE(encode(ready).size(), handshake_bytes_max);
}

TEST(Handshake, RefusesFieldsThatNobodyWrites) {
  const auto with = [](std::vector<std::byte> bytes, std::size_t field_at, std::uint8_t value) {
    bytes[handshake_prefix_bytes + field_at] = std::byte{value};
    return bytes;
  };
  constexpr std::size_t from_at = 36, primary_at = 53, in_sync_at = 54, auth_at = 75, name_length_at = 108;
  const auto hello = encode(a_hello());
  EXPECT_EQ(decode_hello(with(hello, 1, 0)).error(), WireErrc::bad_field) << "no version";
  EXPECT_EQ(decode_hello(with(hello, 1, 3)).error(), WireErrc::bad_field) << "lowest above highest";
  EXPECT_EQ(decode_hello(with(hello, from_at, 2)).error(), WireErrc::bad_field) << "a witness";
  EXPECT_EQ(decode_hello(with(hello, primary_at, 3)).error(), WireErrc::bad_field);
  EXPECT_EQ(decode_hello(with(hello, in_sync_at, 4)).error(), WireErrc::bad_field);
  EXPECT_EQ(decode_hello(with(hello, in_sync_at, 1)).error(), WireErrc::bad_field) << "a primary that is not in sync";
  EXPECT_EQ(decode_hello(with(hello, auth_at, 2)).error(), WireErrc::bad_field);
  const auto old_hello = encode(an_old_hello());
  EXPECT_EQ(decode_hello(with(old_hello, name_length_at, 6)).error(), WireErrc::bad_length);
  EXPECT_EQ(decode_hello(with(old_hello, name_length_at, 4)).error(), WireErrc::bad_length);
  EXPECT_EQ(decode_hello(with(hello, name_length_at, 6)).error(), WireErrc::bad_length);
  constexpr std::size_t link_at = name_length_at + 1 + 5 + 8;
  EXPECT_EQ(decode_hello(with(hello, link_at, stream_links_max)).error(), WireErrc::bad_field);
  EXPECT_EQ(decode_hello(with(hello, link_at + 1, 2)).error(), WireErrc::bad_field) << "joins";
  const auto welcome = encode(a_welcome());
  EXPECT_EQ(decode_welcome(with(welcome, 1, 0)).error(), WireErrc::bad_field) << "no version";
  EXPECT_EQ(decode_welcome(with(welcome, 2, 2)).error(), WireErrc::bad_field) << "a witness";
  EXPECT_EQ(decode_welcome(with(welcome, 11, 2)).error(), WireErrc::bad_field) << "auth";
  const auto ready = encode(a_ready());
  EXPECT_EQ(decode_ready(with(ready, 0, 7)).error(), WireErrc::bad_field) << "refusal";
  EXPECT_EQ(decode_ready(with(ready, 1, 1)).error(), WireErrc::bad_length) << "text";
  EXPECT_EQ(decode_ready(with(ready, 2, 3)).error(), WireErrc::bad_length) << "text";
}

TEST(Handshake, LeavesRoomForLaterVersions) {
  // Fields behind those that are known pass when the sender says that it speaks a later version, and only then.
  const auto longer = [](std::vector<std::byte> bytes, std::size_t proof_bytes) {
    bytes.insert(bytes.end() - static_cast<std::ptrdiff_t>(proof_bytes), 5, std::byte{0x42});
    bytes[7] = static_cast<std::byte>(bytes.size() - handshake_prefix_bytes);
    return bytes;
  };
  Hello hello = a_hello();
  hello.version_max = stream_version;
  EXPECT_EQ(decode_hello(longer(encode(hello), 0)).error(), WireErrc::bad_length);
  hello.version_max = stream_version + 1;
  EXPECT_EQ(decode_hello(longer(encode(hello), 0)), hello);
  Welcome welcome = a_welcome();
  welcome.version = stream_version;
  EXPECT_EQ(decode_welcome(longer(encode(welcome), sizeof(Proof))).error(), WireErrc::bad_length);
  welcome.version = stream_version + 1;
  EXPECT_EQ(decode_welcome(longer(encode(welcome), sizeof(Proof))), welcome);
}

// A node of an earlier version takes what it does not know for the strongest that it does: it is then told why that is
// not enough, instead of something that it cannot read.
TEST(Handshake, KnowsTlsFromVersionFourOn) {
  Hello hello = a_hello();
  Welcome welcome = a_welcome();
  hello.auth = welcome.auth = StreamAuth::tls;
  for (const std::uint16_t older : {1, 2, 3}) {
    hello.version_max = welcome.version = older;
    EXPECT_EQ(decode_hello(encode(hello)).error(), WireErrc::bad_field);
    EXPECT_EQ(decode_welcome(encode(welcome)).error(), WireErrc::bad_field);
  }
  hello.version_max = welcome.version = 4;
  EXPECT_EQ(decode_hello(encode(hello)), hello);
  EXPECT_EQ(decode_welcome(encode(welcome)), welcome);
  hello.version_max = welcome.version = stream_version + 1;
  hello.auth = welcome.auth = static_cast<StreamAuth>(3);
  EXPECT_EQ(decode_hello(encode(hello))->auth, StreamAuth::tls);
  EXPECT_EQ(decode_welcome(encode(welcome))->auth, StreamAuth::tls);
}

// ---- proofs --------------------------------------------------------------------------------------------------------

struct Conversation {
  std::vector<std::byte> hello = encode(a_hello());
  std::vector<std::byte> welcome = encode(a_welcome());
  std::vector<std::byte> proof = encode(Proof());
  std::vector<std::byte> ready = encode(a_ready());

  // As leader and follower say it.
  void prove(const Key& leader, const Key& follower) {
    Transcript transcript;
    transcript.add_hello(hello);
    transcript.prove(welcome, follower, Transcript::Label::welcome);
    transcript.prove(proof, leader, Transcript::Label::proof);
    transcript.prove(ready, follower, Transcript::Label::ready);
  }
  // How many of the three proofs are right, up to the first that is not.
  [[nodiscard]] int right(const std::vector<Key>& keys) const {
    Transcript transcript;
    transcript.add_hello(hello);
    if (!transcript.check(welcome, keys, Transcript::Label::welcome)) return 0;
    if (!transcript.check(proof, keys, Transcript::Label::proof)) return 1;
    return transcript.check(ready, keys, Transcript::Label::ready) ? 3 : 2;
  }
};

const Key a_key = filled<Key>(1), another_key = filled<Key>(2);

TEST(Proofs, AreRightForTheSameKeyAndTheSameWords) {
  Conversation said;
  said.prove(a_key, a_key);
  EXPECT_EQ(said.right(std::vector<Key>{a_key}), 3);
  EXPECT_EQ(said.right(std::vector<Key>{another_key}), 0);
  EXPECT_EQ(said.right({}), 0);
}

TEST(Proofs, AreTakenByAnyKeyThatIsAccepted) {
  Conversation said;
  said.prove(a_key, another_key);
  EXPECT_EQ(said.right(std::vector<Key>{a_key, another_key}), 3);
  EXPECT_EQ(said.right(std::vector<Key>{another_key, a_key}), 3);
  EXPECT_EQ(said.right(std::vector<Key>{another_key}), 1);
  Transcript transcript;
  transcript.add_hello(said.hello);
  const std::vector<Key> keys{a_key, another_key};
  EXPECT_EQ(transcript.check(said.welcome, keys, Transcript::Label::welcome), another_key);
}

TEST(Proofs, AreWrongForAnyBitThatWasChanged) {
  Conversation said;
  said.prove(a_key, a_key);
  const std::vector<Key> keys{a_key};
  const auto try_all = [&](std::vector<std::byte> Conversation::* message, int right) {
    for (std::size_t bit = 0; bit < (said.*message).size() * 8; ++bit) {
      Conversation changed = said;
      (changed.*message)[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
      EXPECT_EQ(changed.right(keys), right) << bit;
    }
  };
  try_all(&Conversation::hello, 0);
  try_all(&Conversation::welcome, 0);
  try_all(&Conversation::proof, 1);
  try_all(&Conversation::ready, 2);
}

TEST(Proofs, CannotBeTurnedAround) {
  Conversation said;
  said.prove(a_key, a_key);
  // The follower's own proof, given back to it as the leader's.
  std::ranges::copy(std::span(said.welcome).last(sizeof(Proof)), said.proof.end() - sizeof(Proof));
  EXPECT_EQ(said.right(std::vector<Key>{a_key}), 1);
}

TEST(Proofs, CannotBeRepeatedUnderAnotherNonce) {
  Conversation said;
  said.prove(a_key, a_key);
  Conversation next = said;
  Welcome welcome = a_welcome();
  welcome.nonce = filled<Nonce>(77);
  next.welcome = encode(welcome);
  Transcript transcript;
  transcript.add_hello(next.hello);
  transcript.prove(next.welcome, a_key, Transcript::Label::welcome);
  EXPECT_EQ(next.right(std::vector<Key>{a_key}), 1) << "the leader's proof is of the old nonce";
}

TEST(Proofs, GiveKeysThatDifferByDirectionAndConversation) {
  const auto keys_after = [](const Hello& hello) {
    Transcript transcript;
    transcript.add_hello(encode(hello));
    return std::array{transcript.derive(a_key, Transcript::Label::leader_messages),
                      transcript.derive(a_key, Transcript::Label::follower_messages),
                      transcript.derive(another_key, Transcript::Label::leader_messages)};
  };
  Hello other = a_hello();
  other.nonce[31] ^= std::byte{1};
  const auto first = keys_after(a_hello()), second = keys_after(other);
  EXPECT_EQ(first, keys_after(a_hello()));
  EXPECT_NE(first[0], first[1]);
  EXPECT_NE(first[0], first[2]);
  EXPECT_NE(first[0], second[0]);
}

TEST(Proofs, GiveAKeyForTlsThatIsOfNoOtherUse) {
  Transcript transcript, other;
  transcript.add_hello(encode(a_hello()));
  Hello another = a_hello();
  another.unit[0] ^= std::byte{1};
  other.add_hello(encode(another));
  const Key key = transcript.derive_tls(a_key, "name");
  EXPECT_EQ(key, transcript.derive_tls(a_key, "name"));
  for (const Key& different :
       {transcript.derive_tls(another_key, "name"), transcript.derive_tls(a_key, "other"),
        other.derive_tls(a_key, "name"), transcript.derive(a_key, Transcript::Label::leader_messages), a_key}) {
    EXPECT_NE(key, different);
  }
}

TEST(Proofs, NameKeysByClusterNodeAndGeneration) {
  const std::string name = tls_key_name("lab", Member::a, a_key);
  EXPECT_EQ(name.substr(0, name.size() - 8), "mptarget lab node-a key-");
  EXPECT_EQ(name.find_first_not_of("0123456789abcdef", name.size() - 8), std::string::npos);
  EXPECT_EQ(name, tls_key_name("lab", Member::a, a_key));
  EXPECT_NE(name, tls_key_name("lab", Member::a, another_key));
  EXPECT_NE(name, tls_key_name("lab", Member::b, a_key));
  EXPECT_NE(name, tls_key_name("lob", Member::a, a_key));
  EXPECT_LE(tls_key_name(std::string(1000, 'x'), Member::a, a_key).size(), 128U) << "more is too long for OpenSSL";
}

// ---- HMAC ----------------------------------------------------------------------------------------------------------

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(Hmac, IsThatOfTheStandard) {
  // RFC 4231, test case 2.
  constexpr std::array<std::uint8_t, 32> expected{0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
                                                  0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27,
                                                  0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
  const auto tag = hmac_sha256(bytes_of("Jefe"), {bytes_of("what do ya want "), bytes_of("for nothing?")});
  EXPECT_TRUE(same_secret(tag, std::as_bytes(std::span(expected))));
}

TEST(Hmac, TakesKeysThatAreLongerThanABlock) {
  // RFC 4231, test case 6.
  constexpr std::array<std::uint8_t, 32> expected{0x60, 0xe4, 0x31, 0x59, 0x1e, 0xe0, 0xb6, 0x7f, 0x0d, 0x8a, 0x26,
                                                  0xaa, 0xcb, 0xf5, 0xb7, 0x7f, 0x8e, 0x0b, 0xc6, 0x21, 0x37, 0x28,
                                                  0xc5, 0x14, 0x05, 0x46, 0x04, 0x0f, 0x0e, 0xe3, 0x7f, 0x54};
  const std::vector<std::byte> key(131, std::byte{0xaa});
  const auto tag = hmac_sha256(key, {bytes_of("Test Using Larger Than Block-Size Key - Hash Key First")});
  EXPECT_TRUE(same_secret(tag, std::as_bytes(std::span(expected))));
}

TEST(Hmac, BeginsAnewAfterEachTag) {
  Hmac hmac(bytes_of("Jefe"));
  const auto once = [&] {
    hmac.add(bytes_of("what do ya want for "));
    hmac.add(bytes_of("nothing?"));
    return hmac.finish();
  };
  const HmacTag first = once();
  EXPECT_EQ(first, once());
  EXPECT_EQ(first, hmac_sha256(bytes_of("Jefe"), {bytes_of("what do ya want for nothing?")}));
  EXPECT_FALSE(same_secret(first, std::span(first).first(31)));
}

TEST(Hkdf, IsThatOfTheStandard) {
  // RFC 5869, A.1 and A.3: the first block.
  const std::vector<std::byte> key(22, std::byte{0x0b});
  std::vector<std::byte> salt, info;
  for (int byte = 0; byte < 13; ++byte) salt.push_back(static_cast<std::byte>(byte));
  for (int byte = 0xf0; byte < 0xfa; ++byte) info.push_back(static_cast<std::byte>(byte));
  constexpr std::array<std::uint8_t, 32> expected{0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a, 0x90, 0x43, 0x4f,
                                                  0x64, 0xd0, 0x36, 0x2f, 0x2a, 0x2d, 0x2d, 0x0a, 0x90, 0xcf, 0x1a,
                                                  0x5a, 0x4c, 0x5d, 0xb0, 0x2d, 0x56, 0xec, 0xc4, 0xc5, 0xbf};
  constexpr std::array<std::uint8_t, 32> without{0x8d, 0xa4, 0xe7, 0x75, 0xa5, 0x63, 0xc1, 0x8f, 0x71, 0x5f, 0x80,
                                                 0x2a, 0x06, 0x3c, 0x5a, 0x31, 0xb8, 0xa1, 0x1f, 0x5c, 0x5e, 0xe1,
                                                 0x87, 0x9e, 0xc3, 0x45, 0x4e, 0x5f, 0x3c, 0x73, 0x8d, 0x2d};
  const std::span<const std::byte> parts(info);
  EXPECT_TRUE(
      same_secret(hkdf_sha256(salt, key, {parts.first(4), parts.subspan(4)}), std::as_bytes(std::span(expected))));
  EXPECT_TRUE(same_secret(hkdf_sha256({}, key, {}), std::as_bytes(std::span(without))));
}

}  // namespace
}  // namespace mpath::replication
