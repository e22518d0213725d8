#include "target/replication/node_fsm.hpp"

#include <gtest/gtest.h>

#include <algorithm>

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

}  // namespace
}  // namespace mpath::target::replication
