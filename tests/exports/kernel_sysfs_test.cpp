#include "exports/kernel_sysfs.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temporary_directory.hpp"

namespace mpath {
namespace {

TEST(KernelSysfs, SetsAnAttributeOnlyWhenItIsAnotherOne) {
  const test::TemporaryDirectory directory;
  const std::filesystem::path file = directory / "io_timeout";
  std::ofstream(file) << "3000\n";
  const auto long_ago = std::filesystem::last_write_time(file) - std::chrono::hours(1);
  std::filesystem::last_write_time(file, long_ago);
  EXPECT_FALSE(set_attribute(file, "3000"));
  EXPECT_EQ(std::filesystem::last_write_time(file), long_ago) << "it was written";
  EXPECT_FALSE(set_attribute(file, "5000"));
  EXPECT_EQ(read_attribute(file).value_or(""), "5000");
  EXPECT_EQ(set_attribute(directory / "none", "1"), std::errc::no_such_file_or_directory);
}

}  // namespace
}  // namespace mpath
