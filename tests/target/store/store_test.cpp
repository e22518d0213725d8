// What every store must do, on both engines, through the page cache and around it, and in RAM.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <deque>
#include <random>

#include "tests/support/allocation_counter.hpp"
#include "tests/target/store/store_fixture.hpp"

namespace mpath::target {
namespace {

using test::bytes_of;
using test::Request;
using test::StoreFixture;
using testing::ElementsAre;
using testing::HasSubstr;

struct Variant {
  const char* name;
  StoreKind kind;
  StoreEngine engine;
  bool direct;
};

constexpr std::uint64_t disk_bytes = 4 << 20;

class StoreTest : public testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    StoreOptions options = f.file(GetParam().engine, disk_bytes);
    options.kind = GetParam().kind;
    options.direct = GetParam().direct;
    const std::string wrong = f.open(options);
    if (wrong.find("no direct I/O") != std::string::npos) GTEST_SKIP() << wrong;
    if (wrong.find("io_uring is refused") != std::string::npos) GTEST_SKIP() << wrong;
    ASSERT_EQ(wrong, "");
  }
  StoreFixture f;
};

TEST_P(StoreTest, ReadsBackWhatWasWritten) {
  EXPECT_EQ(f.run(BlockOp::write, 4096, 8192, std::byte{7}), BlockStatus::ok);
  EXPECT_EQ(f.read(0, 4096), bytes_of(4096, 0));
  EXPECT_EQ(f.read(4096, 8192), bytes_of(8192, 7));
  EXPECT_EQ(f.read(12288, 512), bytes_of(512, 0));
}

TEST_P(StoreTest, ScattersAndGathersAtAnyAddress) {
  Request write(BlockOp::write, 512, 1536, std::byte{3});
  write.scattered(100, true);
  EXPECT_EQ(f.run(write), BlockStatus::ok);
  Request read(BlockOp::read, 0, 4096, std::byte{9});
  read.scattered(1000, true);
  EXPECT_EQ(f.run(read), BlockStatus::ok);
  std::vector<std::byte> expected = bytes_of(4096, 0);
  std::fill_n(expected.begin() + 512, 1536, std::byte{3});
  EXPECT_EQ(std::vector<std::byte>(read.memory.begin() + 1, read.memory.end()), expected);
}

TEST_P(StoreTest, TakesMorePartsThanOneSystemCall) {
  Request write(BlockOp::write, 0, 3000 * 512, std::byte{5});
  write.scattered(512);
  EXPECT_EQ(f.run(write), BlockStatus::ok);
  Request read(BlockOp::read, 0, 3000 * 512);
  read.scattered(512);
  EXPECT_EQ(f.run(read), BlockStatus::ok);
  EXPECT_EQ(read.memory, bytes_of(3000 * 512, 5));
}

TEST_P(StoreTest, KeepsManyInFlightApart) {
  std::mt19937 random(7);
  std::vector<int> model(1024, 0);
  for (int round = 0; round < 8; ++round) {
    std::deque<Request> requests;
    std::vector<std::uint64_t> blocks(model.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = i;
    std::shuffle(blocks.begin(), blocks.end(), random);
    for (std::size_t i = 0; i < 600; ++i) {
      const bool writes = random() % 2 == 0;
      const int value = static_cast<int>(random() % 200) + 1;
      requests.emplace_back(writes ? BlockOp::write : BlockOp::read, blocks[i] * 4096, 4096,
                            static_cast<std::byte>(value));
      requests.back().fua = writes && value > 195;
      if (writes) model[blocks[i]] = value;
    }
    f.on_shard([&] {
      for (Request& each : requests) f.start(each);
    });
    for (Request& each : requests) {
      each.finished.get_future().get();
      ASSERT_EQ(each.status, BlockStatus::ok);
      ASSERT_EQ(each.memory, bytes_of(4096, model[each.offset / 4096])) << "round " << round << " at " << each.offset;
    }
  }
}

TEST_P(StoreTest, RefusesWhatMakesNoSense) {
  EXPECT_EQ(f.run(BlockOp::read, 100, 512), BlockStatus::invalid);
  EXPECT_EQ(f.run(BlockOp::write, 0, 100), BlockStatus::invalid);
  EXPECT_EQ(f.run(BlockOp::write, disk_bytes, 512), BlockStatus::no_space);
  EXPECT_EQ(f.run(BlockOp::read, disk_bytes - 512, 1024), BlockStatus::no_space);
}

TEST_P(StoreTest, TrimmedRangesReadAsZeroesAndAreHoles) {
  EXPECT_EQ(f.run(BlockOp::write, 0, 1 << 20, std::byte{1}), BlockStatus::ok);
  EXPECT_EQ(f.run(BlockOp::trim, 65536, 65536), BlockStatus::ok);
  EXPECT_EQ(f.read(65536 - 512, 1024), [] {
    std::vector<std::byte> both = bytes_of(1024, 0);
    std::fill_n(both.begin(), 512, std::byte{1});
    return both;
  }());
  const BlockExtent data{.length = 65536, .hole = false, .zero = false};
  const BlockExtent hole{.length = 65536, .hole = true, .zero = true};
  EXPECT_THAT(f.extents(0, 3 * 65536), ElementsAre(data, hole, data));
  EXPECT_THAT(f.extents(0, 3 * 65536, 1), ElementsAre(data));
}

TEST_P(StoreTest, ZeroesWithAndWithoutGivingSpaceBack) {
  EXPECT_EQ(f.run(BlockOp::write, 0, 1 << 20, std::byte{1}), BlockStatus::ok);
  Request unmapped(BlockOp::write_zeroes, 0, 65536);
  EXPECT_EQ(f.run(unmapped), BlockStatus::ok);
  Request kept(BlockOp::write_zeroes, 512 + 65536, 65536);
  kept.may_unmap = false;
  kept.fua = true;
  EXPECT_EQ(f.run(kept), BlockStatus::ok);
  EXPECT_EQ(f.read(0, 65536), bytes_of(65536, 0));
  EXPECT_EQ(f.read(65536, 512), bytes_of(512, 1));
  EXPECT_EQ(f.read(65536 + 512, 65536), bytes_of(65536, 0));
  EXPECT_EQ(f.read(512 + 2 * 65536, 512), bytes_of(512, 1));
  EXPECT_TRUE(f.extents(0, 65536).front().hole);
}

TEST_P(StoreTest, FlushAndFuaComplete) {
  EXPECT_EQ(f.run(BlockOp::write, 0, 4096, std::byte{1}, true), BlockStatus::ok);
  EXPECT_EQ(f.run(BlockOp::write, 4096, 4096, std::byte{2}), BlockStatus::ok);
  EXPECT_EQ(f.run(BlockOp::flush), BlockStatus::ok);
  EXPECT_EQ(f.run(BlockOp::prefetch, 0, 8192), BlockStatus::ok);
  EXPECT_EQ(f.read(0, 4096), bytes_of(4096, 1));
}

struct Observer : BlockDeviceObserver {
  void on_limits_changed(const BlockLimits& limits) override { size_bytes = limits.size_bytes; }
  void on_gone() override {}
  std::uint64_t size_bytes = 0;
};

TEST_P(StoreTest, GrowsAndTellsItsObservers) {
  Observer observer;
  std::promise<error_code> grown;
  f.on_shard([&] {
    f.store->add_observer(observer);
    f.store->grow(disk_bytes + 8192, [&](error_code error) { grown.set_value(error); });
  });
  EXPECT_EQ(grown.get_future().get(), error_code());
  EXPECT_EQ(observer.size_bytes, disk_bytes + 8192);
  EXPECT_EQ(f.run(BlockOp::write, disk_bytes, 8192, std::byte{4}), BlockStatus::ok);
  EXPECT_EQ(f.read(disk_bytes, 8192), bytes_of(8192, 4));
  f.on_shard([&] { f.store->remove_observer(observer); });
}

TEST_P(StoreTest, AtomicWritesArriveAndAreBounded) {
  Request write(BlockOp::write, 4096, 65536, std::byte{6});
  EXPECT_EQ(f.run_atomic(write), BlockStatus::ok);
  EXPECT_EQ(f.read(4096, 65536), bytes_of(65536, 6));
  Request odd(BlockOp::write, 1 << 20, 8192, std::byte{8});
  odd.scattered(512, true);
  EXPECT_EQ(f.run_atomic(odd), BlockStatus::ok);
  EXPECT_EQ(f.read(1 << 20, 8192), bytes_of(8192, 8));
  Request large(BlockOp::write, 0, (256 << 10) + 512);
  EXPECT_EQ(f.run_atomic(large), BlockStatus::invalid);
  Request outside(BlockOp::write, disk_bytes, 512);
  EXPECT_EQ(f.run_atomic(outside), BlockStatus::no_space);
}

TEST_P(StoreTest, MoreAtomicWritesAndFlushesThanLanes) {
  std::deque<Request> requests;
  for (int i = 0; i < 30; ++i) requests.emplace_back(BlockOp::write, i * 8192, 8192, static_cast<std::byte>(i + 1));
  for (int i = 0; i < 10; ++i) requests.emplace_back(BlockOp::flush);
  f.on_shard([&] {
    for (Request& each : requests) {
      each.store = f.store.get();
      each.done = [](BlockRequest& done) noexcept { static_cast<Request&>(done).finished.set_value(); };
      if (each.op == BlockOp::flush) {
        f.store->submit(each);
      } else {
        f.store->submit_atomic(each);
      }
    }
  });
  for (Request& each : requests) {
    each.finished.get_future().get();
    EXPECT_EQ(each.status, BlockStatus::ok);
  }
  for (int i = 0; i < 30; ++i) EXPECT_EQ(f.read(i * 8192, 8192), bytes_of(8192, i + 1));
}

TEST_P(StoreTest, TellsWhatItHolds) {
  const Store::Usage empty = [&] {
    Store::Usage usage;
    f.on_shard([&] { usage = f.store->usage(); });
    return usage;
  }();
  EXPECT_LE(empty.allocated_bytes, 64u << 10);
  EXPECT_GT(empty.available_bytes, 0u);
}

TEST_P(StoreTest, AfterCloseNothingIsTaken) {
  Request last(BlockOp::write, 0, 4096, std::byte{1});
  std::promise<error_code> closed;
  Request late(BlockOp::read, 0, 512);
  f.on_shard([&] {
    f.start(last);
    f.store->close([&](error_code error) { closed.set_value(error); });
    f.start(late);
  });
  EXPECT_EQ(closed.get_future().get(), error_code());
  last.finished.get_future().get();
  EXPECT_EQ(last.status, BlockStatus::ok);
  late.finished.get_future().get();
  EXPECT_EQ(late.status, BlockStatus::shutdown);
  f.on_shard([&] { f.store.reset(); });
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreTest,
                         testing::Values(Variant{"uring", StoreKind::file, StoreEngine::io_uring, false},
                                         Variant{"threads", StoreKind::file, StoreEngine::threads, false},
                                         Variant{"uring_direct", StoreKind::file, StoreEngine::io_uring, true},
                                         Variant{"threads_direct", StoreKind::file, StoreEngine::threads, true},
                                         Variant{"ram", StoreKind::ram, StoreEngine::automatic, false}),
                         [](const auto& row) { return row.param.name; });

TEST(NullStore, ReadsZeroesAndForgets) {
  StoreFixture f;
  ASSERT_EQ(f.open({.name = "null", .kind = StoreKind::null, .size_bytes = 1 << 30}), "");
  EXPECT_EQ(f.run(BlockOp::write, 0, 4096, std::byte{1}), BlockStatus::ok);
  EXPECT_EQ(f.read(0, 4096), bytes_of(4096, 0));
  EXPECT_EQ(f.run(BlockOp::flush), BlockStatus::ok);
  EXPECT_EQ(f.run(BlockOp::read, 1 << 30, 512), BlockStatus::no_space);
}

// ---- what a batch costs --------------------------------------------------------------------------------------------

// 32 requests from one handler, again and again. What `measure` counts is given for one round.
template <typename Measure>
std::uint64_t cost_of_rounds(StoreFixture& f, BlockOp op, int rounds, Measure measure) {
  std::deque<Request> requests;
  for (std::uint64_t i = 0; i < 32; ++i) requests.emplace_back(op, i * 4096, 4096, std::byte{1});
  struct Batch {
    int left = 0;
    std::promise<void> finished;
  };
  static Batch* batch;
  std::uint64_t cost = 0;
  for (int round = -2; round < rounds; ++round) {  // two to warm up
    Batch own{.left = 32};
    batch = &own;
    std::uint64_t before = 0;
    f.on_shard([&] {
      before = measure();
      for (Request& each : requests) {
        each.done = [](BlockRequest& done) noexcept {
          if (done.status == BlockStatus::ok && --batch->left == 0) batch->finished.set_value();
        };
        f.store->submit(each);
      }
    });
    own.finished.get_future().get();
    f.on_shard([&] {
      if (round >= 0) cost += measure() - before;
    });
  }
  return cost;
}

TEST(FileStore, ABatchFromThePageCacheIsOneSystemCall) {
  StoreFixture f;
  if (const std::string wrong = f.open(f.file(StoreEngine::io_uring)); !wrong.empty()) GTEST_SKIP() << wrong;
  ASSERT_EQ(f.run(BlockOp::write, 0, 1 << 20, std::byte{1}), BlockStatus::ok);
  EXPECT_EQ(cost_of_rounds(f, BlockOp::read, 50, [&] { return f.store->system_calls(); }), 50u);
}

TEST(FileStore, WithoutIoUringAReadFromThePageCacheIsOneCallAndNoThread) {
  StoreFixture f;
  ASSERT_EQ(f.open(f.file(StoreEngine::threads)), "");
  ASSERT_EQ(f.run(BlockOp::write, 0, 1 << 20, std::byte{1}), BlockStatus::ok);
  EXPECT_EQ(cost_of_rounds(f, BlockOp::read, 50, [&] { return f.store->system_calls(); }), 50u * 32u);
}

TEST(FileStore, SteadyStateAllocatesNothing) {
  for (const StoreEngine engine : {StoreEngine::io_uring, StoreEngine::threads}) {
    StoreFixture f;
    if (const std::string wrong = f.open(f.file(engine)); !wrong.empty()) GTEST_SKIP() << wrong;
    for (const BlockOp op : {BlockOp::write, BlockOp::read}) {
      // What the test itself posts and promises is the same in each round: two promises, each with its state.
      const std::uint64_t test_own = cost_of_rounds(f, BlockOp::prefetch, 1, [] { return mpath::test::allocations(); });
      EXPECT_LE(cost_of_rounds(f, op, 50, [] { return mpath::test::allocations(); }), 50 * (test_own + 4)) << engine;
    }
  }
}

}  // namespace
}  // namespace mpath::target
