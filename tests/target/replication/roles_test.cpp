#include "target/replication/roles.hpp"

#include <gtest/gtest.h>

namespace mpath::target::replication {
namespace {

// What was carried out before a medium failed is no reason to trust it: writes may have been acknowledged since that it
// could not take.
TEST(Roles, AFollowerWhoseMediumFailsStaysSuspect) {
  const TimePoint now{std::chrono::hours(1)};
  const VoteRecord record{.decided = {.number = 3, .primary = Member::a, .in_sync = {Member::a, Member::b}},
                          .promised = {},
                          .accepted = {}};
  NodeFsm fsm({.self = Member::b}, record, false, 7, now);
  Roles roles(fsm, Member::b, 1, std::chrono::milliseconds(600));
  roles.update(now);
  Report report{.term = roles.orders(0).term, .number = 1, .filled = {}, .trouble = {}};
  report.ready = report.whole = true;
  roles.on_report(0, report, now);
  EXPECT_FALSE(fsm.suspect());
  report.number = 2;
  report.medium_failed = true;
  roles.on_report(0, report, now);
  EXPECT_TRUE(fsm.suspect());
  roles.update(now);
  EXPECT_TRUE(fsm.suspect());
}

// One that was filled is trusted.
TEST(Roles, AFollowerThatWasFilledIsNoLongerSuspect) {
  const TimePoint now{std::chrono::hours(1)};
  const VoteRecord record{
      .decided = {.number = 3, .primary = Member::a, .in_sync = {Member::a}}, .promised = {}, .accepted = {}};
  NodeFsm fsm({.self = Member::b}, record, true, 7, now);
  Roles roles(fsm, Member::b, 1, std::chrono::milliseconds(600));
  roles.update(now);
  EXPECT_TRUE(fsm.suspect());
  Report report{.term = roles.orders(0).term, .number = 1, .filled = {}, .trouble = {}};
  report.ready = report.whole = true;
  roles.on_report(0, report, now);
  EXPECT_FALSE(fsm.suspect());
}

}  // namespace
}  // namespace mpath::target::replication
