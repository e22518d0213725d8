// Groups, selectors, and whose error an answer is.
#include <gtest/gtest.h>

#include "mpathd/grouping.hpp"
#include "mpathd/judgement.hpp"
#include "mpathd/selector.hpp"

namespace mpath {
namespace {

std::vector<PathLoad> idle(std::size_t count) { return std::vector<PathLoad>(count, PathLoad{.usable = true, .room = 8}); }

TEST(Selector, RoundRobinTakesTurns) {
  Selector selector(SelectorKind::round_robin);
  const auto paths = idle(3);
  std::vector<std::size_t> picked;
  for (int turn = 0; turn < 6; ++turn) picked.push_back(selector.pick(paths).value());
  EXPECT_EQ(picked, (std::vector<std::size_t>{1, 2, 0, 1, 2, 0}));
}

TEST(Selector, RoundRobinStaysForRrMinIoRequests) {
  Selector selector(SelectorKind::round_robin, 3);
  const auto paths = idle(2);
  std::vector<std::size_t> picked;
  for (int turn = 0; turn < 7; ++turn) picked.push_back(selector.pick(paths).value());
  EXPECT_EQ(picked, (std::vector<std::size_t>{1, 1, 1, 0, 0, 0, 1}));
}

TEST(Selector, QueueLengthTakesTheFewestCommands) {
  Selector selector(SelectorKind::queue_length);
  auto paths = idle(3);
  paths[0].in_flight = 4;
  paths[1].in_flight = 2;
  paths[2].in_flight = 3;
  EXPECT_EQ(selector.pick(paths), 1U);
}

TEST(Selector, ServiceTimeTakesTheFewestBytes) {
  Selector selector(SelectorKind::service_time);
  auto paths = idle(2);
  paths[0] = {.usable = true, .room = 8, .in_flight = 1, .in_flight_bytes = 1 << 20};
  paths[1] = {.usable = true, .room = 8, .in_flight = 9, .in_flight_bytes = 9 * 4096};
  EXPECT_EQ(selector.pick(paths), 1U);
}

TEST(Selector, PassesOverFullAndFailedPaths) {
  for (const SelectorKind kind : {SelectorKind::round_robin, SelectorKind::queue_length, SelectorKind::service_time}) {
    Selector selector(kind);
    auto paths = idle(3);
    paths[0].usable = false;
    paths[1].room = 0;
    for (int turn = 0; turn < 3; ++turn) EXPECT_EQ(selector.pick(paths), 2U);
    paths[2].usable = false;
    EXPECT_EQ(selector.pick(paths), std::nullopt);
    EXPECT_EQ(selector.pick({}), std::nullopt);
  }
}

TEST(Grouping, MultibusPutsAllInOneAndFailoverEachInItsOwn) {
  const std::vector<GroupingInput> paths(3);
  EXPECT_EQ(make_groups(GroupingPolicy::multibus, paths), (std::vector<Group>{{{0, 1, 2}}}));
  EXPECT_EQ(make_groups(GroupingPolicy::failover, paths), (std::vector<Group>{{{0}}, {{1}}, {{2}}}));
  EXPECT_TRUE(make_groups(GroupingPolicy::multibus, {}).empty());
}

TEST(Grouping, OrdersGroupsByPriority) {
  const std::vector<GroupingInput> paths = {{.priority = 10}, {.priority = 50}};
  EXPECT_EQ(make_groups(GroupingPolicy::failover, paths), (std::vector<Group>{{{1}}, {{0}}}));
}

TEST(Grouping, ManualFailbackKeepsWhatWorks) {
  const std::vector<GroupingInput> paths = {{.priority = 50, .usable = true}, {.priority = 10, .usable = true}};
  const auto groups = make_groups(GroupingPolicy::failover, paths);
  EXPECT_EQ(choose_group(groups, paths, 1, Failback::manual), 1U);
  EXPECT_EQ(choose_group(groups, paths, 1, Failback::immediate), 0U);
  EXPECT_EQ(choose_group(groups, paths, std::nullopt, Failback::manual), 0U);
}

TEST(Grouping, ChoosesNothingWhenNothingWorks) {
  const std::vector<GroupingInput> paths(2);
  const auto groups = make_groups(GroupingPolicy::failover, paths);
  EXPECT_EQ(choose_group(groups, paths, 0, Failback::immediate), std::nullopt);
}

struct JudgementRow {
  const char* name;
  scsi::Status status;
  scsi::Sense sense;
  Judgement expected;
};

class JudgementOf : public testing::TestWithParam<JudgementRow> {};

TEST_P(JudgementOf, IsThatOfTheTable) { EXPECT_EQ(judge(GetParam().status, GetParam().sense), GetParam().expected); }

using scsi::SenseKey;
constexpr auto check = scsi::Status::check_condition;
INSTANTIATE_TEST_SUITE_P(
    Spc, JudgementOf,
    testing::Values(
        JudgementRow{"good", scsi::Status::good, {}, {.verdict = Verdict::done}},
        JudgementRow{"recovered", check, {SenseKey::recovered_error, 0x17, 0}, {.verdict = Verdict::done}},
        JudgementRow{"busy", scsi::Status::busy, {}, {.verdict = Verdict::retry_later}},
        JudgementRow{"set_full", scsi::Status::task_set_full, {}, {.verdict = Verdict::retry_later}},
        JudgementRow{"aborted", scsi::Status::task_aborted, {}, {.verdict = Verdict::retry}},
        JudgementRow{"aborted_command", check, {SenseKey::aborted_command, 0x47, 0}, {.verdict = Verdict::retry}},
        JudgementRow{"conflict", scsi::Status::reservation_conflict, {}, {.verdict = Verdict::to_caller, .status = BlockStatus::conflict}},
        JudgementRow{"standby", check, {SenseKey::not_ready, 0x04, 0x0b}, {.verdict = Verdict::path_failed, .checker = CheckerState::ghost, .by_access = true}},
        JudgementRow{"transition", check, {SenseKey::not_ready, 0x04, 0x0a}, {.verdict = Verdict::path_failed, .checker = CheckerState::pending, .by_access = true}},
        JudgementRow{"not_ready", check, {SenseKey::not_ready, 0x3a, 0}, {.verdict = Verdict::path_failed, .checker = CheckerState::faulty}},
        JudgementRow{"unmapped", check, {SenseKey::illegal_request, 0x25, 0}, {.verdict = Verdict::path_failed, .checker = CheckerState::disconnected}},
        JudgementRow{"no_sense", check, {}, {.verdict = Verdict::path_failed, .checker = CheckerState::faulty}},
        JudgementRow{"reset", check, {SenseKey::unit_attention, 0x29, 0}, {.verdict = Verdict::attention, .reread_identity = true}},
        JudgementRow{"capacity", check, {SenseKey::unit_attention, 0x2a, 0x09}, {.verdict = Verdict::attention, .reread_identity = true}},
        JudgementRow{"mode", check, {SenseKey::unit_attention, 0x2a, 0x01}, {.verdict = Verdict::attention}},
        JudgementRow{"luns", check, {SenseKey::unit_attention, 0x3f, 0x0e}, {.verdict = Verdict::attention, .reread_identity = true}},
        JudgementRow{"opcode", check, {SenseKey::illegal_request, 0x20, 0}, {.verdict = Verdict::to_caller, .status = BlockStatus::not_supported}},
        JudgementRow{"medium", check, {SenseKey::medium_error, 0x11, 0}, {.verdict = Verdict::to_caller, .status = BlockStatus::io_error}},
        JudgementRow{"space", check, {SenseKey::data_protect, 0x27, 0x07}, {.verdict = Verdict::to_caller, .status = BlockStatus::no_space}},
        JudgementRow{"protect", check, {SenseKey::data_protect, 0x27, 0x00}, {.verdict = Verdict::to_caller, .status = BlockStatus::read_only}}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace mpath
