// The mailbox between threads: nothing lost, nothing twice, each sender's objects in its order, one wake for many.
#include "base/mailbox.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "base/shard.hpp"

namespace mpath {
namespace {

struct Letter {
  unsigned sender = 0;
  unsigned number = 0;
  Letter* next = nullptr;
};
using Box = Mailbox<Letter, &Letter::next>;

struct Reader {
  boost::asio::io_context& loop;
  std::vector<Letter*> got;
  Box box{loop, this,
          [](void* owner, Letter& letter) noexcept { static_cast<Reader*>(owner)->got.push_back(&letter); }};
};

TEST(Mailbox, DeliversOldestFirstInOneWake) {
  boost::asio::io_context loop{1};
  Reader reader{.loop = loop};
  std::vector<Letter> letters(5);
  for (Letter& letter : letters) reader.box.push(letter);
  EXPECT_TRUE(reader.got.empty());
  EXPECT_EQ(loop.poll(), 1U);
  ASSERT_EQ(reader.got.size(), letters.size());
  for (std::size_t index = 0; index < letters.size(); ++index) EXPECT_EQ(reader.got[index], &letters[index]);
}

TEST(Mailbox, WakesTheLoopAgainForWhatIsPushedWhileItEmpties) {
  boost::asio::io_context loop{1};
  struct Again {
    unsigned deliveries = 0;
    Box* box = nullptr;
  } again;
  Box box{loop, &again, [](void* owner, Letter& letter) noexcept {
            auto& self = *static_cast<Again*>(owner);
            if (++self.deliveries < 3) self.box->push(letter);
          }};
  again.box = &box;
  Letter letter;
  box.push(letter);
  loop.run();
  EXPECT_EQ(again.deliveries, 3U);
}

TEST(Mailbox, WhatTheSenderPostsAfterAPushRunsAfterTheDelivery) {
  boost::asio::io_context loop{1};
  Reader reader{.loop = loop};
  Letter first;
  Letter second;
  std::vector<std::size_t> seen;
  reader.box.push(first);
  boost::asio::post(loop, [&] { seen.push_back(reader.got.size()); });
  reader.box.push(second);
  boost::asio::post(loop, [&] { seen.push_back(reader.got.size()); });
  loop.run();
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_GE(seen[0], 1U);
  EXPECT_EQ(seen[1], 2U);
}

TEST(Mailbox, ManyThreadsLoseNothingAndKeepTheirOrder) {
  constexpr unsigned senders = 4;
  constexpr unsigned each = 20000;
  Shard shard(0);
  struct Count {
    std::vector<unsigned> next = std::vector<unsigned>(senders);
    std::atomic<unsigned> delivered = 0;
    bool in_order = true;
  } count;
  Box box{shard.context(), &count, [](void* owner, Letter& letter) noexcept {
            auto& self = *static_cast<Count*>(owner);
            self.in_order = self.in_order && self.next[letter.sender] == letter.number;
            ++self.next[letter.sender];
            if (self.delivered.fetch_add(1) + 1 == senders * each) self.delivered.notify_one();
          }};
  shard.start();
  std::vector<std::unique_ptr<Letter[]>> letters;
  for (unsigned sender = 0; sender < senders; ++sender) letters.push_back(std::make_unique<Letter[]>(each));
  std::vector<std::thread> threads;
  for (unsigned sender = 0; sender < senders; ++sender) {
    threads.emplace_back([&box, sender, mine = letters[sender].get()] {
      for (unsigned number = 0; number < each; ++number) {
        mine[number].sender = sender;
        mine[number].number = number;
        box.push(mine[number]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (unsigned seen = count.delivered; seen < senders * each; seen = count.delivered) count.delivered.wait(seen);
  shard.stop();
  EXPECT_TRUE(count.in_order);
  EXPECT_EQ(count.delivered, senders * each);
}

}  // namespace
}  // namespace mpath
