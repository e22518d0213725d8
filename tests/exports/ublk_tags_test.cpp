#include "exports/ublk_tags.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

#include "tests/exports/ram_device.hpp"
#include "tests/support/allocation_counter.hpp"

namespace mpath {
namespace {

using test::RamDevice;
using Mode = UblkTags::Mode;

constexpr unsigned depth = 4;
constexpr std::uint32_t io_bytes = 8192;

class Tags : public ::testing::Test, protected UblkTags::Owner {
 protected:
  struct Answered {
    unsigned tag;
    std::int32_t result;
    friend bool operator==(const Answered&, const Answered&) = default;
  };

  ~Tags() override { device.release_all(); }

  void on_answer(unsigned tag, std::int32_t result) noexcept override {
    if (count < answers.size()) answers[count] = {tag, result};
    ++count;
  }
  void on_idle() noexcept override { ++idle; }

  void take(unsigned tag, std::uint32_t op_flags, std::uint64_t sector = 0, std::uint32_t sectors = 8) {
    tags.take(tag, {.op_flags = op_flags, .nr_sectors = sectors, .start_sector = sector, .addr = 0});
  }
  [[nodiscard]] std::vector<Answered> answered() const { return {answers.begin(), answers.begin() + static_cast<long>(count)}; }

  RamDevice device{"ram", RamDevice::all_features(1 << 20)};
  std::vector<std::byte> memory = std::vector<std::byte>(depth * io_bytes);
  UblkTags tags{device, depth, io_bytes, memory.data(), *this};
  std::vector<Answered> answers = std::vector<Answered>(64);
  std::size_t count = 0;
  int idle = 0;
};

TEST_F(Tags, CarryDataBetweenTheirBufferAndTheDevice) {
  std::fill_n(tags.buffer(1), 4096, std::byte{0x5a});
  take(1, UBLK_IO_OP_WRITE, 16);
  EXPECT_EQ(device.memory()[16 * 512], std::byte{0x5a});
  EXPECT_EQ(device.memory()[24 * 512 - 1], std::byte{0x5a});
  EXPECT_EQ(device.memory()[24 * 512], std::byte{0});
  take(3, UBLK_IO_OP_READ, 16);
  EXPECT_EQ(tags.buffer(3)[0], std::byte{0x5a});
  EXPECT_EQ(tags.buffer(3)[4096], std::byte{0});
  EXPECT_EQ(answered(), (std::vector<Answered>{{1, 4096}, {3, 4096}}));
  EXPECT_EQ(tags.counters().bytes_read, 4096u);
  EXPECT_EQ(tags.counters().bytes_written, 4096u);
}

TEST_F(Tags, PassFlushAndForceUnitAccessOn) {
  take(0, UBLK_IO_OP_FLUSH, 0, 0);
  EXPECT_EQ(device.flushes, 1u);
  take(0, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA);
  EXPECT_EQ(device.fua_writes, 1u);
  EXPECT_EQ(answered(), (std::vector<Answered>{{0, 0}, {0, 4096}}));
}

TEST_F(Tags, AnswerInTheOrderInWhichTheDeviceIsReady) {
  device.hold = true;
  take(0, UBLK_IO_OP_READ);
  take(1, UBLK_IO_OP_DISCARD, 0, 64);
  EXPECT_EQ(tags.in_flight(), 2u);
  device.release(1);
  EXPECT_EQ(idle, 0);
  device.release(0);
  EXPECT_EQ(idle, 1);
  EXPECT_EQ(answered(), (std::vector<Answered>{{1, 0}, {0, 4096}}));
}

TEST_F(Tags, RefuseWhatWasNeverOfferedWithoutTheDevice) {
  take(0, UBLK_IO_OP_WRITE_SAME);
  take(1, UBLK_IO_OP_WRITE, 0, io_bytes / 512 + 1);  // more than its buffer
  EXPECT_EQ(device.submitted, 0u);
  EXPECT_EQ(answered(), (std::vector<Answered>{{0, -EOPNOTSUPP}, {1, -EINVAL}}));
  EXPECT_EQ(tags.counters().errors, 2u);
}

TEST_F(Tags, TellTheKernelWhatTheDeviceSaid) {
  device.fail_with = BlockStatus::no_space;
  take(2, UBLK_IO_OP_WRITE);
  EXPECT_EQ(answered(), (std::vector<Answered>{{2, -ENOSPC}}));
  EXPECT_EQ(tags.counters().bytes_written, 0u);
}

TEST_F(Tags, HoldNewRequestsBackWhenWeLeave) {
  device.hold = true;
  take(0, UBLK_IO_OP_WRITE);
  tags.set_mode(Mode::holding);
  take(1, UBLK_IO_OP_WRITE);
  EXPECT_EQ(device.submitted, 1u);
  device.release_all();
  EXPECT_EQ(answered(), (std::vector<Answered>{{0, 4096}})) << "what was taken is finished; the other is the next one's";
  EXPECT_EQ(tags.counters().held, 1u);
  EXPECT_EQ(idle, 1);
}

// Paths that go down because we end are no error of the disk.
TEST_F(Tags, LeaveFailuresToTheNextProcess) {
  device.hold = true;
  take(0, UBLK_IO_OP_WRITE);
  take(1, UBLK_IO_OP_READ);
  tags.set_mode(Mode::holding);
  device.release(1);
  device.fail_with = BlockStatus::shutdown;
  device.release_all();
  EXPECT_EQ(answered(), (std::vector<Answered>{{1, 4096}}));
  EXPECT_EQ(tags.counters().errors, 0u);
  EXPECT_EQ(idle, 1);
}

TEST_F(Tags, FailNewRequestsAtOnceWhenNothingMayWait) {
  device.hold = true;
  take(0, UBLK_IO_OP_READ);
  tags.set_mode(Mode::refusing);
  take(1, UBLK_IO_OP_READ);
  EXPECT_EQ(answered(), (std::vector<Answered>{{1, -EIO}}));
  device.fail_with = BlockStatus::io_error;
  device.release_all();
  EXPECT_EQ(answered(), (std::vector<Answered>{{1, -EIO}, {0, -EIO}}));
}

TEST_F(Tags, AllocateNothingPerRequest) {
  take(0, UBLK_IO_OP_WRITE);
  const std::uint64_t before = test::allocations();
  for (unsigned i = 0; i < 50; ++i) take(i % depth, i % 2 == 0 ? UBLK_IO_OP_WRITE : UBLK_IO_OP_READ, i * 8);
  EXPECT_EQ(test::allocations(), before);
  EXPECT_EQ(count, 51u);
}

}  // namespace
}  // namespace mpath
