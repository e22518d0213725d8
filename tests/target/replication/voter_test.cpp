#include "target/replication/voter.hpp"

#include <gtest/gtest.h>

namespace mpath::target::replication {
namespace {

using std::chrono::milliseconds;
using Answer = Voter::Answer;

constexpr Duration lease = milliseconds(400);
const TimePoint start{std::chrono::hours(1)};
const View first{.number = 1, .primary = Member::a, .in_sync = {Member::a, Member::b}};

Voter voter(bool restarted = false) {
  return Voter({.decided = first, .promised = {}, .accepted = std::nullopt}, lease, restarted, start);
}
Vote vote(std::uint64_t round, Member proposer, Member primary) {
  return {.ballot = {.round = round, .proposer = proposer},
          .view = {.number = 2, .primary = primary, .in_sync = {primary}}};
}

TEST(Voter, PromisesOnlyUpwards) {
  Voter one = voter();
  EXPECT_EQ(one.prepare({2, Member::a}, 2, start), Answer::yes);
  EXPECT_TRUE(one.take_changed());
  EXPECT_EQ(one.prepare({2, Member::a}, 2, start), Answer::yes) << "repeated";
  EXPECT_FALSE(one.take_changed());
  EXPECT_EQ(one.prepare({1, Member::b}, 2, start), Answer::outbid);
  EXPECT_EQ(one.accept(vote(1, Member::b, Member::b), start), Answer::outbid);
  EXPECT_EQ(one.prepare({2, Member::b}, 2, start), Answer::yes) << "ties go by the proposer";
  EXPECT_FALSE(one.record().accepted);
}

TEST(Voter, VotesForTheNextViewOnly) {
  Voter one = voter();
  EXPECT_EQ(one.prepare({1, Member::a}, 1, start), Answer::outdated);
  EXPECT_EQ(one.prepare({1, Member::a}, 3, start), Answer::outdated);
  Vote late = vote(1, Member::a, Member::a);
  late.view.number = 1;
  EXPECT_EQ(one.accept(late, start), Answer::outdated);
  EXPECT_EQ(one.accept(vote(1, Member::a, Member::a), start), Answer::yes);
  EXPECT_EQ(one.record().accepted, vote(1, Member::a, Member::a));
}

TEST(Voter, KeepsItsWordUntilItHasRunOut) {
  Voter one = voter();
  ASSERT_EQ(one.grant(Member::a, 1, start), Answer::yes);
  EXPECT_EQ(one.leased_until(), start + lease);
  EXPECT_EQ(one.prepare({1, Member::b}, 2, start + lease - milliseconds(1)), Answer::leased);
  EXPECT_EQ(one.accept(vote(1, Member::b, Member::b), start), Answer::leased);
  EXPECT_EQ(one.prepare({1, Member::a}, 2, start), Answer::yes) << "who has the word may give it up";
  EXPECT_EQ(one.prepare({2, Member::b}, 2, start + lease), Answer::yes);
}

TEST(Voter, GivesNoWordToOneThatIsBeingReplaced) {
  Voter one = voter();
  EXPECT_EQ(one.grant(Member::b, 1, start), Answer::outdated) << "not the primary";
  EXPECT_EQ(one.grant(Member::a, 0, start), Answer::outdated) << "of an older view";
  ASSERT_EQ(one.prepare({1, Member::b}, 2, start), Answer::yes);
  EXPECT_EQ(one.grant(Member::a, 1, start), Answer::outbid);
}

// The other's view may be decided by this vote, whatever the old primary tries next (witness seed 36285: both served).
TEST(Voter, GivesNoWordToOneThatItHasVotedOut) {
  Voter one = voter();
  ASSERT_EQ(one.accept(vote(1, Member::b, Member::b), start), Answer::yes);
  ASSERT_EQ(one.prepare({2, Member::a}, 2, start), Answer::yes) << "it has outbid the other";
  EXPECT_EQ(one.grant(Member::a, 1, start), Answer::outbid);
  // Until it was voted for itself.
  ASSERT_EQ(one.accept(vote(2, Member::a, Member::a), start), Answer::yes);
  EXPECT_EQ(one.grant(Member::a, 1, start), Answer::yes);
}

TEST(Voter, MayHaveGivenItsWordBeforeItRestarted) {
  Voter one = voter(true);
  EXPECT_EQ(one.prepare({1, Member::b}, 2, start), Answer::leased);
  EXPECT_EQ(one.grant(Member::a, 1, start), Answer::yes) << "to the primary only";
  EXPECT_EQ(one.prepare({1, Member::b}, 2, start + lease), Answer::yes);
}

TEST(Voter, BeginsAnewWithEachView) {
  Voter one = voter();
  ASSERT_EQ(one.grant(Member::a, 1, start), Answer::yes);
  ASSERT_EQ(one.accept(vote(5, Member::a, Member::b), start), Answer::yes);
  EXPECT_TRUE(one.learn(vote(5, Member::a, Member::b).view));
  EXPECT_FALSE(one.learn(first)) << "an older one";
  EXPECT_EQ(one.record().promised, Ballot());
  EXPECT_FALSE(one.record().accepted);
  EXPECT_EQ(one.grant(Member::b, 2, start), Answer::yes) << "nobody waits for the word to the old primary";
}

TEST(Views, FollowOnlyFromWhoHeldEverything) {
  const View lone{.number = 2, .primary = Member::a, .in_sync = {Member::a}};
  EXPECT_TRUE(may_follow(first, lone));
  EXPECT_TRUE(may_follow(lone, {.number = 3, .primary = Member::a, .in_sync = {Member::a, Member::b}}));
  EXPECT_FALSE(may_follow(lone, {.number = 3, .primary = Member::b, .in_sync = {Member::b}}));
  EXPECT_FALSE(may_follow(lone, {.number = 4, .primary = Member::a, .in_sync = {Member::a}}));
  EXPECT_FALSE(may_follow(first, {.number = 2, .primary = Member::a, .in_sync = {Member::b}}));
}

}  // namespace
}  // namespace mpath::target::replication
