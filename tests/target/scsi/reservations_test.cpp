// Persistent reservations from end to end: PERSISTENT RESERVE OUT in, unit attentions, conflicts and PERSISTENT RESERVE
// IN out.
#include "target/scsi/reservations.hpp"

#include <gtest/gtest.h>

#include "tests/target/scsi/unit_world.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using scsi::PersistentOutList;
using scsi::PersistentService;
using std::chrono::milliseconds;
using test::Call;
using test::UnitWorld;

constexpr std::uint64_t key_a = 0xa1;
constexpr std::uint64_t key_b = 0xb2;
constexpr std::uint64_t key_c = 0xc3;
constexpr unsigned all_types[] = {1, 3, 5, 6, 7, 8};

struct Cluster : UnitWorld {
  static constexpr unsigned watcher = 3;  // never registered, so that what is read disturbs nobody

  explicit Cluster(Duration latency = Duration(0)) : UnitWorld(latency) {
    nexuses.push_back(&unit->attach(name(watcher)));
    hear_all();
  }
  std::unique_ptr<Call> out(unsigned from, PersistentService service, unsigned type, const PersistentOutList& list) {
    return persistent_out(from, service, type, list);
  }
  scsi::Sense news(unsigned from) { return run(from, scsi::test_unit_ready_cdb())->told(); }
  std::unique_ptr<Call> in(unsigned service) { return run(watcher, cdb({0x5e, service, 0, 0, 0, 0, 0, 0x10, 0, 0})); }
  scsi::ReservationKeys keys() { return *scsi::decode_reservation_keys(in(0)->answer()); }
  std::optional<scsi::ReservationHeld> held() { return scsi::decode_reservation(in(1)->answer())->held; }
  bool may_write(unsigned from) { return run(from, scsi::write_cdb(0, 1), std::vector<std::byte>(block))->good(); }
  std::unique_ptr<Call> move(unsigned from, const scsi::RegisterAndMoveList& list) {
    const auto bytes = scsi::encode_register_and_move(list);
    return run(from, cdb({0x5f, 7, 0, 0, 0, 0, 0, 0, static_cast<unsigned>(bytes.size()), 0}), bytes);
  }
  const Reservations& state() {
    kept_ = unit->status().state.reservations;
    return kept_;
  }

 private:
  Reservations kept_;
};

TEST(PersistentReserve, RegisteringChecksTheKeyUnlessToldToIgnoreIt) {
  Cluster world;
  EXPECT_TRUE(world.out(0, PersistentService::register_key, 0, {.key = 9, .service_key = key_a})->conflict());
  EXPECT_TRUE(world.out(0, PersistentService::register_key, 0, {.service_key = key_a})->good());
  EXPECT_TRUE(world.out(0, PersistentService::register_key, 0, {.service_key = key_b})->conflict());
  EXPECT_TRUE(world.out(0, PersistentService::register_key, 0, {.key = key_a, .service_key = key_b})->good());
  EXPECT_TRUE(world.enroll(0, key_c)->good());
  EXPECT_EQ(world.keys().keys, std::vector<std::uint64_t>{key_c});
  EXPECT_EQ(world.keys().generation, 3u);
  EXPECT_TRUE(world.out(0, PersistentService::register_key, 0, {.key = key_c})->good());
  EXPECT_TRUE(world.keys().keys.empty());
  EXPECT_TRUE(world.out(0, PersistentService::register_key, 0, {})->good()) << "nothing to take back";
  EXPECT_EQ(world.keys().generation, 4u);
}

TEST(PersistentReserve, OnlyTheRegisteredMayReserve) {
  Cluster world;
  EXPECT_TRUE(world.reserve(0, 0, 1)->conflict());
  ASSERT_TRUE(world.enroll(0, key_a)->good());
  EXPECT_TRUE(world.reserve(0, key_b, 1)->conflict());
  EXPECT_EQ(world.reserve(0, key_a, 2)->told(), sense::invalid_field_in_cdb);
  EXPECT_EQ(world.reserve(0, key_a, 0x11)->told(), sense::invalid_field_in_cdb) << "scope";
  EXPECT_TRUE(world.reserve(0, key_a, 1)->good());
  EXPECT_TRUE(world.reserve(0, key_a, 1)->good());
  EXPECT_TRUE(world.reserve(0, key_a, 3)->conflict());
  ASSERT_TRUE(world.enroll(1, key_b)->good());
  EXPECT_TRUE(world.reserve(1, key_b, 1)->conflict());
}

TEST(PersistentReserve, LosesTheReservationWithTheHoldersRegistration) {
  for (const unsigned type : all_types) {
    Cluster world;
    ASSERT_TRUE(world.enroll(0, key_a)->good() && world.enroll(1, key_b)->good());
    ASSERT_TRUE(world.reserve(0, key_a, type)->good());
    const bool shared = type >= 7;
    EXPECT_EQ(world.held(),
              (scsi::ReservationHeld{.key = shared ? 0 : key_a, .type = static_cast<std::uint8_t>(type)}));
    ASSERT_TRUE(world.out(0, PersistentService::register_key, 0, {.key = key_a})->good());
    EXPECT_EQ(world.held().has_value(), shared) << type;
    const bool tells = type == 5 || type == 6;
    EXPECT_EQ(world.news(1), tells ? sense::reservations_released : sense::none) << type;
    if (!shared) continue;
    EXPECT_TRUE(world.out(1, PersistentService::release, type, {.key = key_b})->good());
    EXPECT_FALSE(world.held());
  }
}

TEST(PersistentReserve, ReleaseTellsThoseWhoShared) {
  for (const unsigned type : all_types) {
    Cluster world;
    ASSERT_TRUE(world.enroll(0, key_a)->good() && world.enroll(1, key_b)->good());
    ASSERT_TRUE(world.reserve(0, key_a, type)->good());
    EXPECT_EQ(world.out(0, PersistentService::release, type == 1 ? 3 : 1, {.key = key_a})->told(),
              sense::invalid_release);
    if (type < 7) {
      EXPECT_TRUE(world.out(1, PersistentService::release, type, {.key = key_b})->good());
      EXPECT_TRUE(world.held()) << "only its holder releases it";
    }
    EXPECT_TRUE(world.out(0, PersistentService::release, type, {.key = key_a})->good());
    EXPECT_FALSE(world.held());
    EXPECT_EQ(world.news(1), type >= 5 ? sense::reservations_released : sense::none) << type;
    EXPECT_EQ(world.news(0), sense::none);
    EXPECT_EQ(world.news(2), sense::none) << "who is not registered hears nothing";
  }
}

TEST(PersistentReserve, KeepsWritersOut) {
  Cluster world;
  ASSERT_TRUE(world.enroll(0, key_a)->good() && world.enroll(1, key_b)->good());
  ASSERT_TRUE(world.reserve(0, key_a, 5)->good());
  EXPECT_TRUE(world.may_write(0) && world.may_write(1));
  EXPECT_FALSE(world.may_write(2));
  EXPECT_TRUE(world.run(2, scsi::read_cdb(0, 1))->good());
  EXPECT_TRUE(world.run(2, scsi::write_same_cdb({.blocks = 1}), std::vector<std::byte>(512))->conflict());
  EXPECT_TRUE(world.run(2, scsi::unmap_cdb(24), std::vector<std::byte>(24))->conflict());
}

TEST(PersistentReserve, ClearTakesAllAndTellsTheOthers) {
  Cluster world;
  ASSERT_TRUE(world.enroll(0, key_a)->good() && world.enroll(1, key_b)->good());
  ASSERT_TRUE(world.reserve(0, key_a, 3)->good());
  EXPECT_TRUE(world.out(2, PersistentService::clear, 0, {.key = key_a})->conflict());
  EXPECT_TRUE(world.out(1, PersistentService::clear, 0, {.key = key_b})->good());
  EXPECT_TRUE(world.keys().keys.empty());
  EXPECT_FALSE(world.held());
  EXPECT_EQ(world.news(0), sense::reservations_preempted);
  EXPECT_EQ(world.news(1), sense::none);
}

TEST(PersistentReserve, PreemptTakesRegistrationsByKey) {
  Cluster world;
  ASSERT_TRUE(world.enroll(0, key_a)->good() && world.enroll(1, key_b)->good());
  const auto generation = world.keys().generation;
  EXPECT_TRUE(world.out(1, PersistentService::preempt, 3, {.key = key_b, .service_key = key_c})->conflict());
  EXPECT_TRUE(world.out(1, PersistentService::preempt, 3, {.key = key_b, .service_key = key_a})->good());
  EXPECT_EQ(world.keys(), (scsi::ReservationKeys{.generation = generation + 1, .keys = {key_b}}));
  EXPECT_EQ(world.news(0), sense::registrations_preempted);
  EXPECT_FALSE(world.held()) << "there was no reservation to take over";
  EXPECT_EQ(world.out(1, PersistentService::preempt, 3, {.key = key_b})->told(), sense::invalid_field_in_parameters);
}

TEST(PersistentReserve, PreemptTakesTheReservationOver) {
  Cluster world;
  for (unsigned i = 0; i < 3; ++i) ASSERT_TRUE(world.enroll(i, key_a + i)->good());
  ASSERT_TRUE(world.reserve(0, key_a, 5)->good());
  EXPECT_EQ(world.out(1, PersistentService::preempt, 4, {.key = key_a + 1, .service_key = key_a})->told(),
            sense::invalid_field_in_cdb);
  EXPECT_TRUE(world.out(1, PersistentService::preempt, 1, {.key = key_a + 1, .service_key = key_a})->good());
  EXPECT_EQ(world.held(), (scsi::ReservationHeld{.key = key_a + 1, .type = 1}));
  EXPECT_EQ(world.news(0), sense::registrations_preempted);
  EXPECT_EQ(world.news(2), sense::reservations_released) << "the type is another one now";
  EXPECT_FALSE(world.may_write(0));
  EXPECT_FALSE(world.may_write(2));
  EXPECT_TRUE(world.may_write(1));
}

TEST(PersistentReserve, PreemptWithKeyZeroTakesOverFromAllRegistrants) {
  Cluster world;
  for (unsigned i = 0; i < 3; ++i) ASSERT_TRUE(world.enroll(i, key_a + i)->good());
  ASSERT_TRUE(world.reserve(0, key_a, 8)->good());
  EXPECT_TRUE(world.out(2, PersistentService::preempt, 3, {.key = key_a + 2})->good());
  EXPECT_EQ(world.keys().keys, std::vector<std::uint64_t>{key_a + 2});
  EXPECT_EQ(world.held(), (scsi::ReservationHeld{.key = key_a + 2, .type = 3}));
}

TEST(PersistentReserve, PreemptAndAbortIsAnsweredWhenTheOldWritesAreOver) {
  Cluster world(milliseconds(1));
  ASSERT_TRUE(world.enroll(0, key_a)->good() && world.enroll(1, key_b)->good());
  ASSERT_TRUE(world.reserve(0, key_a, 3)->good());
  const auto write = world.send(0, scsi::write_cdb(0, 1), std::vector<std::byte>(512));
  const auto list = scsi::encode_persistent_out({.key = key_b, .service_key = key_a});
  const auto preempt = world.send(1, UnitWorld::cdb({0x5f, 5, 3, 0, 0, 0, 0, 0, 24, 0}), list);
  world.poll();
  EXPECT_EQ(preempt->ends, 0u);
  world.settle();
  EXPECT_TRUE(preempt->good());
  EXPECT_TRUE(write->aborted);
  EXPECT_EQ(world.news(0), sense::registrations_preempted);
}

TEST(PersistentReserve, MovesToAnotherNexus) {
  Cluster world;
  ASSERT_TRUE(world.enroll(0, key_a)->good());
  const scsi::TransportId to{.name = UnitWorld::name(1).initiator.name, .isid = UnitWorld::name(1).initiator.isid};
  scsi::RegisterAndMoveList list{
      .key = key_a, .service_key = key_b, .unregister = true, .relative_port = 1, .initiator = to};
  EXPECT_TRUE(world.move(0, list)->conflict()) << "nothing to move";
  ASSERT_TRUE(world.reserve(0, key_a, 1)->good());
  list.relative_port = 9;
  EXPECT_EQ(world.move(0, list)->told(), sense::invalid_field_in_parameters);
  list.relative_port = 1;
  EXPECT_TRUE(world.move(0, list)->good());
  EXPECT_EQ(world.keys().keys, std::vector<std::uint64_t>{key_b});
  EXPECT_TRUE(world.may_write(1));
  EXPECT_FALSE(world.may_write(0));
}

TEST(PersistentReserve, RegistersOthersAndAllPorts) {
  Cluster world;
  const auto host1 = UnitWorld::name(1).initiator;
  const PersistentOutList list{.service_key = key_a,
                               .spec_i_pt = true,
                               .all_tg_pt = true,
                               .initiators = {{.name = host1.name, .isid = host1.isid}}};
  EXPECT_TRUE(world.out(0, PersistentService::register_key, 0, list)->good());
  EXPECT_EQ(world.state().registrations.size(), 4u) << "two initiator ports, two target ports";
  EXPECT_TRUE(world.reserve(1, key_a, 1)->good());
  EXPECT_EQ(
      world.out(0, PersistentService::register_key, 0, {.key = key_a, .service_key = key_b, .spec_i_pt = true})->told(),
      sense::invalid_field_in_parameters);
  // By the name of the device alone: those of its ports that are here.
  const PersistentOutList device{.service_key = key_c,
                                 .spec_i_pt = true,
                                 .initiators = {{.name = UnitWorld::name(0).initiator.name, .isid = std::nullopt}}};
  EXPECT_EQ(world.out(2, PersistentService::register_key, 0, device)->told(), sense::invalid_field_in_parameters)
      << "it is registered already";
}

TEST(PersistentReserve, FullStatusNamesEveryRegistration) {
  Cluster world;
  ASSERT_TRUE(world.enroll(0, key_a)->good() && world.enroll(1, key_b)->good());
  ASSERT_TRUE(world.reserve(1, key_b, 6)->good());
  const auto status = scsi::decode_full_status(world.in(3)->answer());
  ASSERT_TRUE(status);
  ASSERT_EQ(status->entries.size(), 2u);
  EXPECT_FALSE(status->entries[0].holder);
  EXPECT_TRUE(status->entries[1].holder);
  EXPECT_EQ(status->entries[1].type, 6);
  EXPECT_EQ(status->entries[1].relative_port, 1);
  EXPECT_EQ(status->entries[1].initiator.name, UnitWorld::name(1).initiator.name);
  EXPECT_EQ(status->entries[1].initiator.isid, UnitWorld::name(1).initiator.isid);
}

TEST(PersistentReserve, CapabilitiesAreWhatTheRestShows) {
  Cluster world;
  const auto can = scsi::decode_reservation_capabilities(world.in(2)->answer());
  ASSERT_TRUE(can);
  EXPECT_TRUE(can->compatible_reserve && can->spec_i_pt && can->all_tg_pt && can->persist_capable);
  EXPECT_EQ(can->types, 0xea01);
  EXPECT_FALSE(can->persist_active);
}

TEST(PersistentReserve, SurvivesAPowerCycleWhenAskedTo) {
  for (const bool persist : {false, true}) {
    std::string durable;
    {
      Cluster world;
      ASSERT_TRUE(world.out(0, PersistentService::register_key, 0, {.service_key = key_a, .aptpl = persist})->good());
      ASSERT_TRUE(world.reserve(0, key_a, 3)->good());
      durable = world.state_log.durable;
    }
    UnitWorld next(Duration(0), after_power_cycle(*decode_lu_state(durable)));
    next.hear_all();
    const bool kept = next.unit->status().state.reservations.held.has_value();
    EXPECT_EQ(kept, persist);
    EXPECT_EQ(next.run(1, scsi::read_cdb(0, 1))->conflict(), persist);
    EXPECT_TRUE(next.run(0, scsi::read_cdb(0, 1))->good());
  }
}

TEST(PersistentReserve, ACrashBeforeTheAnswerLosesOnlyWhatWasNotAnswered) {
  Cluster world;
  ASSERT_TRUE(world.out(0, PersistentService::register_key, 0, {.service_key = key_a, .aptpl = true})->good());
  world.state_log.held = true;
  const auto list = scsi::encode_persistent_out({.key = key_a});
  const auto call = world.send(0, UnitWorld::cdb({0x5f, 1, 3, 0, 0, 0, 0, 0, 24, 0}), list);
  EXPECT_EQ(call->ends, 0u);
  EXPECT_FALSE(decode_lu_state(world.state_log.durable)->reservations.held);
  world.state_log.let_one_through();
  EXPECT_TRUE(call->good());
  EXPECT_TRUE(decode_lu_state(world.state_log.durable)->reservations.held);
}

TEST(PersistentReserve, AndReserve6ExcludeEachOther) {
  Cluster world;
  const auto reserve_6 = UnitWorld::cdb({0x16, 0, 0, 0, 0, 0});
  ASSERT_TRUE(world.run(0, reserve_6)->good());
  EXPECT_TRUE(world.enroll(0, key_a)->conflict());
  EXPECT_TRUE(world.in(0)->conflict());
  ASSERT_TRUE(world.run(0, UnitWorld::cdb({0x17, 0, 0, 0, 0, 0}))->good());
  ASSERT_TRUE(world.enroll(0, key_a)->good());
  EXPECT_TRUE(world.run(0, reserve_6)->conflict());
  ASSERT_TRUE(world.reserve(0, key_a, 1)->good());
  EXPECT_TRUE(world.run(0, reserve_6)->good()) << "without effect";
  EXPECT_FALSE(world.state().reserved);
  EXPECT_TRUE(world.run(1, reserve_6)->conflict());
}

TEST(PersistentReserve, WrongListsAreRefused) {
  Cluster world;
  const auto cdb = [](unsigned length) { return UnitWorld::cdb({0x5f, 0, 0, 0, 0, 0, 0, 0, length, 0}); };
  EXPECT_EQ(world.run(0, cdb(23), std::vector<std::byte>(23))->told(), sense::parameter_list_length);
  EXPECT_EQ(world.run(0, cdb(25), std::vector<std::byte>(25))->told(), sense::parameter_list_length);
  auto list =
      scsi::encode_persistent_out({.service_key = 1, .spec_i_pt = true, .initiators = {{.name = "iqn.a", .isid = {}}}});
  list[28] = std::byte{0x00};  // a TransportID of Fibre Channel
  EXPECT_EQ(world.run(0, cdb(static_cast<unsigned>(list.size())), list)->told(), sense::invalid_field_in_parameters);
}

}  // namespace
}  // namespace mpath::target
