// TLS between two who have a key in common: who has not is refused, and what is changed on the way is noticed.
#include "target/replication/tls_engine.hpp"

#include "base/random.hpp"
#include "tests/target/replication/stream/stream_world.hpp"
#include "tests/target/replication/stream/tls_ends.hpp"

namespace mpath::target::replication::test {
namespace {

// All of `plain`, as one end seals it.
Bytes sealed(TlsEngine& engine, std::span<const std::byte> plain, std::size_t place_bytes = 1 << 18) {
  Bytes records, place(place_bytes);
  do {
    const iovec piece{const_cast<std::byte*>(plain.data()), plain.size()};
    const auto some = engine.seal({&piece, plain.empty() ? 0U : 1U}, place);
    if (!some) {
      ADD_FAILURE() << some.error();
      return records;
    }
    records.insert(records.end(), place.begin(), place.begin() + static_cast<std::ptrdiff_t>(some->bytes));
    plain = plain.subspan(some->plain_bytes);
  } while (!plain.empty());
  return records;
}

struct Opened {
  Bytes plain;
  std::string failed;
};
// What the other end makes of `records`, which come in pieces of `piece_bytes` and go into places of `place_bytes`.
Opened opened(TlsEngine& engine, std::span<const std::byte> records, std::size_t piece_bytes = 1 << 20,
              std::size_t place_bytes = 4096) {
  Opened all;
  Bytes place(place_bytes);
  while (!records.empty()) {
    const auto piece = records.first(std::min(piece_bytes, records.size()));
    records = records.subspan(piece.size());
    engine.feed(piece);
    while (engine.has_input()) {
      const iovec into{place.data(), place.size()};
      const auto count = engine.open({&into, 1});
      if (!count) {
        all.failed = count.error();
        return all;
      }
      all.plain.insert(all.plain.end(), place.begin(), place.begin() + static_cast<std::ptrdiff_t>(*count));
    }
  }
  return all;
}

// ---- the handshake -------------------------------------------------------------------------------------------------

TEST(TlsHandshake, LetsThoseInWhoHaveTheKey) {
  TlsEnds ends = tls_ends();
  ASSERT_TRUE(ends.met()) << ends.near_failed << ends.far_failed;
  const Bytes there = pattern(100, 1), back = pattern(100, 2);
  EXPECT_EQ(opened(*ends.far, sealed(*ends.near, there)).plain, there);
  EXPECT_EQ(opened(*ends.near, sealed(*ends.far, back)).plain, back);
  // It stays far below what the sockets allow.
  EXPECT_LT(ends.near_bytes, 1024U);
  EXPECT_LT(ends.far_bytes, 1024U);
}

TEST(TlsHandshake, RefusesAnotherKeyOfTheSameName) {
  const TlsEnds ends = shake_hands(TlsEngine::connecting(tls_key(1)), TlsEngine::accepting({tls_key(2)}));
  EXPECT_NE(ends.near_failed, "");
  EXPECT_NE(ends.near_failed, "not done") << "it is told";
  EXPECT_NE(ends.far_failed, "");
  EXPECT_NE(ends.far_failed, "not done");
}

TEST(TlsHandshake, RefusesTheRightKeyUnderAnotherName) {
  const TlsEnds ends = shake_hands(TlsEngine::connecting(tls_key(1, "mptarget other node-a key-01020304")),
                                   TlsEngine::accepting({tls_key(1)}));
  EXPECT_NE(ends.near_failed, "");
  EXPECT_NE(ends.far_failed, "");
  EXPECT_FALSE(shake_hands(TlsEngine::connecting(tls_key(1)), TlsEngine::accepting({})).met());
}

TEST(TlsHandshake, TakesEitherKeyWhileItIsChanged) {
  const TlsKey before = tls_key(1, "key of before"), now = tls_key(2, "key of now");
  for (const TlsKey& offered : {before, now}) {
    TlsEnds ends = shake_hands(TlsEngine::connecting(offered), TlsEngine::accepting({now, before}));
    ASSERT_TRUE(ends.met()) << offered.name << ": " << ends.near_failed << ends.far_failed;
    EXPECT_EQ(opened(*ends.far, sealed(*ends.near, pattern(10))).plain, pattern(10));
  }
  EXPECT_FALSE(shake_hands(TlsEngine::connecting(before), TlsEngine::accepting({now})).met());
}

TEST(TlsHandshake, BreaksOffWhenAnyByteOfItIsDamaged) {
  for (const bool of_the_first : {true, false}) {
    for (std::size_t at = 0;; ++at) {
      const auto near = TlsEngine::connecting(tls_key(1)), far = TlsEngine::accepting({tls_key(1)});
      ASSERT_TRUE(near->shake({}));
      Bytes said = near->take_said();
      if (of_the_first) {
        if (at == said.size()) break;
        said[at] ^= std::byte{0x10};
      }
      bool failed = false, done = false;
      const auto hear = [&](TlsEngine& engine, const Bytes& bytes) {
        for (const auto& record : records_of(bytes)) {
          const auto result = engine.shake(record);
          failed = failed || !result;
          done = result && *result;
        }
        return engine.take_said();
      };
      Bytes answer = hear(*far, said);
      if (!of_the_first) {
        ASSERT_FALSE(failed);
        if (at == answer.size()) break;
        answer[at] ^= std::byte{0x10};
      }
      if (!failed) hear(*near, answer);
      // A length that became longer leaves it waiting, which the sockets bound. The minor number of the first record's
      // version means nothing (RFC 8446, 5.1) and nobody looks at it.
      EXPECT_EQ(done, at == 2) << at;
    }
  }
}

TEST(TlsHandshake, IsNothingForStrangers) {
  std::uint64_t random = 7;
  for (int count = 0; count < 200; ++count) {
    Bytes noise(next_random(random) % 300);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(next_random(random));
    if (noise.size() > 5 && count % 2 == 0) {  // a record, for once
      noise[0] = std::byte{22};
      noise[1] = std::byte{3};
      noise[2] = std::byte{3};
      noise[3] = std::byte{0};
      noise[4] = static_cast<std::byte>(noise.size() - 5);
    }
    const auto far = TlsEngine::accepting({tls_key(1)}), near = TlsEngine::connecting(tls_key(1));
    ASSERT_TRUE(near->shake({}));
    for (TlsEngine* const engine : {far.get(), near.get()}) {
      const auto result = engine->shake(noise);
      EXPECT_FALSE(result && *result);
    }
  }
}

// ---- records -------------------------------------------------------------------------------------------------------

TEST(TlsRecords, CarryEverySizeInPiecesOfEverySize) {
  TlsEnds ends = tls_ends();
  constexpr std::size_t full = TlsEngine::record_plain_max;
  for (const std::size_t size : {std::size_t{1}, std::size_t{2}, full - 1, full, full + 1, 5 * full + 7, 40 * full}) {
    const Bytes plain = pattern(size);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{5000}, std::size_t{1} << 20}) {
      if (size > 10 * full && piece < 5000) continue;
      EXPECT_EQ(opened(*ends.far, sealed(*ends.near, plain, TlsEngine::seal_room), piece, piece).plain, plain)
          << size << " in pieces of " << piece;
    }
  }
}

TEST(TlsRecords, PutSmallPiecesIntoOneAndKeepTheirOrder) {
  TlsEnds ends = tls_ends();
  // As messages are: heads of 64 bytes before bodies of all sizes.
  Bytes plain, place(TlsEngine::seal_room * 40);
  std::vector<Bytes> parts;
  for (const std::size_t size : {64, 4096, 64, 4096, 64, 40000, 64, 16384, 64, 16320, 64, 512, 64, 0, 64, 100000}) {
    parts.push_back(pattern(size, static_cast<unsigned>(parts.size())));
    plain.insert(plain.end(), parts.back().begin(), parts.back().end());
  }
  std::vector<iovec> pieces;
  for (Bytes& part : parts) pieces.push_back({part.data(), part.size()});
  const auto all = ends.near->seal(pieces, place);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->plain_bytes, plain.size());
  place.resize(all->bytes);
  EXPECT_LE(records_of(place).size(), plain.size() / TlsEngine::record_plain_max + 6);
  EXPECT_EQ(opened(*ends.far, place).plain, plain);
}

TEST(TlsRecords, StopWhereThePlaceEnds) {
  TlsEnds ends = tls_ends();
  Bytes plain = pattern(1 << 20), place(100000, std::byte{0xee});
  const iovec piece{plain.data(), plain.size()};
  const auto some = ends.near->seal({&piece, 1}, std::span(place).first(50000));
  ASSERT_TRUE(some);
  EXPECT_GE(some->plain_bytes, TlsEngine::record_plain_max);
  EXPECT_LT(some->bytes, 50000U);
  EXPECT_TRUE(
      std::ranges::all_of(std::span(place).subspan(50000), [](std::byte byte) { return byte == std::byte{0xee}; }));
  EXPECT_EQ(opened(*ends.far, std::span(place).first(some->bytes)).plain.size(), some->plain_bytes);
}

TEST(TlsRecords, ShowNothingOfWhatIsInThem) {
  TlsEnds ends = tls_ends();
  const Bytes plain(100000, std::byte{'X'});
  const Bytes records = sealed(*ends.near, plain);
  const Bytes four(4, std::byte{'X'});
  EXPECT_TRUE(std::ranges::search(records, four).empty());
}

TEST(TlsRecords, EndWithAnyByteDamagedAfterWhatCameBefore) {
  const Bytes first = pattern(30, 1), second = pattern(30, 2);
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < bytes; ++at) {
    TlsEnds ends = tls_ends();
    Bytes records = sealed(*ends.near, first);
    const std::size_t begin = records.size();
    const Bytes more = sealed(*ends.near, second);
    bytes = more.size();
    records.insert(records.end(), more.begin(), more.end());
    records[begin + at] ^= std::byte{0x10};
    const Opened result = opened(*ends.far, records);
    EXPECT_EQ(result.plain, first) << at;
    // What seems to be longer is waited for, and found out when it has come.
    const bool longer = at == 3 || (at == 4 && records[begin + at] > more[at]);
    EXPECT_EQ(result.failed.empty(), longer) << at << ": " << result.failed;
    EXPECT_TRUE(!longer || ends.far->in_record());
  }
}

TEST(TlsRecords, CannotBeRepeatedLeftOutExchangedOrGivenToAnother) {
  const auto result_of = [](const std::vector<int>& order, bool another_connection = false) {
    TlsEnds ends = tls_ends(), others = tls_ends();
    std::vector<Bytes> records;
    for (unsigned index = 0; index < 3; ++index) records.push_back(sealed(*ends.near, pattern(30, index)));
    Bytes given;
    for (const int index : order) {
      const Bytes& record = records[static_cast<std::size_t>(index)];
      given.insert(given.end(), record.begin(), record.end());
    }
    return opened(another_connection ? *others.far : *ends.far, given);
  };
  EXPECT_EQ(result_of({0, 1, 2}).failed, "");
  for (const auto& [order, taken] : std::vector<std::pair<std::vector<int>, std::size_t>>{
           {{0, 0}, 1}, {{1, 0}, 0}, {{0, 2}, 1}, {{0, 1, 2, 1}, 3}}) {
    const Opened result = result_of(order);
    EXPECT_NE(result.failed, "");
    EXPECT_EQ(result.plain.size(), taken * 30);
  }
  EXPECT_NE(result_of({0}, true).failed, "") << "the key is the same, the connection is not";
  // Given back to who sent it.
  TlsEnds ends = tls_ends();
  EXPECT_NE(opened(*ends.near, sealed(*ends.near, pattern(30))).failed, "");
}

TEST(TlsRecords, SayThatTheyWereCut) {
  TlsEnds ends = tls_ends();
  const Bytes records = sealed(*ends.near, pattern(1000));
  EXPECT_FALSE(ends.far->in_record());
  const Opened result = opened(*ends.far, std::span(records).first(500));
  EXPECT_EQ(result.failed, "");
  EXPECT_TRUE(result.plain.empty());
  EXPECT_TRUE(ends.far->in_record());
  EXPECT_EQ(opened(*ends.far, std::span(records).subspan(500)).plain, pattern(1000));
  EXPECT_FALSE(ends.far->in_record());
}

TEST(TlsRecords, ChangeTheirKeyOnTheWay) {
  TlsEnds ends = tls_ends(1, 3), often = tls_ends(1, 1 << 20);
  std::size_t bytes = 0, bytes_without = 0;
  for (unsigned count = 0; count < 300; ++count) {
    const Bytes there = pattern(50, count), back = pattern(60, count);
    const Bytes records = sealed(*ends.near, there);
    bytes += records.size();
    bytes_without += sealed(*often.near, there).size();
    EXPECT_EQ(opened(*ends.far, records).plain, there);
    EXPECT_EQ(opened(*ends.near, sealed(*ends.far, back)).plain, back);
  }
  // 299 / 3 announcements: five bytes, sealed.
  EXPECT_EQ(bytes - bytes_without, 99U * (5 + 5 + 1 + 16));
}

}  // namespace
}  // namespace mpath::target::replication::test
