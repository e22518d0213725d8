#include "exports/nbd_rules.hpp"

#include <gtest/gtest.h>

namespace mpath {
namespace {

using nbd::Command;
using nbd::Error;
namespace flag = nbd::command_flag;

constexpr BlockLimits disk{
    .size_bytes = 1 << 30, .block_size = 512, .can_trim = true, .can_zero = true, .can_report_extents = true};
constexpr BlockLimits read_only_disk{.size_bytes = 1 << 30, .block_size = 512, .read_only = true};
constexpr BlockLimits plain_disk{.size_bytes = 1 << 30, .block_size = 4096};
constexpr NbdRules simple{};
constexpr NbdRules full{.structured_replies = true, .base_allocation = true};

struct Row {
  const char* name;
  nbd::Request request;
  BlockLimits limits;
  NbdRules rules;
  NbdVerdict verdict;
};

nbd::Request of(Command command, std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0) {
  return {.flags = flags, .command = command, .offset = offset, .length = length};
}
NbdVerdict refused(Error error) {
  return {.error = error};
}

class Judge : public ::testing::TestWithParam<Row> {};
TEST_P(Judge, KnowsTheRules) {
  const Row& row = GetParam();
  EXPECT_EQ(judge(row.request, row.limits, row.rules), row.verdict);
}

constexpr std::uint64_t end = 1 << 30;
INSTANTIATE_TEST_SUITE_P(
    Table, Judge,
    ::testing::Values(
        Row{"read", of(Command::read, 512, 1024), disk, simple, {.op = BlockOp::read}},
        Row{"read_up_to_the_end", of(Command::read, end - 512, 512), disk, simple, {.op = BlockOp::read}},
        Row{"read_past_the_end", of(Command::read, end - 512, 1024), disk, simple, refused(Error::inval)},
        Row{"read_where_the_sum_wraps", of(Command::read, ~0ull - 511, 1024), disk, simple, refused(Error::inval)},
        Row{"read_off_grid", of(Command::read, 1, 512), disk, simple, refused(Error::inval)},
        Row{"read_of_odd_length", of(Command::read, 0, 513), disk, simple, refused(Error::inval)},
        Row{"read_of_half_a_4k_block", of(Command::read, 512, 512), plain_disk, simple, refused(Error::inval)},
        Row{"read_of_nothing", of(Command::read, 0, 0), disk, simple, refused(Error::inval)},
        Row{"read_of_32_MiB", of(Command::read, 0, 32 << 20), disk, simple, {.op = BlockOp::read}},
        Row{"read_of_more", of(Command::read, 0, (32 << 20) + 512), disk, simple, refused(Error::inval)},
        Row{"read_df_structured", of(Command::read, 0, 512, flag::df), disk, full, {.op = BlockOp::read}},
        Row{"read_df_simple", of(Command::read, 0, 512, flag::df), disk, simple, refused(Error::inval)},
        Row{"read_fua_is_ignored", of(Command::read, 0, 512, flag::fua), disk, simple, {.op = BlockOp::read}},
        Row{"read_with_unknown_flag", of(Command::read, 0, 512, 1 << 9), disk, simple, refused(Error::inval)},
        Row{"read_of_read_only", of(Command::read, 0, 512), read_only_disk, simple, {.op = BlockOp::read}},
        Row{"write", of(Command::write, 0, 512), disk, simple, {.op = BlockOp::write}},
        Row{"write_fua", of(Command::write, 0, 512, flag::fua), disk, simple, {.op = BlockOp::write, .fua = true}},
        Row{"write_past_the_end", of(Command::write, end, 512), disk, simple, refused(Error::nospc)},
        Row{"write_of_32_MiB", of(Command::write, 0, 32 << 20), disk, simple, {.op = BlockOp::write}},
        Row{"write_of_more", of(Command::write, 0, (32 << 20) + 512), disk, simple, refused(Error::inval)},
        Row{"write_with_no_hole", of(Command::write, 0, 512, flag::no_hole), disk, simple, refused(Error::inval)},
        Row{"write_to_read_only", of(Command::write, 0, 512), read_only_disk, simple, refused(Error::perm)},
        Row{"flush", of(Command::flush, 0, 0), disk, simple, {.op = BlockOp::flush}},
        Row{"flush_of_read_only", of(Command::flush, 0, 0), read_only_disk, simple, {.op = BlockOp::flush}},
        Row{"flush_of_a_range", of(Command::flush, 0, 512), disk, simple, refused(Error::inval)},
        Row{"trim", of(Command::trim, 0, 0xfffffe00 & (end - 1)), disk, simple, {.op = BlockOp::trim}},
        Row{"trim_fua", of(Command::trim, 0, 512, flag::fua), disk, simple, {.op = BlockOp::trim, .fua = true}},
        Row{"trim_past_the_end", of(Command::trim, end, 512), disk, simple, refused(Error::inval)},
        Row{"trim_not_offered", of(Command::trim, 0, 4096), plain_disk, simple, refused(Error::inval)},
        Row{"trim_of_read_only", of(Command::trim, 0, 512), read_only_disk, simple, refused(Error::perm)},
        Row{"zero", of(Command::write_zeroes, 0, 1 << 30), disk, simple, {.op = BlockOp::write_zeroes}},
        Row{"zero_no_hole",
            of(Command::write_zeroes, 0, 512, flag::no_hole),
            disk,
            simple,
            {.op = BlockOp::write_zeroes, .may_unmap = false}},
        Row{"zero_fast",
            of(Command::write_zeroes, 0, 512, flag::fast_zero | flag::fua),
            disk,
            simple,
            {.op = BlockOp::write_zeroes, .fua = true, .fast_only = true}},
        Row{"zero_past_the_end", of(Command::write_zeroes, end, 512), disk, simple, refused(Error::nospc)},
        Row{"zero_not_offered", of(Command::write_zeroes, 0, 4096), plain_disk, simple, refused(Error::inval)},
        Row{"zero_of_read_only", of(Command::write_zeroes, 0, 512), read_only_disk, simple, refused(Error::perm)},
        Row{"cache", of(Command::cache, 0, 1 << 30), disk, simple, {.op = BlockOp::prefetch}},
        Row{"cache_past_the_end", of(Command::cache, end, 512), disk, simple, refused(Error::inval)},
        Row{"status", of(Command::block_status, 0, 1 << 30), disk, full, {.op = BlockOp::extents}},
        Row{"status_one",
            of(Command::block_status, 0, 512, flag::req_one),
            disk,
            full,
            {.op = BlockOp::extents, .one_extent = true}},
        Row{"status_not_agreed", of(Command::block_status, 0, 512), disk, simple, refused(Error::inval)},
        Row{"resize", of(Command::resize, 0, 512), disk, full, refused(Error::inval)},
        Row{"unknown_command", of(static_cast<Command>(77), 0, 512), disk, full, refused(Error::inval)}),
    [](const auto& row) { return row.param.name; });

TEST(ErrorOf, AdvisoryCommandsMayBeUnsupported) {
  EXPECT_EQ(error_of(BlockStatus::not_supported, BlockOp::trim), Error::ok);
  EXPECT_EQ(error_of(BlockStatus::not_supported, BlockOp::prefetch), Error::ok);
  EXPECT_EQ(error_of(BlockStatus::not_supported, BlockOp::write_zeroes), Error::notsup);
  EXPECT_EQ(error_of(BlockStatus::io_error, BlockOp::trim), Error::io);
}

TEST(ExportFlags, OfferWhatTheDeviceCanDo) {
  namespace can = nbd::export_flag;
  const std::uint16_t always = can::has_flags | can::send_flush | can::can_multi_conn | can::send_cache;
  EXPECT_EQ(export_flags(plain_disk, false), always | can::send_fua);
  EXPECT_EQ(export_flags(disk, true),
            always | can::send_fua | can::send_df | can::send_trim | can::send_write_zeroes | can::send_fast_zero);
  EXPECT_EQ(export_flags(read_only_disk, true), always | can::read_only | can::send_df);
}

}  // namespace
}  // namespace mpath
