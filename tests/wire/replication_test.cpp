// Frames and records of a pair, at every length and with every bit damaged.
#include "wire/replication.hpp"

#include <gtest/gtest.h>

#include "wire/error.hpp"

namespace mpath::replication {
namespace {

const View both{.number = 7, .primary = Member::b, .in_sync = {Member::a, Member::b}};
const Vote vote{.ballot = {.round = 3, .proposer = Member::b},
                .view = {.number = 8, .primary = Member::a, .in_sync = {Member::a}},
                .stand_in = true};
Key key_of(int seed) {
  Key key{};
  for (std::size_t index = 0; index < key.size(); ++index) key[index] = static_cast<std::byte>(index * 7 + seed);
  return key;
}

struct Row {
  std::string name;
  Body body;
};

class Frames : public testing::TestWithParam<Row> {
 protected:
  Frame frame{.number = 0x1122334455667788,
              .message = {.from = Member::witness,
                          .incarnation = 0xa1a2a3a4a5a6a7a8,
                          .suspect = true,
                          .decided = both,
                          .body = GetParam().body}};
  Key key = key_of(1);
};

TEST_P(Frames, ComeBack) {
  EXPECT_EQ(decode(encode(frame, nullptr), nullptr), frame);
  EXPECT_EQ(decode(encode(frame, &key), &key), frame);
}

TEST_P(Frames, AreWholeOrNothing) {
  for (const Key* const with : {static_cast<const Key*>(nullptr), static_cast<const Key*>(&key)}) {
    auto bytes = encode(frame, with);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const std::vector<std::byte> part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_EQ(decode(part, with).error(), WireErrc::truncated) << size;
    }
    bytes.push_back({});
    EXPECT_EQ(decode(bytes, with).error(), WireErrc::trailing);
  }
}

TEST_P(Frames, AreNotTakenWithAnyBitDamaged) {
  for (const Key* const with : {static_cast<const Key*>(nullptr), static_cast<const Key*>(&key)}) {
    const auto bytes = encode(frame, with);
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      auto damaged = bytes;
      damaged[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
      EXPECT_EQ(decode(damaged, with).error(), WireErrc::bad_digest) << bit;
    }
  }
}

TEST_P(Frames, NeedTheKey) {
  const Key other = key_of(2);
  EXPECT_EQ(decode(encode(frame, &key), &other).error(), WireErrc::bad_digest);
  EXPECT_EQ(decode(encode(frame, nullptr), &key).error(), WireErrc::truncated) << "one that nobody signed";
  EXPECT_EQ(decode(encode(frame, &key), nullptr).error(), WireErrc::trailing);
}

INSTANTIATE_TEST_SUITE_P(
    , Frames,
    testing::Values(Row{"beat", Beat{.lease_id = 5}},
                    Row{"beat_with_wishes",
                        Beat{.lease_id = 0, .held_back = {.number = 3, .members = {Member::b}}, .asks_to_serve = true}},
                    Row{"grant", Grant{.lease_id = 6, .lease = std::chrono::milliseconds(400)}},
                    Row{"prepare", Prepare{.ballot = vote.ballot}},
                    Row{"promise", Promise{.ballot = vote.ballot, .accepted = vote}},
                    Row{"empty_promise", Promise{.ballot = vote.ballot, .accepted = std::nullopt}},
                    Row{"propose", Propose{.vote = vote}}, Row{"accepted", Accepted{.ballot = vote.ballot}},
                    Row{"refused", Refused{.ballot = vote.ballot,
                                           .promised = {.round = 9, .proposer = Member::a},
                                           .wait = std::chrono::microseconds(123456)}}),
    [](const auto& row) { return row.param.name; });

TEST(StoredRecord, ComesBack) {
  StoredRecord stored{
      .cluster = {}, .serial = 12, .record = {.decided = both, .promised = vote.ballot, .accepted = vote}};
  stored.cluster.fill(std::byte{0x5a});
  EXPECT_EQ(decode_record(encode(stored)), stored);
  stored.record.accepted.reset();
  EXPECT_EQ(decode_record(encode(stored)), stored);
}

TEST(StoredRecord, IsNotTakenWhenItIsTornOrDamaged) {
  const StoredRecord old{.cluster = {}, .serial = 11, .record = {.decided = both, .promised = {}, .accepted = {}}};
  const StoredRecord next{
      .cluster = {}, .serial = 12, .record = {.decided = vote.view, .promised = {}, .accepted = {}}};
  const auto before = encode(old);
  const auto after = encode(next);
  for (std::size_t torn = 1; torn < record_bytes; ++torn) {
    auto bytes = before;
    std::copy_n(after.begin(), torn, bytes.begin());
    // What is written the same in both is not torn.
    if (bytes == before || bytes == after) continue;
    EXPECT_EQ(decode_record(bytes).error(), WireErrc::bad_digest) << torn;
  }
  for (std::size_t bit = 0; bit < record_bytes * 8; ++bit) {
    auto damaged = before;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_FALSE(decode_record(damaged)) << bit;
  }
  EXPECT_EQ(decode_record(std::span(before).first(record_bytes - 1)).error(), WireErrc::truncated);
  EXPECT_EQ(decode_record(std::vector<std::byte>(record_bytes)).error(), WireErrc::bad_digest) << "an empty file";
}

}  // namespace
}  // namespace mpath::replication
