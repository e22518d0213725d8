// The beginning of an encrypted stream: who has the key and does not go on as it should, or does not know how to.
#include "target/replication/tls_handshake.hpp"

#include "tests/target/replication/stream/handshake_world.hpp"
#include "tests/target/replication/stream/tls_ends.hpp"

namespace mpath::target::replication::test {
namespace {

// The node that was upgraded wants what the other one does not know yet.
TEST_F(Handshakes, DoWithoutNothingThatAnOlderNodeDoesNotKnow) {
  Hello hello = a_new_hello();
  hello.auth = StreamAuth::tls;
  for (const std::uint16_t older : {1, 2, 3}) {
    options.version_max = older;
    for (const StreamAuth follower_wants : {StreamAuth::none, StreamAuth::hmac}) {
      options.auth = follower_wants;
      listen_anew();
      const Outcome& result = dialed(hello);
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().refusal, StreamRefusal::version);
      EXPECT_NE(result.error().text.find("stream_auth tls is wanted here"), std::string::npos) << result.error().text;
      EXPECT_TRUE(asked.empty());
    }
  }
  options.version_max = stream_version;
  options.auth = StreamAuth::tls;
  for (const std::uint16_t older : {1, 2, 3}) {
    for (const StreamAuth leader_wants : {StreamAuth::none, StreamAuth::hmac}) {
      listen_anew();
      hello.version_max = older;
      hello.auth = leader_wants;
      const Outcome& result = dialed(hello);
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().refusal, StreamRefusal::version);
      EXPECT_NE(result.error().text.find("stream_auth tls is wanted on node b, and node a, which speaks version " +
                                         std::to_string(older)),
                std::string::npos)
          << result.error().text;
      EXPECT_TRUE(asked.empty());
    }
  }
}

class HalfATls : public Handshakes {
 protected:
  HalfATls() {
    options.cluster_name = dial_options.cluster_name = "lab";
    options.auth = StreamAuth::tls;
  }
  // A leader up to Ready.
  UniqueFd ready_leader(const Hello& hello = a_new_hello()) {
    UniqueFd socket = stranger();
    const Bytes greeting = encode(hello);
    transcript = {};
    transcript.add_hello(greeting);
    write_all(socket.get(), greeting);
    EXPECT_TRUE(transcript.check(message_from(socket), keys, Transcript::Label::welcome));
    Bytes proof = encode(Proof());
    transcript.prove(proof, new_key, Transcript::Label::proof);
    write_all(socket.get(), proof);
    EXPECT_TRUE(transcript.check(message_from(socket), keys, Transcript::Label::ready));
    return socket;
  }
  void expect_hung_up(const UniqueFd& socket, const std::string& why) {
    until([&] { return hung_up(socket) && sink.contains("not encrypted, not connected"); });
    EXPECT_TRUE(sink.contains(why));
    EXPECT_EQ(follower, nullptr);
  }
  // What a peer of the listener or of the dialer says, and what it hears, until it is done or has failed.
  std::expected<void, std::string> shake(const UniqueFd& socket, TlsEngine& engine) {
    Bytes came;
    auto done = engine.shake({});
    for (;;) {
      write_all(socket.get(), engine.take_said());
      if (!done) return std::unexpected(done.error());
      if (*done) return {};
      until([&] {
        const Bytes more = read_some(socket.get());
        came.insert(came.end(), more.begin(), more.end());
        return hung_up(socket) || !came.empty();
      });
      const auto records = records_of(came);
      if (records.empty()) return std::unexpected("hung up");
      came.erase(came.begin(), came.begin() + static_cast<std::ptrdiff_t>(records[0].size()));
      done = engine.shake(records[0]);
    }
  }
  TlsKey offered(const Key& key) {
    const std::string key_name = tls_key_name("lab", Member::a, key);
    return {.name = key_name, .key = transcript.derive_tls(key, key_name)};
  }

  const std::vector<Key> keys{new_key};
  Transcript transcript;
};

TEST_F(HalfATls, IsALeaderLikeAnyOther) {
  listen();
  const UniqueFd socket = ready_leader();
  const auto engine = TlsEngine::connecting(offered(new_key));
  EXPECT_TRUE(shake(socket, *engine));
  until([&] { return follower != nullptr; });
}

TEST_F(HalfATls, HasNotTheKeyOfThisConnection) {
  listen();
  // Of another conversation, under the same cluster key.
  const UniqueFd first = ready_leader();
  const TlsKey old = offered(new_key);
  const UniqueFd second = ready_leader();
  const auto replayed = TlsEngine::connecting(old);
  EXPECT_FALSE(shake(second, *replayed));
  expect_hung_up(second, "TLS: ");
  // What the listener proves with is not offered, but a key of its own.
  const UniqueFd third = ready_leader();
  const auto other = TlsEngine::connecting(offered(old_key));
  EXPECT_FALSE(shake(third, *other));
  until([&] { return hung_up(third); });
  EXPECT_EQ(follower, nullptr);
}

TEST_F(HalfATls, SaysNothing) {
  options.handshake_max = std::chrono::seconds(1);
  listen();
  const UniqueFd socket = ready_leader();
  expect_hung_up(socket, "it took too long");
}

TEST_F(HalfATls, SaysMoreThanBelongsThere) {
  listen();
  const UniqueFd socket = ready_leader();
  // The rest is not waited for.
  write_all(socket.get(), Bytes{std::byte{22}, std::byte{3}, std::byte{1}, std::byte{0x3f}, std::byte{0xff}});
  expect_hung_up(socket, "TLS: ");
}

TEST_F(HalfATls, GoesOnInTheOpen) {
  listen();
  const UniqueFd socket = ready_leader();
  const Bytes message = on_the_wire({.op = StreamOp::flush, .sequence = 5}, {});
  for (int count = 0; count < 100; ++count) write_all(socket.get(), message);
  expect_hung_up(socket, "TLS: ");
  EXPECT_EQ(at_follower.count, 0U);
}

// The same from the other side.
TEST_F(HalfATls, IsAFollowerThatSaysNothingOrHasNotTheKey) {
  for (const bool speaks : {false, true}) {
    dial_options.handshake_max = speaks ? long_enough : std::chrono::seconds(1);
    const Bound door = bound(5);
    ASSERT_EQ(::fcntl(door.socket.get(), F_SETFL, O_NONBLOCK), 0);
    dial({{.local = "127.0.0.1", .remote = "127.0.0.1", .port = door.port}}, a_new_hello(), keys);
    UniqueFd socket;
    until([&] {
      socket.reset(::accept4(door.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      return static_cast<bool>(socket);
    });
    transcript = {};
    transcript.add_hello(message_from(socket));
    Bytes welcome = encode(Welcome{.version = stream_version, .from = Member::b, .auth = StreamAuth::tls});
    transcript.prove(welcome, new_key, Transcript::Label::welcome);
    write_all(socket.get(), welcome);
    EXPECT_TRUE(transcript.check(message_from(socket), keys, Transcript::Label::proof));
    Bytes ready = encode(Ready());
    transcript.prove(ready, new_key, Transcript::Label::ready);
    write_all(socket.get(), ready);
    if (speaks) {
      TlsKey wrong = offered(new_key);
      wrong.key[0] ^= std::byte{1};
      const auto engine = TlsEngine::accepting({wrong});
      EXPECT_FALSE(shake(socket, *engine));
    }
    until([&] { return outcome.has_value(); });
    ASSERT_FALSE(*outcome);
    const std::string expected = speaks ? "TLS: " : "greeting";
    EXPECT_NE(outcome->error().text.find(expected), std::string::npos) << outcome->error().text;
    EXPECT_TRUE(outcome->error().error);
  }
}

}  // namespace
}  // namespace mpath::target::replication::test
