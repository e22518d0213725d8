#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <new>
#include <numeric>

#include "base/drill_device.hpp"
#include "base/error_device.hpp"
#include "base/memory_device.hpp"
#include "base/sim_clock.hpp"
#include "base/stats_device.hpp"

namespace mpath {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

// A request with memory of its own.
struct Request : BlockRequest {
  explicit Request(BlockOp which, std::uint64_t at = 0, std::size_t bytes = 0, std::byte fill = {}) : memory(bytes, fill) {
    op = which;
    offset = at;
    length = bytes;
    part = {memory.data(), bytes};
    data = std::span(&part, 1);
    done = [](BlockRequest& request) noexcept { ++static_cast<Request&>(request).completions; };
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  Request& on(BlockDevice& device) {
    device.submit(*this);
    return *this;
  }
  std::vector<std::byte> memory;
  iovec part{};
  int completions = 0;
};

std::vector<BlockExtent> extents_of(BlockDevice& device, std::uint64_t offset, std::uint64_t length, std::uint32_t most = 100) {
  std::vector<BlockExtent> extents;
  Request request(BlockOp::extents, offset);
  request.length = length;
  request.extents = &extents;
  request.extents_max = most;
  request.on(device);
  EXPECT_EQ(request.status, BlockStatus::ok);
  return extents;
}

TEST(MemoryDevice, ReadsBackWhatWasWritten) {
  MemoryDevice device;
  Request write(BlockOp::write, 16384 - 512, 40960, std::byte{7});
  EXPECT_EQ(write.on(device).status, BlockStatus::ok);
  EXPECT_EQ(write.completions, 1);
  Request read(BlockOp::read, 0, 65536, std::byte{1});
  EXPECT_EQ(read.on(device).status, BlockStatus::ok);
  std::vector<std::byte> expected(65536);
  std::fill_n(expected.begin() + 16384 - 512, 40960, std::byte{7});
  EXPECT_EQ(read.memory, expected);
  EXPECT_EQ(device.peek(0, 65536), expected);
  EXPECT_EQ(device.counters().bytes_written, 40960u);
}

TEST(MemoryDevice, ScattersAndGathers) {
  MemoryDevice device;
  std::vector<std::byte> a(512, std::byte{1}), b(1024, std::byte{2});
  const iovec parts[] = {{a.data(), a.size()}, {b.data(), b.size()}};
  Request write(BlockOp::write);
  write.length = 1536;
  write.data = parts;
  EXPECT_EQ(write.on(device).status, BlockStatus::ok);
  EXPECT_EQ(device.peek(0, 512), a);
  EXPECT_EQ(device.peek(512, 1024), b);
}

TEST(MemoryDevice, ShowsItsHoles) {
  MemoryDevice device;
  Request(BlockOp::write, 32768, 512).on(device);
  const BlockExtent hole{.length = 32768, .hole = true, .zero = true};
  const BlockExtent data{.length = 16384, .hole = false, .zero = false};
  const BlockExtent rest{.length = 16384, .hole = true, .zero = true};
  EXPECT_THAT(extents_of(device, 0, 65536), ElementsAre(hole, data, rest));
  EXPECT_THAT(extents_of(device, 0, 65536, 2), ElementsAre(hole, data));
  Request trim(BlockOp::trim, 32768);
  trim.length = 16384;
  EXPECT_EQ(trim.on(device).status, BlockStatus::ok);
  EXPECT_EQ(device.allocated_bytes(), 0u);
  Request zeroes(BlockOp::write_zeroes, 0);
  zeroes.length = 16384;
  zeroes.may_unmap = false;
  EXPECT_EQ(zeroes.on(device).status, BlockStatus::ok);
  EXPECT_EQ(device.allocated_bytes(), 16384u);
}

TEST(MemoryDevice, CountsFlushesAndForcedUnitAccess) {
  MemoryDevice device;
  Request write(BlockOp::write, 0, 512);
  write.fua = true;
  write.on(device);
  Request(BlockOp::flush).on(device);
  Request(BlockOp::flush).on(device);
  EXPECT_EQ(device.counters().fua, 1u);
  EXPECT_EQ(device.counters().of(BlockOp::flush), 2u);
}

struct Refusal {
  const char* name;
  BlockOp op;
  std::uint64_t offset;
  std::uint64_t length;
  BlockStatus status;
};

class MemoryDeviceRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(MemoryDeviceRefuses, WithTheRightStatus) {
  MemoryDevice device;
  Request request(GetParam().op, GetParam().offset, 4096);
  request.length = GetParam().length;
  EXPECT_EQ(request.on(device).status, GetParam().status);
  EXPECT_EQ(request.completions, 1);
}

INSTANTIATE_TEST_SUITE_P(Rows, MemoryDeviceRefuses,
                         testing::Values(Refusal{"OddOffset", BlockOp::read, 1, 4096, BlockStatus::invalid},
                                         Refusal{"OddLength", BlockOp::write, 0, 100, BlockStatus::invalid},
                                         Refusal{"NoLength", BlockOp::write, 0, 0, BlockStatus::invalid},
                                         Refusal{"LengthThatDiffersFromData", BlockOp::write, 0, 512, BlockStatus::invalid},
                                         Refusal{"BehindTheEnd", BlockOp::write, 16 << 20, 4096, BlockStatus::no_space},
                                         Refusal{"AcrossTheEnd", BlockOp::read, (16 << 20) - 512, 4096, BlockStatus::no_space},
                                         Refusal{"OverflowingRange", BlockOp::trim, ~std::uint64_t{511}, 4096,
                                                 BlockStatus::no_space}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(MemoryDevice, RefusesWritesWhenProtected) {
  MemoryDevice device;
  device.set_read_only(true);
  EXPECT_EQ(Request(BlockOp::write, 0, 512).on(device).status, BlockStatus::read_only);
  EXPECT_EQ(Request(BlockOp::read, 0, 512).on(device).status, BlockStatus::ok);
}

struct Watcher : BlockDeviceObserver {
  void on_limits_changed(const BlockLimits& limits) override { sizes.push_back(limits.size_bytes); }
  void on_gone() override { gone = true; }
  std::vector<std::uint64_t> sizes;
  bool gone = false;
};

TEST(MemoryDevice, TellsItsObserversAndTheyHearThroughFilters) {
  SimClock clock;
  MemorySink sink;
  const LogOutput output(sink);
  MemoryDevice device;
  DrillDevice drill(device, clock, Log(output));
  ASSERT_EQ(drill.set("stats;error:rate=0"), std::nullopt);
  Watcher watcher;
  drill.add_observer(watcher);
  device.resize(32 << 20);
  EXPECT_EQ(drill.limits().size_bytes, 32u << 20);
  device.go_away();
  EXPECT_THAT(watcher.sizes, ElementsAre(32u << 20));
  EXPECT_TRUE(watcher.gone);
  drill.remove_observer(watcher);
  EXPECT_EQ(Request(BlockOp::read, 0, 512).on(drill).status, BlockStatus::shutdown);
}

TEST(MemoryDevice, TakesItsTime) {
  SimClock clock;
  MemoryDevice device(MemoryDevice::Options{.clock = &clock, .latency = 2ms});
  Request first(BlockOp::read, 0, 512), second(BlockOp::read, 0, 512);
  first.on(device);
  clock.run_for(1ms);
  second.on(device);
  clock.run_for(1ms);
  EXPECT_EQ(first.completions, 1);
  EXPECT_EQ(second.completions, 0);
  clock.run_for(1ms);
  EXPECT_EQ(second.completions, 1);
}

class FilterTest : public testing::Test {
 protected:
  std::unique_ptr<FilterDevice> wrap(std::string_view spec) {
    auto filter = wrap_device(spec, device, clock, Log(output));
    EXPECT_TRUE(filter) << filter.error();
    return filter ? std::move(*filter) : nullptr;
  }
  SimClock clock;
  MemorySink sink;
  LogOutput output{sink, LogLevel::info};
  MemoryDevice device;
};

TEST_F(FilterTest, DelayHoldsBackByOperation) {
  const auto filter = wrap("delay:read=20ms,write=5ms");
  Request read(BlockOp::read, 0, 512), write(BlockOp::write, 0, 512), flush(BlockOp::flush);
  read.on(*filter);
  write.on(*filter);
  flush.on(*filter);
  EXPECT_EQ(flush.completions, 1) << "without a delay it passes at once";
  EXPECT_EQ(filter->in_flight(), 2u);
  clock.run_for(5ms);
  EXPECT_EQ(write.completions, 1);
  EXPECT_EQ(read.completions, 0);
  clock.run_for(15ms);
  EXPECT_EQ(read.completions, 1);
  EXPECT_EQ(filter->spec(), "delay:read=20ms,write=5ms");
}

TEST_F(FilterTest, DelayJittersWithinItsBounds) {
  const auto filter = wrap("delay:all=10,jitter=10ms,seed=3");
  std::deque<Request> requests;
  for (int i = 0; i < 50; ++i) requests.emplace_back(BlockOp::read, 0, 512).on(*filter);
  const auto done = [&requests] {
    return std::count_if(requests.begin(), requests.end(), [](const Request& request) { return request.completions == 1; });
  };
  clock.run_for(9999us);
  EXPECT_EQ(done(), 0);
  clock.run_for(5ms);
  EXPECT_GT(done(), 10);
  EXPECT_LT(done(), 40);
  clock.run_for(5001us);
  EXPECT_EQ(done(), 50);
}

TEST_F(FilterTest, DelayEndsWhatItHoldsWhenDestroyed) {
  auto filter = wrap("delay:all=1h");
  Request read(BlockOp::read, 0, 512);
  read.on(*filter);
  filter.reset();
  EXPECT_EQ(read.completions, 1);
  EXPECT_EQ(read.status, BlockStatus::shutdown);
}

TEST_F(FilterTest, ErrorFailsWhatMatches) {
  const auto filter = wrap("error:offset=1M,length=4k,status=no_space,op=write,count=2");
  const auto status = [&](BlockOp op, std::uint64_t offset) { return Request(op, offset, 4096).on(*filter).status; };
  EXPECT_EQ(status(BlockOp::write, (1 << 20) - 4096), BlockStatus::ok);
  EXPECT_EQ(status(BlockOp::write, (1 << 20) - 512), BlockStatus::no_space);
  EXPECT_EQ(status(BlockOp::read, 1 << 20), BlockStatus::ok);
  EXPECT_EQ(status(BlockOp::write, (1 << 20) + 4096), BlockStatus::ok);
  EXPECT_EQ(status(BlockOp::write, (1 << 20) + 3584), BlockStatus::no_space);
  EXPECT_EQ(status(BlockOp::write, 1 << 20), BlockStatus::ok) << "two were asked for";
  EXPECT_EQ(filter->report(), "failed 2\n");
  EXPECT_EQ(device.counters().of(BlockOp::write), 3u) << "what fails does not reach the device";
}

TEST_F(FilterTest, ErrorFailsTheAskedForPart) {
  const auto count = [&](std::string_view spec) {
    const auto filter = wrap(spec);
    int failed = 0;
    for (int i = 0; i < 10000; ++i) failed += Request(BlockOp::read, 0, 512).on(*filter).status == BlockStatus::io_error ? 1 : 0;
    return failed;
  };
  const int failed = count("error:rate=1%");
  EXPECT_GT(failed, 60);
  EXPECT_LT(failed, 150);
  EXPECT_EQ(count("error:rate=1%"), failed) << "the same seed, the same drill";
  EXPECT_NE(count("error:rate=1%,seed=2"), failed);
}

TEST_F(FilterTest, LogWritesALineARequest) {
  const auto filter = wrap("log");
  Request write(BlockOp::write, 4096, 512);
  write.fua = true;
  write.on(*filter);
  Request(BlockOp::read, 1, 512).on(*filter);
  EXPECT_THAT(sink.lines(), ElementsAre("<info> device memory: write offset=4096 length=512 fua=1 status=ok us=0",
                                        "<info> device memory: read offset=1 length=512 fua=0 status=invalid us=0"));
}

TEST_F(FilterTest, LogCanBeToldToNameOnlySlowOnes) {
  MemoryDevice slow(MemoryDevice::Options{.clock = &clock, .latency = 50ms});
  auto filter = wrap_device("log:slow=50ms,level=warning", slow, clock, Log(output));
  ASSERT_TRUE(filter);
  auto quick = wrap_device("log:slow=51ms,level=warning", slow, clock, Log(output));
  ASSERT_TRUE(quick);
  Request first(BlockOp::read, 0, 512), second(BlockOp::read, 0, 512);
  first.on(**filter);
  second.on(**quick);
  clock.run_for(50ms);
  EXPECT_EQ(second.completions, 1);
  EXPECT_THAT(sink.lines(), ElementsAre("<warning> device memory: read offset=0 length=512 fua=0 status=ok us=50000"));
}

TEST_F(FilterTest, StatsCountsAndMeasures) {
  MemoryDevice slow(MemoryDevice::Options{.clock = &clock, .latency = 2100us});
  StatsDevice stats(slow, clock);
  std::deque<Request> requests;
  for (int i = 0; i < 100; ++i) requests.emplace_back(BlockOp::read, 0, 4096).on(stats);
  requests.emplace_back(BlockOp::read, 1, 512).on(stats);
  EXPECT_EQ(stats.in_flight(), 101u);
  clock.run_for(3ms);
  EXPECT_EQ(stats.in_flight(), 0u);
  EXPECT_EQ(stats.of(BlockOp::read).requests, 101u);
  EXPECT_EQ(stats.of(BlockOp::read).errors, 1u);
  EXPECT_EQ(stats.report(), "read 101 requests 400k errors 1 p50 2100us p99 2100us longest 2100us\n");
}

TEST_F(FilterTest, EveryAnswerReachesItsOwnRequest) {
  const auto filter = wrap("stats");
  Request bad(BlockOp::read, 1, 512), good(BlockOp::read, 0, 512);
  EXPECT_EQ(bad.on(*filter).status, BlockStatus::invalid);
  EXPECT_EQ(good.on(*filter).status, BlockStatus::ok);
  std::vector<BlockExtent> extents = extents_of(*filter, 0, 512);
  EXPECT_EQ(extents.size(), 1u);
}

TEST_F(FilterTest, NamesWhatIsWrongWithASpec) {
  const auto why = [&](std::string_view spec) {
    const auto filter = wrap_device(spec, device, clock, Log(output));
    return filter ? "" : filter.error();
  };
  EXPECT_EQ(why(""), "unknown drill \"\": delay, error, log or stats");
  EXPECT_EQ(why("dealy:read=1ms"), "unknown drill \"dealy\": delay, error, log or stats");
  EXPECT_EQ(why("delay:read=1x"), "delay: \"x\" is not a unit of time: us, ms, s, m, h, d");
  EXPECT_EQ(why("delay:seek=1ms"), "delay: unknown option \"seek\"");
  EXPECT_EQ(why("delay:read"), "delay: \"read\" is not key=value");
  EXPECT_EQ(why("error:rate=2"), "error: 2 is outside 0..1");
  EXPECT_EQ(why("error:status=ok"), "error: \"ok\" is not a status of failure");
  EXPECT_EQ(why("error:op=seek"), "error: \"seek\" is not an operation");
  EXPECT_EQ(why("error:count=-1"), "error: -1 is outside 0..9223372036854775807");
  EXPECT_EQ(why("log:level=loud"), "log: \"loud\" is not a level");
  EXPECT_EQ(why("stats:x=1"), "stats: takes no options");
  EXPECT_EQ(why("delay:"), "");
  EXPECT_EQ(check_drills("stats;delay:all=1ms"), std::nullopt);
  EXPECT_EQ(check_drills("stats;delay:all=1x"), "delay: \"x\" is not a unit of time: us, ms, s, m, h, d");
}

TEST_F(FilterTest, DrillsAreSwitchedWhileRequestsAreUnderWay) {
  DrillDevice drill(device, clock, Log(output));
  EXPECT_EQ(drill.specs(), "");
  Request direct(BlockOp::read, 0, 512);
  EXPECT_EQ(direct.on(drill).completions, 1);
  ASSERT_EQ(drill.set("stats;delay:read=10ms"), std::nullopt);
  EXPECT_EQ(drill.specs(), "stats;delay:read=10ms");
  Request held(BlockOp::read, 0, 512);
  held.on(drill);
  EXPECT_THAT(drill.set("error:rate=7"), testing::Optional(HasSubstr("outside")));
  EXPECT_EQ(drill.specs(), "stats;delay:read=10ms") << "nothing changed";
  ASSERT_EQ(drill.set("error:op=read"), std::nullopt);
  EXPECT_EQ(Request(BlockOp::read, 0, 512).on(drill).status, BlockStatus::io_error);
  EXPECT_EQ(held.completions, 0);
  clock.run_for(10ms);
  EXPECT_EQ(held.completions, 1);
  EXPECT_EQ(held.status, BlockStatus::ok);
  ASSERT_EQ(drill.set(""), std::nullopt);
  EXPECT_EQ(Request(BlockOp::read, 0, 512).on(drill).status, BlockStatus::ok);
  clock.run_for(2s);
  EXPECT_EQ(clock.next(), never) << "nothing is left to be freed";
}

TEST_F(FilterTest, DrillsMayBeSwitchedByACompletion) {
  DrillDevice drill(device, clock, Log(output));
  ASSERT_EQ(drill.set("stats;delay:read=10ms"), std::nullopt);
  struct Switching : Request {
    using Request::Request;
    DrillDevice* drill = nullptr;
  };
  Switching request(BlockOp::read, 0, 512);
  request.drill = &drill;
  request.done = [](BlockRequest& each) noexcept {
    auto& self = static_cast<Switching&>(static_cast<Request&>(each));
    ++self.completions;
    EXPECT_EQ(self.drill->set(""), std::nullopt);
  };
  request.on(drill);
  clock.run_for(1min);
  EXPECT_EQ(request.completions, 1);
  EXPECT_EQ(drill.specs(), "");
}

}  // namespace
}  // namespace mpath
