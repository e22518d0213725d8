// Atomic writes under power cuts: a disk that loses, at any step, any of the sectors that it was just told to write.
#include <gtest/gtest.h>

#include <random>

#include "target/store/journal.hpp"
#include "tests/target/store/store_fixture.hpp"

namespace mpath::target {
namespace {

using test::bytes_of;

constexpr std::size_t sector_bytes = 512;
constexpr std::uint32_t body_max = 8192;

// The power of both files of one machine: it fails in the middle of the write number `cut_at`.
struct Power {
  int writes = 0;
  int cut_at = -1;
  std::mt19937 random;
  [[nodiscard]] bool is_off() const { return cut_at >= 0 && writes > cut_at; }
};

class FakeDisk final : public DurableFile {
 public:
  explicit FakeDisk(Power& power) : power_(power) {}

  error_code write(std::uint64_t offset, std::span<const iovec> data) override {
    if (power_.is_off()) return std::make_error_code(std::errc::io_error);
    const bool torn = power_.writes++ == power_.cut_at;
    std::vector<std::byte> all;
    for (const iovec& part : data) {
      const auto* from = static_cast<const std::byte*>(part.iov_base);
      all.insert(all.end(), from, from + part.iov_len);
    }
    if (bytes.size() < offset + all.size()) bytes.resize(offset + all.size());
    for (std::size_t at = 0; at < all.size(); at += sector_bytes) {
      if (torn && power_.random() % 2 == 0) continue;  // in any order: any of them may be missing
      std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(at), std::min(sector_bytes, all.size() - at),
                  bytes.begin() + static_cast<std::ptrdiff_t>(offset + at));
    }
    return torn ? std::make_error_code(std::errc::io_error) : error_code();
  }
  error_code read(std::uint64_t offset, std::span<std::byte> data) override {
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = offset + i < bytes.size() ? bytes[offset + i] : std::byte{};
    return {};
  }

  std::vector<std::byte> bytes;

 private:
  Power& power_;
};

struct Machine {
  Machine() {
    medium.bytes = bytes_of(64 << 10, 1);
    EXPECT_EQ(recover(), Result<unsigned>(0u));
    power.writes = 0;
  }
  Result<unsigned> recover() { return journal.recover(log, medium, medium.bytes.size()); }
  // Returns whether it was acknowledged.
  bool write(std::uint64_t offset, std::size_t length, int value, unsigned slot = 0) {
    std::vector<std::byte> data = bytes_of(length, value);
    const iovec parts[] = {{data.data(), length / 2}, {data.data() + length / 2, length - length / 2}};
    return !journal.write(log, medium, slot, ++sequence, offset, parts).error;
  }
  void power_on() {
    power.cut_at = -1;
    power.writes = 0;
  }
  [[nodiscard]] std::vector<std::byte> at(std::size_t offset, std::size_t length) const {
    const auto from = medium.bytes.begin() + static_cast<std::ptrdiff_t>(offset);
    return {from, from + static_cast<std::ptrdiff_t>(length)};
  }

  Power power;
  Journal journal{body_max};
  FakeDisk log{power};
  FakeDisk medium{power};
  std::uint64_t sequence = 0;
};

TEST(Journal, AWriteIsThreeDurableSteps) {
  Machine machine;
  EXPECT_TRUE(machine.write(4096, body_max, 2));
  EXPECT_EQ(machine.power.writes, 3);
  EXPECT_EQ(machine.at(4096, body_max), bytes_of(body_max, 2));
  EXPECT_EQ(machine.recover(), Result<unsigned>(0u)) << "nothing is left to replay";
}

TEST(Journal, ACutAtEveryStepLeavesAllOrNothing) {
  int old_ones = 0, new_ones = 0;
  for (int cut = 0; cut < 4; ++cut) {
    for (unsigned seed = 0; seed < 300; ++seed) {
      Machine machine;
      machine.power.random.seed(seed);
      machine.power.cut_at = cut;
      const bool acknowledged = machine.write(4096, body_max, 2);
      EXPECT_EQ(acknowledged, cut == 3);
      machine.power_on();
      ASSERT_TRUE(machine.recover().has_value());
      const std::vector<std::byte> now = machine.at(4096, body_max);
      const bool is_old = now == bytes_of(body_max, 1);
      const bool is_new = now == bytes_of(body_max, 2);
      ASSERT_TRUE(is_old || is_new) << "torn: cut " << cut << " seed " << seed;
      ASSERT_TRUE(is_new || cut == 0) << "it was durable in the journal: cut " << cut << " seed " << seed;
      ASSERT_EQ(machine.at(0, 4096), bytes_of(4096, 1));
      ASSERT_EQ(machine.at(4096 + body_max, 4096), bytes_of(4096, 1));
      (is_old ? old_ones : new_ones)++;
    }
  }
  EXPECT_GT(old_ones, 0);
  EXPECT_GT(new_ones, 600);
}

TEST(Journal, ACutDuringTheReplayIsHealedByTheNext) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    for (int cut = 0; cut < 2; ++cut) {
      Machine machine;
      machine.power.random.seed(seed);
      machine.power.cut_at = 1;  // in the middle of the write in place
      EXPECT_FALSE(machine.write(0, body_max, 2));
      machine.power_on();
      machine.power.cut_at = cut;
      EXPECT_FALSE(machine.recover().has_value());
      machine.power_on();
      ASSERT_TRUE(machine.recover().has_value());
      ASSERT_EQ(machine.at(0, body_max), bytes_of(body_max, 2)) << "cut " << cut << " seed " << seed;
    }
  }
}

TEST(Journal, AnAnsweredWriteIsNeverReplayedOverLaterOnes) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    for (int cut = 0; cut < 4; ++cut) {
      Machine machine;
      machine.power.random.seed(seed);
      EXPECT_TRUE(machine.write(0, body_max, 2, 1));
      std::fill_n(machine.medium.bytes.begin(), body_max, std::byte{9});  // an ordinary write, later
      machine.power.writes = 0;
      machine.power.cut_at = cut;
      static_cast<void>(machine.write(16384, body_max, 3, 1));
      machine.power_on();
      ASSERT_TRUE(machine.recover().has_value());
      ASSERT_EQ(machine.at(0, body_max), bytes_of(body_max, 9)) << "cut " << cut << " seed " << seed;
    }
  }
}

TEST(Journal, SlotsAreReplayedOldestFirst) {
  Machine machine;
  machine.power.cut_at = 1;
  EXPECT_FALSE(machine.write(0, 1024, 2, 3));
  machine.power_on();
  machine.power.cut_at = 1;
  EXPECT_FALSE(machine.write(512, 1024, 3, 0));
  machine.power_on();
  EXPECT_EQ(machine.recover(), Result<unsigned>(2u));
  EXPECT_EQ(machine.at(0, 512), bytes_of(512, 2));
  EXPECT_EQ(machine.at(512, 1024), bytes_of(1024, 3));
}

TEST(Journal, AFailedEntryIsClearedBeforeItCanUndoAnything) {
  struct Failing final : DurableFile {
    explicit Failing(FakeDisk& behind) : disk(behind) {}
    error_code write(std::uint64_t offset, std::span<const iovec> data) override {
      const error_code error = disk.write(offset, data);
      return writes++ == 0 ? std::make_error_code(std::errc::no_space_on_device)
                           : error;  // all there, and yet an error
    }
    error_code read(std::uint64_t offset, std::span<std::byte> data) override { return disk.read(offset, data); }
    FakeDisk& disk;
    int writes = 0;
  };
  Machine machine;
  Failing log(machine.log);
  std::vector<std::byte> data = bytes_of(512, 2);
  const iovec part{data.data(), data.size()};
  const Journal::Outcome outcome = machine.journal.write(log, machine.medium, 0, 1, 0, std::span(&part, 1));
  EXPECT_EQ(outcome.error, std::errc::no_space_on_device);
  EXPECT_EQ(outcome.stage, Journal::Stage::journal);
  EXPECT_EQ(machine.recover(), Result<unsigned>(0u));
  EXPECT_EQ(machine.at(0, 512), bytes_of(512, 1));
}

TEST(Journal, AnotherShapeIsReplayedWithItsOwnAndMadeAnew) {
  Machine machine;
  machine.power.cut_at = 1;
  EXPECT_FALSE(machine.write(0, body_max, 2, 2));
  machine.power_on();
  Journal larger(4 * body_max);
  EXPECT_EQ(Journal::has_entries(machine.log), Result<bool>(true));
  EXPECT_EQ(larger.recover(machine.log, machine.medium, machine.medium.bytes.size()), Result<unsigned>(1u));
  EXPECT_EQ(machine.at(0, body_max), bytes_of(body_max, 2));
  EXPECT_EQ(Journal::has_entries(machine.log), Result<bool>(false));
  EXPECT_EQ(larger.recover(machine.log, machine.medium, machine.medium.bytes.size()), Result<unsigned>(0u));
}

TEST(Journal, AnEntryPastTheEndIsRefused) {
  Machine machine;
  machine.power.cut_at = 1;
  EXPECT_FALSE(machine.write(32 << 10, 1024, 2));
  machine.power_on();
  EXPECT_FALSE(machine.journal.recover(machine.log, machine.medium, 32 << 10).has_value());
}

TEST(JournalEntry, EveryChangedBitOfTheHeaderIsSeen) {
  const JournalEntry entry{.sequence = 5, .offset = 4096, .length = 512, .body_checksum = 0x12345678};
  const JournalHeader header = encode_journal_entry(entry);
  EXPECT_EQ(decode_journal_entry(header), entry);
  for (std::size_t bit = 0; bit < 40 * 8; ++bit) {
    JournalHeader changed = header;
    changed[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    EXPECT_EQ(decode_journal_entry(changed), std::nullopt) << bit;
  }
  for (std::size_t length = 0; length < 40; ++length) {
    EXPECT_EQ(decode_journal_entry(std::span(header).first(length)), std::nullopt) << length;
  }
}

}  // namespace
}  // namespace mpath::target
