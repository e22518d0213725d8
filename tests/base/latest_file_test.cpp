// The last of many texts ends in the file, and whoever asked for one knows when.
#include "base/latest_file.hpp"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <vector>

#include "base/atomic_file.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath {
namespace {

class LatestFileTest : public testing::Test {
 protected:
  ~LatestFileTest() override { blocking.join(); }
  // Fifty texts at once.
  void save_all(const std::filesystem::path& place) {
    LatestFile file(loop.get_executor(), blocking, place, [this](error_code error) { failures.push_back(error); });
    for (int number = 1; number <= 50; ++number) {
      boost::asio::co_spawn(loop, file.save(std::to_string(number)), [this](const std::exception_ptr&) { ++saved; });
    }
    loop.run();
  }

  boost::asio::io_context loop{1};
  boost::asio::thread_pool blocking{1};
  const test::TemporaryDirectory directory;
  std::vector<error_code> failures;
  int saved = 0;
};

TEST_F(LatestFileTest, HoldsTheLastTextWhenAllWhoAskedAreTold) {
  save_all(directory / "here/file");
  EXPECT_EQ(saved, 50);
  EXPECT_TRUE(failures.empty());
  EXPECT_EQ(read_file(directory / "here/file", 100).value_or(""), "50");
}

// The write that is under way, and one for all that came meanwhile.
TEST_F(LatestFileTest, DoesNotTryForEachText) {
  save_all("/dev/null/no/folder");
  EXPECT_EQ(saved, 50) << "nobody waits for ever for what cannot be written";
  EXPECT_GE(failures.size(), 1U);
  EXPECT_LE(failures.size(), 2U);
}

}  // namespace
}  // namespace mpath
