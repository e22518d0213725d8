// A stream over several TCP connections: nothing is lost, repeated or exchanged while one of them lives.
#include "target/replication/bonded_stream.hpp"

#include <linux/filter.h>

#include <deque>

#include "base/random.hpp"
#include "tests/support/allocation_counter.hpp"
#include "tests/target/replication/stream/ping_pong.hpp"
#include "tests/target/replication/stream/tls_ends.hpp"

namespace mpath::target::replication::test {
namespace {

const StreamHead an_ack{.op = StreamOp::ack, .sequence = 1};

class BondedStreams : public StreamTest {
 protected:
  // A connection between both; its ends stay known, for what may happen to it.
  void connect(std::size_t link) {
    Ends ends = connect_on_loopback();
    fds[link] = {ends.near.get(), ends.far.get()};
    const TcpStreamOptions options{.silence_max = std::chrono::seconds(30), .keys = {}, .version = 2};
    TlsEnds tls;
    if (encrypted) tls = tls_ends();
    EXPECT_TRUE(leader->add_link(link, stream_on(std::move(ends.near), options, std::move(tls.near))));
    EXPECT_TRUE(follower->add_link(link, stream_on(std::move(ends.far), options, std::move(tls.far))));
  }
  void start() {
    leader->start(at_leader);
    follower->start(at_follower);
  }
  // Nothing that either end sends is heard by the other from now on, and nobody is told.
  void swallow(std::size_t link) {
    sock_filter nothing{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
    const sock_fprog program{.len = 1, .filter = &nothing};
    for (const int fd : {fds[link].first, fds[link].second}) {
      ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
    }
  }
  void reset(std::size_t link) { ::shutdown(fds[link].first, SHUT_RDWR); }
  // The follower answers each write, and the leader sends another for it, up to `count`.
  void answer_all() {
    at_follower.keep = at_leader.keep = false;
    at_follower.on_each = [this](const StreamHead& head, std::span<const std::byte> body) {
      EXPECT_EQ(head.sequence, ++taken);
      if (body[17] != pattern(64, static_cast<unsigned>(head.sequence))[17]) ++wrong;
      follower->send({.op = StreamOp::ack, .sequence = head.sequence}, {});
    };
    at_leader.on_each = [this](const StreamHead& head, std::span<const std::byte>) {
      EXPECT_EQ(head.sequence, ++answered);
      // Given back: whoever still sends it, sends nonsense.
      std::ranges::fill(bodies.at(head.sequence), std::byte{0});
      bodies.erase(head.sequence);
      parts.erase(head.sequence);
    };
  }
  void send_one(std::size_t bytes = 4096) {
    ++sent;
    Bytes& body = bodies.emplace(sent, pattern(bytes, static_cast<unsigned>(sent))).first->second;
    iovec& part = parts.emplace(sent, iovec{body.data(), body.size()}).first->second;
    leader->send(write_head(sent, bytes), {&part, 1});
  }
  std::size_t busiest() const {
    const BondCounters counters = leader->counters();
    return counters.links[0].bytes_sent >= counters.links[1].bytes_sent ? 0 : 1;
  }

  bool encrypted = false;
  std::map<std::size_t, std::pair<int, int>> fds;
  std::map<std::uint64_t, Bytes> bodies;
  std::map<std::uint64_t, iovec> parts;
  std::uint64_t sent = 0, taken = 0, answered = 0, wrong = 0;
  Told at_leader, at_follower;
  std::unique_ptr<BondedStream> leader = std::make_unique<BondedStream>(shard),
                                follower = std::make_unique<BondedStream>(shard);
};

TEST_F(BondedStreams, CarryEveryOpBothWays) {
  connect(0);
  connect(5);
  start();
  Bytes text = pattern(700);
  std::deque<iovec> vectors;
  const std::vector<StreamHead> heads{write_head(1, 512),
                                      {.op = StreamOp::flush, .sequence = 3},
                                      {.op = StreamOp::state, .sequence = 4, .body_bytes = 700},
                                      {.op = StreamOp::map_taken},
                                      {.op = StreamOp::sums_answer, .sequence = 80, .body_bytes = 9},
                                      {.op = StreamOp::map, .last = true, .length = 32, .body_bytes = 4}};
  for (PeerStream* const stream : {static_cast<PeerStream*>(leader.get()), static_cast<PeerStream*>(follower.get())}) {
    for (const StreamHead& head : heads) {
      iovec& part = vectors.emplace_back(text.data(), head.body_bytes);
      stream->send(head, {&part, head.body_bytes > 0 ? 1U : 0U});
    }
  }
  run_until([&] { return at_leader.count == heads.size() && at_follower.count == heads.size(); });
  for (const Told* const told : {&at_leader, &at_follower}) {
    for (std::size_t index = 0; index < heads.size(); ++index) {
      EXPECT_EQ(told->messages[index].head, heads[index]) << index;
      EXPECT_TRUE(std::ranges::equal(told->messages[index].body, std::span(text).first(heads[index].body_bytes)));
    }
  }
}

TEST_F(BondedStreams, CopyTheBodiesThatNothingAnswers) {
  connect(0);
  start();
  Bytes answer = pattern(100);
  {
    const iovec part{answer.data(), answer.size()};
    follower->send({.op = StreamOp::sums_answer, .sequence = 1, .body_bytes = 100}, {&part, 1});
    std::ranges::fill(answer, std::byte{0});
  }
  run_until([&] { return at_leader.count == 1; });
  EXPECT_EQ(at_leader.messages[0].body, pattern(100));
}

TEST_F(BondedStreams, UseEveryLinkWhenThereIsMuchToDo) {
  connect(0);
  connect(1);
  start();
  answer_all();
  for (int count = 0; count < 40; ++count) send_one(1 << 20);
  run_until([&] { return answered == 40; });
  const BondCounters counters = leader->counters();
  EXPECT_GT(counters.links[0].bytes_sent, 10U << 20);
  EXPECT_GT(counters.links[1].bytes_sent, 10U << 20);
  EXPECT_EQ(wrong, 0U);
}

// The heart of it: links are reset, swallowed and joined again under load. Plain, and each link with a TLS of its own.
class BondedStreamsUnderLoad : public BondedStreams, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(, BondedStreamsUnderLoad, testing::Bool(),
                         [](const auto& row) { return row.param ? "Tls" : "Plain"; });

TEST_P(BondedStreamsUnderLoad, LoseNothingWhateverHappensToAllLinksButOne) {
  encrypted = GetParam();
  for (std::size_t link = 0; link < 3; ++link) connect(link);
  start();
  answer_all();
  std::uint64_t random = 42;
  std::size_t faults = 0;
  constexpr std::uint64_t count = 6000;
  const auto end = shard.clock().now() + std::chrono::seconds(60);
  // However few turns of the loop a machine makes of it.
  const auto enough = [&] { return sent >= count && faults > 3; };
  while ((!enough() || answered < sent) && shard.clock().now() < end) {
    while (!enough() && sent < answered + 32) send_one(next_random(random) % 8 == 0 ? 300000 : 4096);
    shard.context().run_one_for(std::chrono::milliseconds(20));
    if (next_random(random) % 256 == 0) {
      const std::size_t link = 1 + next_random(random) % 2;
      const BondCounters counters = leader->counters(), others = follower->counters();
      if ((counters.up >> link & 1U) == 0) {
        connect(link);
      } else if ((others.up >> link & 1U) != 0) {
        ++faults;
        if (next_random(random) % 2 == 0) {
          reset(link);
        } else {
          swallow(link);
        }
      }
    }
  }
  EXPECT_EQ(answered, sent);
  EXPECT_EQ(taken, sent);
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(faults, 3U);
  EXPECT_TRUE(at_leader.closed.empty() && at_follower.closed.empty());
  EXPECT_GT(leader->counters().sent_again + follower->counters().sent_again, 0U);
  std::printf("faults=%zu links lost=%lu sent again=%lu came twice=%lu came early=%lu\n", faults,
              leader->counters().links_lost, leader->counters().sent_again, follower->counters().came_twice,
              follower->counters().came_early);
}

TEST_F(BondedStreams, AreNotHeldUpByALinkThatFallsSilent) {
  connect(0);
  connect(1);
  start();
  answer_all();
  send_one();
  run_until([&] { return answered == 1; });
  swallow(busiest());
  const TimePoint began = shard.clock().now();
  send_one();
  run_until([&] { return answered == 2; });
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(shard.clock().now() - began);
  std::printf("a silent link cost %ld ms\n", static_cast<long>(took.count()));
  // By its own limit the connection lives for half a minute.
  EXPECT_LT(took, std::chrono::seconds(10));
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(std::popcount(leader->counters().up), 1);
  EXPECT_TRUE(at_leader.closed.empty());
}

TEST_F(BondedStreams, LetALinkJoinAgainAndUseIt) {
  connect(0);
  connect(1);
  std::vector<std::string> told;
  leader->on_link = [&](std::size_t link, const std::string& why) {
    told.push_back(std::to_string(link) + (why.empty() ? " up" : " lost"));
  };
  start();
  answer_all();
  for (int round = 0; round < 3; ++round) {
    reset(1);
    run_until([&] { return leader->counters().up == 1 && follower->counters().up == 1; });
    connect(1);
    EXPECT_EQ(leader->counters().up, 3U);
    const std::uint64_t before = answered;
    for (int count = 0; count < 20; ++count) send_one(1 << 20);
    run_until([&] { return answered == before + 20; });
    EXPECT_GT(leader->counters().links[1].bytes_sent, 2U << 20);
  }
  EXPECT_EQ(told, (std::vector<std::string>{"1 lost", "1 up", "1 lost", "1 up", "1 lost", "1 up"}));
}

TEST_F(BondedStreams, LetAConnectionTakeThePlaceOfOneThatOnlyTheOtherSideLost) {
  connect(0);
  connect(1);
  start();
  answer_all();
  swallow(1);
  for (int count = 0; count < 20; ++count) send_one(100000);
  connect(1);
  run_until([&] { return answered == 20; });
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(follower->counters().links_lost, 1U);
}

TEST_F(BondedStreams, EndWithTheirLastLinkAndTellOnce) {
  connect(0);
  connect(1);
  start();
  reset(0);
  run_until([&] { return leader->counters().up == 2; });
  EXPECT_TRUE(at_leader.closed.empty());
  reset(1);
  run_until([&] { return !at_leader.closed.empty() && !at_follower.closed.empty(); });
  settle();
  EXPECT_EQ(at_leader.closed.size(), 1U);
  EXPECT_NE(at_leader.closed[0].find("the last link: "), std::string::npos) << at_leader.closed[0];
  EXPECT_TRUE(leader->ended());
  Ends ends = connect_on_loopback();
  EXPECT_FALSE(leader->add_link(0, stream_on(std::move(ends.near), {.version = 2})));
  leader->send(an_ack, {});
}

TEST_F(BondedStreams, ReferToNothingAndSayNothingOnceClosed) {
  connect(0);
  connect(1);
  leader->start(at_leader);
  {
    Bytes body = pattern(1 << 20);
    const iovec part{body.data(), body.size()};
    for (std::uint64_t sequence = 1; sequence < 20; ++sequence)
      leader->send(write_head(sequence, body.size()), {&part, 1});
    settle();
    leader->close();
  }
  follower->start(at_follower);
  run_until([&] { return !at_follower.closed.empty(); });
  settle();
  EXPECT_TRUE(at_leader.closed.empty());
}

TEST_F(BondedStreams, MayBeClosedOrDestroyedFromInsideTheirCallbacks) {
  for (const bool destroyed : {false, true}) {
    Told leader_told, follower_told;
    leader = std::make_unique<BondedStream>(shard);
    follower = std::make_unique<BondedStream>(shard);
    connect(0);
    connect(1);
    leader->start(leader_told);
    follower->start(follower_told);
    follower_told.on_each = [&](const StreamHead&, std::span<const std::byte>) {
      if (destroyed) {
        follower.reset();
      } else {
        follower->close();
      }
    };
    leader_told.on_end = [&] {
      if (destroyed) leader.reset();
    };
    for (int count = 0; count < 10; ++count) send_one(40000);
    run_until([&] { return !leader_told.closed.empty(); });
    settle();
    EXPECT_EQ(follower_told.count, 1U) << "nothing comes after close()";
    EXPECT_TRUE(follower_told.closed.empty());
    EXPECT_EQ(leader_told.closed.size(), 1U);
  }
}

// ---- what a peer may do wrong --------------------------------------------------------------------------------------

class BondedStreamAlone : public StreamTest {
 protected:
  void SetUp() override {
    Ends ends = connect_on_loopback();
    stream.add_link(0, stream_on(std::move(ends.near), {.version = 2}));
    peer = std::move(ends.far);
    stream.start(told);
  }
  void say(StreamHead head, std::uint64_t number, std::uint64_t seen = 0) {
    head.number = number;
    head.seen = seen;
    Bytes bytes(stream_head_bytes(2));
    encode_stream_head(head, 0, 2, bytes);
    write_all(peer.get(), bytes);
  }
  void expect_end(const std::string& why) {
    run_until([&] { return !told.closed.empty(); });
    ASSERT_EQ(told.closed.size(), 1U);
    EXPECT_NE(told.closed[0].find(why), std::string::npos) << told.closed[0];
  }

  Told told;
  BondedStream stream{shard};
  UniqueFd peer;
};

TEST_F(BondedStreamAlone, PutsInOrderAndDropsWhatCameTwice) {
  for (const std::uint64_t number : {2, 3, 1, 2, 1, 5, 5, 4}) say({.op = StreamOp::flush, .sequence = number}, number);
  run_until([&] { return told.count == 5; });
  settle();
  ASSERT_EQ(told.count, 5U);
  for (std::uint64_t index = 0; index < 5; ++index) EXPECT_EQ(told.messages[index].head.sequence, index + 1);
  EXPECT_EQ(stream.counters().came_twice, 3U);
  EXPECT_EQ(stream.counters().came_early, 3U);
}

TEST_F(BondedStreamAlone, AnswersWhoAsksWhetherItIsThere) {
  say({.op = StreamOp::flush, .sequence = 9}, 1);
  say({.op = StreamOp::link, .last = true, .sequence = 77}, 0);
  Bytes bytes;
  run_until([&] {
    const Bytes more = read_some(peer.get());
    bytes.insert(bytes.end(), more.begin(), more.end());
    return bytes.size() >= stream_head_bytes(2);
  });
  const auto said = decode_stream_head(bytes, 2);
  ASSERT_TRUE(said);
  EXPECT_EQ(said->head.op, StreamOp::link);
  EXPECT_FALSE(said->head.last);
  EXPECT_EQ(said->head.sequence, 77U);
  EXPECT_EQ(said->head.seen, 1U);
  EXPECT_EQ(told.count, 1U);
}

TEST_F(BondedStreamAlone, EndsWhenWhatWasNeverSentWasSeen) {
  say({.op = StreamOp::link}, 0, 1);
  expect_end("seen what was not sent");
}

TEST_F(BondedStreamAlone, EndsWhenWhatWasNotSeenIsAnswered) {
  Bytes body = pattern(512);
  const iovec part{body.data(), body.size()};
  stream.send(write_head(1, 512), {&part, 1});
  say(an_ack, 1, 0);
  expect_end("answered what it has not seen");
  EXPECT_EQ(told.count, 0U);
}

TEST_F(BondedStreamAlone, EndsWhenMoreComesThanThereMayBe) {
  say({.op = StreamOp::flush, .sequence = 9}, BondOptions().window_max + 1);
  expect_end("more than it may");
}

TEST_F(BondedStreamAlone, EndsWhenThePeerSeesNothingForEver) {
  for (std::uint64_t count = 0; count <= BondOptions().window_max; ++count) stream.send(an_ack, {});
  EXPECT_TRUE(told.closed.empty()) << "not from inside";
  expect_end("not seen what was sent long ago");
}

// ---- what it costs -------------------------------------------------------------------------------------------------

struct Cost {
  double calls = 0, nanoseconds = 0;
};

TEST_F(BondedStreams, CostNoAllocationAndHardlyMoreThanOneConnection) {
  Bytes data = pattern(128 << 10);
  Ends ends = connect_on_loopback();
  const auto near = stream_on(std::move(ends.near)), far = stream_on(std::move(ends.far));
  connect(0);
  connect(1);
  const auto calls_of_bond = [&](const BondedStream& stream) {
    const BondCounters counters = stream.counters();
    return calls_of(counters.links[0]) + calls_of(counters.links[1]);
  };
  Ping one_ping, bond_ping;
  Pong one_pong, bond_pong;
  one_ping.stream = near.get();
  one_pong.stream = far.get();
  bond_ping.stream = leader.get();
  bond_pong.stream = follower.get();
  near->start(one_ping);
  far->start(one_pong);
  leader->start(bond_ping);
  follower->start(bond_pong);
  const auto measure = [&](Ping& ping, std::size_t bytes, std::uint64_t rounds, auto calls) {
    ping.part = {data.data(), bytes};
    ping.run(shard, depth_to_fill * rounds, depth_to_fill);
    // A machine that lets more pile up than ever before fills them once more: that has an end.
    Cost cost;
    std::uint64_t allocated = 0;
    for (int round = 0; round == 0 || (allocated > 0 && round < 10); ++round) {
      const std::uint64_t before = calls();
      const std::uint64_t had = mpath::test::allocations() + shard.buffers().system_allocations();
      const TimePoint began = shard.clock().now();
      ping.run(shard, depth_counted * rounds, depth_counted);
      const auto messages = static_cast<double>(2 * depth_counted * rounds);
      cost = {.calls = static_cast<double>(calls() - before) / messages,
              .nanoseconds = static_cast<double>((shard.clock().now() - began).count()) / messages};
      allocated = mpath::test::allocations() + shard.buffers().system_allocations() - had;
    }
    EXPECT_EQ(allocated, 0U);
    return cost;
  };
  for (const std::size_t bytes : {std::size_t{4096}, std::size_t{128} << 10}) {
    const std::uint64_t rounds = bytes == 4096 ? 300 : 30;
    const Cost one =
        measure(one_ping, bytes, rounds, [&] { return calls_of(near->counters()) + calls_of(far->counters()); });
    const Cost bond =
        measure(bond_ping, bytes, rounds, [&] { return calls_of_bond(*leader) + calls_of_bond(*follower); });
    std::printf("%zu bytes, depth 32: one connection %.3f calls and %.0f ns a message, two links %.3f and %.0f\n",
                bytes, one.calls, one.nanoseconds, bond.calls, bond.nanoseconds);
    // Little stays on one link, and costs what it costs there.
    if (bytes == 4096) {
      EXPECT_LT(bond.calls, one.calls * 1.3 + 0.02);
    }
  }
}

}  // namespace
}  // namespace mpath::target::replication::test
