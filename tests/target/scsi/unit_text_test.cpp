// What is written down and read back: the state of a unit, and what REPORT SUPPORTED OPERATION CODES, REPORT LUNS and a
// LUN without a unit say.
#include <gtest/gtest.h>

#include "base/bytes.hpp"
#include "target/scsi/absent_unit.hpp"
#include "target/scsi/command_table.hpp"
#include "tests/target/scsi/unit_world.hpp"
#include "wire/error.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using test::Call;
using test::UnitWorld;

LuState full_state() {
  LuState state;
  for (unsigned i = 0; i < 2; ++i) {
    const NexusName name = UnitWorld::name(i);
    state.reservations.registrations.push_back(
        {.initiator = name.initiator, .target = name.target, .key = 0xffffffffffffffff - i});
  }
  state.reservations.registrations[1].initiator.name = "iqn.2025-11.local.\xc3\xa4 100%=x";
  state.reservations.generation = 0xfffffffe;
  state.reservations.persist = true;
  state.reservations.held = PersistentReservation{.type = ReservationType::exclusive_access_registrants_only,
                                                  .key = 0xfffffffffffffffe,
                                                  .holder = state.reservations.registrations[1]};
  state.reservations.reserved = UnitWorld::name(2);
  state.modes = {.write_cache = false, .descriptor_sense = true, .task_set_type = 1, .queue_error = 3};
  state.saved_modes = {.software_write_protect = true, .aborted_task_status = true, .read_cache_disabled = true};
  state.access = {{1, scsi::AccessState::standby}, {65535, scsi::AccessState::transitioning}};
  state.sanitize = {.phase = SanitizeState::Phase::running,
                    .method = SanitizeState::Method::block_erase,
                    .exit_allowed = true,
                    .invert = true,
                    .passes = 31,
                    .done_bytes = 1ull << 60,
                    .pattern = {std::byte{0}, std::byte{0xff}}};
  return state;
}

TEST(LuStateText, RoundTrips) {
  for (const LuState& state : {LuState{}, full_state()}) {
    const auto read = decode_lu_state(encode_lu_state(state));
    ASSERT_TRUE(read) << encode_lu_state(state);
    EXPECT_EQ(*read, state);
  }
}

TEST(LuStateText, EveryCutAndEveryDamagedByteIsNoticed) {
  const std::string text = encode_lu_state(full_state());
  for (std::size_t length = 0; length < text.size(); ++length) EXPECT_FALSE(decode_lu_state(text.substr(0, length)));
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::string damaged = text;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x01);
    EXPECT_FALSE(decode_lu_state(damaged)) << at;
  }
  EXPECT_FALSE(decode_lu_state(text + "x"));
}

// Such a text was written by a program that is wrong, or for evil; what reads the state relies on it.
TEST(LuStateText, StatesThatNoUnitCouldHaveAreRefused) {
  const auto refused = [](void (*change)(LuState&)) {
    LuState state = full_state();
    change(state);
    return !decode_lu_state(encode_lu_state(state)).has_value();
  };
  EXPECT_FALSE(refused([](LuState&) {}));
  EXPECT_TRUE(refused([](LuState& state) { state.reservations.held->holder.reset(); })) << "nobody holds it";
  EXPECT_TRUE(refused([](LuState& state) {
    state.reservations.held->type = ReservationType::write_exclusive_all_registrants;
  })) << "all hold it, and one";
  EXPECT_TRUE(refused([](LuState& state) {
    state.reservations.registrations.clear();
    state.reservations.held =
        PersistentReservation{.type = ReservationType::write_exclusive_all_registrants, .holder = std::nullopt};
  })) << "all of none";
  EXPECT_TRUE(refused([](LuState& state) {
    state.reservations.registrations.push_back(state.reservations.registrations[0]);
  })) << "registered twice";
  EXPECT_TRUE(refused([](LuState& state) {
    state.sanitize.method = SanitizeState::Method::overwrite;
    state.sanitize.pattern.clear();
  })) << "with nothing";
  EXPECT_TRUE(refused([](LuState& state) { state.sanitize.passes = 0; }));
}

TEST(LuStateText, AnotherVersionIsNamed) {
  std::string text = encode_lu_state({});
  text.replace(0, text.find('\n'), "mptarget-lu-state 2");
  EXPECT_EQ(decode_lu_state(text).error(), WireErrc::bad_version);
}

TEST(LuStateText, PowerCycleKeepsWhatItMust) {
  const LuState before = full_state();
  const LuState after = after_power_cycle(before);
  EXPECT_EQ(after.reservations.held, before.reservations.held);
  EXPECT_FALSE(after.reservations.reserved);
  EXPECT_EQ(after.reservations.generation, 0u);
  EXPECT_EQ(after.modes, before.saved_modes);
  EXPECT_EQ(after.sanitize, before.sanitize);
  LuState volatile_one = before;
  volatile_one.reservations.persist = false;
  EXPECT_EQ(after_power_cycle(volatile_one).reservations, Reservations{});
}

// --- REPORT SUPPORTED OPERATION CODES -------------------------------------------------------------------------------

scsi::Cdb rsoc(unsigned options, unsigned opcode = 0, unsigned service = 0) {
  return UnitWorld::cdb({0xa3, 0x0c, options, opcode, service >> 8, service & 0xff, 0, 0, 0x40, 0, 0, 0});
}

TEST(SupportedCommands, AllOfThemAndEachByItself) {
  UnitWorld world;
  world.hear_all();
  for (const bool timeouts : {false, true}) {
    const unsigned rctd = timeouts ? 0x80 : 0;
    const auto all = world.run(0, rsoc(rctd))->answer();
    Reader r(all);
    ASSERT_EQ(r.u32(), all.size() - 4);
    for (const CommandRow& row : command_table()) {
      EXPECT_EQ(r.u8(), row.opcode);
      r.skip(1);
      const unsigned service = r.u16();
      r.skip(1);
      const unsigned flags = r.u8();
      EXPECT_EQ(r.u16(), scsi::cdb_length(row.opcode));
      if (timeouts) r.skip(12);
      const bool by_service = (flags & 1) != 0;
      EXPECT_EQ(by_service, row.service >= 0);
      EXPECT_EQ(world.run(0, rsoc(rctd | 1, row.opcode))->good(), !by_service);
      EXPECT_EQ(world.run(0, rsoc(rctd | 2, row.opcode, service))->good(), by_service);
      const auto one = world.run(0, rsoc(rctd | 3, row.opcode, service))->answer();
      ASSERT_EQ(one.size(), 4u + scsi::cdb_length(row.opcode) + (timeouts ? 12u : 0u)) << row.name;
      EXPECT_EQ(one[1], std::byte(timeouts ? 0x83 : 0x03));
      EXPECT_EQ(one[4], std::byte{row.opcode});
    }
    EXPECT_TRUE(r.at_end());
  }
  EXPECT_EQ(world.run(0, rsoc(1, 0x02))->answer()[1], std::byte{1});
  EXPECT_EQ(world.run(0, rsoc(4))->told(), sense::invalid_field_in_cdb);
  const auto functions = world.run(0, UnitWorld::cdb({0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0}));
  EXPECT_EQ(functions->answer(), (std::vector<std::byte>{std::byte{0xda}, {}, {}, {}}));
}

TEST(SupportedCommands, TheParserAndTheTableKnowTheSameCommands) {
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    for (unsigned service = 0; service < 32; ++service) {
      std::array<std::byte, 16> cdb{};
      cdb[0] = static_cast<std::byte>(opcode);
      cdb[1] = static_cast<std::byte>(service);
      if (find_command(cdb) != nullptr) {
        EXPECT_TRUE(scsi::parse_cdb(cdb)) << opcode << " " << service;
      }
    }
  }
}

TEST(TransferNeed, IsWhatTheCommandMoves) {
  const auto need = [](const scsi::Cdb& cdb) { return transfer_need(cdb.view(), 512).bytes; };
  EXPECT_EQ(need(scsi::read_cdb(0, 8)), 4096u);
  EXPECT_EQ(need(UnitWorld::cdb({0x08, 0, 0, 0, 0, 0})), 256u * 512);
  EXPECT_EQ(need(scsi::verify_cdb(0, 8)), 0u);
  EXPECT_EQ(need(UnitWorld::cdb({0x2f, 0x02, 0, 0, 0, 0, 0, 0, 8, 0})), 4096u);
  EXPECT_EQ(need(UnitWorld::cdb({0x2f, 0x06, 0, 0, 0, 0, 0, 0, 8, 0})), 512u);
  EXPECT_EQ(need(scsi::write_same_cdb({.blocks = 8})), 512u);
  EXPECT_EQ(need(scsi::write_same_cdb({.blocks = 8, .no_data_out = true})), 0u);
  EXPECT_EQ(need(UnitWorld::cdb({0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0})), 4u * 512);
  EXPECT_EQ(need(UnitWorld::cdb({0x02, 0, 0, 0, 0, 0})), 0u);
}

// --- where no unit is -----------------------------------------------------------------------------------------------

struct Absent : Call {
  explicit Absent(const scsi::Cdb& asked, std::span<const scsi::Lun> luns) {
    std::copy(asked.bytes.begin(), asked.bytes.end(), cdb.begin());
    in.resize(256);
    in_part = {in.data(), in.size()};
    data_in = std::span(&in_part, 1);
    data_in_room = 256;
    answer_absent(*this, luns);
    ends = 1;
  }
};

TEST(AbsentUnit, SaysThatNothingIsThere) {
  EXPECT_EQ(Absent(scsi::test_unit_ready_cdb(), {}).told(), sense::lun_not_supported);
  EXPECT_EQ(Absent(scsi::read_cdb(0, 1), {}).told(), sense::lun_not_supported);
  const auto inquiry = scsi::decode_inquiry(Absent(scsi::inquiry_cdb(), {}).answer());
  ASSERT_TRUE(inquiry);
  EXPECT_EQ(inquiry->qualifier, 3);
  EXPECT_EQ(inquiry->type, 0x1f);
  const Absent request(scsi::request_sense_cdb(), {});
  EXPECT_TRUE(request.good());
  EXPECT_EQ(scsi::decode_sense(request.answer())->sense, sense::lun_not_supported);
}

TEST(AbsentUnit, ListsTheLuns) {
  const std::vector<scsi::Lun> luns = {{0}, {5}, {300}};
  const auto listed = scsi::decode_luns(Absent(scsi::report_luns_cdb(256), luns).answer());
  ASSERT_TRUE(listed);
  EXPECT_EQ(listed->luns, luns);
  auto cdb = scsi::report_luns_cdb(256);
  cdb.bytes[2] = std::byte{1};
  EXPECT_TRUE(scsi::decode_luns(Absent(cdb, luns).answer())->luns.empty());
  cdb.bytes[2] = std::byte{2};
  EXPECT_EQ(scsi::decode_luns(Absent(cdb, luns).answer())->luns, luns);
  cdb.bytes[2] = std::byte{3};
  EXPECT_EQ(Absent(cdb, luns).told(), sense::invalid_field_in_cdb);
}

}  // namespace
}  // namespace mpath::target
