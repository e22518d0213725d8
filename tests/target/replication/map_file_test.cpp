#include "target/replication/map_file.hpp"

#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <fstream>

#include "base/shard.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath::target::replication {
namespace {

class MapFileTest : public testing::Test {
 protected:
  MapFileTest() { shape_.unit.fill(std::byte{1}); }

  [[nodiscard]] auto open() { return MapFile::open(directory_ / "below" / "map", shape_, shard_, pool_); }
  // Writes what is due, and comes back when it is on the medium.
  void write(MapFile::Opened& opened) {
    bool done = false;
    opened.file->write(opened.map.begin_write(), [&](error_code error) {
      EXPECT_FALSE(error);
      opened.map.end_write(!error);
      done = true;
    });
    while (!done) {
      shard_.context().run_one();
      shard_.context().restart();
    }
  }

  const mpath::test::TemporaryDirectory directory_;
  DirtyMap::Shape shape_{.size_bytes = 64 << 20, .extent_bytes = 1 << 20};
  Shard shard_{0};
  boost::asio::thread_pool pool_{1};
};

TEST_F(MapFileTest, ANewFileSaysThatEverythingMayDiffer) {
  const auto opened = open();
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ(opened->map.marked_count(), 64U);
  EXPECT_FALSE(opened->map.durable({0, 1}));
}

TEST_F(MapFileTest, KeepsWhatWasWritten) {
  {
    auto opened = open();
    for (std::uint64_t extent = 1; extent < 64; ++extent) opened->map.clear(extent);
    write(*opened);
  }
  const auto again = open();
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->map.marked_count(), 1U);
  EXPECT_TRUE(again->map.durable({0, 1}));
}

TEST_F(MapFileTest, RefusesTheMapOfAnotherSizeAndSaysWhatToDo) {
  {
    auto opened = open();
    write(*opened);
  }
  shape_.size_bytes *= 2;
  const auto other = open();
  ASSERT_FALSE(other.has_value());
  EXPECT_NE(other.error().find("another size"), std::string::npos) << other.error();
}

TEST_F(MapFileTest, DamageMarksEverything) {
  {
    auto opened = open();
    for (std::uint64_t extent = 0; extent < 64; ++extent) opened->map.clear(extent);
    write(*opened);
  }
  std::fstream file(directory_ / "below" / "map", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(100);
  file.put('x');
  file.close();
  const auto opened = open();
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ(opened->map.marked_count(), 64U);
}

}  // namespace
}  // namespace mpath::target::replication
