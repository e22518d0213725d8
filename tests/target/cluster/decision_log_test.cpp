// What is kept about decisions, over restarts, torn lines and full disks, and how it is told.
#include "target/cluster/decision_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <ctime>
#include <fstream>

#include "base/atomic_file.hpp"
#include "target/cluster/explain.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath::target::cluster {
namespace {

using testing::HasSubstr;
using testing::Not;
using namespace std::chrono_literals;

const View one{.number = 1, .primary = Member::a, .in_sync = {Member::a}};
const View both{.number = 2, .primary = Member::a, .in_sync = {Member::a, Member::b}};
const View taken{.number = 3, .primary = Member::b, .in_sync = {Member::b}};
const View again{.number = 4, .primary = Member::b, .in_sync = {Member::a, Member::b}};

class Decisions : public testing::Test {
 protected:
  Decisions() {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }

  [[nodiscard]] std::filesystem::path file() const { return directory_ / "cluster/decisions"; }
  [[nodiscard]] DecisionLog open() {
    return DecisionLog(file(), [this] { return now_; });
  }
  static std::vector<std::string> texts(const DecisionLog& log, std::size_t most = DecisionLog::lines_max) {
    std::vector<std::string> all;
    for (const Decision& decision : log.recent(most)) all.push_back(decision.what);
    return all;
  }

  const mpath::test::TemporaryDirectory directory_;
  std::chrono::system_clock::time_point now_ =
      std::chrono::sys_days(std::chrono::year(2026) / std::chrono::November / 21) + 10h + 31min + 4s + 251ms;
};

TEST_F(Decisions, AreKeptOverARestart) {
  {
    DecisionLog log = open();
    log.add(one, "first");
    now_ += 1500ms;
    log.add(both, "second \"quoted\"\nand a line end");
    EXPECT_EQ(log.trouble(), "");
  }
  const DecisionLog log = open();
  ASSERT_EQ(log.recent().size(), 2U);
  EXPECT_EQ(log.recent()[0].at + 1500ms, log.recent()[1].at);
  EXPECT_EQ(log.recent()[1].view, both);
  EXPECT_EQ(log.recent()[1].what, "second \"quoted\"\nand a line end");
  EXPECT_THAT(texts(log, 1), testing::ElementsAre("second \"quoted\"\nand a line end"));
  struct stat status{};
  ASSERT_EQ(::stat(file().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(Decisions, PassOverATornLine) {
  {
    DecisionLog log = open();
    log.add(one, "first");
    log.add(one, "second");
  }
  const std::string whole = *read_file(file(), 1 << 20);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    std::ofstream(file(), std::ios::trunc) << whole.substr(0, size);
    {
      DecisionLog log = open();
      log.add(both, "after");
    }
    const auto lines = texts(open());
    EXPECT_EQ(lines.back(), "after") << size;
    EXPECT_LE(lines.size(), 3U);
  }
  std::ofstream(file(), std::ios::trunc) << "{\"what\":7}\n[1]\nnonsense\n{\"what\":\"good\"}\n";
  EXPECT_THAT(texts(open()), testing::ElementsAre("good"));
}

TEST_F(Decisions, AreBounded) {
  DecisionLog log = open();
  for (int number = 0; number < 3500; ++number) log.add(one, std::to_string(number));
  EXPECT_EQ(log.recent().size(), DecisionLog::lines_max);
  EXPECT_EQ(texts(log).front(), "2500");
  EXPECT_EQ(texts(open()), texts(log));
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_ / "cluster")) {
    const std::string text = *read_file(entry.path(), 1 << 20);
    EXPECT_LE(std::ranges::count(text, '\n'), DecisionLog::lines_max + 1);
    ++files;
  }
  EXPECT_EQ(files, 2U);
  log.add(one, std::string(1 << 20, 'x'));
  EXPECT_LT(texts(log).back().size(), 10'000U);
}

TEST_F(Decisions, AreToldWithoutAFile) {
  std::ofstream(directory_ / "cluster") << "a file where the directory should be";
  DecisionLog log = open();
  EXPECT_THAT(log.trouble(), HasSubstr("cluster/decisions"));
  log.add(one, "told");
  EXPECT_THAT(texts(log), testing::ElementsAre("told"));
}

TEST_F(Decisions, ExplainATakeover) {
  DecisionLog log = open();
  log.add(one, "cluster init: the data of node a counts");
  now_ += 1h;
  log.add(both, "node b is filled");
  now_ += 2h;
  log.add(both, "link 10.1.0.2 to node a is silent");
  now_ += 100ms;
  log.add(both, "link 10.2.0.2 to node a is silent");
  now_ += 502ms;
  log.add(taken, "node a was silent for 600 ms on 2 links; votes of b and the witness");
  now_ += 30s;
  log.add(again, "node a is filled");
  now_ += 1h;
  log.add({.number = 5, .primary = Member::a, .in_sync = {Member::a, Member::b}}, "switchover was commanded on node b");
  const std::string text = explain_text(log.recent());
  EXPECT_EQ(text, R"(2026-11-21 10:31:04.251  view 1: node a was the first to serve, only a in sync
  why: cluster init: the data of node a counts
  after it:
    11:31:04.251  view 2, both in sync: node b is filled

2026-11-21 13:31:04.853  view 3: node b took over from node a, only b in sync
  why: node a was silent for 600 ms on 2 links; votes of b and the witness
  before it:
    13:31:04.251  link 10.1.0.2 to node a is silent
    13:31:04.351  link 10.2.0.2 to node a is silent
  after it:
    13:31:34.853  view 4, both in sync: node a is filled

2026-11-21 14:31:34.853  view 5: node a took over from node b, both in sync
  why: switchover was commanded on node b
)");
  const std::string last = explain_text(log.recent(), 1);
  EXPECT_THAT(last, HasSubstr("view 5"));
  EXPECT_THAT(last, Not(HasSubstr("view 3:")));
  EXPECT_THAT(log_text(log.recent(1)), testing::StrEq("2026-11-21 14:31:34.853  view 5  switchover was commanded on "
                                                      "node b\n"));
}

TEST_F(Decisions, ExplainThatThereWasNone) {
  DecisionLog log = open();
  EXPECT_EQ(explain_text(log.recent()), "The decision log is empty.\n");
  log.add(again, "started");
  log.add(again, "link 10.1.0.2 to node a is silent");
  EXPECT_EQ(explain_text(log.recent()), "No takeover since 2026-11-21 10:31:04.251, where the decision log begins.\n");
}

// Lines of an old view that come late are no takeover back.
TEST_F(Decisions, ExplainOnlyWhatIsNewer) {
  DecisionLog log = open();
  log.add(both, "x");
  log.add(taken, "y");
  log.add(both, "late");
  log.add(again, "z");
  const std::string text = explain_text(log.recent());
  EXPECT_EQ(text.find("took over"), text.rfind("took over"));
}

}  // namespace
}  // namespace mpath::target::cluster
