#include <gtest/gtest.h>

#include "tests/mpathd/map_world.hpp"

namespace mpath::test {
namespace {

using namespace std::chrono_literals;

// A command of a test, with its memory.
struct Scsi : ScsiRequest {
  Scsi(const scsi::Cdb& what, scsi::DataDirection way, std::size_t bytes, std::byte fill = {}) : memory(bytes, fill) {
    cdb = what;
    direction = way;
    length = static_cast<std::uint32_t>(bytes);
    piece = {memory.data(), memory.size()};
    data = std::span<const iovec>(&piece, bytes == 0 ? 0 : 1);
    changes = way == scsi::DataDirection::out;
    done = [](ScsiRequest& request) noexcept { ++static_cast<Scsi&>(request).completed; };
  }
  [[nodiscard]] bool good() const {
    return completed == 1 && outcome == ScsiOutcome::answered && status == scsi::Status::good;
  }
  std::vector<std::byte> memory;
  iovec piece{};
  int completed = 0;
};
Scsi write_same(std::byte fill = std::byte{7}) {
  return {scsi::write_same_cdb({.lba = 0, .blocks = 1}), scsi::DataDirection::out, block_bytes, fill};
}

TEST(MapScsi, BringsTheUnitsOwnAnswer) {
  MapWorld world;
  Scsi inquiry(scsi::inquiry_cdb(36), scsi::DataDirection::in, 36);
  world.map->submit_scsi(inquiry);
  world.serve();
  EXPECT_TRUE(inquiry.good());
  EXPECT_EQ(scsi::decode_inquiry(inquiry.memory)->product, "DISK");
  Scsi unknown({.bytes = {std::byte{0x4d}}, .length = 10}, scsi::DataDirection::in, 64);
  world.map->submit_scsi(unknown);
  world.serve();
  EXPECT_EQ(unknown.completed, 1);
  EXPECT_EQ(unknown.outcome, ScsiOutcome::answered);
  EXPECT_EQ(unknown.status, scsi::Status::check_condition);
  EXPECT_EQ(unknown.sense, scsi::sense::invalid_opcode);
}

struct Own {
  const char* name;
  scsi::Status status;
  scsi::Sense sense;
};
class MapScsiOwnErrors : public testing::TestWithParam<Own> {};
TEST_P(MapScsiOwnErrors, ReachTheCallerAndLeaveThePathAlone) {
  MapWorld world;
  world.disk.next_status = GetParam().status;
  world.disk.next_sense = GetParam().sense;
  Scsi command = write_same();
  world.map->submit_scsi(command);
  world.serve();
  EXPECT_EQ(command.completed, 1);
  EXPECT_EQ(command.outcome, ScsiOutcome::answered);
  EXPECT_EQ(command.status, GetParam().status);
  EXPECT_EQ(command.sense, GetParam().sense);
  EXPECT_TRUE(world.owners[0]->bad.empty() && world.owners[1]->bad.empty());
}
INSTANTIATE_TEST_SUITE_P(
    Each, MapScsiOwnErrors,
    testing::Values(Own{"miscompare", scsi::Status::check_condition, scsi::sense::miscompare},
                    Own{"medium", scsi::Status::check_condition, scsi::sense::write_error},
                    Own{"field", scsi::Status::check_condition, scsi::sense::invalid_field_in_parameters},
                    Own{"space", scsi::Status::check_condition, scsi::sense::no_space},
                    Own{"conflict", scsi::Status::reservation_conflict, {}}),
    [](const auto& row) { return row.param.name; });

TEST(MapScsi, IsSentAgainWhenItWasNotCarriedOut) {
  MapWorld world({}, 1);
  for (const auto& [status, sense] : {std::pair{scsi::Status::busy, scsi::Sense{}},
                                      std::pair{scsi::Status::check_condition, scsi::sense::mode_parameters_changed}}) {
    world.disk.next_status = status;
    world.disk.next_sense = sense;
    Scsi command = write_same();
    command.repeatable = false;
    world.map->submit_scsi(command);
    world.serve();
    world.clock.run_for(1s);
    world.serve();
    EXPECT_TRUE(command.good());
  }
}

TEST(MapScsi, TakesAnotherPathWhenItsOwnFails) {
  MapWorld world;
  world.owners[0]->when_bad = [&] { world.map->set_usable(*world.paths[0], false); };
  world.owners[1]->when_bad = [&] { world.map->set_usable(*world.paths[1], false); };
  world.disk.next_status = scsi::Status::check_condition;
  world.disk.next_sense = scsi::sense::alua_standby;
  Scsi command = write_same();
  world.map->submit_scsi(command);
  world.serve();
  EXPECT_TRUE(command.good());
  EXPECT_EQ(world.map->usable_count(), 1U);
}

TEST(MapScsi, ThatReadsMovesAtOnceWhenItIsLost) {
  MapWorld world;
  Scsi command(scsi::inquiry_cdb(36), scsi::DataDirection::in, 36);
  world.map->submit_scsi(command);
  world.lose(world.ports[0]->on_wire() != 0 ? 0 : 1);
  world.serve();
  EXPECT_TRUE(command.good());
}

TEST(MapScsi, ThatChangesSomethingWaitsForTheFence) {
  MapWorld world;
  Scsi command = write_same();
  world.map->submit_scsi(command);
  const std::size_t hit = world.ports[0]->on_wire() != 0 ? 0 : 1;
  world.lose(hit);
  EXPECT_EQ(world.ports[1 - hit]->on_wire(), 0U);
  EXPECT_EQ(world.ports[hit]->ghosts(), 1U);
  world.clock.run_for(1s);
  world.serve();
  EXPECT_TRUE(command.good());
  EXPECT_EQ(world.ports[hit]->ghosts(), 0U) << "the first copy cannot run any more";
}

TEST(MapScsi, ThatMustNotBeRepeatedIsNot) {
  MapWorld world;
  Scsi command = write_same();
  command.repeatable = false;
  world.map->submit_scsi(command);
  const std::size_t hit = world.ports[0]->on_wire() != 0 ? 0 : 1;
  world.lose(hit);
  EXPECT_EQ(command.completed, 0) << "not before it is certain that it cannot run any more";
  world.clock.run_for(1s);
  EXPECT_EQ(command.completed, 1);
  EXPECT_EQ(command.outcome, ScsiOutcome::lost);
  EXPECT_EQ(world.ports[1 - hit]->on_wire(), 0U);
}

TEST(MapScsi, WaitsForAPathOrFailsAsTheMapIsTold) {
  MapPolicy policy;
  policy.no_path_retry.mode = NoPathRetry::Mode::queue;
  MapWorld world(policy, 1);
  world.lose(0);
  world.clock.run_for(60s);
  Scsi waits = write_same();
  world.map->submit_scsi(waits);
  EXPECT_EQ(waits.completed, 0);
  world.come_back(0);
  world.serve();
  EXPECT_TRUE(waits.good());
  world.lose(0);
  policy.no_path_retry.mode = NoPathRetry::Mode::fail;
  world.map->set_policy(policy);
  world.clock.run_for(60s);
  Scsi fails = write_same();
  world.map->submit_scsi(fails);
  EXPECT_EQ(fails.completed, 1);
  EXPECT_EQ(fails.outcome, ScsiOutcome::no_path);
}

TEST(MapScsi, EndsWithTheMap) {
  MapWorld world;
  Scsi before = write_same();
  world.map->submit_scsi(before);
  bool idle = false;
  world.map->close([&] { idle = true; });
  EXPECT_FALSE(idle);
  Scsi after = write_same();
  world.map->submit_scsi(after);
  EXPECT_EQ(after.outcome, ScsiOutcome::shutdown);
  world.serve();
  EXPECT_EQ(before.completed, 1);
  EXPECT_TRUE(idle);
}

TEST(MapScsi, PassesTheFiltersOfTheMap) {
  MapWorld world;
  EXPECT_EQ(world.map->scsi_door(), static_cast<ScsiDoor*>(world.map.get()));
}

// ---- persistent reservations

constexpr std::uint64_t key = 0xabc;

Scsi reserve_out(scsi::PersistentService service, std::uint64_t service_key, std::uint64_t old = 0) {
  const scsi::Bytes list = scsi::encode_persistent_out({.key = old, .service_key = service_key});
  scsi::Cdb cdb{.bytes = {std::byte{0x5f}, static_cast<std::byte>(service)}, .length = 10};
  cdb.bytes[8] = static_cast<std::byte>(list.size());
  Scsi command(cdb, scsi::DataDirection::out, list.size());
  std::ranges::copy(list, command.memory.begin());
  command.repeatable = false;
  return command;
}
using Said = std::vector<Disk::ReserveOut>;
constexpr unsigned register_key = 0, release_held = 2, register_and_ignore = 6;

struct ReservedWorld : MapWorld {
  using MapWorld::MapWorld;
  // The host registers its key, and it is said through every path.
  void register_host(std::uint64_t service_key = key, std::uint64_t old = 0) {
    Scsi command = reserve_out(scsi::PersistentService::register_key, service_key, old);
    map->submit_scsi(command);
    serve();
    EXPECT_TRUE(command.good());
  }
};

TEST(MapReservation, IsRegisteredThroughEveryPath) {
  ReservedWorld world({}, 3);
  world.register_host();
  EXPECT_EQ(world.disk.reserve_out,
            (Said{{register_key, key}, {register_and_ignore, key}, {register_and_ignore, key}}));
  world.disk.reserve_out.clear();
  world.register_host(0, key);
  EXPECT_EQ(world.disk.reserve_out, (Said{{register_key, 0}, {register_and_ignore, 0}, {register_and_ignore, 0}}));
}

TEST(MapReservation, IsToldToTheHostOnlyWhenEveryPathHasIt) {
  MapWorld world;
  Scsi command = reserve_out(scsi::PersistentService::register_key, key);
  world.map->submit_scsi(command);
  const std::size_t first = world.ports[0]->on_wire() != 0 ? 0 : 1;
  world.ports[first]->serve();
  EXPECT_EQ(command.completed, 0);
  EXPECT_EQ(world.ports[1 - first]->on_wire(), 1U) << "not once more through the first";
  world.ports[1 - first]->serve();
  EXPECT_TRUE(command.good());
}

TEST(MapReservation, ThatIsRefusedGoesNoFurther) {
  MapWorld world;
  world.disk.next_status = scsi::Status::reservation_conflict;
  Scsi command = reserve_out(scsi::PersistentService::register_key, key, 1);
  world.map->submit_scsi(command);
  world.serve();
  EXPECT_EQ(command.status, scsi::Status::reservation_conflict);
  EXPECT_TRUE(world.disk.reserve_out.empty());
}

TEST(MapReservation, IsReleasedThroughEveryPath) {
  ReservedWorld world;
  world.register_host();
  world.disk.reserve_out.clear();
  Scsi release = reserve_out(scsi::PersistentService::release, 0, key);
  world.map->submit_scsi(release);
  world.serve();
  EXPECT_TRUE(release.good());
  EXPECT_EQ(world.disk.reserve_out, (Said{{release_held, 0}, {release_held, 0}}));
}

TEST(MapReservation, IsRegisteredBeforeAPathThatComesBackCarriesIo) {
  ReservedWorld world;
  world.register_host();
  world.disk.keys = {1, key};
  world.lose(1);
  world.disk.reserve_out.clear();
  world.come_back(1);
  EXPECT_EQ(world.map->usable_count(), 1U);
  EXPECT_EQ(world.ports[1]->on_wire(scsi::Opcode::persistent_reserve_in), 1U);
  world.ports[1]->serve(1);
  EXPECT_EQ(world.map->usable_count(), 1U);
  EXPECT_EQ(world.ports[1]->on_wire(scsi::Opcode::persistent_reserve_out), 1U);
  world.ports[1]->serve();
  EXPECT_EQ(world.map->usable_count(), 2U);
  EXPECT_EQ(world.disk.reserve_out, (Said{{register_and_ignore, key}}));
}

TEST(MapReservation, MakesIoWaitForTheOnlyPathRatherThanFail) {
  MapPolicy policy;
  policy.no_path_retry.mode = NoPathRetry::Mode::fail;
  ReservedWorld world(policy, 1);
  world.register_host();
  world.disk.keys = {key};
  world.lose(0);
  world.come_back(0);
  Request write(BlockOp::write);
  world.map->submit(write);
  EXPECT_EQ(write.completed, 0);
  world.serve();
  EXPECT_TRUE(write.ok());
}

// Another host has preempted us: who comes back must not take that back.
TEST(MapReservation, IsNotMadeAgainWhenAnotherHostTookItAway) {
  ReservedWorld world;
  world.register_host();
  world.disk.keys = {1};
  world.lose(1);
  world.disk.reserve_out.clear();
  world.come_back(1);
  world.serve();
  EXPECT_EQ(world.map->usable_count(), 2U);
  EXPECT_TRUE(world.disk.reserve_out.empty());
}

TEST(MapReservation, ThatCannotBeMadeKeepsThePathOut) {
  ReservedWorld world;
  world.register_host();
  world.disk.keys = {key};
  world.lose(1);
  world.come_back(1);
  world.ports[1]->serve(1);
  world.disk.next_status = scsi::Status::reservation_conflict;
  world.ports[1]->serve();
  EXPECT_EQ(world.map->usable_count(), 1U);
  EXPECT_EQ(world.owners[1]->bad.size(), 1U);
}

// At any moment of the work a path may go, and a path that is gone may leave the map.
TEST(MapReservation, OutlivesPathsThatGoMeanwhile) {
  for (int served = 0; served < 3; ++served) {
    for (const bool leaves : {false, true}) {
      ReservedWorld world({}, 3);
      world.disk.keys = {key};
      Scsi command = reserve_out(scsi::PersistentService::register_and_ignore, key);
      command.repeatable = true;
      world.map->submit_scsi(command);
      for (int i = 0; i < served; ++i) {
        for (auto& port : world.ports) {
          if (port->serve(1) != 0) break;
        }
      }
      world.lose(2);
      if (leaves) {
        world.map->detach(*world.paths[2]);
        world.paths.pop_back();
        world.ports.pop_back();
        world.owners.pop_back();
      }
      world.clock.run_for(std::chrono::seconds(1));
      world.serve();
      EXPECT_TRUE(command.good());
      if (!leaves) {
        world.come_back(2);
        world.serve();
      }
      EXPECT_EQ(world.map->usable_count(), world.paths.size());
    }
  }
}

}  // namespace
}  // namespace mpath::test
