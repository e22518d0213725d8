#include "target/cluster/action_queue.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mpath::target::cluster {
namespace {

using namespace replication;
using testing::ElementsAre;
using testing::IsEmpty;

// "send N", "send N after", "persist N", "fence": what tests speak of.
Action send(std::uint64_t id, bool after = false) {
  return Send{.to = Member::b, .message = {.body = Beat{.lease_id = id}}, .after_persist = after};
}
Action persist(std::uint64_t number) {
  return Persist{
      {.decided = {.number = number, .primary = Member::a, .in_sync = {Member::a}}, .promised = {}, .accepted = {}}};
}
std::vector<std::string> words(const std::vector<Action>& actions) {
  std::vector<std::string> all;
  for (const Action& action : actions) {
    if (const auto* const sent = std::get_if<Send>(&action)) {
      all.push_back(fmt::format("send {}", std::get<Beat>(sent->message.body).lease_id));
    } else if (const auto* const kept = std::get_if<Persist>(&action)) {
      all.push_back(fmt::format("persist {}", kept->record.decided.number));
    } else {
      all.emplace_back("fence");
    }
  }
  return all;
}

TEST(ActionQueue, LetsEverythingGoWhileNothingIsWritten) {
  ActionQueue queue;
  EXPECT_THAT(words(queue.add({send(1, true), send(2), Fence{}})), ElementsAre("send 1", "send 2", "fence"));
  EXPECT_TRUE(queue.idle());
}

TEST(ActionQueue, HoldsBackWhatRestsOnTheRecord) {
  ActionQueue queue;
  EXPECT_THAT(words(queue.add({persist(1), send(1, true), send(2), Fence{}})), ElementsAre("persist 1", "send 2"));
  EXPECT_THAT(words(queue.add({send(3), send(4, true)})), ElementsAre("send 3"));
  EXPECT_FALSE(queue.idle());
  EXPECT_THAT(words(queue.persisted()), ElementsAre("send 1", "fence", "send 4"));
  EXPECT_TRUE(queue.idle());
}

TEST(ActionQueue, WritesOneRecordAtATimeAndTheLatestOfThoseThatWait) {
  ActionQueue queue;
  EXPECT_THAT(words(queue.add({persist(1), send(1, true), persist(2), send(2, true)})), ElementsAre("persist 1"));
  EXPECT_THAT(words(queue.add({persist(3), send(3, true), send(4)})), ElementsAre("send 4"));
  EXPECT_THAT(words(queue.persisted()), ElementsAre("send 1", "persist 3"));
  EXPECT_FALSE(queue.idle());
  EXPECT_THAT(words(queue.add({send(5, true)})), IsEmpty());
  EXPECT_THAT(words(queue.persisted()), ElementsAre("send 2", "send 3", "send 5"));
  EXPECT_TRUE(queue.idle());
}

TEST(ActionQueue, IsBoundedWhateverComes) {
  ActionQueue queue;
  EXPECT_THAT(words(queue.add({persist(1)})), ElementsAre("persist 1"));
  for (std::uint64_t id = 2; id < 10000; ++id) {
    EXPECT_THAT(queue.add({send(id, true), persist(id)}), IsEmpty());
    ASSERT_LE(queue.waiting(), ActionQueue::waiting_max + 1);
  }
  // The first that waits goes first; the record that is written is the last.
  const auto next = words(queue.persisted());
  EXPECT_THAT(next, ElementsAre("send 2", "persist 9999"));
  EXPECT_EQ(words(queue.persisted()).front(), "send 3");
  EXPECT_TRUE(queue.idle());
}

}  // namespace
}  // namespace mpath::target::cluster
