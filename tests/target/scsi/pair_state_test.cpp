// The state of a unit that is on two nodes: what the one that stands by takes over, whom it tells, and what ends when
// it takes over.
#include <gtest/gtest.h>

#include "target/scsi/adopted_news.hpp"
#include "target/scsi/reservations.hpp"
#include "tests/target/scsi/pair_world.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using std::chrono::milliseconds;
using test::block_of;
using test::PairWorld;
using test::reserve_6;
using test::tur;
using test::UnitWorld;

constexpr std::uint64_t key_a = 0xa1;
constexpr std::uint64_t key_b = 0xb2;

Registration registration(unsigned index, std::uint64_t key, std::uint16_t group = 1) {
  const NexusName name = UnitWorld::name(index, group);
  return {.initiator = name.initiator, .target = name.target, .key = key};
}
LuState registered(std::initializer_list<Registration> known) {
  LuState state;
  state.reservations.registrations = known;
  state.reservations.generation = 7;
  return state;
}
LuState holding(LuState state, ReservationType type, unsigned holder) {
  const Registration& registrant = state.reservations.registrations.at(holder);
  state.reservations.held = PersistentReservation{.type = type, .key = registrant.key, .holder = std::nullopt};
  if (type != ReservationType::write_exclusive_all_registrants &&
      type != ReservationType::exclusive_access_all_registrants)
    state.reservations.held->holder = registrant;
  return state;
}
LuState reserved_by(unsigned index, std::uint16_t group) {
  LuState state;
  state.reservations.reserved = UnitWorld::name(index, group);
  return state;
}

// --- whom a difference concerns -------------------------------------------------------------------------------------

struct News {
  const char* name;
  LuState before, after;
  std::vector<scsi::Sense> expected;  // for initiator 0 through group 1
};
using enum ReservationType;

std::vector<News> news_rows() {
  const LuState both = registered({registration(0, key_a), registration(1, key_b)});
  const LuState only_other = registered({registration(1, key_b)});
  const LuState only_own = registered({registration(0, key_a)});
  LuState modes;
  modes.modes.write_cache = false;
  LuState saved;
  saved.saved_modes.write_cache = false;
  LuState rekeyed = both;
  rekeyed.reservations.registrations[0].key = 0xff;
  LuState moved = holding(both, write_exclusive_registrants_only, 1);
  moved.reservations.held->holder = both.reservations.registrations[0];
  return {
      {"Nothing", both, both, {}},
      {"Registered", only_other, both, {}},
      {"AnotherKey", both, rekeyed, {}},
      {"Preempted", both, only_other, {sense::registrations_preempted}},
      {"Cleared", both, {}, {sense::reservations_preempted}},
      {"AnotherWasPreempted", both, only_own, {}},
      {"NeverRegistered", only_other, {}, {}},
      {"Reserved", both, holding(both, write_exclusive_registrants_only, 1), {}},
      {"ReleasedShared", holding(both, write_exclusive_registrants_only, 1), both, {sense::reservations_released}},
      {"ReleasedAll", holding(both, exclusive_access_all_registrants, 1), both, {sense::reservations_released}},
      {"ReleasedOwn", holding(both, exclusive_access, 1), both, {}},
      {"ReleasedByLeaving",
       holding(both, exclusive_access_registrants_only, 1),
       only_own,
       {sense::reservations_released}},
      {"AnotherType",
       holding(both, write_exclusive_registrants_only, 1),
       holding(both, exclusive_access, 1),
       {sense::reservations_released}},
      {"Moved", holding(both, write_exclusive_registrants_only, 1), moved, {}},
      {"ClearedHeld", holding(both, write_exclusive_all_registrants, 1), {}, {sense::reservations_preempted}},
      {"Reserve6Ended", reserved_by(0, 1), {}, {sense::reservations_preempted}},
      {"Reserve6OfAnother", reserved_by(1, 1), {}, {}},
      {"Reserve6ThroughTheOtherNode", reserved_by(0, 2), {}, {}},
      {"Modes", {}, modes, {sense::mode_parameters_changed}},
      {"SavedModes", {}, saved, {}},
  };
}

class AdoptedNews : public testing::TestWithParam<News> {};
TEST_P(AdoptedNews, ConcernWhomTheCommandWouldHaveTold) {
  const News& row = GetParam();
  EXPECT_EQ(adopted_news(UnitWorld::name(0), row.before, row.after), row.expected);
}
INSTANTIATE_TEST_SUITE_P(All, AdoptedNews, testing::ValuesIn(news_rows()),
                         [](const auto& row) { return std::string(row.param.name); });

// --- standing by ----------------------------------------------------------------------------------------------------

// What one node writes down is what the other one takes: PERSISTENT RESERVE OUT here, PERSISTENT RESERVE IN there.
TEST(PairState, OfTheLeaderIsSeenOnTheOther) {
  PairWorld leader, other;
  leader.lead();
  const scsi::PersistentOutList everywhere{.service_key = key_a, .all_tg_pt = true, .aptpl = true};
  EXPECT_TRUE(leader.persistent_out(0, scsi::PersistentService::register_and_ignore, 0, everywhere)->good());
  EXPECT_TRUE(leader.reserve(0, key_a, 3)->good());
  const auto sent = decode_lu_state(leader.state_log.durable);
  ASSERT_TRUE(sent);
  other.unit->adopt_state(*sent);
  EXPECT_EQ(other.state_log.commits, 0u);
  const auto keys =
      scsi::decode_reservation_keys(other.run(0, UnitWorld::cdb({0x5e, 0, 0, 0, 0, 0, 0, 0x10, 0, 0}))->answer());
  ASSERT_TRUE(keys);
  EXPECT_EQ(keys->keys, (std::vector<std::uint64_t>{key_a, key_a})) << "one for each port";
  other.lead();
  EXPECT_TRUE(other.run(0, scsi::write_cdb(0, 1), block_of(1))->good()) << "registered through both nodes' ports";
  EXPECT_TRUE(other.run(1, scsi::write_cdb(0, 1), block_of(1))->conflict());
  EXPECT_TRUE(other.run(1, scsi::read_cdb(0, 1))->conflict());
}

TEST(PairState, ReservationsRuleOnTheStandbyToo) {
  PairWorld world;
  const auto mode_sense = scsi::mode_sense_6_cdb(8);
  world.unit->adopt_state(reserved_by(1, 2));
  EXPECT_TRUE(world.run(0, mode_sense)->conflict());
  EXPECT_TRUE(world.run(0, UnitWorld::cdb({0x5e, 0, 0, 0, 0, 0, 0, 0x10, 0, 0}))->conflict());
  EXPECT_EQ(world.run(0, scsi::read_cdb(0, 1))->told(), sense::alua_standby) << "the other node says the rest";
  const LuState two = registered({registration(0, key_a), registration(1, key_b, 2)});
  for (const auto type :
       {write_exclusive, exclusive_access, write_exclusive_registrants_only, exclusive_access_registrants_only,
        write_exclusive_all_registrants, exclusive_access_all_registrants}) {
    world.unit->adopt_state(holding(two, type, 1));
    world.hear_all();
    const bool excludes = type == exclusive_access || type == exclusive_access_registrants_only ||
                          type == exclusive_access_all_registrants;
    EXPECT_EQ(world.run(0, mode_sense)->conflict(), type == exclusive_access) << "a registrant";
    EXPECT_EQ(world.run(2, mode_sense)->conflict(), excludes) << "a stranger";
    EXPECT_TRUE(world.run(2, UnitWorld::cdb({0x5e, 1, 0, 0, 0, 0, 0, 0x10, 0, 0}))->good());
  }
}

TEST(PairState, TellsEachNexusOnceWhatConcernsIt) {
  PairWorld world;
  const LuState two = registered({registration(0, key_a), registration(1, key_b)});
  world.unit->adopt_state(two);
  for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(world.news(i), sense::none);
  LuState after = registered({registration(1, key_b)});
  after.modes.descriptor_sense = true;
  unsigned sent = 0;
  world.unit->on_attention = [&](Nexus&) { ++sent; };
  world.unit->adopt_state(after);
  EXPECT_EQ(sent, 4u);
  world.unit->adopt_state(after);
  EXPECT_EQ(sent, 4u);
  EXPECT_EQ(world.news(0), sense::registrations_preempted);
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(world.news(i), sense::mode_parameters_changed);
    EXPECT_EQ(world.news(i), sense::none);
  }
}

TEST(PairState, IsNotChangedByTheOneThatStandsBy) {
  PairWorld world;
  LuState state = reserved_by(2, 1);
  state.modes.descriptor_sense = true;
  world.unit->adopt_state(state);
  error_code cleared;
  LuState with_keys = state;
  with_keys.reservations.registrations = {registration(0, key_a)};
  world.unit->adopt_state(with_keys);
  world.unit->clear_reservations([&](error_code error) { cleared = error; });
  EXPECT_NE(cleared.message().find("does not serve"), std::string::npos) << cleared.message();
  bool ended = false;
  world.unit->detach(*world.nexuses[2], [&] { ended = true; });
  world.settle();
  EXPECT_TRUE(ended);
  world.unit->reset(true);
  world.settle();
  EXPECT_EQ(world.state_log.commits, 0u);
  EXPECT_EQ(world.state().reservations, with_keys.reservations);
  EXPECT_TRUE(world.state().modes.descriptor_sense);
}

TEST(PairState, ThatWasSentIsNotOvertakenByAChangeThatComesBackLate) {
  PairWorld world;
  world.lead();
  world.state_log.held = true;
  const auto call = world.send(0, reserve_6());
  bool ended = false;
  world.unit->detach(*world.nexuses[2], [&] { ended = true; });
  world.lose();
  const LuState sent = registered({registration(1, key_b, 2)});
  world.unit->adopt_state(sent);
  world.state_log.let_one_through();
  EXPECT_EQ(call->ends, 1u);
  EXPECT_TRUE(ended);
  EXPECT_EQ(world.state().reservations, sent.reservations);
}

// --- taking over ----------------------------------------------------------------------------------------------------

TEST(PairTakeOver, EndsTheReserveOfANexusThatIsNotHere) {
  for (const std::uint16_t group : {1, 2}) {
    PairWorld world;
    LuState state = reserved_by(1, group);
    world.unit->adopt_state(state);
    world.lead();
    const bool kept = group == 1;
    EXPECT_EQ(world.state().reservations.reserved.has_value(), kept);
    EXPECT_EQ(world.state_log.commits, kept ? 0u : 1u);
    EXPECT_EQ(world.run(0, tur())->conflict(), kept);
    EXPECT_TRUE(world.run(1, tur())->good());
  }
}

TEST(PairTakeOver, EndsTheReserveOfANexusThatWasLostMeanwhile) {
  PairWorld world;
  world.unit->adopt_state(reserved_by(2, 1));
  bool ended = false;
  world.unit->detach(*world.nexuses[2], [&] { ended = true; });
  world.settle();
  ASSERT_TRUE(ended);
  world.nexuses[2] = &world.unit->attach(UnitWorld::name(2));
  world.lead();
  EXPECT_FALSE(world.state().reservations.reserved) << "the one that came back is another nexus";
}

TEST(PairTakeOver, KeepsPersistentReservations) {
  PairWorld world;
  const LuState state = holding(registered({registration(0, key_a, 2), registration(1, key_b, 2)}), write_exclusive, 0);
  world.unit->adopt_state(state);
  world.lead();
  EXPECT_EQ(world.state().reservations, state.reservations);
  EXPECT_EQ(world.state_log.commits, 0u);
  EXPECT_TRUE(world.run(0, scsi::write_cdb(0, 1), block_of(1))->conflict()) << "registered through the other port only";
}

TEST(PairTakeOver, ThatCannotBeWrittenDownLeavesEverythingAsItIs) {
  PairWorld world;
  world.unit->adopt_state(reserved_by(1, 2));
  world.serving.set_until(never);
  world.state_log.error = std::make_error_code(std::errc::io_error);
  EXPECT_EQ(world.take_over(), std::errc::io_error);
  EXPECT_TRUE(world.state().reservations.reserved);
  world.unit->set_cluster_access({{1, PairWorld::optimized}, {2, PairWorld::standby}});
  world.hear_all();
  EXPECT_EQ(world.run(0, tur())->told(), sense::alua_transition) << "it does not lead";
  world.state_log.error = {};
  EXPECT_FALSE(world.take_over());
  EXPECT_TRUE(world.run(0, tur())->good());
}

TEST(PairTakeOver, GoesOnWithASanitizeThatTheOtherNodeBegan) {
  LuState state;
  state.sanitize = {.phase = SanitizeState::Phase::running,
                    .method = SanitizeState::Method::overwrite,
                    .passes = 1,
                    .done_bytes = 1 << 20,
                    .pattern = {std::byte{0x5a}}};
  PairWorld world(milliseconds(1), state);
  world.settle();
  EXPECT_EQ(world.memory.counters().bytes_written, 0u) << "it stands by";
  EXPECT_EQ(world.run(0, scsi::mode_sense_6_cdb(8))->told(), sense::sanitize_in_progress);
  world.lead();
  world.settle();
  EXPECT_EQ(world.memory.counters().bytes_written, UnitWorld::size_bytes - (1u << 20));
  EXPECT_EQ(world.state().sanitize, SanitizeState{});
  EXPECT_TRUE(world.run(0, tur())->good());
}

// The store may know before the unit does.
TEST(PairTakeOver, ASanitizeEndsWithTheRoleAndIsNotSaidToHaveFailed) {
  for (const bool told : {true, false}) {
    PairWorld world(milliseconds(1));
    world.lead();
    const auto erase = world.send(0, UnitWorld::cdb({0x48, 0x01, 0, 0, 0, 0, 0, 0, 8, 0}),
                                  {std::byte{1}, std::byte{0}, std::byte{0}, std::byte{4}, std::byte{1}, std::byte{2},
                                   std::byte{3}, std::byte{4}});
    world.poll();
    EXPECT_EQ(world.state().sanitize.phase, SanitizeState::Phase::running);
    world.role->lost = true;
    if (told) world.lose();
    world.settle();
    EXPECT_EQ(erase->told(), told ? sense::alua_standby : sense::sanitize_in_progress);
    EXPECT_EQ(world.state().sanitize.phase, SanitizeState::Phase::running);
    EXPECT_EQ(world.state_log.commits, 1u);
    world.role->lost = false;
    world.lead();
    world.settle();
    EXPECT_EQ(world.state().sanitize, SanitizeState{});
    EXPECT_EQ(world.memory.peek(UnitWorld::size_bytes - UnitWorld::block, 1)[0], std::byte{1});
  }
}

}  // namespace
}  // namespace mpath::target
