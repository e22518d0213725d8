#include "exports/tcmu_ring.hpp"

#include <gtest/gtest.h>

#include <random>

#include "tests/exports/fake_tcmu.hpp"

namespace mpath {
namespace {

using test::FakeTcmu;
using Taken = TcmuRing::Taken;

class Ring : public ::testing::Test {
 protected:
  TcmuRing open() { return TcmuRing::open(kernel.memory()).value(); }
  FakeTcmu kernel;
  TcmuEntry entry;
};

TEST_F(Ring, GivesWhatTheKernelAsked) {
  TcmuRing ring = open();
  EXPECT_EQ(ring.take(entry), Taken::nothing);
  const auto id = kernel.ask(scsi::read_cdb(7, 16), 8192);
  ASSERT_EQ(ring.take(entry), Taken::command);
  EXPECT_EQ(entry.id, id);
  EXPECT_TRUE(std::ranges::equal(entry.cdb.view(), scsi::read_cdb(7, 16).view()));
  EXPECT_EQ(entry.data_bytes, 8192u);
  ASSERT_EQ(entry.data.size(), 1u);
  EXPECT_EQ(ring.take(entry), Taken::nothing);
  EXPECT_EQ(ring.unanswered(), 1u);
}

TEST_F(Ring, GivesScatteredPayloadsPieceByPiece) {
  TcmuRing ring = open();
  const std::vector<std::byte> out(20000, std::byte{9});
  kernel.ask(scsi::write_cdb(0, 40), out.size(), out, true);
  ASSERT_EQ(ring.take(entry), Taken::command);
  EXPECT_EQ(entry.data.size(), 5u);
  EXPECT_EQ(entry.data_bytes, out.size());
  for (const iovec& piece : entry.data) EXPECT_EQ(*static_cast<const std::byte*>(piece.iov_base), std::byte{9});
}

TEST_F(Ring, AnswersInAnyOrder) {
  TcmuRing ring = open();
  std::vector<std::uint16_t> ids;
  for (int i = 0; i < 4; ++i) {
    ids.push_back(kernel.ask(scsi::read_cdb(0, 1), 512));
    ASSERT_EQ(ring.take(entry), Taken::command);
  }
  const std::array<std::byte, 18> sense{std::byte{0x70}, std::byte{0}, std::byte{3}};
  ASSERT_TRUE(ring.answer(ids[2], ring.epoch(), {}));
  ASSERT_TRUE(ring.answer(ids[0], ring.epoch(), {.status = scsi::Status::check_condition, .sense = sense}));
  EXPECT_TRUE(ring.publish());
  EXPECT_FALSE(ring.publish()) << "nothing new";
  kernel.ring();
  EXPECT_FALSE(kernel.answer(ids[1]));
  EXPECT_FALSE(kernel.answer(ids[3]));
  EXPECT_EQ(kernel.answer(ids[2])->status, 0);
  const auto refused = kernel.answer(ids[0]);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 2);
  EXPECT_EQ(refused->sense[2], std::byte{3});
  EXPECT_EQ(refused->sense[18], std::byte{0});
  ASSERT_TRUE(ring.answer(ids[3], ring.epoch(), {}));
  ASSERT_TRUE(ring.answer(ids[1], ring.epoch(), {.read_length = 100}));
  EXPECT_TRUE(ring.publish());
  kernel.ring();
  EXPECT_EQ(kernel.answer(ids[1])->data.size(), 100u);
  EXPECT_EQ(kernel.answer(ids[3])->data.size(), 512u);
  EXPECT_EQ(kernel.unanswered(), 0u);
}

// Entries of all sizes, answers in a shuffled order, many times around: padding and task management in between.
TEST_F(Ring, GoesRoundForEver) {
  TcmuRing ring = open();
  std::mt19937 random(7);
  std::vector<std::uint16_t> waiting;
  for (int round = 0; round < 5000; ++round) {
    for (unsigned i = random() % 8; i > 0 && kernel.unanswered() < 60; --i) {
      const std::size_t blocks = 1 + random() % 7;
      kernel.ask(scsi::read_cdb(round, 1), blocks * 4096, {}, random() % 2 == 0);
    }
    if (random() % 16 == 0) kernel.tell_aborts(random() % 5);
    for (;;) {
      const Taken taken = ring.take(entry);
      if (taken == Taken::nothing) break;
      ASSERT_TRUE(taken == Taken::command || taken == Taken::aborts);
      if (taken == Taken::command) waiting.push_back(entry.id);
    }
    std::ranges::shuffle(waiting, random);
    for (unsigned i = random() % 8; i > 0 && !waiting.empty(); --i) {
      ASSERT_TRUE(ring.answer(waiting.back(), ring.epoch(), {}));
      waiting.pop_back();
    }
    static_cast<void>(ring.publish());
    kernel.ring();
    ASSERT_EQ(kernel.unanswered(), waiting.size());
  }
  EXPECT_GT(kernel.answered_count, 10000u);
}

TEST_F(Ring, TakesNoticesOffWhenNothingIsOut) {
  TcmuRing ring = open();
  kernel.tell_aborts(3);
  ASSERT_EQ(ring.take(entry), Taken::aborts);
  EXPECT_EQ(entry.data_bytes, 3u);
  EXPECT_TRUE(ring.publish());
  EXPECT_EQ(kernel.tail(), kernel.head());
}

TEST_F(Ring, ForgetsWhatWasTakenWhenTheKernelEmptiesIt) {
  TcmuRing ring = open();
  const auto first = kernel.ask(scsi::test_unit_ready_cdb());
  ASSERT_EQ(ring.take(entry), Taken::command);
  ASSERT_TRUE(ring.answer(first, ring.epoch(), {}));
  ASSERT_TRUE(ring.publish());
  kernel.ring();
  const auto old = kernel.ask(scsi::test_unit_ready_cdb());
  ASSERT_EQ(ring.take(entry), Taken::command);
  const std::uint64_t epoch = ring.epoch();
  EXPECT_EQ(kernel.reset().size(), 1u);
  const auto fresh = kernel.ask(scsi::test_unit_ready_cdb());
  EXPECT_FALSE(ring.answer(old, epoch, {})) << "it would go into a place that is not its own";
  EXPECT_NE(ring.epoch(), epoch);
  Taken taken = ring.take(entry);
  if (taken == Taken::reset) taken = ring.take(entry);
  ASSERT_EQ(taken, Taken::command);
  EXPECT_EQ(entry.id, fresh);
  EXPECT_FALSE(ring.answer(old, epoch, {}));
  ASSERT_TRUE(ring.answer(fresh, ring.epoch(), {}));
  EXPECT_TRUE(ring.publish());
  kernel.ring();
  EXPECT_TRUE(kernel.answer(fresh));
}

TEST_F(Ring, SeesThatARingWhichNeverMovedWasEmptied) {
  TcmuRing ring = open();
  kernel.ask(scsi::test_unit_ready_cdb());
  kernel.ask(scsi::test_unit_ready_cdb());
  ASSERT_EQ(ring.take(entry), Taken::command);
  ASSERT_EQ(ring.take(entry), Taken::command);
  kernel.reset();
  EXPECT_EQ(ring.take(entry), Taken::reset);
  EXPECT_EQ(ring.unanswered(), 0u);
  EXPECT_EQ(ring.take(entry), Taken::nothing);
}

struct Damage {
  const char* name;
  std::size_t place;  // of the entry
  std::uint64_t value;
  unsigned bytes;
  Taken taken;
};
class Damaged : public Ring, public ::testing::WithParamInterface<Damage> {};
TEST_P(Damaged, EntryIsRefusedAndNothingIsTouchedOutside) {
  TcmuRing ring = open();
  kernel.ask(scsi::read_cdb(0, 8), 4096);
  std::memcpy(kernel.memory().data() + kernel.last_entry() + GetParam().place, &GetParam().value, GetParam().bytes);
  EXPECT_EQ(ring.take(entry), GetParam().taken);
  EXPECT_EQ(ring.broken(), GetParam().taken == Taken::broken);
  if (ring.broken()) {
    EXPECT_EQ(ring.take(entry), Taken::broken);
    EXPECT_FALSE(ring.answer(1, ring.epoch(), {}));
    EXPECT_FALSE(ring.publish());
  }
}
constexpr std::uint64_t huge = ~std::uint64_t{0};
INSTANTIATE_TEST_SUITE_P(
    Each, Damaged,
    ::testing::Values(Damage{"op", 0, 128 | 5, 4, Taken::broken}, Damage{"no_length", 0, tcmu::op_command, 4, Taken::broken},
                      Damage{"no_pad_length", 0, tcmu::op_pad, 4, Taken::broken},
                      Damage{"too_short", 0, 104 | tcmu::op_command, 4, Taken::broken},
                      Damage{"over_the_head", 0, 4096 | tcmu::op_command, 4, Taken::broken},
                      Damage{"over_the_end", 0, 0xfffffff8 | tcmu::op_command, 4, Taken::broken},
                      Damage{"pieces", tcmu::request_pieces, 6, 4, Taken::malformed},
                      Damage{"all_pieces", tcmu::request_pieces, 0xffffffff, 4, Taken::malformed},
                      Damage{"bidi", tcmu::request_bidi_pieces, 1, 4, Taken::malformed},
                      Damage{"cdb_before", tcmu::request_cdb_offset, 0, 8, Taken::malformed},
                      Damage{"cdb_behind", tcmu::request_cdb_offset, tcmu::mailbox_bytes + 128, 8, Taken::malformed},
                      Damage{"cdb_cut", tcmu::request_cdb_offset, tcmu::mailbox_bytes + 127, 8, Taken::malformed},
                      Damage{"cdb_far", tcmu::request_cdb_offset, huge, 8, Taken::malformed},
                      Damage{"piece_in_the_ring", tcmu::request_piece_list, tcmu::mailbox_bytes, 8, Taken::malformed},
                      Damage{"piece_behind", tcmu::request_piece_list, huge, 8, Taken::malformed},
                      Damage{"piece_too_long", tcmu::request_piece_list + 8, huge, 8, Taken::malformed}),
    [](const auto& row) { return row.param.name; });

TEST_F(Ring, RefusesAHeadThatIsNowhere) {
  for (const std::uint32_t head : {65536u, 0xfffffff8u, 4u}) {
    FakeTcmu other;
    TcmuRing ring = TcmuRing::open(other.memory()).value();
    other.put(tcmu::mailbox_head, head);
    EXPECT_EQ(ring.take(entry), Taken::broken);
  }
}

struct BadMailbox {
  const char* name;
  std::size_t place;
  std::uint32_t value;
  unsigned bytes;
  int error;
};
class Mailbox : public ::testing::TestWithParam<BadMailbox> {};
TEST_P(Mailbox, IsNotServed) {
  FakeTcmu kernel;
  std::memcpy(kernel.memory().data() + GetParam().place, &GetParam().value, GetParam().bytes);
  EXPECT_EQ(TcmuRing::open(kernel.memory()).error().value(), GetParam().error);
}
INSTANTIATE_TEST_SUITE_P(
    Each, Mailbox,
    ::testing::Values(BadMailbox{"version_1", 0, 1, 2, EPROTONOSUPPORT}, BadMailbox{"in_order", 2, 0xe, 2, EPROTONOSUPPORT},
                      BadMailbox{"ring_over_mailbox", tcmu::mailbox_ring_offset, 64, 4, EBADMSG},
                      BadMailbox{"ring_outside", tcmu::mailbox_ring_offset, 0xfffffff8, 4, EBADMSG},
                      BadMailbox{"ring_too_large", tcmu::mailbox_ring_size, 0xfffffff8, 4, EBADMSG},
                      BadMailbox{"ring_too_small", tcmu::mailbox_ring_size, 64, 4, EBADMSG},
                      BadMailbox{"ring_not_aligned", tcmu::mailbox_ring_size, 4100, 4, EBADMSG},
                      BadMailbox{"tail_outside", tcmu::mailbox_tail, 65536, 4, EBADMSG}),
    [](const auto& row) { return row.param.name; });
TEST(MailboxSize, IsCheckedFirst) {
  std::vector<std::byte> memory(tcmu::mailbox_bytes - 1);
  EXPECT_FALSE(TcmuRing::open(memory));
}

}  // namespace
}  // namespace mpath
