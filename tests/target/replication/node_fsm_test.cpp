#include "target/replication/node_fsm.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

namespace mpath::target::replication {
namespace {

using std::chrono::milliseconds;

// A primary of both, whose record is always durable at once, and a witness that grants for `kept`.
class Primary : public testing::Test {
 protected:
  // The lease that a word of `kept` gives, when a beat was asked at the end of it.
  bool serves_after(milliseconds kept, milliseconds passed) {
    const View view{.number = 5, .primary = Member::b, .in_sync = {Member::a, Member::b}};
    // Not the primary of an earlier life: it becomes so by hearing of it.
    const VoteRecord before{.decided = {.number = 4, .primary = Member::b, .in_sync = {Member::a, Member::b}},
                            .promised = {},
                            .accepted = {}};
    NodeFsm node({.self = Member::a}, before, false, 1, now_);
    View ours = view;
    ours.primary = Member::a;
    node.on_message({.from = Member::witness, .incarnation = 9, .decided = ours, .body = Beat()}, now_);
    std::uint64_t asked = 0;
    // A voter that was started just now keeps still for one lease: its own word comes after that.
    now_ += NodeOptions().lease;
    node.on_time(now_);
    for (const Action& action : node.take_actions()) {
      const auto* const send = std::get_if<Send>(&action);
      if (send == nullptr) continue;
      if (send->to == Member::a) node.on_message(send->message, now_);
      const auto* const beat = std::get_if<Beat>(&send->message.body);
      if (send->to == Member::witness && beat != nullptr) asked = std::max(asked, beat->lease_id);
    }
    EXPECT_GT(asked, 0U);
    EXPECT_FALSE(node.may_serve(now_));
    const Message granted{
        .from = Member::witness, .incarnation = 9, .decided = ours, .body = Grant{.lease_id = asked, .lease = kept}};
    node.on_message(granted, now_);
    return node.may_serve(now_ + passed);
  }

  TimePoint now_{std::chrono::hours(1)};
};

TEST_F(Primary, CountsItsOwnLease) {
  EXPECT_TRUE(serves_after(milliseconds(400), milliseconds(390)));
  EXPECT_FALSE(serves_after(milliseconds(400), milliseconds(393)));
  EXPECT_FALSE(serves_after(milliseconds(5000), milliseconds(393)));
}

TEST_F(Primary, CountsNoLongerThanTheVoterKeepsItsWord) {
  EXPECT_TRUE(serves_after(milliseconds(100), milliseconds(97)));
  EXPECT_FALSE(serves_after(milliseconds(100), milliseconds(99)));
  EXPECT_FALSE(serves_after(milliseconds(0), milliseconds(0)));
}

// Two nodes without a witness that go on when the other one is lost. This is a; its record is always durable at once.
class Alone : public testing::Test {
 protected:
  static constexpr View both{.number = 5, .primary = Member::a, .in_sync = {Member::a, Member::b}};
  static constexpr View only_a{.number = 6, .primary = Member::a, .in_sync = {Member::a}};
  static constexpr View only_b{.number = 6, .primary = Member::b, .in_sync = {Member::b}};

  static VoteRecord record(const View& decided) { return {.decided = decided, .promised = {}, .accepted = {}}; }
  static NodeOptions options() { return {.self = Member::a, .witness = false, .on_peer_loss = PeerLoss::proceed}; }

  void hear(const View& decided) {
    node_->on_message({.from = Member::b, .incarnation = 7, .decided = decided, .body = Beat()}, now_);
    work();
  }
  // A node that has the peer fenced when it is lost; it was heard a moment ago.
  void begin_with_fence() {
    NodeOptions fences = options();
    fences.on_peer_loss = PeerLoss::fence;
    node_.emplace(fences, record(both), false, 1, now_);
    run_for(fences.deadtime / 2);
    hear(both);
  }
  // Time passes while the node runs.
  void run_for(Duration time) {
    for (const TimePoint end = now_ + time; now_ < end; now_ += milliseconds(10)) {
      node_->on_time(now_);
      work();
    }
  }
  // What it says to itself, it hears.
  void work() {
    for (auto actions = node_->take_actions(); !actions.empty(); actions = node_->take_actions()) {
      for (const Action& action : actions) {
        const auto* const send = std::get_if<Send>(&action);
        if (send != nullptr && send->to == Member::a) node_->on_message(send->message, now_);
      }
    }
  }

  TimePoint now_{std::chrono::hours(1)};
  std::optional<NodeFsm> node_;
};

TEST_F(Alone, FindsTheSplitWhenTheyMeetAndStops) {
  node_.emplace(options(), record(only_a), false, 1, now_);
  EXPECT_TRUE(node_->may_serve(now_));
  hear(only_b);
  EXPECT_TRUE(node_->split());
  EXPECT_FALSE(node_->may_serve(now_));
  EXPECT_EQ(node_->peer_life(now_), 0U);  // nothing is filled
  EXPECT_NE(node_->waits_for(now_).find("split"), std::string::npos);
  // Its other half out of sight does not make it one again, and what it said before neither.
  run_for(std::chrono::seconds(20));
  EXPECT_FALSE(node_->may_serve(now_));
  hear(both);
  EXPECT_FALSE(node_->may_serve(now_));
}

TEST_F(Alone, GoesOnWhenTheOtherJoinsAnew) {
  node_.emplace(options(), record(only_a), false, 1, now_);
  hear(only_b);
  EXPECT_FALSE(node_->may_serve(now_));
  hear(View());
  EXPECT_FALSE(node_->split());
  EXPECT_TRUE(node_->may_serve(now_));
  EXPECT_EQ(node_->peer_life(now_), 7U);
}

TEST_F(Alone, GivesUpWhatItHasWhenItIsToldTo) {
  node_.emplace(options(), record(only_a), false, 1, now_);
  EXPECT_FALSE(node_->give_up(now_)) << "there is no split";
  hear(only_b);
  ASSERT_TRUE(node_->give_up(now_));
  EXPECT_EQ(node_->view().number, 0U);
  EXPECT_TRUE(node_->suspect()) << "it counts again when it was filled";
  bool kept = false;
  for (const Action& action : node_->take_actions()) {
    const auto* const persist = std::get_if<Persist>(&action);
    kept = kept || (persist != nullptr && persist->record == VoteRecord());
  }
  EXPECT_TRUE(kept) << "also after a restart";
  hear(only_b);
  EXPECT_EQ(node_->view(), only_b);
  EXPECT_FALSE(node_->split());
  EXPECT_FALSE(node_->may_serve(now_));
}

TEST_F(Alone, IsNoSplitWhenOneIsMerelyBehind) {
  node_.emplace(options(), record(only_a), false, 1, now_);
  hear(both);
  EXPECT_FALSE(node_->split());
  EXPECT_TRUE(node_->may_serve(now_));
}

TEST_F(Alone, GoesOnWhenThePeerIsSilent) {
  node_.emplace(options(), record(both), false, 1, now_);
  run_for(options().deadtime / 2);
  hear(both);
  run_for(options().deadtime - milliseconds(50));
  EXPECT_EQ(node_->view(), both);
  run_for(milliseconds(400));
  EXPECT_EQ(node_->view(), only_a);
}

TEST_F(Alone, DoesNotGoOnAfterAStartOnWhatWasSaidBefore) {
  node_.emplace(options(), record(both), false, 1, now_);
  run_for(milliseconds(100));
  hear(both);
  run_for(std::chrono::seconds(20));
  EXPECT_EQ(node_->view(), both);
}

TEST_F(Alone, AfterAPauseHearsThePeerBeforeItGoesOnAlone) {
  node_.emplace(options(), record(both), false, 1, now_);
  run_for(options().deadtime / 2);
  hear(both);
  run_for(milliseconds(100));
  now_ += std::chrono::seconds(3);
  hear(both);  // it was said before the pause
  run_for(std::chrono::seconds(20));
  EXPECT_EQ(node_->view(), both);
  hear(only_b);
  EXPECT_EQ(node_->view(), only_b);
  EXPECT_FALSE(node_->split());
}

TEST_F(Alone, AfterAPauseListensBeforeItHasThePeerFenced) {
  begin_with_fence();
  const auto asked = [this](Duration time) {
    bool fence = false;
    for (const TimePoint end = now_ + time; now_ < end; now_ += milliseconds(10)) {
      node_->on_time(now_);
      for (const Action& action : node_->take_actions()) fence = fence || std::holds_alternative<Fence>(action);
    }
    return fence;
  };
  now_ += std::chrono::seconds(3);
  EXPECT_FALSE(asked(options().deadtime - milliseconds(50)));
  EXPECT_TRUE(asked(std::chrono::seconds(2)));
  // What the handler says is too old when this node was stopped meanwhile.
  now_ += std::chrono::seconds(3);
  node_->on_time(now_);
  node_->on_fenced(true, now_);
  run_for(milliseconds(300));
  EXPECT_EQ(node_->view(), both);
}

// It is on the medium and decides alone, although the node was stopped before it could see that.
TEST_F(Alone, AfterAPauseKnowsThatItsVoteHasDecided) {
  node_.emplace(options(), record(both), false, 1, now_);
  run_for(options().deadtime / 2);
  hear(both);
  std::optional<Message> voted;
  for (const TimePoint limit = now_ + std::chrono::seconds(5); !voted && now_ < limit; now_ += milliseconds(10)) {
    node_->on_time(now_);
    for (auto actions = node_->take_actions(); !actions.empty(); actions = node_->take_actions()) {
      for (const Action& action : actions) {
        const auto* const send = std::get_if<Send>(&action);
        if (send == nullptr || send->to != Member::a) continue;
        if (std::holds_alternative<Accepted>(send->message.body)) {
          voted = send->message;
        } else {
          node_->on_message(send->message, now_);
        }
      }
    }
  }
  ASSERT_TRUE(voted);
  EXPECT_EQ(node_->view(), both);
  now_ += std::chrono::seconds(3);
  run_for(milliseconds(200));
  EXPECT_EQ(node_->view(), both);
  node_->on_message(*voted, now_);
  EXPECT_EQ(node_->view(), only_a);
}

TEST_F(Alone, AwaitsNoFenceOnceThePeerIsHeard) {
  begin_with_fence();
  EXPECT_FALSE(node_->awaits_fence());
  run_for(std::chrono::seconds(2));
  EXPECT_TRUE(node_->awaits_fence());
  hear(both);
  EXPECT_FALSE(node_->awaits_fence());
  node_->on_fenced(true, now_);
  run_for(std::chrono::seconds(1) / 2);
  EXPECT_EQ(node_->view(), both);
}

// A node that has lost its memory, beside one that was filled just before: the words of the time before come late.
TEST_F(Alone, DoesNotBelieveAnOldWordThatThePeerIsSuspect) {
  NodeOptions options{.self = Member::a, .witness = false};
  node_.emplace(options, record(both), true, 1, now_);
  const View before{.number = 4, .primary = Member::a, .in_sync = {Member::a}};
  Message late{.from = Member::b, .incarnation = 7, .suspect = true, .decided = before, .body = Beat()};
  node_->on_message(late, now_);
  const auto prepares = [this] {
    return std::ranges::any_of(node_->take_actions(), [](const Action& action) {
      const auto* const send = std::get_if<Send>(&action);
      return send != nullptr && std::holds_alternative<Prepare>(send->message.body);
    });
  };
  EXPECT_FALSE(prepares());
  // When it says so now, none is better than the other: the last primary goes on.
  late.decided = both;
  node_->on_message(late, now_);
  EXPECT_TRUE(prepares());
}

// It may have served under the view that it voted for, and does not know any more what became of it.
TEST(Follower, TakesNoWritesOfOneThatItHasVotedOut) {
  const View whole{.number = 3, .primary = Member::a, .in_sync = {Member::a, Member::b}};
  const View only_us{.number = 4, .primary = Member::b, .in_sync = {Member::b}};
  VoteRecord record{.decided = whole, .promised = {}, .accepted = {}};
  const TimePoint now{std::chrono::hours(1)};
  EXPECT_TRUE(NodeFsm({.self = Member::b}, record, false, 2, now).takes_writes_of(Member::a, 3));
  record.promised = {.round = 1, .proposer = Member::b};
  record.accepted = Vote{.ballot = record.promised, .view = only_us};
  EXPECT_FALSE(NodeFsm({.self = Member::b}, record, false, 2, now).takes_writes_of(Member::a, 3));
}

}  // namespace
}  // namespace mpath::target::replication
