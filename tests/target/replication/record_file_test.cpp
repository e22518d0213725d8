#include "target/replication/record_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temporary_directory.hpp"

namespace mpath::target::replication {
namespace {

using mpath::replication::Member;
using mpath::replication::VoteRecord;
using testing::HasSubstr;

VoteRecord record_of(std::uint64_t number) {
  return {.decided = {.number = number, .primary = Member::a, .in_sync = {Member::a}}, .promised = {}, .accepted = {}};
}

class Records : public testing::Test {
 protected:
  Records() { ours_.fill(std::byte{7}); }

  std::expected<RecordFile, std::string> open() { return RecordFile::open(file(), ours_, record_of(1)); }
  [[nodiscard]] std::filesystem::path file() const { return directory_ / "votes"; }
  std::string bytes() const {
    std::ifstream in(file(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void put(const std::string& text) const { std::ofstream(file(), std::ios::binary) << text; }

  const mpath::test::TemporaryDirectory directory_;
  RecordFile::Cluster ours_;
};

TEST_F(Records, AreFoundAgain) {
  for (std::uint64_t number = 2; number < 6; ++number) {
    auto opened = open();
    ASSERT_TRUE(opened) << opened.error();
    EXPECT_EQ(opened->record(), record_of(number - 1));
    EXPECT_FALSE(opened->write(record_of(number)));
    EXPECT_EQ(opened->record(), record_of(number));
  }
}

// Wherever the writing of a record ends, the one before or the new one is there.
TEST_F(Records, SurviveAWriteThatWasCutShort) {
  {
    auto opened = open();
    ASSERT_FALSE(opened->write(record_of(2)));
  }
  const std::string before = bytes();
  ASSERT_FALSE(open()->write(record_of(3)));
  const std::string after = bytes();
  ASSERT_EQ(before.size(), after.size());
  bool old_seen = false;
  bool new_seen = false;
  for (std::size_t at = 0; at <= after.size(); at += 1) {
    if (at < after.size() && at > 0 && before[at - 1] == after[at - 1] && at % 512 != 0) continue;
    put(after.substr(0, at) + before.substr(at));
    const auto found = open();
    ASSERT_TRUE(found) << found.error();
    const std::uint64_t number = found->record().decided.number;
    EXPECT_TRUE(number == 2 || number == 3) << at;
    old_seen = old_seen || number == 2;
    new_seen = new_seen || number == 3;
  }
  EXPECT_TRUE(old_seen && new_seen);
}

TEST_F(Records, AreNeverBegunAnewOverADamagedFile) {
  ASSERT_TRUE(open());
  std::string text = bytes();
  text[4096 + 20] = static_cast<char>(text[4096 + 20] ^ 1);
  put(text);
  const auto damaged = open();
  ASSERT_FALSE(damaged);
  EXPECT_THAT(damaged.error(), HasSubstr("may have voted"));
  EXPECT_EQ(bytes(), text);
}

TEST_F(Records, AreOfOneCluster) {
  ASSERT_TRUE(open());
  ours_.fill(std::byte{8});
  EXPECT_THAT(open().error(), HasSubstr("another cluster"));
}

TEST_F(Records, AreWrittenByOneProcess) {
  const auto first = open();
  EXPECT_THAT(open().error(), HasSubstr("another process"));
}

TEST_F(Records, SayWhyThereIsNoFile) {
  const auto none = RecordFile::open(directory_ / "missing" / "votes", ours_, record_of(1));
  EXPECT_THAT(none.error(), HasSubstr("No such file"));
}

}  // namespace
}  // namespace mpath::target::replication
