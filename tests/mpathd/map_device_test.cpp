#include <gtest/gtest.h>

#include <array>

#include "tests/mpathd/map_world.hpp"
#include "tests/support/allocation_counter.hpp"

namespace mpath::test {
namespace {

using namespace std::chrono_literals;

MapPolicy with(NoPathRetry retry) {
  MapPolicy policy;
  policy.no_path_retry = retry;
  return policy;
}
MapPolicy with(WriteFence fence) {
  MapPolicy policy;
  policy.write_fence = fence;
  return policy;
}

TEST(Map, ReadsWhatItWrote) {
  MapWorld world;
  Request write(BlockOp::write, 3, 2, std::byte{7});
  Request read(BlockOp::read, 3, 2);
  world.map->submit(write);
  world.serve();
  world.map->submit(read);
  world.serve();
  EXPECT_TRUE(write.ok());
  EXPECT_TRUE(read.ok());
  EXPECT_EQ(read.memory, write.memory);
}

TEST(Map, SpreadsRequestsOverAllPaths) {
  MapWorld world;
  Request first(BlockOp::read), second(BlockOp::read);
  world.map->submit(first);
  world.map->submit(second);
  EXPECT_EQ(world.ports[0]->on_wire(), 1U);
  EXPECT_EQ(world.ports[1]->on_wire(), 1U);
  world.serve();
}

TEST(Map, WithFailoverGroupingUsesOnePathUntilItFails) {
  MapPolicy policy;
  policy.grouping = GroupingPolicy::failover;
  MapWorld world(policy);
  Request first(BlockOp::read), second(BlockOp::read), third(BlockOp::read);
  world.map->submit(first);
  world.map->submit(second);
  EXPECT_EQ(world.ports[0]->on_wire(), 2U);
  world.lose(0);
  EXPECT_EQ(world.ports[1]->on_wire(), 2U);  // reads move at once
  world.come_back(0);
  world.map->submit(third);
  EXPECT_EQ(world.ports[0]->on_wire(), 1U);  // immediate failback
  world.serve();
  EXPECT_TRUE(first.ok() && second.ok() && third.ok());
}

TEST(Map, WithManualFailbackStaysWhereItIs) {
  MapPolicy policy;
  policy.grouping = GroupingPolicy::failover;
  policy.failback = Failback::manual;
  MapWorld world(policy);
  world.lose(0);
  world.come_back(0);
  Request read(BlockOp::read);
  world.map->submit(read);
  EXPECT_EQ(world.ports[1]->on_wire(), 1U);
  world.serve();
  EXPECT_TRUE(world.map->switch_group(1));
  Request again(BlockOp::read);
  world.map->submit(again);
  EXPECT_EQ(world.ports[0]->on_wire(), 1U);
  world.serve();
  EXPECT_FALSE(world.map->switch_group(3));
}

TEST(Map, QueuesBeyondTheWindowAndAnswersAll) {
  MapWorld world;
  std::vector<std::unique_ptr<Request>> requests;
  for (int index = 0; index < 100; ++index) {
    requests.push_back(std::make_unique<Request>(BlockOp::read, index % disk_blocks));
    world.map->submit(*requests.back());
  }
  EXPECT_EQ(world.ports[0]->on_wire() + world.ports[1]->on_wire(), 16U);
  world.serve();
  for (const auto& request : requests) EXPECT_TRUE(request->ok());
}

// A port that keeps its tasks in their own links and answers without looking: all that is counted is the map's.
class NullPort final : public ScsiPort {
 public:
  [[nodiscard]] bool up() const override { return true; }
  [[nodiscard]] std::uint32_t room() const override { return 32 - static_cast<std::uint32_t>(tasks_.size()); }
  [[nodiscard]] bool submit(ScsiTask& task) noexcept override {
    if (room() == 0) return false;
    tasks_.push_back(task);
    return true;
  }
  void serve() {
    auto tasks = tasks_.take_all();
    while (ScsiTask* task = tasks.pop_front()) {
      task->outcome = TaskOutcome::answered;
      task->status = scsi::Status::good;
      task->transferred = task->length;
      task->done(*task);
    }
  }
  void abort_session(SessionEnd, const std::string&) override {}
  [[nodiscard]] std::uint64_t generation() const override { return 1; }
  [[nodiscard]] std::uint16_t portal_group() const override { return 1; }
  void fence_by_reinstatement(ScsiPort&, TimePoint, FenceDone) override {}
  void fence_by_lu_reset(scsi::Lun, TimePoint, FenceDone) override {}
  void add_observer(ScsiPortObserver&) override {}
  void remove_observer(ScsiPortObserver&) override {}

 private:
  IntrusiveQueue<ScsiTask, &ScsiTask::next> tasks_;
};

TEST(Map, AllocatesNothingPerRequestInSteadyState) {
  MapWorld world({}, 0);
  std::array<NullPort, 2> ports;
  std::array<SimOwner, 2> owners;
  std::array<MapPath*, 2> paths{};
  for (std::size_t index = 0; index < ports.size(); ++index) {
    paths[index] = &world.map->attach(ports[index], {0}, owners[index], "null", 1);
    world.map->set_usable(*paths[index], true);
  }
  std::vector<std::unique_ptr<Request>> requests;
  for (int index = 0; index < 100; ++index) {
    requests.push_back(std::make_unique<Request>(index % 2 == 0 ? BlockOp::read : BlockOp::write, index % disk_blocks));
  }
  const auto round = [&] {
    for (const auto& request : requests) {
      request->completed = 0;
      world.map->submit(*request);
    }
    for (int turn = 0; turn < 10; ++turn) {
      for (NullPort& port : ports) port.serve();
    }
    for (const auto& request : requests) ASSERT_TRUE(request->ok());
  };
  round();
  const auto before = allocations();
  round();
  EXPECT_EQ(allocations() - before, 0U);
  for (MapPath* path : paths) world.map->detach(*path);
}

// Fencing.

TEST(Map, SendsALostWriteAgainOnlyAfterTheOldNexusIsEnded) {
  MapWorld world;
  Request write(BlockOp::write, 0, 1, std::byte{1});
  world.map->submit(write);
  const std::size_t lost = world.ports[0]->on_wire() == 1 ? 0 : 1;
  const std::size_t other = 1 - lost;
  world.lose(lost);
  EXPECT_EQ(world.ports[other]->on_wire(), 0U);
  EXPECT_EQ(world.ports[lost]->ghosts(), 1U);
  world.clock.run_for(50ms);
  EXPECT_EQ(world.ports[other]->fences, 1U);
  EXPECT_EQ(world.ports[lost]->ghosts(), 0U);
  EXPECT_EQ(world.ports[other]->on_wire(), 1U);
  world.serve();
  EXPECT_TRUE(write.ok());
}

TEST(Map, TakesTheReturnOfTheLostPathForAFence) {
  MapWorld world;
  world.ports[0]->fence_works = world.ports[1]->fence_works = false;
  Request write(BlockOp::write, 0, 1, std::byte{1});
  world.map->submit(write);
  const std::size_t lost = world.ports[0]->on_wire() == 1 ? 0 : 1;
  world.lose(lost);
  world.clock.run_for(300ms);
  EXPECT_EQ(write.completed, 0);
  world.come_back(lost);
  world.serve();
  EXPECT_TRUE(write.ok());
}

TEST(Map, WaitsTheConfiguredTimeWhenNoFenceSucceeds) {
  MapPolicy policy;
  policy.write_fence_wait = 3s;
  MapWorld world(policy);
  world.ports[0]->fence_works = world.ports[1]->fence_works = false;
  Request write(BlockOp::write);
  world.map->submit(write);
  const std::size_t lost = world.ports[0]->on_wire() == 1 ? 0 : 1;
  world.lose(lost);
  world.clock.run_for(2900ms);
  world.serve();
  EXPECT_EQ(write.completed, 0);
  world.clock.run_for(200ms);
  world.serve();
  EXPECT_TRUE(write.ok());
}

TEST(Map, DoesNotReinstateAcrossPortalGroups) {
  // Another portal group is another target port: a login there would not end the old nexus.
  MapWorld world(MapPolicy{}, 1);
  SimPort other(world.clock, world.disk, 2);
  SimOwner owner;
  other.log_in();
  MapPath& path = world.map->attach(other, {0}, owner, "other", 1);
  Request write(BlockOp::write);
  world.map->submit(write);
  world.map->set_usable(path, true);
  world.lose(0);
  world.clock.run_for(1s);
  EXPECT_EQ(other.fences, 0U);
  EXPECT_EQ(write.completed, 0);
  world.clock.run_for(5s);  // the fall-back: write_fence_wait
  other.serve();
  EXPECT_TRUE(write.ok());
  world.map->set_usable(path, false);
  world.map->detach(path);
}

TEST(Map, ResetsTheLuAndRepeatsWhatTheResetEndedElsewhere) {
  MapWorld world(with(WriteFence::lu_reset), 3);
  std::vector<std::unique_ptr<Request>> writes;
  for (int index = 0; index < 3; ++index) {
    writes.push_back(std::make_unique<Request>(BlockOp::write, index, 1, std::byte{9}));
    world.map->submit(*writes.back());
  }
  world.lose(0);
  world.clock.run_for(50ms);
  EXPECT_EQ(world.ports[1]->aborts + world.ports[2]->aborts, 2U);
  for (std::size_t index : {1U, 2U}) {
    world.map->set_usable(*world.paths[index], false);
    world.come_back(index);
  }
  world.serve();
  for (const auto& write : writes) EXPECT_TRUE(write->ok());
}

TEST(Map, MovesReadsAtOnceWhateverTheFence) {
  MapWorld world(with(WriteFence::wait));
  Request read(BlockOp::read);
  world.map->submit(read);
  const std::size_t lost = world.ports[0]->on_wire() == 1 ? 0 : 1;
  world.lose(lost);
  world.ports[1 - lost]->serve();
  EXPECT_TRUE(read.ok());
}

TEST(Map, HoldsNewWritesBackWhileAnAbandonedOneMayStillRun) {
  MapWorld world(with(NoPathRetry{NoPathRetry::Mode::fail}), 1);
  Request abandoned(BlockOp::write, 0, 1, std::byte{1});
  world.map->submit(abandoned);
  world.lose(0);
  EXPECT_EQ(abandoned.completed, 1);
  EXPECT_EQ(abandoned.status, BlockStatus::io_error);
  // Another path comes before the lost one is fenced.
  SimPort other(world.clock, world.disk);
  SimOwner owner;
  other.log_in();
  other.fence_takes = 500ms;
  MapPath& path = world.map->attach(other, {0}, owner, "other", 1);
  world.map->set_usable(path, true);
  Request next(BlockOp::write, 0, 1, std::byte{2});
  world.map->submit(next);
  EXPECT_EQ(other.on_wire(), 0U);
  EXPECT_TRUE(world.ports[0]->run_ghost());
  world.clock.run_for(1s);
  other.serve();
  EXPECT_TRUE(next.ok());
  EXPECT_EQ(world.disk.bytes[0], std::byte{2});
  world.map->set_usable(path, false);
  world.map->detach(path);
}

// Without a path.

TEST(Map, ToldToQueueWaitsForAPathForEver) {
  MapWorld world(with(NoPathRetry{NoPathRetry::Mode::queue}));
  world.lose(0);
  world.lose(1);
  Request read(BlockOp::read);
  world.map->submit(read);
  world.clock.run_for(24h);
  EXPECT_EQ(read.completed, 0);
  world.come_back(1);
  world.serve();
  EXPECT_TRUE(read.ok());
  EXPECT_EQ(world.map->snapshot().total_queue_seconds, 24U * 3600);
}

TEST(Map, ToldToFailFailsAtOnce) {
  MapWorld world(with(NoPathRetry{NoPathRetry::Mode::fail}));
  Request waiting(BlockOp::read);
  world.map->submit(waiting);
  world.lose(0);
  world.lose(1);
  EXPECT_EQ(waiting.status, BlockStatus::io_error);
  Request late(BlockOp::read);
  world.map->submit(late);
  EXPECT_EQ(late.status, BlockStatus::io_error);
  EXPECT_EQ(waiting.completed + late.completed, 2);
}

TEST(Map, ToldToCountQueuesForSoManyChecks) {
  MapPolicy policy = with(NoPathRetry{NoPathRetry::Mode::count, 3});
  policy.polling_interval = 5s;
  MapWorld world(policy);
  world.lose(0);
  world.lose(1);
  Request read(BlockOp::read);
  world.map->submit(read);
  world.clock.run_for(14s);
  EXPECT_EQ(read.completed, 0);
  EXPECT_EQ(world.map->snapshot().queueing, "1 sec");
  world.clock.run_for(2s);
  EXPECT_EQ(read.status, BlockStatus::io_error);
  EXPECT_EQ(world.map->snapshot().queue_timeouts, 1U);
  world.come_back(0);
  Request again(BlockOp::read);
  world.map->submit(again);
  world.serve();
  EXPECT_TRUE(again.ok());
  EXPECT_EQ(world.map->snapshot().queueing, "3 chk");
}

TEST(Map, ToldToFailStillWaitsForAPathThatIsBeingIdentified) {
  MapWorld world(with(NoPathRetry{NoPathRetry::Mode::fail}), 1);
  world.map->set_pending(*world.paths[0], true);
  world.map->set_usable(*world.paths[0], false);
  Request read(BlockOp::read);
  world.map->submit(read);
  EXPECT_EQ(read.completed, 0);
  world.map->set_pending(*world.paths[0], false);
  EXPECT_EQ(read.status, BlockStatus::io_error);
}

TEST(Map, FailsWhatWaitsWhenQueueingIsDisabled) {
  MapWorld world;
  world.lose(0);
  world.lose(1);
  Request read(BlockOp::read);
  world.map->submit(read);
  world.map->set_queueing_disabled(true);
  EXPECT_EQ(read.status, BlockStatus::io_error);
  EXPECT_EQ(world.map->snapshot().queueing, "off");
  world.map->set_queueing_disabled(false);
  EXPECT_EQ(world.map->snapshot().queueing, "on");
}

TEST(Map, ThatIsClosedAnswersEverythingWithShutdown) {
  MapWorld world;
  Request on_wire(BlockOp::read);
  world.map->submit(on_wire);
  bool idle = false;
  world.map->close([&] { idle = true; });
  Request late(BlockOp::read);
  world.map->submit(late);
  EXPECT_EQ(late.status, BlockStatus::shutdown);
  EXPECT_FALSE(idle);
  world.serve();
  EXPECT_TRUE(on_wire.ok());
  EXPECT_TRUE(idle);
}

// Whose error is it?

struct ErrorRow {
  const char* name;
  scsi::Status status;
  scsi::Sense sense;
  BlockStatus told;
};

class MapErrors : public testing::TestWithParam<ErrorRow> {};

TEST_P(MapErrors, OfTheCommandGoStraightUp) {
  MapWorld world;
  world.disk.next_status = GetParam().status;
  world.disk.next_sense = GetParam().sense;
  Request read(BlockOp::read);
  world.map->submit(read);
  world.serve();
  EXPECT_EQ(read.completed, 1);
  EXPECT_EQ(read.status, GetParam().told);
  EXPECT_EQ(world.map->usable_count(), 2U);
}

using scsi::SenseKey;
INSTANTIATE_TEST_SUITE_P(
    Sam, MapErrors,
    testing::Values(ErrorRow{"medium", scsi::Status::check_condition, {SenseKey::medium_error, 0x11, 0}, BlockStatus::io_error},
                    ErrorRow{"hardware", scsi::Status::check_condition, {SenseKey::hardware_error, 0x44, 0}, BlockStatus::io_error},
                    ErrorRow{"protect", scsi::Status::check_condition, {SenseKey::data_protect, 0x27, 0}, BlockStatus::read_only},
                    ErrorRow{"space", scsi::Status::check_condition, {SenseKey::data_protect, 0x27, 7}, BlockStatus::no_space},
                    ErrorRow{"range", scsi::Status::check_condition, {SenseKey::illegal_request, 0x21, 0}, BlockStatus::invalid},
                    ErrorRow{"conflict", scsi::Status::reservation_conflict, {}, BlockStatus::conflict}),
    [](const auto& row) { return row.param.name; });

TEST(Map, TriesAnotherPathWhenOneIsNotReady) {
  MapWorld world;
  for (std::size_t index : {0U, 1U}) {
    world.owners[index]->when_bad = [&world, index] { world.map->set_usable(*world.paths[index], false); };
  }
  world.disk.next_status = scsi::Status::check_condition;
  world.disk.next_sense = {SenseKey::not_ready, 0x04, 0x01};
  Request read(BlockOp::read);
  world.map->submit(read);
  world.serve();
  EXPECT_TRUE(read.ok());
  EXPECT_EQ(world.map->usable_count(), 1U);
}

TEST(Map, RepeatsAfterAUnitAttentionAndTellsThePath) {
  MapWorld world;
  world.disk.next_status = scsi::Status::check_condition;
  world.disk.next_sense = {SenseKey::unit_attention, 0x2a, 0x01};
  Request write(BlockOp::write, 1, 1, std::byte{5});
  world.map->submit(write);
  world.serve();
  EXPECT_TRUE(write.ok());
  EXPECT_EQ(world.owners[0]->attentions + world.owners[1]->attentions, 1U);
}

TEST(Map, ComesBackToABusyTargetAfterAPause) {
  MapWorld world;
  world.disk.next_status = scsi::Status::task_set_full;
  Request read(BlockOp::read);
  world.map->submit(read);
  world.serve();
  EXPECT_EQ(read.completed, 0);
  world.clock.run_for(25ms);
  world.serve();
  EXPECT_TRUE(read.ok());
}

TEST(Map, DoesNotTakeAShortReadForAnAnswer) {
  MapWorld world;
  for (auto& port : world.ports) port->short_by = 1;
  Request read(BlockOp::read);
  world.map->submit(read);
  world.serve();
  EXPECT_EQ(read.completed, 1);
  EXPECT_EQ(read.status, BlockStatus::io_error);
}

// The other operations.

TEST(Map, FlushesOnceForAllPaths) {
  MapWorld world;
  Request flush(BlockOp::flush);
  world.map->submit(flush);
  world.serve();
  EXPECT_TRUE(flush.ok());
  EXPECT_EQ(world.disk.flushes, 1U);
}

TEST(Map, FlushesAfterAFuaWriteWhereTheTargetKnowsNoFua) {
  LuFacts facts = small_disk();
  facts.fua = false;
  MapWorld world({}, 2, facts);
  Request write(BlockOp::write);
  write.fua = true;
  world.map->submit(write);
  world.serve();
  EXPECT_TRUE(write.ok());
  EXPECT_EQ(world.disk.flushes, 1U);
}

TEST(Map, ZeroesWithWriteSameAndByWritingWhereThatIsUnknown) {
  for (const bool known : {true, false}) {
    MapWorld world;
    world.disk.knows_write_same = known;
    std::ranges::fill(world.disk.bytes, std::byte{0xee});
    Request zero(BlockOp::write_zeroes, 2, 4);
    world.map->submit(zero);
    world.serve();
    EXPECT_TRUE(zero.ok());
    EXPECT_EQ(world.disk.writes, known ? 0U : 1U);
    EXPECT_EQ(world.disk.bytes[2 * block_bytes], std::byte{0});
    EXPECT_EQ(world.disk.bytes[6 * block_bytes - 1], std::byte{0});
    EXPECT_EQ(world.disk.bytes[6 * block_bytes], std::byte{0xee});
    EXPECT_EQ(world.map->limits().can_zero, known);
  }
}

TEST(Map, RefusesFastZeroesThatWouldBeSlow) {
  MapWorld world;
  world.disk.knows_write_same = false;
  Request zero(BlockOp::write_zeroes, 2, 4);
  zero.fast_only = true;
  world.map->submit(zero);
  world.serve();
  EXPECT_EQ(zero.completed, 1);
  EXPECT_EQ(zero.status, BlockStatus::not_supported);
}

struct BadRequestRow {
  const char* name;
  BlockOp op;
  std::uint64_t offset, length;
  BlockStatus told;
};
class MapBadRequests : public testing::TestWithParam<BadRequestRow> {};

TEST_P(MapBadRequests, AreRefusedBeforeTheyAreSent) {
  MapWorld world;
  Request request(GetParam().op);
  request.offset = GetParam().offset;
  request.length = GetParam().length;
  world.map->submit(request);
  EXPECT_EQ(request.completed, 1);
  EXPECT_EQ(request.status, GetParam().told);
}

INSTANTIATE_TEST_SUITE_P(
    Block, MapBadRequests,
    testing::Values(BadRequestRow{"unaligned_offset", BlockOp::read, 1, 512, BlockStatus::invalid},
                    BadRequestRow{"unaligned_length", BlockOp::write, 0, 100, BlockStatus::invalid},
                    BadRequestRow{"read_past_end", BlockOp::read, disk_blocks * 512, 512, BlockStatus::invalid},
                    BadRequestRow{"write_past_end", BlockOp::write, (disk_blocks - 1) * 512, 1024, BlockStatus::no_space},
                    BadRequestRow{"offset_wraps", BlockOp::write, ~std::uint64_t{511}, 1024, BlockStatus::no_space}),
    [](const auto& row) { return row.param.name; });

TEST(Map, ThatIsReadOnlySaysSo) {
  LuFacts facts = small_disk();
  facts.read_only = true;
  MapWorld world({}, 2, facts);
  Request write(BlockOp::write);
  world.map->submit(write);
  EXPECT_EQ(write.status, BlockStatus::read_only);
}

}  // namespace
}  // namespace mpath::test
