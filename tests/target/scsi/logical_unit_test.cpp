// The unit as its nexuses see it: unit attentions, order of tasks, task management, resets, RESERVE(6), mode
// parameters, access states, and that no change is answered before it is durable.
#include "target/scsi/logical_unit.hpp"

#include <gtest/gtest.h>

#include "tests/support/allocation_counter.hpp"
#include "tests/target/scsi/unit_world.hpp"
#include "wire/scsi_mode.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;
using iscsi::TaskAttribute;
using iscsi::TaskFunction;
using iscsi::TaskResult;
using std::chrono::milliseconds;
using test::Call;
using test::UnitWorld;

scsi::Cdb tur() {
  return scsi::test_unit_ready_cdb();
}
scsi::Cdb reserve_6() {
  return UnitWorld::cdb({0x16, 0, 0, 0, 0, 0});
}
scsi::Cdb release_6() {
  return UnitWorld::cdb({0x17, 0, 0, 0, 0, 0});
}
scsi::Cdb mode_select_6(unsigned length, bool save = false) {
  return UnitWorld::cdb({0x15, save ? 0x11u : 0x10u, 0, 0, length, 0});
}
std::vector<std::byte> block_of(unsigned value) {
  return std::vector<std::byte>(UnitWorld::block, static_cast<std::byte>(value));
}

// The unit with everybody told of everything.
struct Quiet : UnitWorld {
  explicit Quiet(Duration latency = Duration(0)) : UnitWorld(latency) { hear_all(); }
  TaskResult manage(TaskFunction function, unsigned from, std::uint32_t tag = 0) {
    std::optional<TaskResult> result;
    unit->manage(function, *nexuses[from], tag, [&](TaskResult value) { result = value; });
    settle();
    EXPECT_TRUE(result);
    return result.value_or(TaskResult::rejected);
  }
  // A mode page of the control or caching kind with one byte of its body changed.
  std::unique_ptr<Call> select(unsigned from, std::uint8_t page, std::size_t at, std::uint8_t mask, std::uint8_t value,
                               bool save = false) {
    const auto now = run(from, scsi::mode_sense_6_cdb(page));
    auto parameters = *scsi::decode_mode_parameters(now->answer(), true);
    parameters.pages[0].savable = false;
    auto& byte = parameters.pages[0].body.at(at);
    byte = (byte & ~std::byte{mask}) | std::byte{value};
    auto list = scsi::encode_mode_parameters({.blocks = {}, .pages = parameters.pages}, true);
    list[0] = std::byte{0};
    return run(from, mode_select_6(static_cast<unsigned>(list.size()), save), list);
  }
};

// --- unit attentions ------------------------------------------------------------------------------------------------

TEST(UnitAttention, EveryNexusHearsOfPowerOnOnce) {
  UnitWorld world;
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(world.run(i, tur())->told(), sense::power_on);
    EXPECT_TRUE(world.run(i, tur())->good());
  }
}

TEST(UnitAttention, InquiryPassesAndRequestSenseTakesIt) {
  UnitWorld world;
  EXPECT_TRUE(world.run(0, scsi::inquiry_cdb())->good());
  const auto asked = world.run(0, scsi::request_sense_cdb());
  ASSERT_TRUE(asked->good());
  EXPECT_EQ(scsi::decode_sense(asked->answer())->sense, sense::power_on);
  EXPECT_TRUE(world.run(0, tur())->good());
}

TEST(UnitAttention, ComesBeforeWhatElseIsWrongWithACommand) {
  UnitWorld world;
  const auto unknown = UnitWorld::cdb({0x02, 0, 0, 0, 0, 0});
  EXPECT_EQ(world.run(0, unknown)->told(), sense::power_on);
  EXPECT_EQ(world.run(0, unknown)->told(), sense::invalid_opcode);
  EXPECT_EQ(world.run(0, UnitWorld::cdb({0x5e, 9, 0, 0, 0, 0, 0, 0, 8, 0}))->told(), sense::invalid_field_in_cdb);
}

TEST(UnitAttention, AreToldByPriority) {
  UnitAttentions queue;
  queue.establish(sense::luns_changed);
  queue.establish(sense::capacity_changed);
  queue.establish(sense::nexus_loss);
  queue.establish(sense::luns_changed);
  EXPECT_EQ(queue.take(), sense::nexus_loss);
  queue.establish(sense::bus_reset);
  queue.establish(sense::unit_reset);  // a bus reset says it all
  EXPECT_EQ(queue.take(), sense::bus_reset);
  EXPECT_EQ(queue.take(), sense::luns_changed);
  EXPECT_EQ(queue.take(), sense::capacity_changed);
  EXPECT_EQ(queue.take(), std::nullopt);
}

TEST(UnitAttention, GrowthIsHeardByAll) {
  Quiet world;
  world.memory.resize(UnitWorld::size_bytes * 2);
  EXPECT_EQ(world.run(1, tur())->told(), sense::capacity_changed);
}

TEST(UnitAttention, ANexusThatComesBackHearsThatItWasLost) {
  Quiet world;
  bool ended = false;
  world.unit->detach(*world.nexuses[2], [&] { ended = true; });
  world.settle();
  ASSERT_TRUE(ended);
  world.nexuses[2] = &world.unit->attach(UnitWorld::name(2));
  EXPECT_EQ(world.run(2, tur())->told(), sense::nexus_loss);
}

// --- order of tasks -------------------------------------------------------------------------------------------------

TEST(TaskOrder, SimpleTasksRunSideBySideAndOrderedOnesAlone) {
  Quiet world(milliseconds(1));
  const auto first = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto ordered = world.send(1, scsi::write_cdb(0, 1), block_of(2), TaskAttribute::ordered);
  const auto behind = world.send(0, scsi::write_cdb(0, 1), block_of(3));
  EXPECT_EQ(world.unit->status().nexuses[0].tasks, 2u);
  EXPECT_TRUE(first->running);
  EXPECT_FALSE(ordered->running);
  EXPECT_FALSE(behind->running);
  const auto head = world.send(2, tur(), {}, TaskAttribute::head_of_queue);
  EXPECT_TRUE(head->good());
  world.settle();
  EXPECT_TRUE(first->good() && ordered->good() && behind->good());
  EXPECT_EQ(world.memory.peek(0, 1)[0], std::byte{3});
}

TEST(TaskOrder, TheAcaAttributeIsRefused) {
  Quiet world;
  const auto call = world.send(0, tur(), {}, TaskAttribute::aca);
  EXPECT_EQ(call->told(), sense::invalid_message);
}

// --- task management ------------------------------------------------------------------------------------------------

TEST(TaskManagement, AbortTaskIsDoneWhenTheTaskHasEnded) {
  Quiet world(milliseconds(1));
  const auto call = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  std::optional<TaskResult> result;
  world.unit->manage(TaskFunction::abort_task, *world.nexuses[0], call->tag, [&](TaskResult value) { result = value; });
  world.poll();
  EXPECT_FALSE(result) << "the disk still has the write";
  world.settle();
  EXPECT_EQ(result, TaskResult::complete);
  EXPECT_EQ(call->ends, 1u);
  EXPECT_TRUE(call->aborted);
  EXPECT_EQ(world.manage(TaskFunction::abort_task, 0, call->tag), TaskResult::no_such_task);
}

TEST(TaskManagement, ClearTaskSetTellsTheOthers) {
  Quiet world(milliseconds(1));
  const auto mine = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto theirs = world.send(1, scsi::write_cdb(1, 1), block_of(1));
  EXPECT_EQ(world.manage(TaskFunction::clear_task_set, 0), TaskResult::complete);
  EXPECT_TRUE(mine->aborted && theirs->aborted);
  EXPECT_TRUE(world.run(0, tur())->good());
  EXPECT_EQ(world.run(1, tur())->told(), sense::commands_cleared);
}

TEST(TaskManagement, WithTasTheOthersTasksEndWithTaskAborted) {
  Quiet world(milliseconds(1));
  ASSERT_TRUE(world.select(0, 0x0a, 3, 0x40, 0x40)->good());
  world.hear_all();
  const auto mine = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto theirs = world.send(1, scsi::write_cdb(1, 1), block_of(1));
  EXPECT_EQ(world.manage(TaskFunction::clear_task_set, 0), TaskResult::complete);
  EXPECT_TRUE(mine->aborted);
  EXPECT_FALSE(theirs->aborted);
  EXPECT_EQ(theirs->status, scsi::Status::task_aborted);
  EXPECT_TRUE(world.run(1, tur())->good()) << "told once is enough";
}

TEST(TaskManagement, QueueErrorManagementEndsTheTasksBehindAnError) {
  for (const unsigned qerr : {1u, 3u}) {
    Quiet world(milliseconds(1));
    ASSERT_TRUE(world.select(0, 0x0a, 1, 0x06, static_cast<std::uint8_t>(qerr << 1))->good());
    world.hear_all();
    const auto mine = world.send(0, scsi::write_cdb(0, 1), block_of(1));
    const auto theirs = world.send(1, scsi::write_cdb(1, 1), block_of(1));
    EXPECT_EQ(world.send(0, UnitWorld::cdb({0x02, 0, 0, 0, 0, 0}))->told(), sense::invalid_opcode);
    world.settle();
    EXPECT_TRUE(mine->aborted);
    EXPECT_EQ(theirs->aborted, qerr == 1);
    EXPECT_EQ(world.run(1, tur())->told(), qerr == 1 ? sense::commands_cleared : sense::none);
  }
}

TEST(TaskManagement, AbortTaskSetLeavesTheOthersAlone) {
  Quiet world(milliseconds(1));
  const auto mine = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto theirs = world.send(1, scsi::write_cdb(1, 1), block_of(1));
  EXPECT_EQ(world.manage(TaskFunction::abort_task_set, 0), TaskResult::complete);
  EXPECT_TRUE(mine->aborted);
  EXPECT_TRUE(theirs->good());
}

TEST(TaskManagement, ATaskThatWaitsIsGoneAtOnce) {
  Quiet world(milliseconds(1));
  const auto first = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  const auto waits = world.send(1, tur(), {}, TaskAttribute::ordered);
  EXPECT_EQ(world.manage(TaskFunction::abort_task, 1, waits->tag), TaskResult::complete);
  EXPECT_TRUE(waits->aborted);
  EXPECT_TRUE(first->good());
}

TEST(TaskManagement, ResetEndsTasksAndReserveAndTellsAll) {
  Quiet world(milliseconds(1));
  ASSERT_TRUE(world.run(0, reserve_6())->good());
  const auto call = world.send(0, scsi::write_cdb(0, 1), block_of(1));
  EXPECT_EQ(world.manage(TaskFunction::logical_unit_reset, 1), TaskResult::complete);
  EXPECT_TRUE(call->aborted);
  for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(world.run(i, tur())->told(), sense::unit_reset);
  EXPECT_TRUE(world.run(1, reserve_6())->good());
}

TEST(TaskManagement, DetachEndsWhenTheDiskHasTheLastWriteBack) {
  Quiet world(milliseconds(1));
  ASSERT_TRUE(world.run(2, reserve_6())->good());
  const auto call = world.send(2, scsi::write_cdb(0, 1), block_of(1));
  bool ended = false;
  world.unit->detach(*world.nexuses[2], [&] { ended = call->ends == 1; });
  world.poll();
  EXPECT_FALSE(ended);
  world.settle();
  EXPECT_TRUE(ended);
  EXPECT_TRUE(call->aborted);
  EXPECT_TRUE(world.run(0, reserve_6())->good()) << "RESERVE(6) ends with its nexus";
}

// --- RESERVE(6) -----------------------------------------------------------------------------------------------------

TEST(Reserve6, KeepsTheOtherInitiatorOutUntilItIsReleased) {
  Quiet world;
  EXPECT_TRUE(world.run(0, reserve_6())->good());
  EXPECT_TRUE(world.run(0, reserve_6())->good());
  EXPECT_TRUE(world.run(1, reserve_6())->conflict());
  EXPECT_TRUE(world.run(1, release_6())->good());
  EXPECT_TRUE(world.run(0, scsi::mode_sense_6_cdb(0x3f))->good());
  EXPECT_TRUE(world.run(1, scsi::mode_sense_6_cdb(0x3f))->conflict());
  EXPECT_TRUE(world.run(1, tur())->conflict());
  EXPECT_TRUE(world.run(0, release_6())->good());
  EXPECT_TRUE(world.run(1, reserve_6())->good());
}

TEST(Reserve6, TwoAtOnceAreOneReservation) {
  Quiet world;
  world.state_log.held = true;
  const auto first = world.send(0, reserve_6());
  const auto second = world.send(1, reserve_6());
  EXPECT_EQ(first->ends + second->ends, 0u);
  world.state_log.let_one_through();
  EXPECT_TRUE(first->good());
  EXPECT_TRUE(second->conflict());
}

// --- durable before answered ----------------------------------------------------------------------------------------

TEST(StateChange, IsNeitherAnsweredNorInForceBeforeItIsDurable) {
  Quiet world;
  world.state_log.held = true;
  const auto call = world.send(0, reserve_6());
  EXPECT_EQ(call->ends, 0u);
  EXPECT_TRUE(world.run(1, tur())->good()) << "not in force yet";
  EXPECT_TRUE(world.state_log.durable.empty());
  world.state_log.let_one_through();
  EXPECT_TRUE(call->good());
  EXPECT_TRUE(decode_lu_state(world.state_log.durable)->reservations.reserved);
  EXPECT_TRUE(world.run(1, tur())->conflict());
}

TEST(StateChange, ThatCannotBeWrittenDownFailsAndChangesNothing) {
  Quiet world;
  world.state_log.error = std::make_error_code(std::errc::io_error);
  EXPECT_EQ(world.run(0, reserve_6())->told(), sense::internal_failure);
  EXPECT_TRUE(world.run(1, tur())->good());
}

TEST(StateChange, AbortedWhileItIsWrittenDownEndsOnce) {
  Quiet world;
  world.state_log.held = true;
  const auto call = world.send(0, reserve_6());
  std::optional<TaskResult> result;
  world.unit->manage(TaskFunction::abort_task, *world.nexuses[0], call->tag, [&](TaskResult value) { result = value; });
  EXPECT_FALSE(result);
  world.state_log.let_one_through();
  EXPECT_EQ(result, TaskResult::complete);
  EXPECT_EQ(call->ends, 1u);
  EXPECT_TRUE(call->aborted);
}

// --- mode parameters ------------------------------------------------------------------------------------------------

TEST(Mode, AllPagesFitTheShortForm) {
  Quiet world;
  const auto call = world.run(0, UnitWorld::cdb({0x1a, 0, 0x3f, 0xff, 255, 0}));
  ASSERT_TRUE(call->good());
  const auto parameters = scsi::decode_mode_parameters(call->answer(), true);
  ASSERT_TRUE(parameters);
  std::vector<unsigned> pages;
  for (const scsi::ModePage& page : parameters->pages) pages.push_back(page.page << 8 | page.subpage);
  EXPECT_EQ(pages, (std::vector<unsigned>{0x100, 0x200, 0x800, 0xa00, 0xa01, 0x1c00}));
  ASSERT_EQ(parameters->blocks.size(), 1u);
  EXPECT_EQ(parameters->blocks[0].block_bytes, UnitWorld::block);
  EXPECT_EQ(parameters->blocks[0].blocks, UnitWorld::size_bytes / UnitWorld::block);
  EXPECT_TRUE(parameters->dpo_fua);
}

TEST(Mode, UnknownPagesAndBitsThatCannotChangeAreRefused) {
  Quiet world;
  EXPECT_EQ(world.run(0, scsi::mode_sense_6_cdb(0x19))->told(), sense::invalid_field_in_cdb);
  EXPECT_EQ(world.select(0, 0x0a, 1, 0xf0, 0x00)->told(), sense::invalid_field_in_parameters);
  EXPECT_EQ(world.select(0, 0x0a, 0, 0xe0, 0x40)->told(), sense::invalid_field_in_parameters);  // TST 010b
  EXPECT_EQ(world.run(0, mode_select_6(3), std::vector<std::byte>(3))->told(), sense::parameter_list_length);
}

TEST(Mode, SoftwareWriteProtectKeepsWritersOutAndOthersHearOfIt) {
  Quiet world;
  ASSERT_TRUE(world.select(0, 0x0a, 2, 0x08, 0x08)->good());
  EXPECT_EQ(world.run(1, tur())->told(), sense::mode_parameters_changed);
  EXPECT_EQ(world.run(0, scsi::write_cdb(0, 1), block_of(1))->told(), sense::write_protected);
  EXPECT_EQ(world.run(0, scsi::unmap_cdb(24), std::vector<std::byte>(24))->told(), sense::write_protected);
  EXPECT_TRUE(world.run(0, scsi::read_cdb(0, 1))->good());
  EXPECT_TRUE(scsi::decode_mode_sense(world.run(0, scsi::mode_sense_6_cdb(8))->answer(), true)->write_protected);
  ASSERT_TRUE(world.select(0, 0x0a, 2, 0x08, 0x00)->good());
  EXPECT_TRUE(world.run(0, scsi::write_cdb(0, 1), block_of(1))->good());
}

TEST(Mode, DescriptorSenseIsUsedWhenAskedFor) {
  Quiet world;
  ASSERT_TRUE(world.select(0, 0x0a, 0, 0x04, 0x04)->good());
  const auto call = world.run(0, UnitWorld::cdb({0x02, 0, 0, 0, 0, 0}));
  EXPECT_TRUE(scsi::decode_sense(call->sense.view())->descriptor_format);
}

TEST(Mode, ResetGoesBackToTheSavedValues) {
  Quiet world;
  ASSERT_TRUE(world.select(0, 0x08, 0, 0x04, 0x00, true)->good());   // saved
  ASSERT_TRUE(world.select(0, 0x08, 0, 0x04, 0x04, false)->good());  // current only
  EXPECT_EQ(world.manage(TaskFunction::logical_unit_reset, 0), TaskResult::complete);
  EXPECT_FALSE(world.unit->status().state.modes.write_cache);
}

TEST(Mode, TheCacheIsEmptiedBeforeItIsTurnedOff) {
  Quiet world;
  ASSERT_TRUE(world.select(0, 0x08, 0, 0x04, 0x00)->good());
  const auto flushes = world.memory.counters().of(BlockOp::flush);
  EXPECT_EQ(flushes, 1u);
  ASSERT_TRUE(world.select(0, 0x08, 0, 0x04, 0x04)->good());
  ASSERT_TRUE(world.select(0, 0x08, 0, 0x04, 0x00)->good());
  EXPECT_EQ(world.memory.counters().of(BlockOp::flush), flushes + 1);
}

// --- what the unit says about itself --------------------------------------------------------------------------------

TEST(Inquiry, SaysWhatTheUnitCan) {
  Quiet world;
  const auto inquiry = scsi::decode_inquiry(world.run(0, scsi::inquiry_cdb())->answer());
  ASSERT_TRUE(inquiry);
  EXPECT_EQ(inquiry->vendor, "MPATH");
  EXPECT_EQ(inquiry->tpgs, 3);
  EXPECT_EQ(inquiry->version, 6);
  EXPECT_TRUE(inquiry->command_queue && inquiry->third_party_copy);
  EXPECT_EQ(inquiry->versions, (std::vector<std::uint16_t>{0x00a0, 0x0460, 0x04c0, 0x0960}));
}

TEST(Inquiry, EveryPageItListsIsThere) {
  Quiet world;
  const auto pages =
      scsi::decode_vpd_supported(world.run(0, scsi::inquiry_vpd_cdb(scsi::VpdPage::supported, 255))->answer());
  ASSERT_TRUE(pages);
  EXPECT_EQ(*pages, (std::vector<std::uint8_t>{0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8f, 0xb0, 0xb1, 0xb2}));
  for (const std::uint8_t page : *pages) {
    const auto call = world.run(0, scsi::inquiry_vpd_cdb(static_cast<scsi::VpdPage>(page), 1024));
    ASSERT_TRUE(call->good()) << unsigned{page};
    const auto answer = call->answer();
    EXPECT_EQ(answer[1], std::byte{page});
    EXPECT_EQ(scsi::wanted_bytes(scsi::LengthField::vpd, answer), answer.size()) << unsigned{page};
  }
  EXPECT_EQ(world.run(0, scsi::inquiry_vpd_cdb(static_cast<scsi::VpdPage>(0xc0), 255))->told(),
            sense::invalid_field_in_cdb);
}

TEST(Inquiry, NamesFollowFromTheUuid) {
  Quiet world;
  const auto id =
      scsi::decode_vpd_device_id(world.run(0, scsi::inquiry_vpd_cdb(scsi::VpdPage::device_id, 1024))->answer());
  ASSERT_TRUE(id && !id->damaged);
  ASSERT_EQ(id->designators.size(), 7u);
  EXPECT_EQ(id->designators[0].type, scsi::DesignatorType::naa);
  EXPECT_EQ(std::to_integer<unsigned>(id->designators[0].bytes[0]) >> 4, 6u);
  Uuid other{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16};
  const auto same = naa6(other);
  EXPECT_TRUE(std::ranges::equal(id->designators[0].bytes, same));
  for (std::size_t octet = 0; octet < other.size(); ++octet) {
    if (octet == 6 || octet == 8 || octet == 14) continue;  // version, variant, and one that does not fit
    Uuid changed = other;
    changed[octet] ^= 0x10;
    EXPECT_NE(naa6(changed), same) << octet;
  }
  EXPECT_EQ(parse_uuid(format_uuid(other)), other);
  EXPECT_FALSE(parse_uuid("01020304-0506-4708-890a-0b0c0d0e0f1"));
  EXPECT_NE(make_uuid(), make_uuid());
}

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
  world.unit->set_access_state(1, scsi::AccessState::unavailable, [](error_code) {});
  world.hear_all();
  EXPECT_EQ(world.run(0, scsi::mode_sense_6_cdb(8))->told(), sense::alua_unavailable);
  EXPECT_TRUE(world.run(0, scsi::report_target_port_groups_cdb(255))->good());
  world.unit->set_access_state(1, scsi::AccessState::transitioning, [](error_code) {});
  world.hear_all();
  EXPECT_EQ(world.run(0, tur())->told(), sense::alua_transition);
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

// --- allocation -----------------------------------------------------------------------------------------------------

TEST(Allocation, ReadAndWriteTakeNoneInSteadyState) {
  Quiet world;
  const auto write = world.run(0, scsi::write_cdb(8, 1), block_of(7));
  const auto read = world.run(0, scsi::read_cdb(8, 1));
  ASSERT_TRUE(write->good() && read->good());
  EXPECT_EQ(read->answer(), block_of(7));
  const auto before = mpath::test::allocations();
  for (unsigned i = 0; i < 1000; ++i) {
    world.unit->submit(*write);
    world.unit->submit(*read);
  }
  EXPECT_EQ(mpath::test::allocations(), before);
  EXPECT_EQ(write->ends, 1001u);
  EXPECT_EQ(read->ends, 1001u);
  EXPECT_EQ(world.unit->status().reads, 1001u);
}

}  // namespace
}  // namespace mpath::target
