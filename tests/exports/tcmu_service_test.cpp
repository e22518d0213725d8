#include "exports/tcmu_service.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <deque>

#include "tests/exports/fake_tcmu.hpp"
#include "tests/exports/ram_device.hpp"
#include "tests/support/allocation_counter.hpp"
#include "wire/scsi_data.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath {
namespace {

using test::FakeTcmu;
using test::RamDevice;

constexpr std::uint64_t MiB = 1 << 20;
constexpr std::uint8_t good = 0x00;
constexpr std::uint8_t check = 0x02;

scsi::Cdb cdb_of(std::initializer_list<unsigned> bytes) {
  scsi::Cdb cdb;
  for (const unsigned byte : bytes) cdb.bytes[cdb.length++] = static_cast<std::byte>(byte);
  return cdb;
}
std::vector<std::byte> filled(std::size_t size, unsigned value) {
  return std::vector<std::byte>(size, static_cast<std::byte>(value));
}

// A door that does what the test says, on a device of memory.
class DoorDevice final : public BlockDevice, public ScsiDoor {
 public:
  explicit DoorDevice(RamDevice& ram) : ram_(ram) {}
  [[nodiscard]] const std::string& name() const override { return ram_.name(); }
  [[nodiscard]] const BlockLimits& limits() const override { return ram_.limits(); }
  void submit(BlockRequest& request) noexcept override { ram_.submit(request); }
  void add_observer(BlockDeviceObserver& observer) override { ram_.add_observer(observer); }
  void remove_observer(BlockDeviceObserver& observer) override { ram_.remove_observer(observer); }
  [[nodiscard]] ScsiDoor* scsi_door() override { return with_door ? this : nullptr; }
  void submit_scsi(ScsiRequest& request) noexcept override {
    last = request.cdb;
    came_by.push_back(request.cdb);
    changes = request.changes;
    out.clear();
    if (request.direction == scsi::DataDirection::out) {
      for (const iovec& piece : request.data) {
        const auto* first = static_cast<const std::byte*>(piece.iov_base);
        out.insert(out.end(), first, first + piece.iov_len);
      }
    }
    request.outcome = outcome;
    request.status = status;
    request.sense = sense;
    request.transferred = 0;
    std::span<const std::byte> rest(in);
    if (request.direction == scsi::DataDirection::in && status == scsi::Status::good) {
      for (const iovec& piece : request.data) {
        const std::size_t part = std::min(piece.iov_len, rest.size());
        std::memcpy(piece.iov_base, rest.data(), part);
        rest = rest.subspan(part);
        request.transferred += static_cast<std::uint32_t>(part);
      }
    }
    request.done(request);
  }

  bool with_door = true;
  ScsiOutcome outcome = ScsiOutcome::answered;
  scsi::Status status = scsi::Status::good;
  scsi::Sense sense;
  scsi::Bytes in;  // what the unit answers
  scsi::Cdb last;
  bool changes = false;
  std::vector<std::byte> out;
  std::vector<scsi::Cdb> came_by;

 private:
  RamDevice& ram_;
};

// The kernel on one end, a device on the other, all on the thread of the test.
class Service : public ::testing::Test {
 protected:
  Service() { device.with_door = false; }
  ~Service() override {
    ram.hold = false;
    ram.release_all();
    if (service && !drained) {
      service->drain([this] { drained = true; });
      turn();
      EXPECT_TRUE(drained);
    }
    service.reset();
    EXPECT_EQ(pool.bytes_out(), 0u);
    EXPECT_EQ(ram.observers(), 0u);
  }

  void start() {
    int ends[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    bell.reset(ends[0]);
    TcmuService::Events events{
        .limits_changed = [this](const BlockLimits& limits) { told_size = limits.size_bytes; },
        .aborts = [this](std::uint64_t count) { aborts += count; },
        .lost = [this](const std::string& why) { lost = why; },
    };
    service = std::make_unique<TcmuService>(TcmuRing::open(kernel.memory()).value(), UniqueFd(ends[1]),
                                            TcmuService::Home{context, pool, device}, "3600000000000000e1",
                                            std::move(events));
    service->start();
    turn();
  }
  void turn() {
    context.restart();
    context.poll();
    std::array<std::byte, 256> rung;
    if (bell && ::recv(bell.get(), rung.data(), rung.size(), MSG_DONTWAIT) > 0) kernel.ring();
  }
  // The kernel tells that there is something in the ring.
  void notify() {
    const std::uint32_t one = 1;
    ASSERT_EQ(::send(bell.get(), &one, sizeof(one), MSG_NOSIGNAL), 4);
    turn();
  }
  FakeTcmu::Answer run(const scsi::Cdb& cdb, std::size_t length = 0, std::span<const std::byte> out = {},
                       bool scattered = false) {
    if (!service) start();
    const auto id = kernel.ask(cdb, length, out, scattered);
    notify();
    const auto answer = kernel.answer(id);
    EXPECT_TRUE(answer) << "no answer";
    return answer.value_or(FakeTcmu::Answer{.status = 0xff});
  }
  static scsi::Sense sense_of(const FakeTcmu::Answer& answer) {
    const auto sense = scsi::decode_sense(answer.sense);
    return sense ? sense->sense : scsi::Sense{};
  }

  boost::asio::io_context context{1};
  BufferPool pool;
  FakeTcmu kernel;
  RamDevice ram{"disk", RamDevice::all_features(64 * MiB)};
  DoorDevice device{ram};
  UniqueFd bell;
  std::unique_ptr<TcmuService> service;
  bool drained = false;
  std::uint64_t told_size = 0;
  std::uint64_t aborts = 0;
  std::string lost;
};

struct Form {
  const char* name;
  scsi::Cdb write;
  scsi::Cdb read;
  std::uint64_t block;
  bool fua;
};
class ServiceForms : public Service, public ::testing::WithParamInterface<Form> {};
TEST_P(ServiceForms, WritesAndReads) {
  const auto data = filled(8 * 512, 0x5a);
  EXPECT_EQ(run(GetParam().write, data.size(), data, true).status, good);
  EXPECT_EQ(ram.memory()[GetParam().block * 512], std::byte{0x5a});
  EXPECT_EQ(ram.memory()[(GetParam().block + 8) * 512], std::byte{0});
  EXPECT_EQ(ram.fua_writes, GetParam().fua ? 1u : 0u);
  const auto answer = run(GetParam().read, data.size(), filled(data.size(), 0xff), true);
  EXPECT_EQ(answer.status, good);
  EXPECT_EQ(answer.data, data);
}
INSTANTIATE_TEST_SUITE_P(
    Each, ServiceForms,
    ::testing::Values(
        Form{"six", cdb_of({0x0a, 0, 1, 0, 8, 0}), cdb_of({0x08, 0, 1, 0, 8, 0}), 256, false},
        Form{"ten", cdb_of({0x2a, 0, 0, 0, 1, 0, 0, 0, 8, 0}), cdb_of({0x28, 0, 0, 0, 1, 0, 0, 0, 8, 0}), 256, false},
        Form{"ten_fua_dpo", cdb_of({0x2a, 0x18, 0, 0, 0, 0, 0, 0, 8, 0}), cdb_of({0x28, 0x18, 0, 0, 0, 0, 0, 0, 8, 0}),
             0, true},
        Form{"twelve", cdb_of({0xaa, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0}), cdb_of({0xa8, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0}),
             8, false},
        Form{"sixteen", cdb_of({0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 8, 0, 0}),
             cdb_of({0x88, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 8, 0, 0}), 16, true}),
    [](const auto& row) { return row.param.name; });

TEST_F(Service, ReadsNoMoreThanTheCommandSays) {
  const auto answer = run(scsi::read_cdb(0, 1), 8192);
  EXPECT_EQ(answer.status, good);
  EXPECT_EQ(answer.data.size(), 512u);
}

TEST_F(Service, RefusesABufferThatIsTooShort) {
  EXPECT_EQ(sense_of(run(scsi::read_cdb(0, 8), 512)), scsi::sense::invalid_field_in_cdb);
  EXPECT_EQ(sense_of(run(scsi::write_cdb(0, 8), 512)), scsi::sense::invalid_field_in_cdb);
  EXPECT_EQ(ram.submitted, 0u);
}

TEST_F(Service, RefusesWhatLiesBehindTheEnd) {
  const std::uint64_t end = 64 * MiB / 512;
  EXPECT_EQ(sense_of(run(scsi::read_cdb(end, 1), 512)), scsi::sense::lba_out_of_range);
  EXPECT_EQ(sense_of(run(scsi::write_cdb(end - 1, 2), 1024)), scsi::sense::lba_out_of_range);
  EXPECT_EQ(sense_of(run(scsi::write_cdb(~std::uint64_t{0}, 2), 1024)), scsi::sense::lba_out_of_range);
  EXPECT_EQ(run(scsi::read_cdb(end - 1, 1), 512).status, good);
}

TEST_F(Service, AnswersInTheOrderOfTheDevice) {
  start();
  ram.hold = true;
  std::vector<std::uint16_t> ids;
  for (unsigned i = 0; i < 4; ++i) ids.push_back(kernel.ask(scsi::read_cdb(i, 1), 512));
  notify();
  ASSERT_EQ(ram.held.size(), 4u);
  ram.release(2);
  ram.release(0);
  turn();
  EXPECT_TRUE(kernel.answer(ids[2]) && kernel.answer(ids[0]));
  EXPECT_FALSE(kernel.answer(ids[1]) || kernel.answer(ids[3]));
  EXPECT_EQ(service->counters().doorbells, 1u) << "two answers, one bell";
  ram.release_all();
  turn();
  EXPECT_TRUE(kernel.answer(ids[1]) && kernel.answer(ids[3]));
}

TEST_F(Service, FlushesWithEitherForm) {
  EXPECT_EQ(run(cdb_of({0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0})).status, good);
  EXPECT_EQ(run(cdb_of({0x91, 2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0})).status, good);
  EXPECT_EQ(ram.flushes, 2u);
}

TEST_F(Service, UnmapsEveryRange) {
  std::memset(ram.memory(), 0xee, 1 * MiB);
  const std::array ranges{scsi::UnmapRange{.lba = 0, .blocks = 8}, scsi::UnmapRange{.lba = 9, .blocks = 0},
                          scsi::UnmapRange{.lba = 64, .blocks = 8}};
  std::vector<std::byte> list(scsi::unmap_list_bytes(ranges.size()));
  ASSERT_NE(scsi::encode_unmap_list(ranges, list), 0u);
  EXPECT_EQ(run(scsi::unmap_cdb(static_cast<std::uint16_t>(list.size())), list.size(), list).status, good);
  EXPECT_EQ(ram.memory()[0], std::byte{0});
  EXPECT_EQ(ram.memory()[8 * 512], std::byte{0xee});
  EXPECT_EQ(ram.memory()[64 * 512], std::byte{0});
  EXPECT_EQ(ram.submitted, 2u);
  ram.hold = true;
  const auto id = kernel.ask(scsi::unmap_cdb(static_cast<std::uint16_t>(list.size())), list.size(), list);
  notify();
  ram.release_all();
  turn();
  EXPECT_TRUE(kernel.answer(id)) << "ranges that are done later";
  ram.hold = false;
  const std::array outside{scsi::UnmapRange{.lba = 64 * MiB / 512, .blocks = 1}};
  list.resize(scsi::unmap_list_bytes(1));
  ASSERT_NE(scsi::encode_unmap_list(outside, list), 0u);
  EXPECT_EQ(sense_of(run(scsi::unmap_cdb(static_cast<std::uint16_t>(list.size())), list.size(), list)),
            scsi::sense::lba_out_of_range);
}

TEST_F(Service, WritesZeroesAndNothingElseInTheirPlace) {
  std::memset(ram.memory(), 0xee, 1 * MiB);
  const scsi::Cdb same = scsi::write_same_cdb({.lba = 8, .blocks = 8});
  EXPECT_EQ(run(same, 512, filled(512, 0)).status, good);
  EXPECT_EQ(ram.memory()[8 * 512], std::byte{0});
  EXPECT_EQ(ram.memory()[16 * 512], std::byte{0xee});
  EXPECT_EQ(run(same, 512, filled(512, 1)).status, check) << "a pattern needs a door";
}

struct Ended {
  const char* name;
  BlockStatus status;
  std::uint8_t told;
  scsi::Sense sense;
};
class ServiceStatus : public Service, public ::testing::WithParamInterface<Ended> {};
TEST_P(ServiceStatus, IsTold) {
  ram.fail_with = GetParam().status;
  const auto answer = run(scsi::write_cdb(0, 1), 512);
  EXPECT_EQ(answer.status, GetParam().told);
  if (answer.status == check) {
    EXPECT_EQ(sense_of(answer), GetParam().sense);
  }
}
INSTANTIATE_TEST_SUITE_P(
    Each, ServiceStatus,
    ::testing::Values(Ended{"io_error", BlockStatus::io_error, check, scsi::sense::write_error},
                      Ended{"invalid", BlockStatus::invalid, check, scsi::sense::invalid_field_in_cdb},
                      Ended{"no_space", BlockStatus::no_space, check, scsi::sense::no_space},
                      Ended{"read_only", BlockStatus::read_only, check, scsi::sense::write_protected},
                      Ended{"not_supported", BlockStatus::not_supported, check, scsi::sense::invalid_opcode},
                      Ended{"conflict", BlockStatus::conflict, 0x18, {}}),
    [](const auto& row) { return row.param.name; });
TEST_F(Service, TellsAReadErrorAsOne) {
  ram.fail_with = BlockStatus::io_error;
  EXPECT_EQ(sense_of(run(scsi::read_cdb(0, 1), 512)), scsi::sense::read_error);
}

// ---- without a door: what the limits say

TEST_F(Service, SaysWhoItIs) {
  const auto inquiry = scsi::decode_inquiry(run(scsi::inquiry_cdb(36), 36).data);
  ASSERT_TRUE(inquiry);
  EXPECT_EQ(inquiry->type, 0);
  EXPECT_EQ(inquiry->tpgs, 0);
  const auto id = scsi::decode_vpd_device_id(run(scsi::inquiry_vpd_cdb(scsi::VpdPage::device_id, 4096), 4096).data);
  ASSERT_TRUE(id && id->designators.size() == 1);
  EXPECT_EQ(id->designators[0].type, scsi::DesignatorType::t10_vendor_id) << "9 bytes are no NAA";
  const auto capacity = scsi::decode_capacity_16(run(scsi::read_capacity_16_cdb(), 32).data);
  ASSERT_TRUE(capacity);
  EXPECT_EQ(capacity->last_lba, 64 * MiB / 512 - 1);
  EXPECT_TRUE(scsi::decode_capacity_10(run(scsi::read_capacity_10_cdb(), 8).data));
  EXPECT_TRUE(scsi::decode_mode_sense(run(scsi::mode_sense_6_cdb(0x3f), 192).data, true)->dpo_fua);
  EXPECT_EQ(run(scsi::test_unit_ready_cdb()).status, good);
  EXPECT_EQ(sense_of(run(cdb_of({0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0}), 8)), scsi::sense::invalid_opcode);
}

TEST_F(Service, CutsAnAnswerToWhatWasAskedFor) {
  EXPECT_EQ(run(scsi::inquiry_cdb(5), 64).data.size(), 5u);
  EXPECT_EQ(run(scsi::inquiry_cdb(255), 16).data.size(), 16u);
}

// ---- with a door

class ServiceDoor : public Service {
 protected:
  ServiceDoor() { device.with_door = true; }
};

TEST_F(ServiceDoor, PassesOnWhatABlockRequestCannotSay) {
  const auto data = filled(1024, 7);
  const scsi::Cdb compare = cdb_of({0x89, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0});
  EXPECT_EQ(run(compare, data.size(), data, true).status, good);
  EXPECT_EQ(device.out, data);
  EXPECT_TRUE(device.changes);
  EXPECT_TRUE(std::ranges::equal(device.last.view(), compare.view()));
  device.status = scsi::Status::check_condition;
  device.sense = scsi::sense::miscompare;
  EXPECT_EQ(sense_of(run(compare, data.size(), data)), scsi::sense::miscompare);
  device.status = scsi::Status::reservation_conflict;
  EXPECT_EQ(run(compare, data.size(), data).status, 0x18);
  EXPECT_EQ(ram.submitted, 0u);
}

TEST_F(ServiceDoor, TellsHowMuchCame) {
  device.in = filled(24, 3);
  const auto answer = run(cdb_of({0x5e, 0, 0, 0, 0, 0, 0, 1, 0, 0}), 256);
  EXPECT_EQ(answer.data, device.in);
  EXPECT_FALSE(device.changes);
  device.in.clear();
  const auto none = run(cdb_of({0x5e, 0, 0, 0, 0, 0, 0, 1, 0, 0}), 256, filled(256, 0xff));
  EXPECT_EQ(none.data, filled(256, 0)) << "no bytes of other commands";
}

TEST_F(ServiceDoor, TakesPortsAndAluaOut) {
  device.in = scsi::encode_inquiry({.tpgs = 3, .vendor = "V", .product = "P", .revision = "1"});
  device.in[6] = std::byte{0x10};
  auto told = run(scsi::inquiry_cdb(36), 36).data;
  EXPECT_EQ(told.size(), 36u);
  EXPECT_EQ(told[5] & std::byte{0x30}, std::byte{0});
  EXPECT_EQ(told[6], std::byte{0});
  EXPECT_EQ(scsi::decode_inquiry(told)->vendor, "V");

  const scsi::Bytes naa(16, std::byte{0x60});
  const std::vector<scsi::Designator> designators{
      {.association = scsi::Association::target_port,
       .type = scsi::DesignatorType::relative_target_port,
       .bytes = scsi::Bytes(4)},
      {.type = scsi::DesignatorType::naa, .bytes = naa},
      {.association = scsi::Association::target_device, .type = scsi::DesignatorType::scsi_name, .bytes = scsi::Bytes(8)}};
  device.in = scsi::encode_vpd_device_id(designators);
  const auto id = scsi::decode_vpd_device_id(run(scsi::inquiry_vpd_cdb(scsi::VpdPage::device_id, 252), 252).data);
  ASSERT_TRUE(id && id->designators.size() == 1);
  EXPECT_EQ(id->designators[0].bytes, naa);

  device.in = scsi::encode_vpd_supported(std::vector<std::uint8_t>{0x00, 0x83, 0x88, 0xb0});
  const auto pages = scsi::decode_vpd_supported(run(scsi::inquiry_vpd_cdb(scsi::VpdPage::supported, 64), 64).data);
  EXPECT_EQ(*pages, (std::vector<std::uint8_t>{0x00, 0x83, 0xb0}));
  EXPECT_EQ(run(scsi::inquiry_vpd_cdb(scsi::VpdPage::scsi_ports, 64), 64).status, check);
  EXPECT_EQ(sense_of(run(scsi::report_target_port_groups_cdb(64), 64)), scsi::sense::invalid_opcode);
  EXPECT_EQ(sense_of(run(cdb_of({0x16, 0, 0, 0, 0, 0}))), scsi::sense::invalid_opcode) << "RESERVE of one nexus";
}

TEST_F(ServiceDoor, TellsTheSizeOfTheMap) {
  device.in = scsi::encode_capacity_16({.last_lba = 999'999'999, .physical_exponent = 3, .thin = true});
  const auto capacity = scsi::decode_capacity_16(run(scsi::read_capacity_16_cdb(), 32).data);
  ASSERT_TRUE(capacity);
  EXPECT_EQ(capacity->last_lba, 64 * MiB / 512 - 1);
  EXPECT_EQ(capacity->physical_exponent, 3);
  EXPECT_TRUE(capacity->thin);
  device.in = scsi::encode_capacity_10({.last_lba = 999'999});
  EXPECT_EQ(scsi::decode_capacity_10(run(scsi::read_capacity_10_cdb(), 8).data)->last_lba, 64 * MiB / 512 - 1);
}

TEST_F(ServiceDoor, ListsNoCommandThatItRefuses) {
  const auto row = [&](unsigned opcode, unsigned action, bool timeouts) {
    const std::array<unsigned, 8> bytes{opcode, 0, 0, action, 0, (action != 0 ? 1u : 0u) | (timeouts ? 2u : 0u), 0, 16};
    for (const unsigned byte : bytes) device.in.push_back(static_cast<std::byte>(byte));
    if (timeouts) device.in.resize(device.in.size() + 12);
  };
  device.in.resize(4);
  row(0x28, 0, true);
  row(0xa3, 0x0a, true);
  row(0xa3, 0x0c, false);
  row(0x16, 0, false);
  row(0x89, 0, false);
  device.in[3] = static_cast<std::byte>(device.in.size() - 4);
  const auto told = run(cdb_of({0xa3, 0x0c, 0x80, 0, 0, 0, 0, 0, 4, 0, 0, 0}), 1024).data;
  ASSERT_EQ(told.size(), 4 + 20 + 8 + 8u);
  EXPECT_EQ(told[3], std::byte{36});
  EXPECT_EQ(told[4], std::byte{0x28});
  EXPECT_EQ(told[24], std::byte{0xa3});
  EXPECT_EQ(told[32], std::byte{0x89});
  const auto one = run(cdb_of({0xa3, 0x0c, 0x02, 0xa3, 0, 0x0a, 0, 0, 0, 64, 0, 0}), 64);
  EXPECT_EQ(one.data[1], std::byte{1}) << "not supported";
}

// EXCLUSIVE ACCESS holds for one nexus, and the disk has several; its Registrants Only forms hold for all of them.
TEST_F(ServiceDoor, RefusesReservationsThatWouldShutItsOtherPathsOut) {
  const auto reserve = [&](unsigned action, unsigned type) {
    return run(cdb_of({0x5f, action, type, 0, 0, 0, 0, 0, 24, 0}), 24, filled(24, 0));
  };
  for (const unsigned type : {1u, 3u}) {
    EXPECT_EQ(sense_of(reserve(1, type)), scsi::sense::invalid_field_in_cdb);
    EXPECT_EQ(sense_of(reserve(4, type)), scsi::sense::invalid_field_in_cdb);
  }
  for (const unsigned type : {5u, 6u, 7u, 8u}) EXPECT_EQ(reserve(1, type).status, good);
  EXPECT_EQ(reserve(2, 3).status, good) << "RELEASE of one that was there before";
  EXPECT_EQ(sense_of(reserve(7, 0)), scsi::sense::invalid_field_in_cdb) << "REGISTER AND MOVE names a port";
}

// A unit that is stopped is stopped for all of its paths, and none of them could start it again.
TEST_F(ServiceDoor, DoesNotStopTheUnit) {
  EXPECT_EQ(sense_of(run(cdb_of({0x1b, 0, 0, 0, 0, 0}))), scsi::sense::invalid_field_in_cdb);
  EXPECT_EQ(run(cdb_of({0x1b, 0, 0, 0, 1, 0})).status, good);
}

TEST_F(ServiceDoor, RefusesWhatItDoesNotKnowTheDirectionOf) {
  EXPECT_EQ(sense_of(run(cdb_of({0xc1, 0, 0, 0, 0, 0, 0, 0, 0, 0}), 512)), scsi::sense::invalid_opcode);
  EXPECT_EQ(sense_of(run(cdb_of({0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}), 512)), scsi::sense::invalid_opcode);
  EXPECT_EQ(sense_of(run(cdb_of({0x53, 0, 0, 0, 0, 0, 0, 0, 1, 0}), 512)), scsi::sense::invalid_opcode);
  EXPECT_TRUE(device.came_by.empty());
}

struct Lost {
  const char* name;
  ScsiOutcome outcome;
  scsi::Sense sense;
};
class ServiceLost : public ServiceDoor, public ::testing::WithParamInterface<Lost> {};
TEST_P(ServiceLost, IsTold) {
  device.outcome = GetParam().outcome;
  EXPECT_EQ(sense_of(run(scsi::test_unit_ready_cdb())), GetParam().sense);
}
INSTANTIATE_TEST_SUITE_P(Each, ServiceLost,
                         ::testing::Values(Lost{"no_path", ScsiOutcome::no_path, scsi::sense::no_path},
                                           Lost{"lost", ScsiOutcome::lost, scsi::sense::command_lost}),
                         [](const auto& row) { return row.param.name; });

// ---- life

TEST_F(Service, TellsTheHostOfANewSize) {
  start();
  BlockLimits limits = ram.limits();
  limits.size_bytes = 32 * MiB;
  ram.change_limits(limits);
  EXPECT_EQ(told_size, 32 * MiB);
  EXPECT_EQ(run(scsi::inquiry_cdb(36), 36).status, good) << "INQUIRY carries no unit attention";
  EXPECT_EQ(sense_of(run(scsi::test_unit_ready_cdb())), scsi::sense::capacity_changed);
  EXPECT_EQ(run(scsi::test_unit_ready_cdb()).status, good) << "once";
  EXPECT_EQ(sense_of(run(scsi::read_cdb(64 * MiB / 512 - 1, 1), 512)), scsi::sense::lba_out_of_range);
  limits.size_bytes = 64 * MiB;
  ram.change_limits(limits);
}

TEST_F(Service, TakesWhatAFormerProcessLeft) {
  const auto id = kernel.ask(scsi::read_cdb(0, 1), 512);
  start();
  EXPECT_TRUE(kernel.answer(id)) << "without a bell";
}

TEST_F(Service, FinishesWhatItTookAndLeavesTheRest) {
  start();
  ram.hold = true;
  const auto taken = kernel.ask(scsi::read_cdb(0, 1), 512);
  notify();
  service->drain([this] { drained = true; });
  const auto later = kernel.ask(scsi::read_cdb(1, 1), 512);
  notify();
  EXPECT_FALSE(drained);
  ram.release_all();
  turn();
  turn();
  EXPECT_TRUE(drained);
  EXPECT_TRUE(kernel.answer(taken));
  EXPECT_FALSE(kernel.answer(later));
  EXPECT_EQ(kernel.unanswered(), 1u);
  service.reset();
  bell.reset();
  drained = false;
  ram.hold = false;
  start();
  EXPECT_TRUE(kernel.answer(later)) << "the next process finds it";
}

TEST_F(Service, LeavesToTheNextProcessWhatTheDeviceDidNotTake) {
  start();
  ram.hold = true;
  const auto id = kernel.ask(scsi::write_cdb(0, 1), 512, filled(512, 1));
  notify();
  ram.go();
  turn();
  EXPECT_FALSE(kernel.answer(id));
  EXPECT_EQ(kernel.unanswered(), 1u);
}

TEST_F(Service, DropsAnswersWhenTheKernelEmptiesTheRing) {
  start();
  ram.hold = true;
  kernel.ask(scsi::read_cdb(0, 1), 512);
  kernel.ask(scsi::read_cdb(1, 1), 512);
  notify();
  EXPECT_EQ(kernel.reset().size(), 2u);
  const auto fresh = kernel.ask(scsi::read_cdb(2, 1), 512);
  ram.release_all();
  ram.hold = false;
  notify();
  notify();
  EXPECT_TRUE(kernel.answer(fresh));
  EXPECT_EQ(kernel.unanswered(), 0u);
  EXPECT_TRUE(lost.empty());
}

TEST_F(Service, EndsWhenTheRingContradictsItself) {
  start();
  kernel.ask(scsi::test_unit_ready_cdb());
  kernel.put(kernel.last_entry(), std::uint32_t{7});
  notify();
  EXPECT_EQ(lost, "the ring contradicts itself");
  EXPECT_EQ(kernel.tail(), 0u);
}

TEST_F(Service, RefusesAMalformedCommandAndGoesOn) {
  start();
  const auto bad = kernel.ask(scsi::read_cdb(0, 1), 512);
  kernel.put(kernel.last_entry() + tcmu::request_pieces, std::uint32_t{100000});
  const auto fine = kernel.ask(scsi::read_cdb(0, 1), 512);
  notify();
  EXPECT_EQ(kernel.answer(bad)->status, check);
  EXPECT_EQ(kernel.answer(fine)->status, good);
}

TEST_F(Service, CountsWhatTheKernelGaveUp) {
  start();
  kernel.tell_aborts(3);
  notify();
  EXPECT_EQ(aborts, 3u);
  EXPECT_EQ(kernel.tail(), kernel.head());
}

TEST_F(Service, RefusesEverythingWhenTheDiskIsTakenByForce) {
  start();
  service->refuse_all();
  EXPECT_EQ(run(scsi::read_cdb(0, 1), 512).status, check);
  EXPECT_EQ(ram.submitted, 0u);
}

// Batches of 32 commands of 4 KiB, as a disk at queue depth 32 gets them.
class ServiceCost : public Service, public ::testing::WithParamInterface<bool> {
 protected:
  void batches(int count) {
    for (int i = 0; i < count; ++i) {
      for (unsigned each = 0; each < 32; ++each) {
        kernel.ask(GetParam() ? scsi::read_cdb(each * 8, 8) : scsi::write_cdb(each * 8, 8), 4096);
      }
      const std::uint64_t before = test::allocations();
      const std::uint32_t one = 1;
      ASSERT_EQ(::send(bell.get(), &one, sizeof(one), 0), 4);
      context.restart();
      context.poll();
      allocations += test::allocations() - before;
      std::array<std::byte, 256> rung;
      ASSERT_GT(::recv(bell.get(), rung.data(), rung.size(), MSG_DONTWAIT), 0);
      kernel.ring();
      ASSERT_EQ(kernel.unanswered(), 0u);
    }
  }
  std::uint64_t allocations = 0;
};
TEST_P(ServiceCost, AllocatesNothingPerCommandInSteadyState) {
  kernel.keep_answers = false;
  start();
  batches(8);
  allocations = 0;
  const TcmuCounters before = service->counters();
  batches(100);
  EXPECT_EQ(allocations, 0u);
  const TcmuCounters& after = service->counters();
  EXPECT_EQ(after.commands - before.commands, 3200u);
  EXPECT_EQ(after.doorbells - before.doorbells, 100u) << "one bell a batch";
  EXPECT_LE(after.wakes - before.wakes, 200u);
}
INSTANTIATE_TEST_SUITE_P(Depth32, ServiceCost, ::testing::Values(true, false),
                         [](const auto& row) { return row.param ? "reads" : "writes"; });

}  // namespace
}  // namespace mpath
