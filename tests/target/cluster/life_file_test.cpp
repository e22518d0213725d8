#include "target/cluster/life_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "base/boot_id.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath::target::cluster {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t year_2026 = 1'790'000'000'000'000;

class Lives : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path file() const { return directory_ / "life"; }
  std::expected<LifeFile, std::string> begin(const std::string& boot, bool record = true,
                                             std::uint64_t clock = year_2026) const {
    return LifeFile::begin(file(), {.record_exists = record, .boot_id = boot, .wall_clock = clock});
  }
  std::string text() const {
    std::ifstream in(file(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void put(const std::string& bytes) const { std::ofstream(file(), std::ios::binary) << bytes; }

  test::TemporaryDirectory directory_;
};

TEST_F(Lives, FirstOneIsSound) {
  const auto first = begin("boot1", false);
  ASSERT_TRUE(first) << first.error();
  EXPECT_FALSE(first->suspect());
  EXPECT_EQ(first->incarnation(), year_2026);
}

TEST_F(Lives, KilledProcessKeepsTheMemoryOfItsMachine) {
  ASSERT_TRUE(begin("boot1", false));
  const auto second = begin("boot1");
  ASSERT_TRUE(second);
  EXPECT_FALSE(second->suspect());
  EXPECT_THAT(second->reason(), IsEmpty());
}

TEST_F(Lives, MachineThatWentDownIsSuspectUntilItWasFilled) {
  ASSERT_TRUE(begin("boot1", false));
  const auto second = begin("boot2");
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->suspect());
  EXPECT_THAT(second->reason(), HasSubstr("without an orderly end"));
  // The mark stays over a restart of the process, and over an orderly end.
  auto third = begin("boot2");
  ASSERT_TRUE(third && third->suspect());
  ASSERT_FALSE(third->end());
  auto fourth = begin("boot3");
  ASSERT_TRUE(fourth && fourth->suspect());
  ASSERT_FALSE(fourth->clear_suspect());
  EXPECT_FALSE(fourth->suspect());
  const auto fifth = begin("boot3");
  ASSERT_TRUE(fifth);
  EXPECT_FALSE(fifth->suspect());
}

// With protocols A and B the memory of the process counts, too.
TEST_F(Lives, KilledProcessIsSuspectWhileItHadSomethingInHand) {
  auto first = begin("boot1", false);
  ASSERT_TRUE(first);
  EXPECT_THAT(text(), testing::Not(HasSubstr("in_hand"))) << "as programs write it that do not know of it";
  ASSERT_FALSE(first->note_in_hand(true));
  auto second = begin("boot1");
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->suspect());
  EXPECT_THAT(second->reason(), HasSubstr("had in hand what was acknowledged"));
  EXPECT_FALSE(second->in_hand());
  // Filled; put down again, or ended in order: nothing is missing.
  ASSERT_FALSE(second->clear_suspect());
  ASSERT_FALSE(second->note_in_hand(true));
  ASSERT_FALSE(second->note_in_hand(false));
  auto third = begin("boot1");
  ASSERT_TRUE(third);
  EXPECT_FALSE(third->suspect());
  ASSERT_FALSE(third->note_in_hand(true));
  ASSERT_FALSE(third->end());
  EXPECT_FALSE(begin("boot1")->suspect());
}

TEST_F(Lives, OrderlyEndIsForgottenByTheNextLife) {
  auto first = begin("boot1", false);
  ASSERT_TRUE(first);
  ASSERT_FALSE(first->end());
  const auto second = begin("boot2");
  ASSERT_TRUE(second);
  EXPECT_FALSE(second->suspect());
  const auto third = begin("boot3");
  ASSERT_TRUE(third);
  EXPECT_TRUE(third->suspect());
}

TEST_F(Lives, UnknownBootIsAnother) {
  ASSERT_TRUE(begin("", false));
  const auto second = begin("");
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->suspect());
}

TEST_F(Lives, NumbersGrowWhenTheClockGoesBack) {
  ASSERT_TRUE(begin("boot1", false, year_2026));
  const auto second = begin("boot1", true, 5);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->incarnation(), year_2026 + 1);
  const auto third = begin("boot1", true, year_2026 + 1000);
  ASSERT_TRUE(third);
  EXPECT_EQ(third->incarnation(), year_2026 + 1000);
}

TEST_F(Lives, MissingFileBesideARecordIsSuspect) {
  const auto life = begin("boot1", true);
  ASSERT_TRUE(life);
  EXPECT_TRUE(life->suspect());
  EXPECT_THAT(life->reason(), HasSubstr("missing"));
}

// Every byte that is changed, and every place where it may have been cut.
TEST_F(Lives, DamagedFileIsSuspect) {
  ASSERT_TRUE(begin("boot1", false));
  const std::string good = text();
  const auto is_suspect = [this](const std::string& bytes) {
    put(bytes);
    const auto life = begin("boot1");
    return life && life->suspect() && life->incarnation() >= year_2026;
  };
  for (std::size_t at = 0; at < good.size(); ++at) {
    EXPECT_TRUE(is_suspect(good.substr(0, at))) << "cut at " << at;
    std::string changed = good;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    EXPECT_TRUE(is_suspect(changed)) << "changed at " << at;
  }
  EXPECT_TRUE(is_suspect(good + "\n"));
  EXPECT_TRUE(is_suspect(std::string(100000, 'x')));
  EXPECT_FALSE(is_suspect(good));
}

// Without a record there is nothing that it could have lost.
TEST_F(Lives, NothingIsSuspectWithoutARecord) {
  put("rubbish");
  const auto life = begin("boot1", false);
  ASSERT_TRUE(life);
  EXPECT_FALSE(life->suspect());
}

TEST_F(Lives, WhoJoinsIsSuspectUntilItWasFilled) {
  const auto first = LifeFile::begin(file(), {.record_exists = false, .joins = true, .boot_id = "boot1"});
  ASSERT_TRUE(first && first->suspect());
  EXPECT_THAT(first->reason(), HasSubstr("joined"));
  auto second = begin("boot1");
  ASSERT_TRUE(second && second->suspect());
  ASSERT_FALSE(second->clear_suspect());
  const auto third = begin("boot1");
  ASSERT_TRUE(third);
  EXPECT_FALSE(third->suspect());
}

TEST_F(Lives, CannotBeginWhereNothingCanBeWritten) {
  std::filesystem::create_directory(file());
  const auto life = begin("boot1");
  ASSERT_FALSE(life);
  EXPECT_THAT(life.error(), HasSubstr(file().string()));
}

TEST(BootId, IsTheKernels) {
  EXPECT_EQ(read_boot_id(), read_boot_id());
  EXPECT_EQ(read_boot_id().size(), 36U);
}

}  // namespace
}  // namespace mpath::target::cluster
