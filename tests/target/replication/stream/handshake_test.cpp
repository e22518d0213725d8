// Dialer and listener: who gets a stream, who does not, and what both hear of it.
#include "tests/target/replication/stream/handshake_world.hpp"

namespace mpath::target::replication::test {
namespace {

TEST_F(Handshakes, GiveBothSidesAStream) {
  listen();
  Outcome& result = dialed();
  ASSERT_TRUE(result) << result.error().text;
  EXPECT_EQ(result->welcome.from, Member::b);
  EXPECT_EQ(result->welcome.incarnation, 2002U);
  EXPECT_EQ(result->welcome.version, 1);
  ASSERT_EQ(asked.size(), 1U);
  Hello heard = asked[0];
  EXPECT_NE(heard.nonce, Nonce());
  heard.nonce = {};
  EXPECT_EQ(heard, a_hello());

  const auto leader = std::move(result->stream);
  leader->start(at_leader);
  Bytes body = pattern(100000);
  iovec part{body.data(), body.size()};
  leader->send({.op = StreamOp::write, .sequence = 1, .length = body.size(), .body_bytes = 100000}, {&part, 1});
  until([&] { return at_follower.count == 1; });
  EXPECT_EQ(at_follower.messages[0].body, body);
  follower->send({.op = StreamOp::ack, .sequence = 1}, {});
  until([&] { return at_leader.count == 1; });
  EXPECT_EQ(listener->half_open(), 0U);
}

TEST_F(Handshakes, TakeTheStrongerOfWhatBothSidesWant) {
  constexpr std::array all{StreamAuth::none, StreamAuth::hmac, StreamAuth::tls};
  for (const StreamAuth leader_wants : all) {
    for (const StreamAuth follower_wants : all) {
      options.auth = follower_wants;
      listen_anew({new_key, old_key});
      Hello hello = a_new_hello();
      hello.auth = leader_wants;
      Outcome& result = dialed(hello, {old_key, new_key});
      ASSERT_TRUE(result) << result.error().text;
      EXPECT_EQ(result->welcome.auth, std::max(leader_wants, follower_wants));
      expect_to_talk(std::move(result->stream), std::max(leader_wants, follower_wants));
    }
  }
}

TEST_F(Handshakes, EndWithoutTheKeyBeforeTheNodeHearsOfIt) {
  listen();
  const Outcome& result = dialed(a_hello(), {old_key});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().refusal, StreamRefusal::cluster);
  EXPECT_NE(result.error().text.find("does not have this cluster's key"), std::string::npos) << result.error().text;
  until([&] { return sink.contains("has it another key?"); });
  EXPECT_TRUE(asked.empty());
}

TEST_F(Handshakes, GoOnWhileTheKeyIsChanged) {
  for (const StreamAuth auth : {StreamAuth::none, StreamAuth::tls}) {
    Hello hello = a_new_hello();
    hello.auth = auth;
    const auto connect = [&](const std::vector<Key>& keys) {
      Outcome& result = dialed(hello, keys);
      if (!result) return false;
      expect_to_talk(std::move(result->stream), auth);
      return true;
    };
    listen_anew({old_key, new_key});
    EXPECT_TRUE(connect({old_key}));
    EXPECT_TRUE(connect({new_key, old_key}));
    EXPECT_TRUE(connect({old_key, new_key}));
    listener->set_keys({new_key, old_key});
    EXPECT_TRUE(connect({old_key, new_key}));
    EXPECT_TRUE(connect({new_key}));
    listener->set_keys({new_key});
    EXPECT_TRUE(connect({new_key, old_key}));
    const std::size_t before = asked.size();
    EXPECT_FALSE(connect({old_key, new_key})) << "it still proves with the old one";
    EXPECT_EQ(asked.size(), before);
  }
}

TEST_F(Handshakes, CannotBeRepeated) {
  listen();
  Hello hello = a_hello();
  hello.nonce.fill(std::byte{0x33});
  const Bytes greeting = encode(hello);
  // Once as it should be.
  UniqueFd first = stranger();
  write_all(first.get(), greeting);
  const Bytes welcome = message_from(first);
  Transcript transcript;
  transcript.add_hello(greeting);
  ASSERT_TRUE(transcript.check(welcome, std::vector<Key>{new_key}, Transcript::Label::welcome));
  Bytes proof = encode(Proof());
  transcript.prove(proof, new_key, Transcript::Label::proof);
  write_all(first.get(), proof);
  const Bytes ready = message_from(first);
  ASSERT_TRUE(transcript.check(ready, std::vector<Key>{new_key}, Transcript::Label::ready));
  until([&] { return follower != nullptr; });
  ASSERT_EQ(asked.size(), 1U);
  // And the same bytes again.
  UniqueFd second = stranger();
  write_all(second.get(), greeting);
  EXPECT_NE(message_from(second), welcome);
  write_all(second.get(), proof);
  until([&] { return hung_up(second); });
  EXPECT_EQ(asked.size(), 1U);
  EXPECT_TRUE(sink.contains("it does not have this cluster's key"));
  // The follower's own proof, given back.
  UniqueFd third = stranger();
  write_all(third.get(), greeting);
  const Bytes other_welcome = message_from(third);
  std::copy(other_welcome.end() - sizeof(Proof), other_welcome.end(), proof.end() - sizeof(Proof));
  write_all(third.get(), proof);
  until([&] { return hung_up(third); });
  EXPECT_EQ(asked.size(), 1U);
}

// Nodes are upgraded one after the other: whoever is older says which versions it speaks.
TEST_F(Handshakes, FindTheVersionThatBothSpeak) {
  struct Row {
    std::uint16_t leader_min, leader_max, follower_max, chosen;
  };
  for (const Row& row : {Row{1, 4, 3, 3}, Row{1, 3, 3, 3}, Row{1, 3, 2, 2}, Row{1, 2, 3, 2}, Row{1, 2, 2, 2},
                         Row{1, 1, 2, 1}, Row{1, 2, 1, 1}, Row{1, 1, 1, 1}}) {
    options.version_max = row.follower_max;
    listen_anew();
    Hello hello = a_hello();
    hello.version_min = row.leader_min;
    hello.version_max = row.leader_max;
    Outcome& both = dialed(hello);
    ASSERT_TRUE(both) << both.error().text;
    EXPECT_EQ(both->welcome.version, row.chosen);
    expect_to_talk(std::move(both->stream), StreamAuth::none);
    EXPECT_EQ(attached_version, row.chosen);
  }
}

TEST_F(Handshakes, SayWhenThereIsNoVersionThatBothSpeak) {
  Hello hello = a_hello();
  options.version_max = 2;
  listen_anew();
  hello.version_min = hello.version_max = 3;
  const Outcome& none = dialed(hello);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().refusal, StreamRefusal::version);
  EXPECT_NE(none.error().text.find("the peer speaks version 2 of the replication, this node 3 to 3"), std::string::npos)
      << none.error().text;
  until([&] { return sink.contains("later versions only"); });
  EXPECT_TRUE(asked.empty());
}

TEST_F(Handshakes, NameTheStreamThatALinkJoins) {
  listen();
  Hello hello = a_hello();
  hello.version_max = 2;
  hello.stream = 0x1234567890;
  hello.joins = true;
  StreamLink link = here();
  link.index = 3;
  dial({link}, hello, {new_key});
  until([&] { return outcome.has_value(); });
  ASSERT_TRUE(*outcome) << outcome->error().text;
  EXPECT_EQ((*outcome)->link, 3U);
  ASSERT_EQ(asked.size(), 1U);
  EXPECT_EQ(asked[0].stream, 0x1234567890U);
  EXPECT_EQ(asked[0].link, 3);
  EXPECT_TRUE(asked[0].joins);
}

TEST_F(Handshakes, BringTheReasonOfARefusal) {
  listen();
  for (const StreamRefusal refusal :
       {StreamRefusal::unit, StreamRefusal::shape, StreamRefusal::outdated, StreamRefusal::unprepared}) {
    asked.clear();
    answer = {.refusal = refusal, .text = "1 GiB here, 2 GiB there"};
    dial({here(), here()}, a_hello(), {new_key});
    until([&] { return outcome.has_value(); });
    ASSERT_FALSE(*outcome);
    EXPECT_EQ(outcome->error().refusal, refusal);
    EXPECT_NE(outcome->error().text.find("1 GiB here, 2 GiB there"), std::string::npos);
    EXPECT_EQ(asked.size(), 1U) << "it is not asked again over another link";
  }
  EXPECT_EQ(follower, nullptr);
}

TEST_F(Handshakes, SayARefusalOnceAndNotEachTime) {
  listen();
  const auto told = [this](const std::string& why) {
    return std::ranges::count_if(sink.lines(), [&](const std::string& line) {
      return line.find("refused unit=disk7") != std::string::npos && line.find(why) != std::string::npos;
    });
  };
  const auto refuse = [&](const std::string& why) {
    answer = {.refusal = StreamRefusal::shape, .text = why};
    EXPECT_FALSE(dialed());
  };
  for (int count = 0; count < 3; ++count) refuse("too large");
  refuse("too small");
  until([&] { return told("too small") == 1; });
  EXPECT_EQ(told("too large"), 1);
  answer = {};
  EXPECT_TRUE(dialed());
  until([&] { return follower != nullptr; });
  refuse("too small");
  until([&] { return told("too small") == 2; });
}

TEST_F(Handshakes, TellApartOtherClustersAndOtherNodes) {
  listen();
  Hello hello = a_hello();
  hello.cluster[3] ^= std::byte{1};
  const Outcome& other_cluster = dialed(hello);
  ASSERT_FALSE(other_cluster);
  EXPECT_EQ(other_cluster.error().refusal, StreamRefusal::cluster);
  EXPECT_NE(other_cluster.error().text.find("another cluster"), std::string::npos);
  hello = a_hello();
  hello.from = Member::b;
  const Outcome& itself = dialed(hello);
  ASSERT_FALSE(itself);
  EXPECT_NE(itself.error().text.find("is not the peer of node b"), std::string::npos) << itself.error().text;
  EXPECT_TRUE(asked.empty());
}

TEST_F(Handshakes, TryEveryLinkInItsOrder) {
  listen();
  const Bound closed = bound(-1);  // nobody listens there
  const StreamLink dead{.local = "127.0.0.1", .remote = "127.0.0.1", .port = closed.port};
  const StreamLink elsewhere{.local = "192.0.2.77", .remote = "127.0.0.1", .port = port};  // not an address of ours
  const StreamLink wrong{.local = "", .remote = "no-number", .port = port};
  StreamLink right = here();
  right.index = 3;
  dial({dead, elsewhere, wrong, right}, a_hello(), {new_key});
  until([&] { return outcome.has_value(); });
  ASSERT_TRUE(*outcome) << outcome->error().text;
  EXPECT_EQ((*outcome)->link, 3U);
  dial({dead, elsewhere, wrong}, a_hello(), {new_key});
  until([&] { return outcome.has_value(); });
  ASSERT_FALSE(*outcome);
  const DialFailure& failure = outcome->error();
  EXPECT_EQ(failure.refusal, StreamRefusal::none);
  EXPECT_TRUE(failure.error);
  EXPECT_NE(failure.text.find("Connection refused"), std::string::npos) << failure.text;
  EXPECT_NE(failure.text.find("Cannot assign requested address"), std::string::npos) << failure.text;
  EXPECT_NE(failure.text.find("not a numeric address"), std::string::npos) << failure.text;
  dial({}, a_hello(), {new_key});
  until([&] { return outcome.has_value(); });
  EXPECT_FALSE(*outcome);
}

TEST_F(Handshakes, DoNotWaitLongForALinkThatIsSilent) {
  listen();
  dial_options.connect_max = std::chrono::milliseconds(20);
  // Its backlog is full: nothing comes back.
  const Bound full = bound(0);
  std::vector<UniqueFd> waiting;
  for (int count = 0; count < 4; ++count) {
    UniqueFd& socket = waiting.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_in address = loopback(full.port);
    static_cast<void>(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address));
  }
  const StreamLink silent{.local = "", .remote = "127.0.0.1", .port = full.port};
  dial({silent}, a_hello(), {new_key});
  until([&] { return outcome.has_value(); });
  ASSERT_FALSE(*outcome);
  EXPECT_EQ(outcome->error().error, std::errc::timed_out);
  EXPECT_NE(outcome->error().text.find("connecting"), std::string::npos) << outcome->error().text;
}

TEST_F(Handshakes, DoNotWaitLongForAPeerThatSaysNothing) {
  dial_options.handshake_max = std::chrono::milliseconds(20);
  const Bound silent = bound(10);
  dial({{.local = "", .remote = "127.0.0.1", .port = silent.port}}, a_hello(), {new_key});
  until([&] { return outcome.has_value(); });
  ASSERT_FALSE(*outcome);
  EXPECT_EQ(outcome->error().error, std::errc::timed_out);
  EXPECT_NE(outcome->error().text.find("greeting"), std::string::npos) << outcome->error().text;
}

// ---- strangers -----------------------------------------------------------------------------------------------------

TEST_F(Handshakes, CutStrangersOffWhoSayNothing) {
  options.handshake_max = std::chrono::milliseconds(20);
  listen();
  const UniqueFd silent = stranger();
  until([&] { return hung_up(silent); });
  until([&] { return listener->half_open() == 0 && sink.contains("it took too long"); });
}

TEST_F(Handshakes, LetTheOldestStrangerGiveWay) {
  options.half_open_max = 4;
  listen();
  std::vector<UniqueFd> strangers;
  for (int count = 0; count < 10; ++count) strangers.push_back(stranger());
  until([&] { return hung_up(strangers[5]); });
  EXPECT_LE(listener->half_open(), 4U);
  EXPECT_FALSE(hung_up(strangers[9]));
  EXPECT_TRUE(dialed()) << "whoever has the key still comes in";
}

TEST_F(Handshakes, HangUpOnWhatIsNotTheirs) {
  listen();
  const Bytes hello = encode(a_hello());
  Bytes too_long = hello;
  too_long[6] = std::byte{0xff};
  Bytes bad_field = hello;
  bad_field[handshake_prefix_bytes + 1] = std::byte{0};
  for (const Bytes& bytes : {Bytes(100, std::byte{'G'}), too_long, bad_field, encode(Proof())}) {
    const UniqueFd socket = stranger();
    write_all(socket.get(), bytes);
    until([&] { return hung_up(socket); });
  }
  // After a greeting that is right.
  const UniqueFd socket = stranger();
  write_all(socket.get(), hello);
  EXPECT_TRUE(decode_welcome(message_from(socket)));
  write_all(socket.get(), hello);
  until([&] { return hung_up(socket); });
  EXPECT_TRUE(asked.empty());
  EXPECT_TRUE(sink.contains("not admitted"));
}

// ---- beginning and end ---------------------------------------------------------------------------------------------

TEST_F(Handshakes, ListenAsSoonAsTheAddressIsFree) {
  options.retry = std::chrono::milliseconds(5);
  Bound taken = bound(1);
  const Log log(output, "replication");
  listener =
      std::make_unique<StreamListener>(control.get_executor(), clock, log, options, std::vector<Key>{new_key},
                                       [this](const Hello& hello) -> awaitable<Admission> { return admit(hello); });
  listener->listen({{.address = "127.0.0.1", .port = taken.port}, {.address = "127.0.0.1", .port = 0}});
  EXPECT_EQ(listener->listening().size(), 1U) << "one does not keep the other from being there";
  until([&] { return sink.contains("cannot listen yet"); });
  taken.socket.reset();
  until([&] { return listener->listening().size() == 2; });
  port = taken.port;
  EXPECT_TRUE(dialed());
  EXPECT_TRUE(sink.contains("listening on=127.0.0.1"));
}

TEST_F(Handshakes, MayBeEndedAtAnyPoint) {
  listen();
  wait_in_admit = true;
  const UniqueFd silent = stranger();
  dial({here()}, a_hello(), {new_key});
  until([&] { return asked.size() == 1 && listener->half_open() == 1; });
  bool closed = false;
  tasks.spawn([this, &closed]() -> awaitable<void> {
    co_await listener->close();
    closed = true;
  });
  until([&] { return closed && outcome.has_value(); });
  ASSERT_FALSE(*outcome);
  EXPECT_EQ(follower, nullptr);
  EXPECT_TRUE(hung_up(silent));
}

TEST_F(Handshakes, SurviveALeaderThatGoesWhileTheNodePrepares) {
  listen();
  wait_in_admit = true;
  dial({here()}, a_hello(), {new_key});
  until([&] { return asked.size() == 1; });
  bool gone = false;
  tasks.spawn([this, &gone]() -> awaitable<void> {
    co_await dials.close();
    gone = true;
  });
  until([&] { return gone; });
  EXPECT_FALSE(outcome && outcome->has_value());
  wait_in_admit = false;
  // Either the listener has noticed, or the stream says so.
  until([&] { return sink.contains("gone before it was ready") || !at_follower.closed.empty(); });
}

TEST_F(Handshakes, WorkOverIpv6) {
  const Log log(output, "replication");
  listener =
      std::make_unique<StreamListener>(control.get_executor(), clock, log, options, std::vector<Key>{new_key},
                                       [this](const Hello& hello) -> awaitable<Admission> { return admit(hello); });
  listener->listen({{.address = "::1", .port = 0}});
  if (listener->listening().empty()) GTEST_SKIP() << "no ::1 here";
  dial({{.local = "::1", .remote = "::1", .port = listener->listening()[0].port}}, a_hello(), {new_key});
  until([&] { return outcome.has_value(); });
  EXPECT_TRUE(*outcome) << outcome->error().text;
}

}  // namespace
}  // namespace mpath::target::replication::test
