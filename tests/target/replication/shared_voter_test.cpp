#include "target/replication/shared_voter.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace mpath::target::replication {
namespace {

using std::chrono::milliseconds;

constexpr Duration lease = milliseconds(400);
const View both{.number = 3, .primary = Member::a, .in_sync = {Member::a, Member::b}};
const View only_b{.number = 4, .primary = Member::b, .in_sync = {Member::b}};
const Ballot of_b{.round = 1, .proposer = Member::b};

// One store, and the voter as each node sees it.
class SharedVotes : public testing::Test {
 protected:
  // As the node's shell does: tries, reads again when the other was quicker.
  std::optional<Body> ask(SharedVoter& voter, Member from, const Body& body, const View& decided = both) {
    const Message question{.from = from, .incarnation = 7, .decided = decided, .body = body};
    for (int attempt = 0; attempt < 3; ++attempt) {
      if (!voter.knows() || attempt > 0) voter.observed(store_, now_);
      const auto step = voter.step(question, now_);
      if (!step) return std::nullopt;
      if (!step->put) {
        if (voter.known() == store_ && attempt > 0) return step->answer.body;
        continue;
      }
      if (!(voter.known() == store_)) continue;
      store_ = *step->put;
      voter.committed(*step);
      return step->answer.body;
    }
    return std::nullopt;
  }
  bool grants_a() {
    const auto body = ask(a_, Member::a, Beat{.lease_id = ++lease_id_});
    return body && std::holds_alternative<Grant>(*body);
  }
  bool promises_b() {
    const auto body = ask(b_, Member::b, Prepare{.ballot = of_b});
    return body && std::holds_alternative<Promise>(*body);
  }

  TimePoint now_{std::chrono::hours(1)};
  StoredRecord store_{.cluster = {}, .serial = 1, .record = {.decided = both, .promised = {}, .accepted = {}}};
  SharedVoter a_{lease, now_}, b_{lease, now_};
  std::uint64_t lease_id_ = 0;
};

TEST_F(SharedVotes, GiveTheirWordToThePrimaryAndNobodyElse) {
  EXPECT_TRUE(grants_a());
  const auto body = ask(b_, Member::b, Beat{.lease_id = 9});
  ASSERT_TRUE(body);
  EXPECT_TRUE(std::holds_alternative<Refused>(*body));
}

TEST_F(SharedVotes, AreKeptForALeaseFromWhenTheOtherNodeSawTheWord) {
  ASSERT_TRUE(grants_a());
  now_ += milliseconds(100);
  EXPECT_FALSE(promises_b());
  // What was given meanwhile counts from when it is found.
  now_ += milliseconds(390);
  ASSERT_TRUE(grants_a());
  now_ += milliseconds(390);
  EXPECT_FALSE(promises_b());
  now_ += milliseconds(399);
  EXPECT_FALSE(promises_b());
  now_ += milliseconds(1);
  EXPECT_TRUE(promises_b());
  // From then on there is no word for the old primary.
  EXPECT_FALSE(grants_a());
}

TEST_F(SharedVotes, KeepStillAfterAStart) {
  now_ += milliseconds(10'000);
  SharedVoter anew(lease, now_);
  b_ = anew;
  EXPECT_FALSE(promises_b()) << "a word may have been given just before";
  now_ += lease;
  EXPECT_TRUE(promises_b());
}

TEST_F(SharedVotes, AWordThatWasGivenMeanwhileUndoesAPromise) {
  ASSERT_TRUE(grants_a());
  EXPECT_FALSE(promises_b());
  now_ += lease;
  // b computes its promise, but a was quicker.
  const Message question{.from = Member::b, .incarnation = 7, .decided = both, .body = Prepare{.ballot = of_b}};
  const auto step = b_.step(question, now_);
  ASSERT_TRUE(step && step->put);
  EXPECT_TRUE(std::holds_alternative<Promise>(step->answer.body));
  ASSERT_TRUE(grants_a());
  EXPECT_NE(b_.known(), store_) << "the swap fails";
  EXPECT_FALSE(promises_b());
}

TEST_F(SharedVotes, RememberWhatWasVotedForAndDecided) {
  now_ += lease;
  EXPECT_FALSE(promises_b());
  now_ += lease;
  ASSERT_TRUE(promises_b());
  const Vote vote{.ballot = of_b, .view = only_b};
  const auto accepted = ask(b_, Member::b, Propose{.vote = vote});
  ASSERT_TRUE(accepted && std::holds_alternative<Accepted>(*accepted));
  // a asks with a higher ballot and hears of it.
  now_ += lease;
  static_cast<void>(ask(a_, Member::a, Beat{}));
  now_ += lease;
  const auto promise = ask(a_, Member::a, Prepare{.ballot = {.round = 2, .proposer = Member::a}});
  ASSERT_TRUE(promise && std::holds_alternative<Promise>(*promise));
  EXPECT_EQ(std::get<Promise>(*promise).accepted, vote);
  // What was decided is learnt from whoever says it.
  static_cast<void>(ask(b_, Member::b, Beat{}, only_b));
  EXPECT_EQ(store_.record.decided, only_b);
  EXPECT_FALSE(grants_a());
}

}  // namespace
}  // namespace mpath::target::replication
