// Several links as one stream, on simulated links that delay, lose everything, are reset and come back: each message
// arrives once, in order, soon.
#include "target/replication/bond.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <memory>

#include "base/random.hpp"

namespace mpath::target::replication::test {
namespace {

using std::chrono::milliseconds;
using Fate = InOrder<int>::Fate;

// ---- order ---------------------------------------------------------------------------------------------------------

TEST(InOrderTest, GivesEachOnceAndInOrder) {
  InOrder<int> order(1000);
  EXPECT_EQ(order.judge(2), Fate::early);
  order.keep(2, 2);
  EXPECT_EQ(order.judge(2), Fate::twice);
  EXPECT_EQ(order.judge(200), Fate::early);
  order.keep(200, 200);  // a wider ring
  EXPECT_FALSE(order.take_next());
  EXPECT_EQ(order.judge(1), Fate::next);
  EXPECT_EQ(order.take_next(), 2);
  EXPECT_FALSE(order.take_next());
  EXPECT_EQ(order.judge(1), Fate::twice);
  EXPECT_EQ(order.judge(2), Fate::twice);
  for (std::uint64_t number = 3; number < 200; ++number) EXPECT_EQ(order.judge(number), Fate::next);
  EXPECT_EQ(order.take_next(), 200);
  EXPECT_EQ(order.passed(), 200U);
  EXPECT_EQ(order.kept(), 0U);
  EXPECT_EQ(order.judge(1201), Fate::beyond);
  EXPECT_EQ(order.judge(1200), Fate::early);
}

// ---- what is sent --------------------------------------------------------------------------------------------------

struct Sent : BondMessage {
  explicit Sent(std::uint64_t size) { bytes = size; }
};

TEST(BondTest, KeepsLittleTogetherAndSpreadsMuch) {
  Bond bond;
  bond.up(0);
  bond.up(3);
  std::deque<Sent> messages;
  const auto send = [&](std::uint64_t bytes) {
    bond.send(messages.emplace_back(bytes));
    return messages.back().link;
  };
  const std::size_t first = send(4096);
  for (int count = 0; count < 60; ++count) EXPECT_EQ(send(4096), first);
  std::array<std::uint64_t, stream_links_max> load{};
  for (int count = 0; count < 100; ++count) load[send(1 << 20)] += 1;
  EXPECT_GT(load[0], 40U);
  EXPECT_GT(load[3], 40U);
  EXPECT_EQ(load[0] + load[3], 100U) << "and none on links that are not there";
}

TEST(BondTest, TakesTheHintForWhatIsSmall) {
  Bond bond;
  bond.up(0);
  bond.up(1);
  Sent small(64), large(1 << 20), late(64);
  bond.send(small, 1);
  EXPECT_EQ(small.link, 1U);
  bond.send(large, 1);
  EXPECT_EQ(large.link, 0U);
  bond.down(1);
  bond.send(late, 1);
  EXPECT_EQ(late.link, 0U);
}

TEST(BondTest, SendsAgainWhatALostLinkCarriedAndNothingElse) {
  Bond bond;
  bond.up(0);
  std::deque<Sent> messages;
  for (int count = 0; count < 5; ++count) bond.send(messages.emplace_back(64));
  ASSERT_TRUE(bond.seen(2, [](BondMessage&) {}));
  bond.up(1);
  Sent other(64);
  bond.send(other, 1);
  ASSERT_EQ(other.link, 1U);
  bond.down(0);
  std::vector<std::uint64_t> again;
  bond.send_again([&](BondMessage& message) {
    EXPECT_EQ(message.link, 1U);
    again.push_back(message.number);
  });
  EXPECT_EQ(again, (std::vector<std::uint64_t>{3, 4, 5}));
  bond.down(1);
  bond.send_again([](BondMessage&) { FAIL() << "there is no link"; });
  again.clear();
  bond.up(0);
  bond.send_again([&](BondMessage& message) { again.push_back(message.number); });
  EXPECT_EQ(again, (std::vector<std::uint64_t>{3, 4, 5, 6}));
  EXPECT_FALSE(bond.seen(7, [](BondMessage&) {})) << "never sent";
  std::uint64_t released = 0;
  EXPECT_TRUE(bond.seen(6, [&](BondMessage&) { ++released; }));
  EXPECT_TRUE(bond.seen(4, [&](BondMessage&) { ++released; })) << "older news";
  EXPECT_EQ(released, 4U);
  EXPECT_FALSE(bond.busy());
}

TEST(BondTest, IsFullAtItsBound) {
  Bond bond({.window_max = 200});
  bond.up(0);
  std::deque<Sent> messages;
  while (!bond.full()) bond.send(messages.emplace_back(64));
  EXPECT_EQ(messages.size(), 200U);
  ASSERT_TRUE(bond.seen(1, [](BondMessage&) {}));
  EXPECT_FALSE(bond.full());
}

// ---- two ends and the network between them -------------------------------------------------------------------------

struct Packet {
  std::uint64_t life = 0;  // of the link
  milliseconds at{};
  std::uint64_t number = 0, seen = 0, bytes = 0;
  bool asks = false, answers = false;
};

struct World;

struct End {
  World& world;
  std::size_t side;
  Bond bond = Bond();
  InOrder<int> order{1 << 16};
  std::deque<Sent> sent;
  std::deque<milliseconds> sent_at;
  std::array<std::uint64_t, stream_links_max> life{};  // of the connection that it has; 0: none
  std::array<Bond::Sight, stream_links_max> sights;
  std::uint64_t delivered = 0, told = 0;
  milliseconds next_look{0};
  std::uint64_t doubles = 0;

  void transmit(const Sent& message);
  void came(std::size_t link, const Packet& packet);
  void pass();
  void lose(std::size_t link);
  void look(milliseconds now);
};

struct World {
  World(std::uint64_t seed, std::size_t count) : random(seed), links(count) {}

  std::uint64_t random;
  std::size_t links;
  milliseconds now{0};
  std::array<End, 2> ends{End{.world = *this, .side = 0}, End{.world = *this, .side = 1}};
  // [from][link]
  std::array<std::array<std::deque<Packet>, stream_links_max>, 2> ways;
  std::array<std::array<bool, stream_links_max>, 2> swallowed{};
  std::uint64_t lives = 0;
  milliseconds longest{0};

  std::uint64_t roll(std::uint64_t below) { return next_random(random) % below; }
  void put(std::size_t from, std::size_t link, Packet packet) {
    packet.life = ends[from].life[link];
    packet.at = now + milliseconds(roll(4));
    auto& way = ways[from][link];
    if (!way.empty()) packet.at = std::max(packet.at, way.back().at);
    way.push_back(packet);
  }
  void connect(std::size_t link) {
    ++lives;
    for (End& end : ends) {
      if (end.life[link] != 0) end.lose(link);
      end.life[link] = lives;
      end.sights[link] = {};
      end.bond.up(link);
    }
    // Those of an earlier life cannot come any more.
    for (auto& from : ways) from[link].clear();
    for (End& end : ends) end.bond.send_again([&end](BondMessage& each) { end.transmit(static_cast<Sent&>(each)); });
  }
  void deliver() {
    for (std::size_t from = 0; from < 2; ++from) {
      for (std::size_t link = 0; link < links; ++link) {
        auto& way = ways[from][link];
        // What is swallowed comes when the way is mended, as TCP has it, if the connection still lives.
        while (!way.empty() && way.front().at <= now && !swallowed[from][link]) {
          const Packet packet = way.front();
          way.pop_front();
          End& to = ends[1 - from];
          if (to.life[link] != packet.life) {
            // A reset, unless it is swallowed too.
            if (!swallowed[1 - from][link] && ends[from].life[link] == packet.life) ends[from].lose(link);
            continue;
          }
          if (!swallowed[1 - from][link] && ends[from].life[link] == packet.life) {
            ends[from].sights[link].acknowledged_bytes += packet.bytes;
          }
          to.came(link, packet);
        }
      }
    }
  }
  void step() {
    ++now;
    deliver();
    for (End& end : ends) {
      if (now < end.next_look) continue;
      end.look(now);
      end.next_look = now + milliseconds(15 + roll(3));
    }
  }
  void send(std::size_t side) {
    End& end = ends[side];
    if (end.bond.full()) return;
    Sent& message = end.sent.emplace_back(roll(3) == 0 ? 64 : 65536);
    end.sent_at.push_back(now);
    end.bond.send(message);
    if (message.link != Bond::no_link) end.transmit(message);
  }
  // Both have it, and what is said on it arrives.
  bool is_good(std::size_t link) const {
    return ends[0].life[link] != 0 && ends[0].life[link] == ends[1].life[link] && !swallowed[0][link] &&
           !swallowed[1][link];
  }
  bool quiet() const {
    return ends[0].delivered == ends[1].sent.size() && ends[1].delivered == ends[0].sent.size() &&
           ends[0].bond.kept() == 0 && ends[1].bond.kept() == 0;
  }
};

void End::transmit(const Sent& message) {
  told = order.passed();
  world.put(side, message.link, {.number = message.number, .seen = told, .bytes = message.bytes});
}

void End::came(std::size_t link, const Packet& packet) {
  bond.heard(link, packet.answers);
  ASSERT_TRUE(bond.seen(packet.seen, [](BondMessage&) {}));
  if (packet.number == 0) {
    if (packet.asks) world.put(side, link, {.seen = told = order.passed(), .bytes = 64, .answers = true});
    return;
  }
  switch (order.judge(packet.number)) {
    case Fate::next:
      pass();
      break;
    case Fate::early:
      order.keep(packet.number, static_cast<int>(packet.number));
      return;
    case Fate::twice:
      ++doubles;
      return;
    case Fate::beyond:
      FAIL() << packet.number;
  }
  while (const auto next = order.take_next()) {
    ASSERT_EQ(static_cast<std::uint64_t>(*next), delivered + 1);
    pass();
  }
}

void End::pass() {
  ++delivered;
  ASSERT_LE(delivered, world.ends[1 - side].sent.size());
  world.longest = std::max(world.longest, world.now - world.ends[1 - side].sent_at[delivered - 1]);
}

void End::lose(std::size_t link) {
  life[link] = 0;
  bond.down(link);
  bond.send_again([this](BondMessage& each) { transmit(static_cast<Sent&>(each)); });
}

void End::look(milliseconds now) {
  const auto judgement = bond.look(TimePoint() + now, sights);
  for (std::size_t link = 0; link < world.links; ++link) {
    if ((judgement.give_up >> link & 1U) != 0) {
      lose(link);
    } else if ((judgement.ask >> link & 1U) != 0) {
      world.put(side, link, {.seen = told = order.passed(), .bytes = 64, .asks = true});
    }
  }
  for (std::size_t link = 0; link < world.links && told < order.passed(); ++link) {
    if (bond.is_up(link)) world.put(side, link, {.seen = told = order.passed(), .bytes = 64});
  }
}

class BondSim : public testing::TestWithParam<std::uint64_t> {};

TEST_P(BondSim, EverythingArrivesOnceInOrderAndSoonWhileOneLinkLives) {
  const std::uint64_t seed = GetParam();
  World world(seed, 2 + seed % 3);
  for (std::size_t link = 0; link < world.links; ++link) world.connect(link);
  std::size_t good = 0;                   // it is left alone
  milliseconds good_since{0}, broken{0};  // when something was last done to another
  std::uint64_t faults = 0;
  while (world.now < milliseconds(4000) && !HasFatalFailure()) {
    if (world.roll(3) == 0) world.send(world.roll(2));
    if (world.roll(200) == 0) {
      const std::size_t link = world.roll(world.links);
      if (link != good) {
        ++faults;
        broken = world.now;
        switch (world.roll(4)) {
          case 0:  // nothing arrives any more, and nobody is told
            world.swallowed[0][link] = world.swallowed[1][link] = true;
            break;
          case 1:
            world.swallowed[world.roll(2)][link] = true;
            break;
          case 2: {  // one side, or both, hear of its end
            const std::size_t side = world.roll(2);
            if (world.ends[side].life[link] != 0) world.ends[side].lose(link);
            if (world.roll(2) == 0 && world.ends[1 - side].life[link] != 0) world.ends[1 - side].lose(link);
            break;
          }
          case 3:  // mended, and joined again where side 0 has noticed
            world.swallowed[0][link] = world.swallowed[1][link] = false;
            if (world.ends[0].life[link] == 0) world.connect(link);
            break;
        }
      }
    }
    // Another link becomes the one that holds, when it has been good for a while.
    const std::size_t next = world.roll(world.links);
    if (world.roll(300) == 0 && world.is_good(next) && world.now - broken > milliseconds(250) &&
        world.now - good_since > milliseconds(300)) {
      good = next;
      good_since = world.now;
    }
    world.step();
    ASSERT_TRUE(world.ends[0].bond.is_up(good) && world.ends[1].bond.is_up(good)) << "given up though it carries";
  }
  EXPECT_GT(faults, 0U);
  for (int left = 1000; left > 0 && !world.quiet(); --left) world.step();
  EXPECT_TRUE(world.quiet());
  for (const End& end : world.ends) {
    EXPECT_EQ(end.delivered, world.ends[1 - end.side].sent.size());
    EXPECT_EQ(end.order.kept(), 0U);
  }
  // Of a stream that waits for its silence limit this would be 1000 and more.
  EXPECT_LE(world.longest, milliseconds(250));
}

INSTANTIATE_TEST_SUITE_P(, BondSim, testing::Range(std::uint64_t{1}, std::uint64_t{301}));

TEST(BondTimes, ASilentLinkCostsLessThanATenthOfASecond) {
  World world(7, 2);
  world.connect(0);
  world.connect(1);
  for (int count = 0; count < 300; ++count) {
    world.send(0);
    world.step();
  }
  const std::size_t used = world.ends[0].sent.back().link;
  world.swallowed[0][used] = world.swallowed[1][used] = true;
  world.longest = {};
  for (int count = 0; count < 300; ++count) {
    world.send(0);
    world.step();
  }
  EXPECT_FALSE(world.ends[0].bond.is_up(used));
  EXPECT_LT(world.longest, milliseconds(100));
  EXPECT_GT(world.longest, milliseconds(40)) << "it was given its time";
}

TEST(BondTimes, AnIdleLinkThatDiesIsFound) {
  World world(8, 2);
  world.connect(0);
  world.connect(1);
  world.swallowed[0][1] = world.swallowed[1][1] = true;
  for (int count = 0; count < 1300; ++count) world.step();
  for (const End& end : world.ends) {
    EXPECT_TRUE(end.bond.is_up(0));
    EXPECT_FALSE(end.bond.is_up(1));
  }
}

TEST(BondTimes, NothingIsGivenUpWhileNobodyIsHeard) {
  World world(9, 3);
  for (std::size_t link = 0; link < 3; ++link) {
    world.connect(link);
    world.swallowed[0][link] = world.swallowed[1][link] = true;
  }
  world.send(0);
  for (int count = 0; count < 5000; ++count) world.step();
  EXPECT_EQ(world.ends[0].bond.links(), 7U);
}

TEST(BondTimes, WhoStoodStillDoesNotBlameTheLinks) {
  World world(10, 2);
  world.connect(0);
  world.connect(1);
  for (int count = 0; count < 100; ++count) {
    world.send(0);
    world.step();
  }
  End& end = world.ends[0];
  // Ten seconds later: one link has been read, the other not yet.
  world.now += milliseconds(10000);
  for (int count = 0; count < 3; ++count) {
    end.bond.heard(1, true);
    const auto judgement = end.bond.look(TimePoint() + world.now + milliseconds(count), end.sights);
    EXPECT_EQ(judgement.give_up, 0U);
  }
}

TEST(BondTimes, ALongWayIsGivenItsTime) {
  Bond bond;
  bond.up(0);
  bond.up(1);
  Sent message(64);
  bond.send(message);
  std::array<Bond::Sight, stream_links_max> sights;
  sights[message.link].round_trip = milliseconds(200);
  TimePoint now{};
  for (int count = 0; count < 40; ++count, now += milliseconds(15)) {
    bond.heard(1 - message.link, true);
    EXPECT_EQ(bond.look(now, sights).give_up, 0U) << count;
  }
  bool given_up = false;
  for (int count = 0; count < 40; ++count, now += milliseconds(15)) {
    bond.heard(1 - message.link, true);
    given_up = given_up || bond.look(now, sights).give_up == 1U << message.link;
  }
  EXPECT_TRUE(given_up);
}

}  // namespace
}  // namespace mpath::target::replication::test
