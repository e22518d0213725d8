// The stream between two copies of a unit over TCP: what is sent arrives, whole and in order, or the stream ends.
#include "target/replication/tcp_stream.hpp"

#include <linux/filter.h>
#include <openssl/crypto.h>

#include <cstdlib>
#include <deque>

#include "base/random.hpp"
#include "tests/support/allocation_counter.hpp"
#include "tests/target/replication/stream/ping_pong.hpp"
#include "tests/target/replication/stream/tls_ends.hpp"

namespace mpath::target::replication::test {
namespace {

StreamKeys some_keys(int seed = 0) {
  StreamKeys keys;
  keys.sending.fill(static_cast<std::byte>(seed + 1));
  keys.receiving.fill(static_cast<std::byte>(seed + 2));
  return keys;
}
StreamKeys turned(const StreamKeys& keys) {
  return {.sending = keys.receiving, .receiving = keys.sending};
}

// Small enough to fill, and larger than a segment on loopback, without which TCP goes by its timers.
constexpr int small_buffers = 256 << 10;

class TcpStreams : public StreamTest, public testing::WithParamInterface<StreamAuth> {
 protected:
  void connect(int buffer_bytes = 0) {
    Ends ends = connect_on_loopback(buffer_bytes);
    TcpStreamOptions near{.silence_max = std::chrono::seconds(30), .keys = {}};
    TcpStreamOptions far = near;
    TlsEnds tls;
    if (GetParam() == StreamAuth::hmac) {
      near.keys = some_keys();
      far.keys = turned(some_keys());
    }
    if (GetParam() == StreamAuth::tls) tls = tls_ends();
    leader = stream_on(std::move(ends.near), near, std::move(tls.near));
    follower = stream_on(std::move(ends.far), far, std::move(tls.far));
    EXPECT_EQ(leader->counters().auth, GetParam());
  }
  void start() {
    leader->start(at_leader);
    follower->start(at_follower);
  }
  // The body lives until the test ends.
  void send(PeerStream& stream, const StreamHead& head, Bytes body, std::size_t parts = 1) {
    Bytes& kept = bodies.emplace_back(std::move(body));
    std::vector<iovec>& vectors = parts_of_bodies.emplace_back();
    std::size_t at = 0;
    for (std::size_t part = 0; part < parts && !kept.empty(); ++part) {
      const std::size_t bytes = part + 1 == parts ? kept.size() - at : kept.size() / parts;
      vectors.push_back({kept.data() + at, bytes});
      at += bytes;
    }
    stream.send(head, vectors);
  }

  Told at_leader, at_follower;
  std::deque<Bytes> bodies;
  std::deque<std::vector<iovec>> parts_of_bodies;
  std::unique_ptr<TcpStream> leader, follower;
};

INSTANTIATE_TEST_SUITE_P(, TcpStreams, testing::Values(StreamAuth::none, StreamAuth::hmac, StreamAuth::tls),
                         [](const auto& row) {
                           return row.param == StreamAuth::none   ? "Plain"
                                  : row.param == StreamAuth::hmac ? "Tagged"
                                                                  : "Tls";
                         });

TEST_P(TcpStreams, CarryEveryOpBothWays) {
  connect();
  start();
  const Bytes text = pattern(700);
  const std::vector<StreamHead> heads{
      write_head(1, 512),
      {.op = StreamOp::zero, .fua = true, .may_unmap = true, .sequence = 2, .offset = 4096, .length = 1 << 30},
      {.op = StreamOp::flush, .sequence = 3},
      {.op = StreamOp::state, .sequence = 4, .body_bytes = 700},
      {.op = StreamOp::sums, .sequence = 5, .length = sum_block_bytes, .body_bytes = sizeof(Sum)},
      {.op = StreamOp::fill_end, .sequence = 6},
      {.op = StreamOp::map_taken},
      {.op = StreamOp::ack, .status = BlockStatus::no_space, .sequence = 70},
      {.op = StreamOp::sums_answer, .sequence = 80, .body_bytes = 9},
      {.op = StreamOp::map, .last = true, .length = 32, .body_bytes = 4}};
  for (PeerStream* const stream : {leader.get(), follower.get()}) {
    for (const StreamHead& head : heads) send(*stream, head, pattern(head.body_bytes, 7));
  }
  run_until([&] { return at_leader.count == heads.size() && at_follower.count == heads.size(); });
  for (const Told* const told : {&at_leader, &at_follower}) {
    for (std::size_t index = 0; index < heads.size(); ++index) {
      EXPECT_EQ(told->messages[index].head, heads[index]) << index;
      EXPECT_EQ(told->messages[index].body, pattern(heads[index].body_bytes, 7)) << index;
    }
  }
}

TEST_P(TcpStreams, CarryBodiesOfEverySizeInOneOrManyParts) {
  connect();
  start();
  std::vector<std::size_t> sizes;
  for (std::size_t size = 1; size <= (1 << 20); size *= 2) {
    for (const std::size_t one : {size - 1, size, size + 1}) {
      if (one > 0 && one <= (1 << 20)) sizes.push_back(one);
    }
  }
  sizes.push_back(stream_body_bytes_max);
  std::uint64_t sequence = 0;
  for (const std::size_t parts : {std::size_t{1}, std::size_t{3}, std::size_t{2000}}) {
    for (const std::size_t size : sizes) {
      if (size < parts) continue;
      ++sequence;
      send(*leader, write_head(sequence, size), pattern(size, static_cast<unsigned>(sequence)), parts);
    }
  }
  run_until([&] { return at_follower.count == sequence || !at_follower.closed.empty(); });
  ASSERT_EQ(at_follower.count, sequence);
  for (std::size_t index = 0; index < sequence; ++index) {
    const Told::Message& message = at_follower.messages[index];
    EXPECT_EQ(message.head.sequence, index + 1);
    EXPECT_EQ(message.body, pattern(message.head.length, static_cast<unsigned>(index + 1))) << message.head.length;
  }
}

TEST_P(TcpStreams, CarryThousandsInFlightAndTheirAnswers) {
  connect();
  start();
  at_follower.keep = false;
  at_follower.on_each = [&](const StreamHead& head, std::span<const std::byte> body) {
    EXPECT_EQ(body[17], pattern(64, static_cast<unsigned>(head.sequence))[17]);
    follower->send({.op = StreamOp::ack, .sequence = head.sequence}, {});
  };
  constexpr std::uint64_t count = 5000;
  for (std::uint64_t sequence = 1; sequence <= count; ++sequence) {
    send(*leader, write_head(sequence, 4096), pattern(4096, static_cast<unsigned>(sequence)));
  }
  run_until([&] { return at_leader.count == count; });
  for (std::uint64_t index = 0; index < count; ++index) EXPECT_EQ(at_leader.messages[index].head.sequence, index + 1);
  EXPECT_EQ(leader->counters().messages_sent, count);
  EXPECT_EQ(leader->counters().messages_received, count);
  EXPECT_EQ(leader->counters().bytes_sent, follower->counters().bytes_received);
}

TEST_P(TcpStreams, WaitForASlowReaderAndLoseNothing) {
  connect(small_buffers);
  leader->start(at_leader);
  constexpr std::uint64_t count = 100;
  for (std::uint64_t sequence = 1; sequence <= count; ++sequence) {
    send(*leader, write_head(sequence, 100000), pattern(100000, static_cast<unsigned>(sequence)));
  }
  // Sent until the socket takes no more: the one message that is left of a hundred is proof of that.
  run_until([&] { return leader->counters().bytes_sent > 0; });
  settle();
  ASSERT_LT(leader->counters().messages_sent, count);
  follower->start(at_follower);
  run_until([&] { return at_follower.count == count; });
  for (std::uint64_t index = 0; index < count; ++index) {
    EXPECT_EQ(at_follower.messages[index].body, pattern(100000, static_cast<unsigned>(index + 1)));
  }
}

// Whoever holds what came finds it as it was, however much comes meanwhile; and what is held keeps no more than it may.
TEST_P(TcpStreams, HandOverWhereTheyLieWhatComesTogether) {
  struct Holder : PeerStream::Receiver {
    void on_message(const StreamHead& head, Buffer body) override { held.emplace_back(head, std::move(body)); }
    void on_closed(const std::string& why) override { ADD_FAILURE() << why; }
    std::vector<std::pair<StreamHead, Buffer>> held;
  };
  connect();
  Holder holder;
  leader->start(at_leader);
  follower->start(holder);
  // So small that heads are cut where staging ends, and so many that they would need more of it than there may be.
  constexpr std::uint64_t count = 30000;
  constexpr std::array<std::size_t, 3> sizes{512, 300, 100};
  const auto size_of = [&sizes](std::uint64_t sequence) { return sizes[sequence % sizes.size()]; };
  for (std::uint64_t sequence = 1; sequence <= count; ++sequence) {
    const std::size_t size = size_of(sequence);
    send(*leader, write_head(sequence, size), pattern(size, static_cast<unsigned>(sequence)));
  }
  run_until([&] { return holder.held.size() == count; });
  EXPECT_GT(follower->counters().bodies_in_place, 0U);
  EXPECT_LE(shard.buffers().blocks_in_parts(), 32U);
  for (std::uint64_t sequence = 1; sequence <= count; ++sequence) {
    const auto& [head, body] = holder.held[sequence - 1];
    const auto wanted = pattern(size_of(sequence), static_cast<unsigned>(sequence));
    EXPECT_TRUE(std::ranges::equal(body.bytes(), wanted)) << sequence;
  }
  holder.held.clear();
  EXPECT_EQ(shard.buffers().blocks_in_parts(), 0U);
}

// Sizes of all kinds, one behind the other, both ways at once, with sockets that take a part at a time.
TEST_P(TcpStreams, KeepLargeAndTinyOnesInTheirOrderWhenLittleFits) {
  connect(small_buffers);
  start();
  std::uint64_t random = 11;
  std::vector<std::size_t> sizes;
  for (int count = 0; count < 300; ++count) {
    const std::size_t size = std::size_t{1} << (next_random(random) % 20);
    sizes.push_back(size + next_random(random) % size);
  }
  // The leader is far ahead; what it hears back comes while its own is stuck.
  for (std::uint64_t sequence = 1; sequence <= sizes.size(); ++sequence) {
    const std::size_t size = sizes[sequence - 1];
    send(*leader, write_head(sequence, size), pattern(size, static_cast<unsigned>(sequence)));
    send(*follower, {.op = StreamOp::sums_answer, .sequence = sequence + 1000, .body_bytes = 40},
         pattern(40, static_cast<unsigned>(sequence)));
    if (sequence % 32 == 0) settle();
  }
  run_until([&] { return at_follower.count == sizes.size() && at_leader.count == sizes.size(); });
  for (std::uint64_t index = 0; index < sizes.size(); ++index) {
    EXPECT_EQ(at_follower.messages[index].head.sequence, index + 1);
    EXPECT_EQ(at_follower.messages[index].body, pattern(sizes[index], static_cast<unsigned>(index + 1)));
    EXPECT_EQ(at_leader.messages[index].body, pattern(40, static_cast<unsigned>(index + 1)));
  }
}

TEST_P(TcpStreams, DeliverFromTheLoopWhatCameBeforeTheStart) {
  connect();
  leader->start(at_leader);
  send(*leader, write_head(1, 4096), pattern(4096));
  settle();
  ASSERT_EQ(leader->counters().messages_sent, 1U);
  follower->start(at_follower);
  EXPECT_EQ(at_follower.count, 0U);
  run_until([&] { return at_follower.count == 1; });
}

TEST_P(TcpStreams, CopyTheBodiesThatNothingAnswers) {
  connect();
  start();
  Bytes answer = pattern(100), map = pattern(50);
  iovec answer_part{answer.data(), answer.size()}, map_part{map.data(), map.size()};
  follower->send({.op = StreamOp::sums_answer, .sequence = 1, .body_bytes = 100}, {&answer_part, 1});
  follower->send({.op = StreamOp::map, .length = 400, .body_bytes = 50}, {&map_part, 1});
  std::ranges::fill(answer, std::byte{0});
  std::ranges::fill(map, std::byte{0});
  answer_part = map_part = {};
  run_until([&] { return at_leader.count == 2 || !at_leader.closed.empty(); });
  ASSERT_EQ(at_leader.count, 2U);
  EXPECT_EQ(at_leader.messages[0].body, pattern(100));
  EXPECT_EQ(at_leader.messages[1].body, pattern(50));
}

TEST_P(TcpStreams, TellOnceThatTheOtherSideEnded) {
  connect();
  start();
  settle();
  follower->close();
  run_until([&] { return !at_leader.closed.empty(); });
  settle();
  EXPECT_EQ(at_leader.closed.size(), 1U);
  EXPECT_NE(at_leader.closed[0], "");
  EXPECT_TRUE(at_follower.closed.empty()) << "it closed it itself";
  send(*leader, write_head(1, 512), pattern(512));
  settle();
  EXPECT_EQ(leader->counters().messages_sent, 0U);
}

TEST_P(TcpStreams, ReferToNothingAndSayNothingOnceClosed) {
  connect(small_buffers);
  leader->start(at_leader);
  std::vector<iovec> part(1);
  {
    Bytes body = pattern(1 << 20);
    part[0] = {body.data(), body.size()};
    for (std::uint64_t sequence = 1; sequence < 20; ++sequence) leader->send(write_head(sequence, body.size()), part);
    settle();
    leader->close();
  }
  part.clear();
  part.shrink_to_fit();
  follower->start(at_follower);
  run_until([&] { return !at_follower.closed.empty(); });
  settle();
  EXPECT_TRUE(at_leader.closed.empty());
}

TEST_P(TcpStreams, MayBeClosedOrDestroyedFromInsideTheirCallbacks) {
  for (const bool destroyed : {false, true}) {
    Told leader_told, follower_told;
    connect();
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
    for (std::uint64_t sequence = 1; sequence <= 10; ++sequence) {
      send(*leader, write_head(sequence, 40000), pattern(40000));
    }
    run_until([&] { return !leader_told.closed.empty(); });
    settle();
    EXPECT_EQ(follower_told.count, 1U) << "nothing comes after close()";
    EXPECT_TRUE(follower_told.closed.empty());
    EXPECT_EQ(leader_told.closed.size(), 1U);
  }
}

TEST_P(TcpStreams, MayBeDestroyedBeforeTheyAreStarted) {
  connect();
  follower->start(at_follower);
  leader.reset();
  run_until([&] { return !at_follower.closed.empty(); });
}

// ---- what a peer may do wrong --------------------------------------------------------------------------------------

class TcpStreamAlone : public StreamTest {
 protected:
  void SetUp() override {
    Ends ends = connect_on_loopback();
    stream = stream_on(std::move(ends.near));
    peer = std::move(ends.far);
    stream->start(told);
  }
  void expect_end(const std::string& why) {
    run_until([&] { return !told.closed.empty(); });
    settle();
    ASSERT_EQ(told.closed.size(), 1U);
    EXPECT_NE(told.closed[0].find(why), std::string::npos) << told.closed[0];
  }

  Told told;
  std::unique_ptr<TcpStream> stream;
  UniqueFd peer;
};

TEST_F(TcpStreamAlone, TakesMessagesInPiecesOfAnySize) {
  Bytes bytes;
  for (std::uint64_t sequence = 1; sequence <= 3; ++sequence) {
    const Bytes message = on_the_wire(write_head(sequence, 50), pattern(50, static_cast<unsigned>(sequence)));
    bytes.insert(bytes.end(), message.begin(), message.end());
  }
  for (const std::byte byte : bytes) {
    write_all(peer.get(), {&byte, 1});
    settle();
  }
  run_until([&] { return told.count == 3; });
  for (std::uint64_t index = 0; index < 3; ++index) {
    EXPECT_EQ(told.messages[index].body, pattern(50, static_cast<unsigned>(index + 1)));
  }
}

TEST_F(TcpStreamAlone, EndsWhenItIsCutInTheMiddleOfAMessage) {
  const Bytes whole = on_the_wire(write_head(1, 100000), pattern(100000));
  write_all(peer.get(), whole);
  write_all(peer.get(), std::span(whole).first(90000));
  ::shutdown(peer.get(), SHUT_WR);
  expect_end("in the middle of a message");
  EXPECT_EQ(told.count, 1U);
}

TEST_F(TcpStreamAlone, EndsWhenItIsCutInTheMiddleOfAHead) {
  const Bytes ack = on_the_wire({.op = StreamOp::ack, .sequence = 1}, {});
  write_all(peer.get(), std::span(ack).first(47));
  ::shutdown(peer.get(), SHUT_WR);
  expect_end("in the middle of a message");
}

TEST_F(TcpStreamAlone, EndsInOrderBetweenMessages) {
  write_all(peer.get(), on_the_wire({.op = StreamOp::ack, .sequence = 1}, {}));
  ::shutdown(peer.get(), SHUT_WR);
  expect_end("the peer closed the connection");
  EXPECT_EQ(told.count, 1U) << "what came before is delivered";
}

TEST_F(TcpStreamAlone, EndsWhenSomebodyElseSpeaks) {
  write_all(peer.get(), Bytes(200, std::byte{'G'}));
  expect_end("the head of a message is wrong");
}

TEST_F(TcpStreamAlone, EndsWhenAMessageIsAnsweredThatHasNotLeft) {
  const Bytes body = pattern(stream_body_bytes_max);
  iovec part{const_cast<std::byte*>(body.data()), body.size()};
  for (std::uint64_t sequence = 1; sequence <= 4; ++sequence)
    stream->send(write_head(sequence, body.size()), {&part, 1});
  settle();
  ASSERT_LT(stream->counters().messages_sent, 4U);
  write_all(peer.get(), on_the_wire({.op = StreamOp::ack, .sequence = 4}, {}));
  expect_end("answered what it cannot have received");
  EXPECT_EQ(told.count, 0U);
}

TEST_F(TcpStreamAlone, EndsWhenThePeerFallsSilent) {
  Ends ends = connect_on_loopback();
  Told ours;
  const auto impatient = stream_on(std::move(ends.near), {.silence_max = std::chrono::milliseconds(100), .keys = {}});
  impatient->start(ours);
  // From here on the peer's kernel hears nothing of this connection: as if the cable were cut.
  sock_filter nothing{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
  const sock_fprog program{.len = 1, .filter = &nothing};
  ASSERT_EQ(::setsockopt(ends.far.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
  const Bytes body = pattern(512);
  iovec part{const_cast<std::byte*>(body.data()), body.size()};
  impatient->send(write_head(1, 512), {&part, 1});
  run_until([&] { return !ours.closed.empty(); }, "the end");
  ASSERT_EQ(ours.closed.size(), 1U);
  EXPECT_EQ(ours.closed[0], std::generic_category().message(ETIMEDOUT));
}

// ---- what may happen on the way ------------------------------------------------------------------------------------

// What one stream sends, in the test's hands, and what the other is given instead.
class OnTheWay : public StreamTest {
 protected:
  // The bytes of each of `heads`, as a stream with these keys sends them.
  std::vector<Bytes> sent(const std::vector<StreamHead>& of, const std::optional<StreamKeys>& keys,
                          std::unique_ptr<TlsEngine> tls = nullptr) {
    Ends ends = connect_on_loopback();
    Told nobody;
    const auto from = stream_on(std::move(ends.near), {.keys = keys}, std::move(tls));
    from->start(nobody);
    std::vector<Bytes> messages;
    std::deque<Bytes> bodies;
    std::deque<iovec> parts;
    for (const StreamHead& head : of) {
      bodies.push_back(pattern(head.body_bytes));
      parts.push_back({bodies.back().data(), head.body_bytes});
      from->send(head, {&parts.back(), head.body_bytes > 0 ? 1U : 0U});
      settle();
      messages.push_back(read_some(ends.far.get()));
    }
    return messages;
  }
  // How many messages were taken, and why it ended.
  std::pair<std::size_t, std::string> given(const std::vector<Bytes>& messages, const std::optional<StreamKeys>& keys,
                                            std::unique_ptr<TlsEngine> tls = nullptr) {
    Ends ends = connect_on_loopback();
    Told told;
    const auto to = stream_on(std::move(ends.near), {.keys = keys}, std::move(tls));
    to->start(told);
    for (const Bytes& message : messages) write_all(ends.far.get(), message);
    ::shutdown(ends.far.get(), SHUT_WR);
    run_until([&] { return !told.closed.empty(); });
    return {told.count, told.closed.empty() ? "" : told.closed[0]};
  }

  const std::vector<StreamHead> heads{write_head(1, 64), write_head(2, 64), {.op = StreamOp::flush, .sequence = 3}};
  const std::string in_order = "the peer closed the connection";
};

TEST_F(OnTheWay, NothingChangesUnseenWithAnyByteDamaged) {
  for (const bool tagged : {false, true}) {
    const auto keys = tagged ? std::optional(some_keys()) : std::nullopt;
    const auto other_end = tagged ? std::optional(turned(some_keys())) : std::nullopt;
    const auto messages = sent(heads, keys);
    ASSERT_EQ(given(messages, other_end), std::pair(heads.size(), in_order));
    for (std::size_t at = 0; at < messages[1].size(); ++at) {
      auto damaged = messages;
      damaged[1][at] ^= std::byte{0x10};
      const auto [count, why] = given(damaged, other_end);
      EXPECT_EQ(count, 1U) << at;
      EXPECT_NE(why, in_order) << at;
    }
  }
}

TEST_F(OnTheWay, NothingIsRepeatedLeftOutOrExchangedWhenItIsTagged) {
  const auto messages = sent(heads, some_keys());
  const StreamKeys other_end = turned(some_keys());
  const Bytes &first = messages[0], &second = messages[1], &third = messages[2];
  const auto expect = [&](const std::vector<Bytes>& given_messages, std::size_t taken) {
    const auto [count, why] = given(given_messages, other_end);
    EXPECT_EQ(count, taken);
    EXPECT_EQ(why, "a message is not the peer's");
  };
  expect({first, first}, 1);
  expect({second, first}, 0);
  expect({first, third}, 1);
  expect({first, second, third, second}, 3);
}

TEST_F(OnTheWay, NothingIsTakenByAnotherKeyOrTheOtherDirections) {
  const auto messages = sent(heads, some_keys());
  EXPECT_EQ(given(messages, turned(some_keys(5))).first, 0U);
  EXPECT_EQ(given(messages, some_keys()).first, 0U) << "given back to its sender";
  EXPECT_EQ(given(messages, std::nullopt).first, 0U);
  EXPECT_EQ(given(sent(heads, std::nullopt), turned(some_keys())).first, 0U);
}

TEST_F(OnTheWay, NothingIsTakenThatWasChangedWhenItIsSealed) {
  const auto result_with = [&](const std::function<void(std::vector<Bytes>&)>& change) {
    TlsEnds ends = tls_ends();
    auto messages = sent(heads, std::nullopt, std::move(ends.near));
    change(messages);
    return given(messages, std::nullopt, std::move(ends.far));
  };
  EXPECT_EQ(result_with([](auto&) {}), std::pair(heads.size(), in_order));
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < bytes; ++at) {
    const auto [count, why] = result_with([&](std::vector<Bytes>& messages) {
      bytes = messages[1].size();
      messages[1][at] ^= std::byte{0x10};
    });
    EXPECT_EQ(count, 1U) << at;
    EXPECT_NE(why, in_order) << at;
  }
  EXPECT_EQ(result_with([](auto& messages) { messages[1] = messages[0]; }).first, 1U);
  EXPECT_EQ(result_with([](auto& messages) { messages.erase(messages.begin()); }).first, 0U);
}

TEST_F(OnTheWay, NothingIsLostUnseenWhenItIsSealed) {
  // Cut at each byte of the last of them.
  std::size_t bytes = 1;
  for (std::size_t cut = 0; cut < bytes; ++cut) {
    TlsEnds ends = tls_ends();
    auto messages = sent(heads, std::nullopt, std::move(ends.near));
    bytes = messages.back().size();
    messages.back().resize(cut);
    const auto [count, why] = given(messages, std::nullopt, std::move(ends.far));
    EXPECT_EQ(count, heads.size() - 1);
    EXPECT_EQ(why, cut == 0 ? in_order : in_order + " in the middle of a message") << cut;
  }
}

TEST_F(OnTheWay, NothingIsReadableWhenItIsSealed) {
  TlsEnds ends = tls_ends();
  const auto messages = sent({write_head(1, 4096), write_head(2, 100000)}, std::nullopt, std::move(ends.near));
  const Bytes body = pattern(4096);
  for (const Bytes& message : messages) {
    EXPECT_GT(message.size(), 4096U);
    for (std::size_t at = 0; at + 8 <= body.size(); at += 253) {
      EXPECT_TRUE(std::ranges::search(message, std::span(body).subspan(at, 8)).empty()) << at;
    }
  }
}

// ---- what it costs -------------------------------------------------------------------------------------------------

// OpenSSL's own allocations, which are not ours; from before it makes the first.
std::uint64_t of_openssl = 0;
const int openssl_counted = CRYPTO_set_mem_functions(
    [](std::size_t bytes, const char*, int) { return ++of_openssl, std::malloc(bytes); },
    [](void* place, std::size_t bytes, const char*, int) { return ++of_openssl, std::realloc(place, bytes); },
    [](void* place, const char*, int) { std::free(place); });

// Under a sanitizer those are counted too.
bool counts_malloc() {
  const std::uint64_t before = mpath::test::allocations();
  void* volatile place = std::malloc(1);
  std::free(place);
  return mpath::test::allocations() != before;
}

TEST_P(TcpStreams, CostNoAllocationAndFewSystemCalls) {
  ASSERT_EQ(openssl_counted, 1);
  connect();
  Ping ping;
  Pong pong;
  ping.stream = leader.get();
  pong.stream = follower.get();
  Bytes data = pattern(128 << 10);
  leader->start(ping);
  follower->start(pong);
  const auto calls = [&] { return calls_of(leader->counters()) + calls_of(follower->counters()); };
  for (const std::size_t bytes : {std::size_t{4096}, std::size_t{128} << 10}) {
    ping.part = {data.data(), bytes};
    const std::uint64_t rounds = bytes == 4096 ? 100 : 10;
    ping.run(shard, depth_to_fill * rounds, depth_to_fill);
    const std::uint64_t before = calls();
    const std::uint64_t theirs = of_openssl;
    const std::uint64_t allocated = mpath::test::allocations(), blocks = shard.buffers().system_allocations();
    ping.run(shard, depth_counted * rounds, depth_counted);
    const std::uint64_t all = mpath::test::allocations() - allocated, by_openssl = of_openssl - theirs;
    EXPECT_EQ(all - (counts_malloc() ? by_openssl : 0), 0U);
    if (GetParam() != StreamAuth::tls) {
      EXPECT_EQ(by_openssl, 0U);
    }
    EXPECT_EQ(shard.buffers().system_allocations() - blocks, 0U);
    const double each = static_cast<double>(calls() - before) / static_cast<double>(2 * depth_counted * rounds);
    const double each_by_openssl = static_cast<double>(by_openssl) / static_cast<double>(2 * depth_counted * rounds);
    std::printf("%zu bytes: per message %.3f system calls, %.2f allocations of OpenSSL\n", bytes, each,
                each_by_openssl);
    if (bytes == 4096) {
      EXPECT_LT(each, 0.3);
    }
  }
}

}  // namespace
}  // namespace mpath::target::replication::test
