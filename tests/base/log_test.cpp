#include "base/log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <regex>
#include <thread>

#include "base/unique_fd.hpp"

namespace mpath {
namespace {

using testing::ElementsAre;
using testing::MatchesRegex;

TEST(Log, WritesSubjectVerbAndValues) {
  MemorySink sink;
  const LogOutput output(sink);
  const Log log(output, "path p3");
  log.notice("down reason={} failures={}", quoted("no answer"), 3);
  log.about("map data").warning("degraded paths={}", 1);
  Log(output).error("started");
  EXPECT_THAT(sink.lines(), ElementsAre("<notice> path p3: down reason=\"no answer\" failures=3",
                                        "<warning> map data: degraded paths=1", "<error> started"));
}

// An argument that notices when it is formatted.
struct Counted {
  int* formatted;
};

}  // namespace
}  // namespace mpath

template <>
struct fmt::formatter<mpath::Counted> : fmt::formatter<int> {
  template <typename Context>
  auto format(const mpath::Counted& counted, Context& context) const {
    return fmt::formatter<int>::format(++*counted.formatted, context);
  }
};

namespace mpath {
namespace {

TEST(Log, DoesNotFormatWhatIsBelowTheLevel) {
  MemorySink sink;
  LogOutput output(sink, LogLevel::notice);
  const Log log(output, "x");
  int formatted = 0;
  log.info("{}", Counted{&formatted});
  log.debug("{}", Counted{&formatted});
  EXPECT_EQ(formatted, 0);
  output.set_level(LogLevel::debug);
  log.debug("{}", Counted{&formatted});
  EXPECT_EQ(formatted, 1);
  EXPECT_EQ(sink.lines().size(), 1u);
}

TEST(Log, KeepsOneEventOnOneLine) {
  MemorySink sink;
  const LogOutput output(sink);
  Log(output, "target a\nb").notice("said \"{}\"", "x\r\ny\x1b[0m");
  EXPECT_THAT(sink.lines(), ElementsAre("<notice> target a?b: said \"x??y?[0m\""));
}

TEST(Log, QuotesWhatIsNotOneWord) {
  EXPECT_EQ(quoted("iqn.2026-01.org:a/b,c"), "iqn.2026-01.org:a/b,c");
  EXPECT_EQ(quoted(""), "\"\"");
  EXPECT_EQ(quoted("a b"), "\"a b\"");
  EXPECT_EQ(quoted("say \"x\\y\""), "\"say \\\"x\\\\y\\\"\"");
  EXPECT_EQ(quoted("a\nb\tc\x01"), "\"a\\nb\\tc\\x01\"");
  EXPECT_EQ(quoted("k=v"), "\"k=v\"");
}

TEST(Log, ReadsLevels) {
  EXPECT_EQ(parse_level("debug"), LogLevel::debug);
  EXPECT_EQ(parse_level("warn"), LogLevel::warning);
  EXPECT_EQ(parse_level("3"), LogLevel::error);
  EXPECT_EQ(parse_level("loud"), std::nullopt);
  EXPECT_EQ(parse_level("9"), std::nullopt);
}

// What a sink writes, through a pipe.
class StderrSinkTest : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    reading = UniqueFd(ends[0]);
    writing = UniqueFd(ends[1]);
  }
  std::string written() {
    writing.reset();
    std::string text;
    char chunk[4096];
    for (ssize_t size; (size = ::read(reading.get(), chunk, sizeof chunk)) > 0;) text.append(chunk, static_cast<std::size_t>(size));
    return text;
  }
  UniqueFd reading, writing;
};

TEST_F(StderrSinkTest, PrefixesLinesForTheJournal) {
  StderrSink sink(StderrSink::Form::journal, writing.get());
  sink.write(LogLevel::warning, "path p3: down");
  EXPECT_EQ(written(), "<4>path p3: down\n");
}

TEST_F(StderrSinkTest, StampsLinesForPeople) {
  StderrSink sink(StderrSink::Form::person, writing.get());
  sink.write(LogLevel::warning, "path p3: down");
  const std::regex form(R"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} warning path p3: down\n)");
  const std::string text = written();
  EXPECT_TRUE(std::regex_match(text, form)) << text;
}

TEST_F(StderrSinkTest, KnowsTheJournalByItsStream) {
  struct stat status {};
  ASSERT_EQ(::fstat(writing.get(), &status), 0);
  ::setenv("JOURNAL_STREAM", fmt::format("{}:{}", status.st_dev, status.st_ino).c_str(), 1);
  StderrSink journal(StderrSink::Form::detect, writing.get());
  ::setenv("JOURNAL_STREAM", "1:1", 1);
  StderrSink other(StderrSink::Form::detect, writing.get());
  ::unsetenv("JOURNAL_STREAM");
  journal.write(LogLevel::info, "a");
  other.write(LogLevel::info, "b");
  const std::string text = written();
  EXPECT_TRUE(text.starts_with("<6>a\n")) << text;
  EXPECT_TRUE(text.ends_with(" info    b\n")) << text;
}

TEST_F(StderrSinkTest, KeepsLinesOfSeveralThreadsWhole) {
  StderrSink sink(StderrSink::Form::journal, writing.get());
  const LogOutput output(sink);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&output, i] {
      const Log log(output, fmt::format("thread {}", i));
      for (int n = 0; n < 100; ++n) log.notice("says {}", std::string(50, static_cast<char>('a' + i)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string text = written();
  const std::regex line(R"(<5>thread (\d): says ([a-d])\2{49}\n)");
  EXPECT_EQ(std::distance(std::sregex_iterator(text.begin(), text.end(), line), std::sregex_iterator()), 400);
}

}  // namespace
}  // namespace mpath
