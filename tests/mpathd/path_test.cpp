// A path on a simulated port: identity before I/O, checks, and what it tells its map.
#include <gtest/gtest.h>

#include "mpathd/path.hpp"
#include "tests/mpathd/map_world.hpp"

namespace mpath::test {
namespace {

using namespace std::chrono_literals;

// Puts every path into the one map, as long as it carries the map's unit.
class OneMap final : public PathHost {
 public:
  void on_identified(Path& path, const LuFacts& facts) override {
    ++identified;
    if (map->wwid() != facts.wwid) return path.note_foreign();
    if (path.map() == nullptr) {
      MapPath& entry = map->attach(path.port(), path.lun(), path, path.device(), 1);
      path.set_map(map, &entry, checker, PathTiming{}, 30s);
    }
    path.accept();
  }
  void on_not_a_disk(Path&) override {}
  void on_foreign(Path& path) override {
    ++foreign;
    MapPath* entry = path.map_path();
    path.set_map(nullptr, nullptr, checker, PathTiming{}, 30s);
    map->detach(*entry);
  }
  void on_path_line(const std::string& line, bool) override { lines.push_back(line); }

  MapDevice* map = nullptr;
  CheckerKind checker = CheckerKind::tur;
  unsigned identified = 0;
  unsigned foreign = 0;
  std::vector<std::string> lines;
};

class PathOfAMap : public testing::Test {
 protected:
  PathOfAMap() {
    LuFacts facts = small_disk();
    facts.wwid = "360000000000000000000000000000001";
    map = std::make_unique<MapDevice>("mpatha", facts.wwid, facts, MapPolicy{}, MapDevice::Environment{clock, buffers, lines});
    host.map = map.get();
    path = std::make_unique<Path>(port, scsi::Lun{0}, PathIdentity{.device = "s1l0"}, host, clock, buffers);
  }
  ~PathOfAMap() override {
    map->close([] {});
    cut();
    if (path->map_path() != nullptr) map->detach(*path->map_path());
    clock.run_for(1min);
  }

  void connect() {
    port.log_in();
    path->port_up();
    port.serve();
  }
  void cut() {
    port.lose();
    path->port_down();
  }
  void write_something() {
    write.emplace(BlockOp::write, 0);
    map->submit(*write);
  }

  SimClock clock;
  BufferPool buffers;
  Lines lines;
  Disk disk;
  SimPort port{clock, disk};
  OneMap host;
  std::optional<Request> write;
  std::unique_ptr<MapDevice> map;
  std::unique_ptr<Path> path;
};

TEST_F(PathOfAMap, IsUsedOnceItWasIdentified) {
  port.log_in();
  path->port_up();
  EXPECT_EQ(map->usable_count(), 0U);
  port.serve();
  EXPECT_EQ(map->usable_count(), 1U);
  EXPECT_EQ(path->facts()->vendor, "SIM");
}

TEST_F(PathOfAMap, IsIdentifiedAnewBeforeIoAfterEveryLogin) {
  connect();
  cut();
  write_something();
  port.log_in();
  path->port_up();
  EXPECT_EQ(disk.writes, 0U);
  for (int command = 0; command < 5; ++command) {
    port.serve(1);
    EXPECT_EQ(map->usable_count(), 0U);
  }
  port.serve();
  EXPECT_EQ(host.identified, 2U);
  EXPECT_TRUE(write->ok());
}

TEST_F(PathOfAMap, LeavesTheMapWhenTheUnitBehindItWasExchanged) {
  connect();
  cut();
  disk.identity = 2;
  write_something();
  connect();
  EXPECT_EQ(host.foreign, 1U);
  EXPECT_EQ(map->path_count(), 0U);
  EXPECT_EQ(disk.writes, 0U);
  EXPECT_EQ(write->completed, 0);
  const auto loud = [](const std::string& line) { return line.find("another logical unit") != std::string::npos; };
  EXPECT_TRUE(std::ranges::any_of(host.lines, loud));
}

TEST_F(PathOfAMap, StopsIoOnAUnitAttentionUntilTheUnitWasReadAgain) {
  connect();
  disk.next_status = scsi::Status::check_condition;
  disk.next_sense = {scsi::SenseKey::unit_attention, 0x3f, 0x03};
  disk.identity = 9;
  write_something();
  port.serve();
  EXPECT_EQ(disk.writes, 0U);
  EXPECT_EQ(host.foreign, 1U);
}

TEST_F(PathOfAMap, ComesBackByItselfAfterNotReady) {
  connect();
  disk.next_status = scsi::Status::check_condition;
  disk.next_sense = {scsi::SenseKey::not_ready, 0x04, 0x01};
  write_something();
  port.serve();
  EXPECT_EQ(map->usable_count(), 0U);
  clock.run_for(2s);
  port.serve();
  EXPECT_EQ(map->usable_count(), 1U);
  EXPECT_TRUE(write->ok());
}

TEST_F(PathOfAMap, IsFailedByItsCheckerAndReinstated) {
  for (const CheckerKind checker : {CheckerKind::tur, CheckerKind::directio}) {
    host.checker = checker;
    connect();
    disk.next_status = scsi::Status::check_condition;
    disk.next_sense = {scsi::SenseKey::not_ready, 0x04, 0x0b};
    clock.run_for(6s);
    port.serve();
    EXPECT_EQ(map->usable_count(), 0U);
    EXPECT_EQ(path->path_snapshot().checker_state, CheckerState::ghost);
    clock.run_for(6s);
    port.serve();
    EXPECT_EQ(map->usable_count(), 1U);
    cut();
  }
}

TEST_F(PathOfAMap, DirectioReadsAndTurDoesNot) {
  host.checker = CheckerKind::directio;
  connect();
  const auto before = disk.reads;
  clock.run_for(6s);
  port.serve();
  EXPECT_EQ(disk.reads, before + 1);
}

TEST_F(PathOfAMap, StaysOutWhenTheOperatorSaysSo) {
  connect();
  path->operator_fail();
  EXPECT_EQ(map->usable_count(), 0U);
  clock.run_for(1min);
  port.serve();
  EXPECT_EQ(map->usable_count(), 0U);
  path->operator_reinstate();
  port.serve();
  EXPECT_EQ(map->usable_count(), 1U);
}

TEST_F(PathOfAMap, StartsOverWhenTheSessionIsLostInTheMiddle) {
  for (std::size_t answered = 0; answered < 7; ++answered) {
    port.log_in();
    path->port_up();
    port.serve(answered);
    cut();
    EXPECT_EQ(map->usable_count(), 0U) << answered;
  }
  connect();
  EXPECT_EQ(map->usable_count(), 1U);
}

}  // namespace
}  // namespace mpath::test
