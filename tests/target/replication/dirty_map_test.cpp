#include "target/replication/dirty_map.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace mpath::target::replication {
namespace {

constexpr std::uint64_t extent = std::uint64_t{1} << 20;

DirtyMap::Shape shape(std::uint64_t extents) {
  DirtyMap::Shape made{.size_bytes = extents * extent - 512, .extent_bytes = extent};
  made.unit.fill(std::byte{7});
  return made;
}

// Writes what is due and answers with the pages.
std::vector<DirtyMap::PageWrite> write(DirtyMap& map) {
  auto pages = map.begin_write();
  map.end_write(true);
  return pages;
}

TEST(DirtyMap, AnExtentIsDurableOnlyWhenItsPageWas) {
  DirtyMap map(shape(10));
  const ExtentRange range = map.extents_of(extent - 512, 1024);
  EXPECT_EQ(range.first, 0U);
  EXPECT_EQ(range.last, 2U);
  map.mark(range);
  EXPECT_FALSE(map.durable(range));
  const auto pages = map.begin_write();
  ASSERT_EQ(pages.size(), 1U);
  EXPECT_FALSE(map.durable(range));
  map.end_write(true);
  EXPECT_TRUE(map.durable(range));
  EXPECT_FALSE(map.changed());
}

TEST(DirtyMap, APageThatCouldNotBeWrittenIsDueAgain) {
  DirtyMap map(shape(10));
  map.mark({3, 4});
  static_cast<void>(map.begin_write());
  map.end_write(false);
  EXPECT_FALSE(map.durable({3, 4}));
  EXPECT_TRUE(map.changed());
}

// The order that must not lose a mark: it is taken away, that is being written, and the next write comes.
TEST(DirtyMap, WhatIsBeingClearedIsNotDurable) {
  DirtyMap map(shape(10));
  map.mark({5, 6});
  write(map);
  map.clear(5);
  static_cast<void>(map.begin_write());
  map.mark({5, 6});
  EXPECT_FALSE(map.durable({5, 6})) << "its page is being written without it";
  map.end_write(true);
  EXPECT_FALSE(map.durable({5, 6}));
  EXPECT_TRUE(map.changed());
  write(map);
  EXPECT_TRUE(map.durable({5, 6}));
}

TEST(DirtyMap, ComesBackFromItsPages) {
  DirtyMap map(shape(DirtyMap::page_extents + 100));
  map.mark({0, 1});
  map.mark({DirtyMap::page_extents - 1, DirtyMap::page_extents + 2});
  const auto pages = write(map);
  ASSERT_EQ(pages.size(), 2U);
  DirtyMap again(map.shape());
  for (const auto& page : pages) EXPECT_TRUE(*again.load(page.index, page.page));
  EXPECT_EQ(again.marked_count(), 4U);
  EXPECT_TRUE(again.durable({DirtyMap::page_extents - 1, DirtyMap::page_extents + 2}));
  EXPECT_EQ(again.next_marked(1), DirtyMap::page_extents - 1);
  EXPECT_EQ(again.next_marked(DirtyMap::page_extents + 2), std::nullopt);
}

// Every way in which a page can be half written.
TEST(DirtyMap, APageThatIsNotWholeCountsAsAllSet) {
  DirtyMap map(shape(1000));
  map.mark({1, 2});
  const DirtyMap::Page before = write(map).front().page;
  map.mark({900, 901});
  const DirtyMap::Page after = write(map).front().page;
  for (std::size_t cut = 512; cut < before.size(); cut += 512) {
    DirtyMap::Page torn = before;
    std::copy_n(after.begin(), cut, torn.begin());
    if (torn == before || torn == after) continue;
    DirtyMap loaded(map.shape());
    EXPECT_FALSE(*loaded.load(0, torn)) << cut;
    EXPECT_EQ(loaded.marked_count(), 1000U) << cut;
    EXPECT_FALSE(loaded.durable({0, 1}));
    EXPECT_TRUE(loaded.changed()) << "it is made whole again";
  }
  DirtyMap loaded(map.shape());
  EXPECT_FALSE(*loaded.load(0, std::span(before).first(100)));
  EXPECT_EQ(loaded.marked_count(), 1000U);
}

TEST(DirtyMap, RefusesAPageOfAnotherUnitOrSize) {
  DirtyMap map(shape(10));
  map.mark({1, 2});
  const DirtyMap::Page page = write(map).front().page;
  DirtyMap::Shape other = map.shape();
  other.unit.fill(std::byte{8});
  EXPECT_FALSE(DirtyMap(other).load(0, page).has_value());
  EXPECT_FALSE(DirtyMap(shape(11)).load(0, page).has_value());
}

TEST(DirtyMap, BitsGoToThePeerAndAreMerged) {
  DirtyMap follower(shape(100));
  follower.mark({3, 5});
  follower.mark({99, 100});
  DirtyMap leader(shape(100));
  leader.mark({4, 5});
  leader.merge(0, 50, follower.bits(0, 50));
  leader.merge(50, 50, follower.bits(50, 50));
  EXPECT_EQ(leader.marked_count(), 3U);
  EXPECT_TRUE(leader.marked(3) && leader.marked(4) && leader.marked(99));
  // A peer that sends nonsense marks nothing that is not there.
  leader.merge(90, 100, std::vector<std::byte>(13, std::byte{0xff}));
  EXPECT_EQ(leader.next_marked(100), std::nullopt);
}

TEST(DirtyMap, ExtentsFitTheUnit) {
  EXPECT_EQ(DirtyMap::extent_bytes_for(64 << 20), std::uint64_t{256} << 10);
  EXPECT_EQ(DirtyMap::extent_bytes_for(std::uint64_t{32} << 30), std::uint64_t{2} << 20);
  EXPECT_EQ(DirtyMap::extent_bytes_for(std::uint64_t{8} << 40), std::uint64_t{4} << 20);
  DirtyMap map(shape(2));
  EXPECT_EQ(map.bytes_of(0), extent);
  EXPECT_EQ(map.bytes_of(1), extent - 512);
}

}  // namespace
}  // namespace mpath::target::replication
