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

TEST_F(MapFileTest, RefusesTheMapOfALargerOrAnotherUnitAndSaysWhatToDo) {
  {
    auto opened = open();
    write(*opened);
  }
  shape_.size_bytes /= 2;
  const auto smaller = open();
  ASSERT_FALSE(smaller.has_value());
  EXPECT_NE(smaller.error().find("larger"), std::string::npos) << smaller.error();
  shape_.size_bytes *= 4;
  shape_.unit.fill(std::byte{2});
  const auto other = open();
  ASSERT_FALSE(other.has_value());
  EXPECT_NE(other.error().find("another unit"), std::string::npos) << other.error();
}

// What was marked still is, and all that is new; the old end lay within an extent.
TEST_F(MapFileTest, AUnitThatHasGrownKeepsItsMarks) {
  shape_.size_bytes -= 1 << 18;
  {
    auto opened = open();
    for (std::uint64_t extent = 0; extent < 64; ++extent) {
      if (extent != 5 && extent != 40) opened->map.clear(extent);
    }
    write(*opened);
  }
  const std::uint64_t before = shape_.size_bytes;
  shape_.size_bytes = std::uint64_t{200} << 20;
  shape_.extent_bytes *= 4;
  for (int time = 1; time <= 2; ++time) {  // as it was opened and as it is in the file
    const auto opened = open();
    ASSERT_TRUE(opened.has_value()) << opened.error();
    EXPECT_EQ(opened->map.shape(), shape_);
    for (std::uint64_t extent = 0; extent < shape_.extents(); ++extent) {
      const bool marked = extent == 1 || extent == 10 || extent >= before / shape_.extent_bytes;
      EXPECT_EQ(opened->map.marked(extent), marked) << extent;
      EXPECT_EQ(opened->map.durable({extent, extent + 1}), marked) << extent;
    }
  }
}

// No page of it is trusted more than another one.
TEST_F(MapFileTest, AUnitThatHasGrownWithADamagedMapIsMarkedInFull) {
  {
    auto opened = open();
    for (std::uint64_t extent = 0; extent < 64; ++extent) opened->map.clear(extent);
    write(*opened);
  }
  std::filesystem::resize_file(directory_ / "below" / "map", 100);
  shape_.size_bytes *= 2;
  const auto opened = open();
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ(opened->map.marked_count(), 128U);
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
