// Target port groups: as they are reported, set by administrators and initiators, and what their states refuse.
#include <gtest/gtest.h>

#include "tests/target/scsi/quiet_unit.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using Quiet = test::QuietUnit;
using test::tur;
using test::UnitWorld;

TEST(PortGroups, AreReportedWithBothHeaders) {
  Quiet world;
  const auto plain = scsi::decode_port_groups(world.run(0, scsi::report_target_port_groups_cdb(1024))->answer());
  ASSERT_TRUE(plain);
  ASSERT_EQ(plain->size(), 2u);
  EXPECT_EQ((*plain)[1].ports, std::vector<std::uint16_t>{2});
  const auto extended = scsi::decode_port_groups(
      world.run(0, UnitWorld::cdb({0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0}))->answer(), true);
  ASSERT_TRUE(extended);
  EXPECT_EQ(*extended, *plain);
}

TEST(PortGroups, StandbyTakesNoReadsButTellsWhy) {
  Quiet world;
  error_code error = std::make_error_code(std::errc::io_error);
  world.unit->set_access_state(1, scsi::AccessState::standby, [&](error_code result) { error = result; });
  EXPECT_FALSE(error);
  EXPECT_EQ(world.run(0, tur())->told(), sense::alua_changed);
  EXPECT_EQ(world.run(0, scsi::read_cdb(0, 1))->told(), sense::alua_standby);
  EXPECT_TRUE(world.run(0, scsi::inquiry_cdb())->good());
  EXPECT_TRUE(world.run(0, scsi::mode_sense_6_cdb(8))->good());
  EXPECT_TRUE(world.run(0, scsi::read_capacity_16_cdb())->good());
  world.unit->set_access_state(1, scsi::AccessState::unavailable, [](error_code) {});
  world.hear_all();
  EXPECT_EQ(world.run(0, scsi::mode_sense_6_cdb(8))->told(), sense::alua_unavailable);
  EXPECT_TRUE(world.run(0, scsi::report_target_port_groups_cdb(255))->good());
  world.unit->set_access_state(1, scsi::AccessState::transitioning, [](error_code) {});
  world.hear_all();
  EXPECT_EQ(world.run(0, tur())->told(), sense::alua_transition);
}

// Who is told "standby" may repeat a lost write through another group: nothing of it can run any more.
TEST(PortGroups, AGroupIsInTransitionUntilWhatItHadTakenHasEnded) {
  UnitWorld world(std::chrono::milliseconds(10));
  world.nexuses.push_back(&world.unit->attach(UnitWorld::name(3, 2)));
  world.hear_all();
  const auto state_of_group_1 = [&] {
    const auto asked = world.send(3, scsi::report_target_port_groups_cdb(1024));
    EXPECT_EQ(asked->ends, 1u);
    return scsi::decode_port_groups(asked->answer())->at(0).state;
  };
  const auto write = world.send(0, scsi::write_cdb(0, 1));
  EXPECT_EQ(state_of_group_1(), scsi::AccessState::optimized);
  for (const auto state : {scsi::AccessState::standby, scsi::AccessState::unavailable, scsi::AccessState::offline}) {
    world.unit->set_access_state(1, state, [](error_code) {});
    world.hear_all();
    EXPECT_EQ(state_of_group_1(), scsi::AccessState::transitioning);
  }
  EXPECT_EQ(write->ends, 0u);
  world.settle();
  EXPECT_TRUE(write->good());
  EXPECT_EQ(state_of_group_1(), scsi::AccessState::offline);
  EXPECT_EQ(world.run(0, scsi::write_cdb(0, 1))->told(), sense::alua_unavailable);
}

TEST(PortGroups, AnInitiatorMaySetThemAndTheOthersHearOfIt) {
  Quiet world;
  const auto list = scsi::encode_port_group_changes(std::vector<scsi::PortGroupChange>{{.id = 2, .state = 1}});
  const auto cdb = UnitWorld::cdb({0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0});
  EXPECT_TRUE(world.run(0, cdb, list)->good());
  EXPECT_EQ(world.run(1, tur())->told(), sense::alua_changed);
  EXPECT_TRUE(world.run(0, tur())->good());
  const auto groups = scsi::decode_port_groups(world.run(0, scsi::report_target_port_groups_cdb(1024))->answer());
  EXPECT_EQ((*groups)[1].state, scsi::AccessState::non_optimized);
  const auto nowhere = scsi::encode_port_group_changes(std::vector<scsi::PortGroupChange>{{.id = 7, .state = 1}});
  EXPECT_EQ(world.run(0, cdb, nowhere)->told(), sense::invalid_field_in_parameters);
  const auto nothing = scsi::encode_port_group_changes(std::vector<scsi::PortGroupChange>{{.id = 2, .state = 15}});
  EXPECT_EQ(world.run(0, cdb, nothing)->told(), sense::invalid_field_in_parameters);
}

}  // namespace
}  // namespace mpath::target
