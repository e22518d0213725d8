// What a node of a pair says, and to whom: access states that follow from who serves, the lease, and a role that goes
// while commands are under way.
#include <gtest/gtest.h>

#include "base/bytes.hpp"
#include "target/scsi/command_table.hpp"
#include "tests/target/scsi/pair_world.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using std::chrono::milliseconds;
using test::block_of;
using test::Call;
using test::PairWorld;
using test::reserve_6;
using test::tur;
using test::UnitWorld;

constexpr auto optimized = scsi::AccessState::optimized;
constexpr auto standby = scsi::AccessState::standby;

unsigned target_port_groups_bits(UnitWorld& world) {
  return std::to_integer<unsigned>(world.run(0, scsi::inquiry_cdb())->answer().at(5)) >> 4 & 3;
}
scsi::Cdb set_groups() {
  return UnitWorld::cdb({0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0});
}
std::vector<std::byte> one_change() {
  return scsi::encode_port_group_changes(std::vector<scsi::PortGroupChange>{{.id = 1, .state = 0}});
}
bool listed(UnitWorld& world, std::uint8_t opcode) {
  const auto all = world.run(0, UnitWorld::cdb({0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0}))->answer();
  Reader r(all);
  r.skip(4);
  for (; r.remaining() > 0; r.skip(7)) {
    if (r.u8() == opcode) return true;
  }
  return false;
}
std::uint8_t support_of(UnitWorld& world, unsigned opcode, unsigned service) {
  const auto cdb = UnitWorld::cdb({0xa3, 0x0c, 3, opcode, 0, service, 0, 0, 0x40, 0, 0, 0});
  return std::to_integer<std::uint8_t>(world.run(0, cdb)->answer().at(1)) & 7;
}

// --- access states --------------------------------------------------------------------------------------------------

TEST(PairAccess, IsToldToEveryNexusOnce) {
  PairWorld world;
  unsigned sent = 0;
  world.unit->on_attention = [&](Nexus&) { ++sent; };
  world.unit->set_cluster_access({{1, optimized}, {2, standby}});
  EXPECT_EQ(sent, 3u);
  world.unit->set_cluster_access({{1, optimized}, {2, standby}});
  EXPECT_EQ(sent, 3u) << "nothing changed";
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(world.news(i), sense::alua_changed);
    EXPECT_EQ(world.news(i), sense::none);
  }
}

TEST(PairAccess, IsReportedAndCannotBeSet) {
  PairWorld world;
  world.lead();
  for (const bool decided : {true, false}) {
    if (!decided) {
      world.unit->set_cluster_access({});
      world.hear_all();
    }
    const auto groups = scsi::decode_port_groups(world.run(0, scsi::report_target_port_groups_cdb(1024))->answer());
    ASSERT_TRUE(groups);
    ASSERT_EQ(groups->size(), 2u);
    EXPECT_EQ((*groups)[0].state, optimized);
    EXPECT_EQ((*groups)[1].state, decided ? standby : optimized);
    EXPECT_EQ((*groups)[0].status, decided ? 2 : 0);
    EXPECT_EQ(target_port_groups_bits(world), decided ? 1u : 3u);
    EXPECT_EQ(listed(world, 0xa4), !decided);
    EXPECT_EQ(support_of(world, 0xa4, 0x0a), decided ? 1 : 3);
    const auto set = world.run(0, set_groups(), one_change());
    EXPECT_EQ(set->told(), decided ? sense::invalid_opcode : sense::none);
    EXPECT_EQ(set->good(), !decided);
    EXPECT_EQ(world.run(0, UnitWorld::cdb({0xa4, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}))->told(),
              decided ? sense::invalid_opcode : sense::invalid_field_in_cdb);
  }
}

// An initiator repeats lost writes when it is told who serves: a node that was cut off must not tell it of yesterday.
TEST(PairAccess, WithoutTheLeaseItDoesNotSayThatItServes) {
  PairWorld world;
  world.lead();
  const auto own_group = [&] {
    return scsi::decode_port_groups(world.run(0, scsi::report_target_port_groups_cdb(1024))->answer())->at(0).state;
  };
  EXPECT_EQ(own_group(), optimized);
  world.serving.set_until(TimePoint::min());
  EXPECT_EQ(own_group(), scsi::AccessState::transitioning);
  world.serving.set_until(never);
  EXPECT_EQ(own_group(), optimized);
  world.lose();
  world.hear_all();
  EXPECT_EQ(own_group(), standby);
}

TEST(PairAccess, AdministratorsAreSentToTheSwitchover) {
  PairWorld world;
  world.lead();
  error_code error;
  world.unit->set_access_state(1, scsi::AccessState::non_optimized, [&](error_code result) { error = result; });
  EXPECT_NE(error.message().find("mptargetctl cluster switchover"), std::string::npos) << error.message();
  EXPECT_TRUE(world.run(0, tur())->good());
}

TEST(PairAccess, IsShownAndNeitherKeptNorSent) {
  PairWorld world;
  world.lead();
  EXPECT_EQ(world.state().access, (ClusterAccess{{1, optimized}, {2, standby}}));
  EXPECT_TRUE(world.run(0, reserve_6())->good());
  EXPECT_TRUE(decode_lu_state(world.state_log.durable)->access.empty());
}

// Every command there is, by the rule that the standard has for standby, and by ours: nothing that both nodes keep
// changes on the one that stands by.
TEST(PairAccess, StandbyAnswersWhatNeedsNoLeader) {
  PairWorld world;
  for (const CommandRow& row : command_table()) {
    if (row.opcode == 0xa4) continue;  // taken away
    std::vector<unsigned> bytes(scsi::cdb_length(row.opcode));
    bytes[0] = row.opcode;
    if (row.service >= 0) bytes[1] = static_cast<unsigned>(row.service);
    scsi::Cdb cdb{.length = static_cast<std::uint8_t>(bytes.size())};
    std::ranges::transform(bytes, cdb.bytes.begin(), [](unsigned b) { return static_cast<std::byte>(b); });
    const bool changes = row.opcode == 0x15 || row.opcode == 0x55 || row.opcode == 0x5f;  // MODE SELECT, PR OUT
    EXPECT_EQ(world.run(0, cdb)->told() == sense::alua_standby, !row.in_standby || changes) << row.name;
  }
  EXPECT_EQ(world.state_log.commits, 0u);
}

// Linux asks for the size when it finds the disk, and never again: a path that was refused it then ends every I/O "beyond
// the end of the device" after the takeover.
TEST(PairAccess, StandbyTellsTheSize) {
  PairWorld world;
  const auto standing_by = world.run(0, scsi::read_capacity_16_cdb())->answer();
  EXPECT_TRUE(world.run(0, scsi::read_capacity_10_cdb())->good());
  world.lead();
  EXPECT_EQ(world.run(0, scsi::read_capacity_16_cdb())->answer(), standing_by);
}

TEST(PairAccess, AnUnavailableNodeSaysNothingOfReservations) {
  PairWorld world;
  const auto keys = UnitWorld::cdb({0x5e, 0, 0, 0, 0, 0, 0, 0x10, 0, 0});
  EXPECT_TRUE(world.run(0, keys)->good());
  world.unit->set_cluster_access({{1, scsi::AccessState::unavailable}, {2, optimized}});
  world.hear_all();
  EXPECT_EQ(world.run(0, keys)->told(), sense::alua_unavailable);
  EXPECT_TRUE(world.run(0, scsi::report_target_port_groups_cdb(1024))->good());
}

// --- the lease ------------------------------------------------------------------------------------------------------

TEST(PairLease, WithoutItOnlyThatIsAnsweredThatNeedsNoLeader) {
  PairWorld world;
  world.lead();
  EXPECT_TRUE(world.run(0, tur())->good());
  ASSERT_TRUE(world.run(1, reserve_6())->good());
  EXPECT_TRUE(world.run(0, tur())->conflict());
  world.serving.set_until(TimePoint::min());
  EXPECT_EQ(world.run(0, tur())->told(), sense::alua_transition) << "the reservation may be gone by now";
  EXPECT_EQ(world.run(1, scsi::write_cdb(0, 1), block_of(1))->told(), sense::alua_transition);
  EXPECT_EQ(world.run(1, UnitWorld::cdb({0x5e, 0, 0, 0, 0, 0, 0, 0x10, 0, 0}))->told(), sense::alua_transition);
  EXPECT_EQ(world.run(1, scsi::mode_sense_6_cdb(8))->told(), sense::alua_transition);
  EXPECT_TRUE(world.run(0, scsi::inquiry_cdb())->good());
  EXPECT_TRUE(world.run(0, scsi::report_target_port_groups_cdb(1024))->good());
  world.serving.set_until(never);
  EXPECT_TRUE(world.run(0, tur())->conflict());
}

TEST(PairLease, IsLookedAtAgainWhenAnAnswerHasWaited) {
  PairWorld world;
  world.lead();
  world.state_log.held = true;
  const auto first = world.send(0, reserve_6());
  const auto second = world.send(1, reserve_6());
  EXPECT_EQ(first->ends + second->ends, 0u);
  world.serving.set_until(TimePoint::min());
  world.state_log.let_one_through();
  EXPECT_TRUE(first->good()) << "both nodes have it";
  EXPECT_EQ(second->told(), sense::alua_transition) << "that it conflicts, only the leader knows";
}

TEST(PairLease, OfANodeThatWasNotToldToLeadIsNotEnough) {
  PairWorld world;
  world.serving.set_until(never);
  world.unit->set_cluster_access({{1, optimized}, {2, standby}});
  world.hear_all();
  EXPECT_EQ(world.run(0, tur())->told(), sense::alua_transition);
  EXPECT_FALSE(world.take_over());
  EXPECT_TRUE(world.run(0, tur())->good());
}

// --- a role that goes while commands are under way ------------------------------------------------------------------

TEST(PairRole, ThatGoesSendsCommandsToTheOtherNode) {
  PairWorld world;
  world.lead();
  world.role->lost = true;
  EXPECT_EQ(world.run(0, scsi::write_cdb(0, 1), block_of(1))->told(), sense::alua_transition) << "not told yet";
  world.serving.set_until(TimePoint::min());
  const auto read = world.send(0, scsi::read_cdb(0, 1));
  EXPECT_EQ(read->told(), sense::alua_transition);
}

TEST(PairRole, ThatWentIsSaidToCommandsThatComeBack) {
  for (const bool told : {false, true}) {
    PairWorld world(milliseconds(1));
    world.lead();
    const auto write = world.send(0, scsi::write_cdb(0, 1), block_of(1));
    const auto compare = world.send(1, UnitWorld::cdb({0x89, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0}),
                                    std::vector<std::byte>(2 * UnitWorld::block));
    world.memory.go_away();
    world.serving.set_until(TimePoint::min());
    if (told) world.lose();
    world.settle();
    EXPECT_EQ(write->told(), told ? sense::alua_standby : sense::alua_transition);
    EXPECT_EQ(compare->told(), told ? sense::alua_standby : sense::alua_transition);
  }
}

TEST(PairRole, ThatGoesWhileAChangeIsUnderWayIsNoErrorOfTheUnit) {
  PairWorld world;
  world.lead();
  world.state_log.error = std::make_error_code(std::errc::operation_canceled);
  EXPECT_EQ(world.run(0, reserve_6())->told(), sense::alua_transition);
  world.state_log.error = std::make_error_code(std::errc::io_error);
  EXPECT_EQ(world.run(0, reserve_6())->told(), sense::internal_failure);
  world.state_log.error = {};
  world.state_log.held = true;
  const auto first = world.send(0, reserve_6());
  const auto second = world.send(1, test::mode_select_6(0));
  const auto third = world.send(2, reserve_6());
  world.lose();
  world.state_log.waiting.front().second(std::make_error_code(std::errc::io_error));
  world.state_log.waiting.pop_front();
  EXPECT_EQ(first->told(), sense::alua_standby);
  EXPECT_TRUE(second->good()) << "an empty list changes nothing";
  EXPECT_EQ(third->told(), sense::alua_standby);
  EXPECT_TRUE(world.state_log.waiting.empty()) << "the one that waited did not go to the log";
}

TEST(PairRole, OfASingleNodeIsNoQuestion) {
  test::QuietUnit world;
  world.memory.go_away();
  EXPECT_EQ(world.run(0, scsi::read_cdb(0, 1))->told(), sense::manual_intervention);
}

TEST(PairRole, AResetOnTheOneThatStandsByIsNoneForTheOther) {
  PairWorld world;
  const auto reset = [&] {
    std::optional<iscsi::TaskResult> result;
    world.unit->manage(iscsi::TaskFunction::logical_unit_reset, *world.nexuses[0], 0,
                       [&](iscsi::TaskResult value) { result = value; });
    world.settle();
    return result;
  };
  EXPECT_EQ(reset(), iscsi::TaskResult::rejected);
  EXPECT_EQ(world.state_log.commits, 0u);
  world.lead();
  EXPECT_EQ(reset(), iscsi::TaskResult::complete);
  world.serving.set_until(TimePoint::min());
  EXPECT_EQ(reset(), iscsi::TaskResult::rejected);
}

}  // namespace
}  // namespace mpath::target
