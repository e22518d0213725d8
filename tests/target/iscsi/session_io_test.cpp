// Reads and writes through a session: data in every way it may come, and what is said about it.
#include "tests/target/iscsi/session_fixture.hpp"

namespace mpath::target::test {
namespace {

using Io = SessionTest;

TEST_F(Io, ANewNexusHearsOfPowerOnFirst) {
  serve();
  auto initiator = log_in();
  const auto read = initiator.read_of(initiator.command(scsi::read_cdb(0, 1), {.in = block}));
  EXPECT_EQ(read.status, scsi::Status::check_condition);
  const auto sense = scsi::decode_sense(read.sense);
  ASSERT_TRUE(sense);
  EXPECT_EQ(sense->sense.key, scsi::SenseKey::unit_attention);
}

TEST_F(Io, ReadsWhatIsOnTheDiskWithStatusInTheLastData) {
  serve();
  const Bytes written = pattern(64 * block);
  poke(8 * block, written);
  auto initiator = log_in_quietly();
  const auto read = initiator.read_of(initiator.command(scsi::read_cdb(8, 64), {.in = 64 * block}));
  EXPECT_EQ(read.status, scsi::Status::good);
  EXPECT_EQ(read.data, written);
  EXPECT_EQ(read.pdus, 1U);
  EXPECT_EQ(read.residual, 0U);
}

TEST_F(Io, CutsReadsToTheInitiatorsSegmentsAndBursts) {
  parameters.send_segment_max = 4096;
  parameters.max_burst = 6144;
  serve();
  const Bytes written = pattern(32 * block);
  poke(0, written);
  auto initiator = log_in_quietly();
  initiator.send(initiator.command(scsi::read_cdb(0, 32), {.in = 32 * block}));
  Bytes got;
  std::vector<std::pair<std::size_t, bool>> shape;
  for (bool last = false; !last;) {
    const auto data = initiator.expect<iscsi::DataIn>();
    EXPECT_EQ(data.buffer_offset, got.size());
    EXPECT_EQ(data.data_sn, shape.size());
    got.insert(got.end(), data.data.begin(), data.data.end());
    shape.emplace_back(data.data.size(), data.final);
    last = data.has_status;
  }
  EXPECT_EQ(got, written);
  const std::vector<std::pair<std::size_t, bool>> expected = {
      {4096, false}, {2048, true}, {4096, false}, {2048, true}, {4096, true}};
  EXPECT_EQ(shape, expected);
}

struct WriteWay {
  const char* name;
  bool initial_r2t;
  bool immediate_data;
  std::uint32_t first_burst;
  std::uint32_t max_burst;
  std::uint32_t outstanding;
  std::uint32_t immediate;  // bytes with the command
  std::uint32_t unasked;    // bytes in unsolicited Data-Out
  unsigned r2ts;
};

class WriteWays : public SessionTest, public ::testing::WithParamInterface<WriteWay> {};

TEST_P(WriteWays, EverythingArrivesWhereItBelongs) {
  const WriteWay& way = GetParam();
  parameters.initial_r2t = way.initial_r2t;
  parameters.immediate_data = way.immediate_data;
  parameters.first_burst = way.first_burst;
  parameters.max_burst = way.max_burst;
  parameters.max_outstanding_r2t = way.outstanding;
  serve();
  auto initiator = log_in_quietly();
  const std::uint32_t total = 64 * block;
  const Bytes data = pattern(total, 7);
  const auto command = initiator.command(
      scsi::write_cdb(4, 64), {.out = total, .immediate_data = way.immediate, .more_unasked = way.unasked > 0});
  initiator.hold();
  initiator.send(command, std::span(data).first(way.immediate));
  std::uint32_t sn = 0;
  for (std::uint32_t offset = way.immediate; offset < way.immediate + way.unasked;) {
    const std::uint32_t part = std::min(3000U, way.immediate + way.unasked - offset);
    const iscsi::ReadyToTransfer unasked{.lun = command.lun, .itt = command.itt, .ttt = iscsi::reserved_tag};
    initiator.send(initiator.data_out(unasked, offset, part, sn++, offset + part == way.immediate + way.unasked),
                   std::span(data).subspan(offset, part));
    offset += part;
  }
  initiator.release();
  unsigned r2ts = 0;
  for (;;) {
    const auto pdu = initiator.next();
    ASSERT_TRUE(pdu);
    if (const auto r2t = iscsi::decode_ready_to_transfer(pdu->header())) {
      EXPECT_EQ(r2t->r2t_sn, r2ts++);
      EXPECT_LE(r2t->desired_length, way.max_burst);
      sn = 0;
      for (std::uint32_t done = 0; done < r2t->desired_length;) {
        const std::uint32_t part = std::min(5000U, r2t->desired_length - done);
        const std::uint32_t offset = r2t->buffer_offset + done;
        done += part;
        initiator.send(initiator.data_out(*r2t, offset, part, sn++, done == r2t->desired_length),
                       std::span(data).subspan(offset, part));
      }
      continue;
    }
    const auto response = iscsi::decode_scsi_response(pdu->header());
    ASSERT_TRUE(response) << mpath::test::describe(*pdu);
    EXPECT_EQ(response->status, scsi::Status::good);
    EXPECT_EQ(response->residual, 0U);
    break;
  }
  EXPECT_EQ(r2ts, way.r2ts);
  EXPECT_EQ(peek(4 * block, total), data);
}

constexpr std::uint32_t all = 64 * block;
INSTANTIATE_TEST_SUITE_P(
    Io, WriteWays,
    ::testing::Values(WriteWay{"AllImmediate", false, true, 65536, 65536, 1, all, 0, 0},
                      WriteWay{"ImmediateThenR2t", false, true, 8192, 65536, 1, 8192, 0, 1},
                      WriteWay{"NothingUnasked", true, false, 8192, 65536, 1, 0, 0, 1},
                      WriteWay{"ImmediateUnaskedR2t", false, true, 16384, 65536, 1, 4096, 12288, 1},
                      WriteWay{"UnaskedOnly", false, false, 65536, 65536, 1, 0, all, 0},
                      WriteWay{"ManyR2ts", true, false, 8192, 4096, 1, 0, 0, 8},
                      WriteWay{"ManyR2tsAtATime", true, false, 8192, 4096, 4, 0, 0, 8},
                      WriteWay{"R2tDespiteOddLengths", false, true, 5000, 10000, 2, 1234, 3766, 3}),
    [](const auto& row) { return row.param.name; });

TEST_F(Io, LargeWritesAndReadsGoStraightThrough) {
  parameters.max_burst = 1 << 20;
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(2 << 20, 3);
  const auto written = initiator.write_of(initiator.command(scsi::write_cdb(0, 4096), {.out = 2 << 20}), data, 262144);
  EXPECT_EQ(written.status, scsi::Status::good);
  EXPECT_EQ(peek(0, data.size()), data);
  const auto read = initiator.read_of(initiator.command(scsi::read_cdb(0, 4096), {.in = 2 << 20}));
  EXPECT_EQ(read.data, data);
}

TEST_F(Io, UnitsOnAnotherShardAreReachedByMail) {
  add_disk(0, 0);
  add_disk(5, 1);
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(16 * block, 9);
  for (const std::uint64_t lun : {0U, 5U}) {
    const auto command =
        initiator.command(scsi::write_cdb(1, 16), {.out = 16 * block, .immediate_data = 16 * block, .lun = lun});
    EXPECT_EQ(initiator.status_of(command, data).status, scsi::Status::good);
    const auto read = initiator.read_of(initiator.command(scsi::read_cdb(1, 16), {.in = 16 * block, .lun = lun}));
    EXPECT_EQ(read.data, data);
  }
  EXPECT_EQ(peek(block, data.size(), 1), data);
}

TEST_F(Io, ManyCommandsAtOnceAreAllAnswered) {
  serve();
  auto initiator = log_in_quietly();
  for (unsigned round = 0; round < 20; ++round) {
    initiator.hold();
    std::vector<std::uint32_t> tags;
    for (unsigned index = 0; index < 32; ++index) {
      const Bytes data = pattern(8 * block, round * 32 + index);
      const auto command =
          initiator.command(scsi::write_cdb(index * 8, 8), {.out = 8 * block, .immediate_data = 8 * block});
      tags.push_back(command.itt);
      initiator.send(command, data);
    }
    initiator.release();
    std::vector<std::uint32_t> answered;
    while (answered.size() < tags.size()) {
      const auto response = initiator.expect<iscsi::ScsiResponse>();
      EXPECT_EQ(response.status, scsi::Status::good);
      answered.push_back(response.itt);
    }
    std::ranges::sort(answered);
    EXPECT_EQ(answered, tags);
  }
  EXPECT_EQ(peek(31 * 8 * block, 8 * block), pattern(8 * block, 19 * 32 + 31));
}

// ---- residuals -----------------------------------------------------------------------------------------------------

TEST_F(Io, AReadOfMoreThanAnnouncedOverflows) {
  serve();
  auto initiator = log_in_quietly();
  const auto read = initiator.read_of(initiator.command(scsi::read_cdb(0, 2), {.in = block}));
  EXPECT_EQ(read.status, scsi::Status::good);
  EXPECT_EQ(read.data.size(), block);
  EXPECT_TRUE(read.overflow);
  EXPECT_EQ(read.residual, block);
}

TEST_F(Io, AReadOfLessThanAnnouncedUnderflows) {
  serve();
  auto initiator = log_in_quietly();
  const auto read = initiator.read_of(initiator.command(scsi::read_cdb(0, 1), {.in = 10000}));
  EXPECT_EQ(read.status, scsi::Status::good);
  EXPECT_EQ(read.data.size(), block);
  EXPECT_TRUE(read.underflow);
  EXPECT_EQ(read.residual, 10000 - block);
}

TEST_F(Io, DataThatAWriteDoesNotNeedIsTakenAndForgotten) {
  parameters.max_burst = 65536;
  serve();
  poke(0, pattern(8 * block, 5));
  auto initiator = log_in_quietly();
  const Bytes data = pattern(3000, 6);
  const auto command = initiator.command(scsi::write_cdb(0, 1), {.out = 3000, .immediate_data = 3000});
  const auto response = initiator.status_of(command, data);
  EXPECT_EQ(response.status, scsi::Status::good);
  EXPECT_TRUE(response.residual_underflow);
  EXPECT_EQ(response.residual, 3000 - block);
  EXPECT_EQ(peek(0, block), Bytes(data.begin(), data.begin() + block));
  const Bytes before = pattern(8 * block, 5);
  EXPECT_EQ(peek(block, block), Bytes(before.begin() + block, before.begin() + 2 * block));
}

TEST_F(Io, AWriteWithoutItsDataIsAskedForNoMoreThanItNeeds) {
  serve();
  auto initiator = log_in_quietly();
  initiator.send(initiator.command(scsi::write_cdb(0, 1), {.out = 100000}));
  const auto r2t = initiator.expect<iscsi::ReadyToTransfer>();
  EXPECT_EQ(r2t.buffer_offset, 0U);
  EXPECT_EQ(r2t.desired_length, block);
}

TEST_F(Io, DataForACommandThatNeedsNoneIsTakenAndForgotten) {
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(1000);
  const auto response = initiator.status_of(
      initiator.command(scsi::synchronize_cache_cdb(), {.out = 1000, .immediate_data = 1000}), data);
  EXPECT_EQ(response.status, scsi::Status::good);
  EXPECT_TRUE(response.residual_underflow);
  EXPECT_EQ(response.residual, 1000U);
  EXPECT_TRUE(initiator.silent());
}

// ---- LUNs ----------------------------------------------------------------------------------------------------------

TEST_F(Io, NobodyIsAtAnAbsentLun) {
  serve();
  auto initiator = log_in_quietly();
  const auto inquiry = initiator.read_of(initiator.command(scsi::inquiry_cdb(36), {.in = 36, .lun = 7}));
  EXPECT_EQ(inquiry.status, scsi::Status::good);
  ASSERT_GE(inquiry.data.size(), 36U);
  EXPECT_EQ(inquiry.data[0], std::byte{0x7f});
  const auto read = initiator.read_of(initiator.command(scsi::read_cdb(0, 1), {.in = block, .lun = 7}));
  EXPECT_EQ(read.status, scsi::Status::check_condition);
  const auto sense = scsi::decode_sense(read.sense);
  ASSERT_TRUE(sense);
  EXPECT_EQ(sense->sense, scsi::sense::lun_not_supported);
  const Bytes data = pattern(block);
  const auto write = initiator.write_of(initiator.command(scsi::write_cdb(0, 1), {.out = block, .lun = 7}), data);
  EXPECT_EQ(sense_in(write.data), scsi::sense::lun_not_supported);
}

TEST_F(Io, ReportLunsListsTheTargetsUnitsAtAnyLun) {
  add_disk(0);
  add_disk(3);
  add_disk(300);
  serve();
  auto initiator = log_in_quietly();
  for (const std::uint64_t lun : {0U, 9U}) {
    const auto answer = initiator.read_of(initiator.command(scsi::report_luns_cdb(64), {.in = 64, .lun = lun}));
    EXPECT_EQ(answer.status, scsi::Status::good);
    const auto list = scsi::decode_luns(answer.data);
    ASSERT_TRUE(list);
    EXPECT_EQ(list->luns, (std::vector<scsi::Lun>{{0}, {3}, {300}}));
    EXPECT_TRUE(answer.underflow);
    EXPECT_EQ(answer.residual, 64U - 32U);
  }
}

TEST_F(Io, AnExtendedCdbReachesTheUnitAndOneTooLongIsRejected) {
  serve();
  auto initiator = log_in_quietly();
  scsi::Cdb cdb{.length = 16};
  cdb.bytes[0] = std::byte{0x7f};
  cdb.bytes[7] = std::byte{24};
  Bytes ahs(20);  // length 17: a reserved byte and 16 more of the CDB
  ahs[1] = std::byte{17};
  ahs[2] = std::byte{1};
  initiator.send(initiator.command(cdb), {}, ahs);
  const auto response = initiator.expect<iscsi::ScsiResponse>();
  EXPECT_EQ(response.status, scsi::Status::check_condition);
  EXPECT_EQ(sense_in(response.data).asc, 0x20);

  Bytes longer(36);
  longer[1] = std::byte{33};
  longer[2] = std::byte{1};
  initiator.send(initiator.command(cdb), {}, longer);
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::invalid_field);
  EXPECT_TRUE(initiator.silent());
}

}  // namespace
}  // namespace mpath::target::test
