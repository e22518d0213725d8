// Steady state allocates nothing: the count of operator new is read before and after a loop that has run once already.
#include <gtest/gtest.h>

#include "base/buffer_pool.hpp"
#include "base/drill_device.hpp"
#include "base/memory_device.hpp"
#include "base/sim_clock.hpp"
#include "tests/support/allocation_counter.hpp"

namespace mpath {
namespace {

using namespace std::chrono_literals;

struct Plain : BlockRequest {
  int completions = 0;
};

void run_requests(BlockDevice& device, SimClock& clock, std::span<Plain> requests, std::span<const iovec> data) {
  for (Plain& request : requests) {
    request.op = BlockOp::write;
    request.offset = 4096;
    request.length = 4096;
    request.data = data;
    request.done = [](BlockRequest& each) noexcept { ++static_cast<Plain&>(each).completions; };
    device.submit(request);
  }
  clock.run_for(5ms);
}

class AllocationTest : public testing::TestWithParam<const char*> {};

TEST_P(AllocationTest, FiltersAllocateNothingPerRequest) {
  SimClock clock;
  MemorySink sink;
  const LogOutput output(sink);
  MemoryDevice device;
  DrillDevice drill(device, clock, Log(output));
  ASSERT_EQ(drill.set(GetParam()), std::nullopt);
  std::array<std::byte, 4096> memory{};
  const iovec data{memory.data(), memory.size()};
  std::array<Plain, 32> requests;
  run_requests(drill, clock, requests, std::span(&data, 1));
  const std::uint64_t before = test::allocations();
  for (int i = 0; i < 100; ++i) run_requests(drill, clock, requests, std::span(&data, 1));
  const std::uint64_t after = test::allocations();
  // The simulated clock keeps its alarms in a map: one node for each time an alarm is set.
  const bool has_alarm = std::string_view(GetParam()).find("delay") != std::string_view::npos;
  EXPECT_LE(after - before, has_alarm ? 200u : 0u);
  EXPECT_EQ(requests[0].completions, 101);
}

INSTANTIATE_TEST_SUITE_P(Drills, AllocationTest, testing::Values("", "stats", "error:rate=0.1", "log:level=debug", "delay:all=1ms",
                                                                 "stats;log:slow=1s;error:rate=0"));

TEST(BufferPool, AllocatesNothingInSteadyState) {
  BufferPool pool;
  const auto round = [&pool] {
    const Buffer a = pool.take(4096), b = pool.take(100), c = pool.take(65536), d = pool.take(70000), e = pool.take(4 << 20);
    EXPECT_TRUE(a && b && c && d && e);
  };
  round();
  const std::uint64_t system = pool.system_allocations();
  const std::uint64_t before = test::allocations();
  for (int i = 0; i < 1000; ++i) round();
  EXPECT_EQ(pool.system_allocations(), system);
  EXPECT_EQ(test::allocations() - before, 0u);
  EXPECT_EQ(pool.bytes_out(), 0u);
}

TEST(BufferPool, GivesPageAlignedBlocksOfTheAskedSize) {
  BufferPool pool;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{4097}, std::size_t{1} << 20, std::size_t{9} << 20}) {
    Buffer buffer = pool.take(size);
    EXPECT_EQ(buffer.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 4096, 0u);
    std::fill_n(buffer.data(), size, std::byte{0xff});
    EXPECT_EQ(pool.bytes_out(), size);
  }
}

TEST(BufferPool, KeepsNoMoreThanItWasTold) {
  BufferPool pool(8192);
  {
    const Buffer a = pool.take(4096), b = pool.take(4096), c = pool.take(4096);
  }
  EXPECT_EQ(pool.system_allocations(), 3u);
  const Buffer a = pool.take(4096), b = pool.take(4096);
  EXPECT_EQ(pool.system_allocations(), 3u);
  const Buffer c = pool.take(4096);
  EXPECT_EQ(pool.system_allocations(), 4u) << "the third was returned to the system";
}

TEST(BufferPool, ABufferMovesWithItsBlock) {
  BufferPool pool;
  Buffer a = pool.take(10);
  std::byte* data = a.data();
  Buffer b = std::move(a);
  EXPECT_EQ(b.data(), data);
  b = pool.take(20);
  EXPECT_EQ(b.size(), 20u);
  b.reset();
  a.reset();
  EXPECT_EQ(pool.bytes_out(), 0u);
}

TEST(BufferPool, ABlockReturnsWithTheLastOfItsParts) {
  BufferPool pool;
  const auto round = [&pool] {
    Buffer whole = pool.take(4096);
    EXPECT_FALSE(whole.has_parts());
    std::byte* const data = whole.data();
    Buffer first = whole.part(64, 100), second = whole.part(2000, 2096), inside = second.part(96, 2000);
    EXPECT_TRUE(whole.has_parts());
    EXPECT_EQ(first.data(), data + 64);
    EXPECT_EQ(first.size(), 100u);
    EXPECT_EQ(inside.data(), data + 2096);
    whole.reset();
    first.reset();
    second.reset();
    EXPECT_TRUE(inside && !inside.has_parts());
    EXPECT_EQ(pool.bytes_out(), 4096u);
    EXPECT_EQ(pool.blocks_in_parts(), 1u);
    EXPECT_NE(pool.take(4096).data(), data);
    inside.reset();
    EXPECT_EQ(pool.bytes_out(), 0u);
    EXPECT_EQ(pool.blocks_in_parts(), 0u);
    EXPECT_EQ(pool.take(4096).data(), data) << "it is used again";
  };
  round();
  const std::uint64_t system = pool.system_allocations();
  const std::uint64_t before = test::allocations();
  for (int i = 0; i < 100; ++i) round();
  EXPECT_EQ(pool.system_allocations(), system);
  EXPECT_EQ(test::allocations() - before, 0u);
}

}  // namespace
}  // namespace mpath
