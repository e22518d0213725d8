#include "exports/ublk_rules.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace mpath::ublk {
namespace {

BlockLimits disk(std::uint64_t size = 1 << 30) {
  return {.size_bytes = size, .can_trim = true, .can_zero = true, .can_report_extents = true};
}

// As <linux/ublk_cmd.h> of newer kernels writes them out.
TEST(UblkCommands, AreEncodedAsTheKernelExpects) {
  EXPECT_EQ(static_cast<std::uint32_t>(Command::get_dev_info), 0x80207502u);
  EXPECT_EQ(static_cast<std::uint32_t>(Command::add_dev), 0xc0207504u);
  EXPECT_EQ(static_cast<std::uint32_t>(Command::start_recovery), 0xc0207510u);
  EXPECT_EQ(static_cast<std::uint32_t>(Command::end_recovery), 0xc0207511u);
  EXPECT_EQ(static_cast<std::uint32_t>(Command::get_features), 0x80207513u);
  EXPECT_EQ(static_cast<std::uint32_t>(Command::del_dev_async), 0x80207514u);
  EXPECT_EQ(static_cast<std::uint32_t>(Command::update_size), 0xc0207515u);
  EXPECT_EQ(static_cast<std::uint32_t>(IoCommand::fetch), 0xc0107520u);
  EXPECT_EQ(static_cast<std::uint32_t>(IoCommand::commit_and_fetch), 0xc0107521u);
}

TEST(UblkMark, TellsIdentitiesApartAndStaysForEver) {
  EXPECT_NE(mark_of("36001405aaaaaaaaaaaaaaaaaaaaaaaa1"), mark_of("36001405aaaaaaaaaaaaaaaaaaaaaaaa2"));
  EXPECT_EQ(mark_of("a"), mark_of("a"));
  // Disks outlive the program that made them: a newer one must find them. HMAC-SHA256 with key "mpathd ublk 1\0".
  EXPECT_EQ(mark_of("36001405aaaaaaaaaaaaaaaaaaaaaaaa1"), 0x8899c245b4828d18u);
}

TEST(UblkMark, IsNotWhatOtherProgramsLeaveThere) {
  for (const char* identity : {"", "a", "ram", "36001405aaaaaaaaaaaaaaaaaaaaaaaa1"}) {
    EXPECT_GT(mark_of(identity), 0xffffu);  // libublksrv keeps a few flags there
  }
}

class UblkJudge : public ::testing::Test {
 protected:
  static constexpr std::uint64_t mark = 0x1234567890abcdef;
  ublksrv_ctrl_dev_info info = [] {
    ublksrv_ctrl_dev_info made = new_device(mark, 42);
    made.state = UBLK_S_DEV_QUIESCED;
    return made;
  }();
};

TEST_F(UblkJudge, TakesWhatItsOwnKindMade) {
  EXPECT_EQ(judge(info, mark), Found::left);
  info.state = UBLK_S_DEV_LIVE;  // its process is still dying
  EXPECT_EQ(judge(info, mark), Found::left);
  info.queue_depth = 64;  // made by another version
  info.max_io_buf_bytes = 1 << 20;
  EXPECT_EQ(judge(info, mark), Found::left);
}
TEST_F(UblkJudge, LeavesForeignDevicesAlone) {
  info.ublksrv_flags = 0;
  EXPECT_EQ(judge(info, mark), Found::foreign);
  info.ublksrv_flags = mark + 1;
  info.state = UBLK_S_DEV_DEAD;
  EXPECT_EQ(judge(info, mark), Found::foreign);
}
TEST_F(UblkJudge, ClearsAwayWhatWasNeverStarted) {
  info.state = UBLK_S_DEV_DEAD;
  EXPECT_EQ(judge(info, mark), Found::unstarted);
}
TEST_F(UblkJudge, DoesNotTouchWhatItCouldNotServe) {
  auto two_queues = info;
  two_queues.nr_hw_queues = 2;
  EXPECT_EQ(judge(two_queues, mark), Found::misshapen);
  auto user_copy = info;
  user_copy.flags |= feature_user_copy;
  EXPECT_EQ(judge(user_copy, mark), Found::misshapen);
  auto get_data = info;
  get_data.flags |= UBLK_F_NEED_GET_DATA;
  EXPECT_EQ(judge(get_data, mark), Found::misshapen);
  auto no_reissue = info;
  no_reissue.flags &= ~std::uint64_t{UBLK_F_USER_RECOVERY_REISSUE};
  EXPECT_EQ(judge(no_reissue, mark), Found::misshapen);
}

TEST(UblkParams, SayWhatTheDeviceCanDo) {
  const auto params = params_of(disk());
  ASSERT_TRUE(params);
  EXPECT_EQ(params->types, std::uint32_t{UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD});
  EXPECT_EQ(params->basic.attrs, std::uint32_t{UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA});
  EXPECT_EQ(params->basic.logical_bs_shift, 9);
  EXPECT_EQ(params->basic.physical_bs_shift, 12);
  EXPECT_EQ(params->basic.max_sectors, io_bytes_max / 512);
  EXPECT_EQ(params->basic.dev_sectors, (1u << 30) / 512);
  EXPECT_EQ(params->discard.discard_granularity, 4096u);
  EXPECT_EQ(params->discard.max_discard_sectors, span_bytes_max / 512);
  EXPECT_EQ(params->discard.max_discard_segments, 1);
  EXPECT_EQ(params->discard.max_write_zeroes_sectors, span_bytes_max / 512);
}

TEST(UblkParams, OfferNothingThatTheDeviceCannot) {
  BlockLimits limits = disk();
  limits.can_trim = limits.can_zero = false;
  limits.write_cache = false;
  limits.read_only = true;
  const auto params = params_of(limits);
  ASSERT_TRUE(params);
  EXPECT_EQ(params->types, std::uint32_t{UBLK_PARAM_TYPE_BASIC});
  EXPECT_EQ(params->basic.attrs, std::uint32_t{UBLK_ATTR_READ_ONLY});

  limits.can_zero = true;  // zeroes without discard: the kernel wants a granularity all the same, and no segments
  const auto zeroes = params_of(limits);
  ASSERT_TRUE(zeroes);
  EXPECT_EQ(zeroes->discard.max_discard_sectors, 0u);
  EXPECT_NE(zeroes->discard.discard_granularity, 0u);
  EXPECT_NE(zeroes->discard.max_write_zeroes_sectors, 0u);
}

TEST(UblkParams, KnowWhichBlocksTheKernelCanHave) {
  BlockLimits limits = disk();
  limits.block_size = 4096;
  ASSERT_TRUE(params_of(limits));
  EXPECT_EQ(params_of(limits)->basic.logical_bs_shift, 12);
  limits.block_size = 8192;
  EXPECT_FALSE(params_of(limits));
}

TEST(UblkParams, OfADiskThatWasLeftMustFitTheDevice) {
  const ublk_params params = *params_of(disk());
  EXPECT_TRUE(fits(params, disk()));
  EXPECT_TRUE(fits(params, disk(2u << 30))) << "grown meanwhile";
  BlockLimits other = disk();
  other.block_size = 4096;
  EXPECT_FALSE(fits(params, other));
  BlockLimits no_cache = disk();
  no_cache.write_cache = false;
  EXPECT_TRUE(fits(params, no_cache));
  EXPECT_FALSE(fits(*params_of(no_cache), disk())) << "nobody would flush";
}

struct DecodeCase {
  const char* name;
  std::uint32_t op_flags;
  std::optional<Request> expected;
};
class UblkDecode : public ::testing::TestWithParam<DecodeCase> {};

TEST_P(UblkDecode, GivesTheDevicesRequest) {
  const ublksrv_io_desc descriptor{.op_flags = GetParam().op_flags, .nr_sectors = 8, .start_sector = 100, .addr = 0};
  EXPECT_EQ(decode(descriptor), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    Ops, UblkDecode,
    ::testing::Values(
        DecodeCase{"read", UBLK_IO_OP_READ, Request{.op = BlockOp::read, .offset = 51200, .length = 4096}},
        DecodeCase{"write", UBLK_IO_OP_WRITE, Request{.op = BlockOp::write, .offset = 51200, .length = 4096}},
        DecodeCase{"write_fua", UBLK_IO_OP_WRITE | UBLK_IO_F_FUA,
                   Request{.op = BlockOp::write, .fua = true, .offset = 51200, .length = 4096}},
        DecodeCase{"flags_that_mean_nothing_here", UBLK_IO_OP_READ | UBLK_IO_F_META | UBLK_IO_F_FAILFAST_TRANSPORT,
                   Request{.op = BlockOp::read, .offset = 51200, .length = 4096}},
        DecodeCase{"flush", UBLK_IO_OP_FLUSH, Request{.op = BlockOp::flush}},
        DecodeCase{"discard", UBLK_IO_OP_DISCARD, Request{.op = BlockOp::trim, .offset = 51200, .length = 4096}},
        DecodeCase{"zeroes", UBLK_IO_OP_WRITE_ZEROES, Request{.op = BlockOp::write_zeroes, .offset = 51200, .length = 4096}},
        DecodeCase{"zeroes_kept", UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_NOUNMAP,
                   Request{.op = BlockOp::write_zeroes, .may_unmap = false, .offset = 51200, .length = 4096}},
        DecodeCase{"write_same", UBLK_IO_OP_WRITE_SAME, std::nullopt}, DecodeCase{"zone_open", 10, std::nullopt}),
    [](const auto& row) { return row.param.name; });

TEST(UblkResult, IsBytesOrWhatTheBlockLayerUnderstands) {
  EXPECT_EQ(result_of(BlockStatus::ok, BlockOp::read, 4096), 4096);
  EXPECT_EQ(result_of(BlockStatus::ok, BlockOp::write, 512), 512);
  EXPECT_EQ(result_of(BlockStatus::ok, BlockOp::flush, 0), 0);
  EXPECT_EQ(result_of(BlockStatus::ok, BlockOp::trim, std::uint64_t{1} << 30), 0);
  EXPECT_EQ(result_of(BlockStatus::io_error, BlockOp::read, 4096), -EIO);
  EXPECT_EQ(result_of(BlockStatus::no_space, BlockOp::write, 4096), -ENOSPC);
  EXPECT_EQ(result_of(BlockStatus::not_supported, BlockOp::write_zeroes, 4096), -EOPNOTSUPP);
  EXPECT_EQ(result_of(BlockStatus::conflict, BlockOp::write, 4096), -EBADE);
  EXPECT_EQ(result_of(BlockStatus::shutdown, BlockOp::write, 4096), -ENODEV);
}

}  // namespace
}  // namespace mpath::ublk
