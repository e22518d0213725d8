#include <gtest/gtest.h>

#include "base/error_device.hpp"
#include "target/scsi/copy_peers.hpp"
#include "tests/target/scsi/medium_unit.hpp"
#include "tests/wire/hex.hpp"
#include "wire/scsi_copy.hpp"

namespace mpath::target {
namespace {

using mpath::test::to_hex;
using scsi::CopyParameters;
using scsi::CopySegment;
using scsi::ExtendedCopy;
using scsi::ReceiveCopyResults;
using test::Bytes;
using test::filled;
using test::joined;
using test::TestUnit;
constexpr std::uint32_t block = TestUnit::block;
constexpr scsi::Sense unreachable_target{scsi::SenseKey::copy_aborted, 0x08, 0x04};
constexpr scsi::Sense not_reachable{scsi::SenseKey::copy_aborted, 0x0d, 0x02};
constexpr scsi::Sense copy_aborted{scsi::SenseKey::copy_aborted, 0x00, 0x00};

scsi::CopyTarget target_of(const Uuid& uuid, scsi::DesignatorType type = scsi::DesignatorType::naa) {
  const auto name = type == scsi::DesignatorType::naa ? naa6(uuid) : eui64(uuid);
  return {.designator = {.type = type, .bytes = Bytes(name.begin(), name.end())}, .block_bytes = block};
}
CopyParameters copy_within(const TestUnit& unit, std::vector<CopySegment> segments,
                           scsi::CopyListUse use = scsi::CopyListUse::hold) {
  return {.list_id = 1, .use = use, .targets = {target_of(unit.lu_options.uuid)}, .segments = std::move(segments)};
}
std::unique_ptr<test::Execution> start_copy(TestUnit& unit, const CopyParameters& parameters) {
  const Bytes list = scsi::encode_copy_parameters(parameters);
  return unit.start(ExtendedCopy{.length = static_cast<std::uint32_t>(list.size())}, list);
}
std::unique_ptr<test::Execution> ask(TestUnit& unit, std::uint8_t service) {
  return unit.start(ReceiveCopyResults{.service = service, .list_id = 1, .length = 512}, {}, 512);
}
constexpr std::uint8_t status_service = 0;
constexpr std::uint8_t operating_service = 3;
constexpr std::uint8_t details_service = 4;

Bytes numbered(std::size_t blocks) {
  Bytes bytes;
  for (std::size_t i = 0; i < blocks; ++i) bytes = joined(bytes, filled(block, static_cast<unsigned>(i + 1)));
  return bytes;
}

TEST(ExtendedCopy, CopiesItsSegments) {
  TestUnit unit;
  unit.put(0, numbered(20));
  const std::uint64_t end = unit.block_count() - 8;
  const auto run = start_copy(unit, copy_within(unit, {{.blocks = 8, .source_lba = 2, .destination_lba = end},
                                                       {.blocks = 4, .source_lba = 0, .destination_lba = 100}}));
  EXPECT_TRUE(run->good());
  EXPECT_EQ(unit.on_medium(end, 8), unit.on_medium(2, 8));
  EXPECT_EQ(unit.on_medium(100, 4), unit.on_medium(0, 4));
}

TEST(ExtendedCopy, KnowsTheUnitByItsEuiToo) {
  TestUnit unit;
  CopyParameters parameters = copy_within(unit, {{.blocks = 1, .source_lba = 0, .destination_lba = 1}});
  parameters.targets = {target_of(unit.lu_options.uuid, scsi::DesignatorType::eui64)};
  EXPECT_TRUE(start_copy(unit, parameters)->good());
}

// Steps of 1 MiB: the segments here take several.
TEST(ExtendedCopy, ThatOverlapsItselfCopiesWhatWasThereBefore) {
  for (const bool up : {true, false}) {
    TestUnit unit;
    unit.memory.resize(8 << 20);
    unit.lu_options.transfer_bytes_max = 4 << 20;
    constexpr std::uint16_t blocks = 6000;
    Bytes data(blocks * block);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 31 >> 7);
    const std::uint64_t source = up ? 0 : 1000;
    const std::uint64_t destination = up ? 1000 : 0;
    unit.put(source, data);
    EXPECT_TRUE(
        start_copy(unit, copy_within(unit, {{.blocks = blocks, .source_lba = source, .destination_lba = destination}}))
            ->good());
    EXPECT_TRUE(unit.on_medium(destination, blocks) == data) << (up ? "up" : "down");
  }
}

TEST(ExtendedCopy, OfZeroesTakesNoSpaceOnAThinUnit) {
  TestUnit unit;
  unit.put(64, filled(64 * block, 'x'));
  EXPECT_TRUE(start_copy(unit, copy_within(unit, {{.blocks = 64, .source_lba = 256, .destination_lba = 64}}))->good());
  EXPECT_EQ(unit.memory.allocated_bytes(), 0u);
  EXPECT_EQ(unit.on_medium(64, 64), filled(64 * block, 0));
}

TEST(ExtendedCopy, WithNothingToDoIsGood) {
  TestUnit unit;
  EXPECT_TRUE(unit.start(ExtendedCopy{})->good());
  EXPECT_TRUE(start_copy(unit, copy_within(unit, {}))->good());
  EXPECT_TRUE(start_copy(unit, copy_within(unit, {{.blocks = 0}}))->good());
}

TEST(ExtendedCopy, RefusesWhatItCannotDo) {
  TestUnit unit;
  const CopySegment segment{.blocks = 8, .destination_lba = 100};
  EXPECT_TRUE(
      unit.start(ExtendedCopy{.service = 1, .length = 16}, Bytes(16))->failed(scsi::sense::invalid_field_in_cdb));
  CopySegment no_target = segment;
  no_target.destination = 1;
  EXPECT_TRUE(start_copy(unit, copy_within(unit, {no_target}))->failed(unreachable_target));
  CopySegment past_the_end = segment;
  past_the_end.destination_lba = unit.block_count() - 1;
  EXPECT_TRUE(start_copy(unit, copy_within(unit, {past_the_end}))->failed(copy_aborted));
  CopySegment behind_everything = segment;
  behind_everything.source_lba = ~std::uint64_t{0};
  EXPECT_TRUE(start_copy(unit, copy_within(unit, {behind_everything}))->failed(copy_aborted));
  unit.lu_options.copy_bytes_max = 4096;
  EXPECT_TRUE(start_copy(unit, copy_within(unit, {{.blocks = 9}}))->failed(scsi::sense::invalid_field_in_parameters));
  CopyParameters stranger = copy_within(unit, {segment});
  stranger.targets[0].designator.bytes[15] ^= std::byte{1};
  EXPECT_TRUE(start_copy(unit, stranger)->failed(not_reachable));
  CopyParameters tape = copy_within(unit, {segment});
  tape.targets[0].device_type = 1;
  EXPECT_TRUE(start_copy(unit, tape)->failed({scsi::SenseKey::copy_aborted, 0x0d, 0x03}));
  CopyParameters other_blocks = copy_within(unit, {segment});
  other_blocks.targets[0].block_bytes = 4096;
  EXPECT_TRUE(start_copy(unit, other_blocks)->failed(scsi::sense::invalid_field_in_parameters));
  EXPECT_EQ(unit.memory.counters().of(BlockOp::write), 0u);
}

TEST(ExtendedCopy, KeepsToItsLimits) {
  TestUnit unit;
  CopyParameters targets = copy_within(unit, {{.blocks = 1}});
  targets.targets.resize(17, targets.targets[0]);
  EXPECT_TRUE(start_copy(unit, targets)->failed({scsi::SenseKey::illegal_request, 0x26, 0x06}));
  const CopyParameters segments = copy_within(unit, std::vector<CopySegment>(65, {.blocks = 1}));
  EXPECT_TRUE(start_copy(unit, segments)->failed({scsi::SenseKey::illegal_request, 0x26, 0x08}));
  CopyParameters both = segments;
  both.targets.resize(17, both.targets[0]);
  EXPECT_TRUE(start_copy(unit, both)->failed(scsi::sense::parameter_list_length));
  EXPECT_TRUE(start_copy(unit, copy_within(unit, std::vector<CopySegment>(64, {.blocks = 1})))->good());
}

TEST(ExtendedCopy, SaysWhatTheMediumSaid) {
  TestUnit unit;
  ErrorDevice no_read(unit.memory, {.op = BlockOp::read});
  unit.device = &no_read;
  const CopyParameters parameters = copy_within(unit, {{.blocks = 8, .source_lba = 3, .destination_lba = 100}});
  const auto run = start_copy(unit, parameters);
  EXPECT_TRUE(run->failed({scsi::SenseKey::copy_aborted, 0x11, 0x00}));
  EXPECT_EQ(run->detail.information, 3u);
  unit.put(3, filled(block, 1));
  ErrorDevice full(unit.memory, {.op = BlockOp::write, .status = BlockStatus::no_space});
  unit.device = &full;
  EXPECT_TRUE(start_copy(unit, parameters)->failed(scsi::sense::no_space));
  unit.device = &unit.memory;
  unit.lu_options.read_only = true;
  EXPECT_TRUE(start_copy(unit, parameters)->failed(scsi::sense::write_protected));
}

TEST(ExtendedCopy, StopsWhenAborted) {
  TestUnit unit(std::chrono::milliseconds(1));
  unit.put(0, numbered(8));
  const auto run = start_copy(unit, copy_within(unit, {{.blocks = 8, .source_lba = 0, .destination_lba = 100}}));
  run->task.aborted = true;
  unit.settle();
  EXPECT_TRUE(run->dropped);
  EXPECT_EQ(unit.on_medium(100, 8), filled(8 * block, 0));
}

TEST(ReceiveCopyResults, TellsOnceHowACopyWent) {
  TestUnit unit(std::chrono::milliseconds(1));
  EXPECT_TRUE(ask(unit, status_service)->failed(scsi::sense::invalid_field_in_cdb));
  unit.put(0, numbered(8));
  const CopyParameters parameters = copy_within(unit, {{.blocks = 8, .source_lba = 0, .destination_lba = 100}});
  const auto run = start_copy(unit, parameters);
  EXPECT_EQ(to_hex(ask(unit, status_service)->answer), "000000080000000000000000");
  EXPECT_TRUE(start_copy(unit, parameters)->failed(scsi::sense::invalid_field_in_parameters)) << "the list is in use";
  unit.settle();
  EXPECT_TRUE(run->good());
  EXPECT_EQ(to_hex(ask(unit, status_service)->answer), "000000080100010000001000");
  EXPECT_TRUE(ask(unit, status_service)->failed(scsi::sense::invalid_field_in_cdb));
}

TEST(ReceiveCopyResults, HasDetailsOfFailuresOnly) {
  TestUnit unit;
  EXPECT_FALSE(start_copy(unit, copy_within(unit, {{.blocks = 8}, {.destination = 7, .blocks = 8}}))->good());
  EXPECT_EQ(to_hex(ask(unit, status_service)->answer), "000000080200010000001000");
  const auto details = ask(unit, details_service);
  ASSERT_TRUE(details->good());
  EXPECT_EQ(to_hex(std::span(details->answer).subspan(56, 7)),
            "02000012"
            "70000a");
  EXPECT_TRUE(ask(unit, details_service)->failed(scsi::sense::invalid_field_in_cdb));
  EXPECT_TRUE(start_copy(unit, copy_within(unit, {}, scsi::CopyListUse::discard))->good());
  EXPECT_TRUE(ask(unit, status_service)->failed(scsi::sense::invalid_field_in_cdb));
  EXPECT_TRUE(start_copy(unit, copy_within(unit, {}))->good());
  EXPECT_TRUE(ask(unit, details_service)->failed(scsi::sense::invalid_field_in_cdb));
  unit.medium().nexus_ended(unit.nexus);
  EXPECT_TRUE(ask(unit, status_service)->failed(scsi::sense::invalid_field_in_cdb));
}

TEST(ReceiveCopyResults, TellsTheLimits) {
  TestUnit unit;
  const auto run = ask(unit, operating_service);
  ASSERT_TRUE(run->good());
  EXPECT_EQ(to_hex(std::span(run->answer).subspan(8, 8)), "0010004000000900");
  EXPECT_TRUE(ask(unit, 1)->failed(scsi::sense::invalid_field_in_cdb));
  const scsi::Bytes page = third_party_copy_page(unit);
  EXPECT_EQ(to_hex(std::span(page).first(2)), "008f");
}

// A second unit of the daemon, on the same shard, and its finder.
struct MemoryLog final : StateLog {
  void commit(const LuState&, Done done) override { done({}); }
};
struct OnePeer final : CopyPeers {
  LogicalUnit* hold(const scsi::Designator& name) override {
    const auto bytes = naa6(uuid);
    if (unit == nullptr || !std::ranges::equal(name.bytes, bytes)) return nullptr;
    ++held;
    return unit;
  }
  void give_back(LogicalUnit& other) override {
    EXPECT_EQ(&other, unit);
    --held;
  }
  Uuid uuid{9, 9, 9, 9, 9, 9, 0x49, 9, 0x89, 9, 9, 9, 9, 9, 9, 9};
  LogicalUnit* unit = nullptr;
  int held = 0;
};

class TwoUnits : public testing::Test {
 protected:
  TwoUnits() {
    unit.lu_options.copy_peers = &peers;
    unit.nexus.name.initiator.name = "iqn.2026-11.test:one";
    unit.nexus.name.target.target = "iqn.2026-11.test:target";
  }
  void make_other(const LuState& state) {
    other = std::make_unique<LogicalUnit>(shard, options(), medium, log, state, unit.no_log);
    peers.unit = other.get();
    poll();
  }
  ~TwoUnits() override {
    bool closed = false;
    other->close([&closed] { closed = true; });
    poll();
    EXPECT_TRUE(closed);
  }
  void poll() {
    shard.context().restart();
    while (shard.context().poll() > 0) shard.context().restart();
  }
  LuOptions options() const {
    LuOptions made;
    made.name = "other";
    made.uuid = peers.uuid;
    return made;
  }
  CopyParameters from_other_to_own(std::uint16_t blocks) const {
    CopyParameters parameters{.list_id = 1, .targets = {target_of(peers.uuid), target_of(unit.lu_options.uuid)}};
    parameters.segments = {{.source = 0, .destination = 1, .blocks = blocks, .source_lba = 4, .destination_lba = 40}};
    return parameters;
  }

  TestUnit unit;
  Shard& shard = unit.own_shard;
  OnePeer peers;
  MemoryDevice medium;
  MemoryLog log;
  std::unique_ptr<LogicalUnit> other;
};

TEST_F(TwoUnits, CopyToEachOther) {
  make_other({});
  const Bytes data = numbered(8);
  medium.poke(4 * block, data);
  CopyParameters parameters = from_other_to_own(8);
  const auto there = start_copy(unit, parameters);
  poll();
  EXPECT_TRUE(there->good());
  EXPECT_EQ(unit.on_medium(40, 8), data);
  parameters.segments = {{.source = 1, .destination = 0, .blocks = 4, .source_lba = 44, .destination_lba = 1000}};
  const auto back = start_copy(unit, parameters);
  poll();
  EXPECT_TRUE(back->good());
  EXPECT_EQ(medium.peek(1000 * block, 4 * block), unit.on_medium(44, 4));
  EXPECT_EQ(peers.held, 0);
  EXPECT_TRUE(other->status().nexuses.empty()) << "the copy left its nexus behind";
}

TEST_F(TwoUnits, KeepTheirReservations) {
  LuState reserved;
  reserved.reservations.reserved =
      NexusName{.initiator = {.name = "iqn.2026-11.test:holder", .isid = {}}, .target = {}};
  make_other(reserved);
  medium.poke(4 * block, numbered(8));
  const auto refused = start_copy(unit, from_other_to_own(8));
  poll();
  EXPECT_TRUE(refused->failed({scsi::SenseKey::copy_aborted, 0x0d, 0x01}));
  EXPECT_EQ(unit.on_medium(40, 8), filled(8 * block, 0));
  other->clear_reservations([](error_code) {});
  poll();
  const auto allowed = start_copy(unit, from_other_to_own(8));
  poll();
  EXPECT_TRUE(allowed->good());
  EXPECT_EQ(peers.held, 0);
}

// Both may be held for the same hand-over: the one that copies would never come to rest if the other made it wait.
TEST_F(TwoUnits, AHeldOneRefusesTheOtherAtOnce) {
  make_other({});
  medium.poke(4 * block, numbered(8));
  bool held = false;
  other->hold([&held] { held = true; });
  const auto refused = start_copy(unit, from_other_to_own(8));
  poll();
  EXPECT_TRUE(held);
  EXPECT_TRUE(refused->failed({scsi::SenseKey::copy_aborted, 0x0d, 0x01}));
  EXPECT_EQ(peers.held, 0);
  other->release();
  const auto allowed = start_copy(unit, from_other_to_own(8));
  poll();
  EXPECT_TRUE(allowed->good());
}

// The other unit lives on a thread of its own: whatever is done to it is done there.
TEST(TwoShards, CopyAcrossThem) {
  TestUnit unit;
  OnePeer peers;
  unit.lu_options.copy_peers = &peers;
  Shard there{1};
  MemoryDevice medium;
  const Bytes data = numbered(8);
  medium.poke(4 * block, data);
  MemoryLog log;
  LuOptions options;
  options.name = "other";
  options.uuid = peers.uuid;
  LogicalUnit other(there, options, medium, log, {}, unit.no_log);
  peers.unit = &other;
  there.start();
  const auto wait_for = [&unit](const auto& condition) {
    while (!condition()) unit.own_shard.context().run_one();
  };
  CopyParameters parameters{.list_id = 1, .targets = {target_of(peers.uuid), target_of(unit.lu_options.uuid)}};
  parameters.segments = {{.source = 0, .destination = 1, .blocks = 8, .source_lba = 4, .destination_lba = 40},
                         {.source = 1, .destination = 0, .blocks = 8, .source_lba = 40, .destination_lba = 1000}};
  const auto run = start_copy(unit, parameters);
  wait_for([&run] { return !run->waits(); });
  EXPECT_TRUE(run->good());
  EXPECT_EQ(unit.on_medium(40, 8), data);
  bool closed = false;
  there.post([&] { other.close([&] { unit.own_shard.post([&closed] { closed = true; }); }); });
  wait_for([&closed] { return closed; });
  there.stop();
  EXPECT_EQ(medium.peek(1000 * block, 8 * block), data);
  EXPECT_EQ(peers.held, 0);
}

}  // namespace
}  // namespace mpath::target
