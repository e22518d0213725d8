// Dialer and listener in one loop, and strangers of the test's own.
#pragma once

#include <boost/asio/io_context.hpp>

#include "base/log.hpp"
#include "base/sleep.hpp"
#include "base/system_clock.hpp"
#include "base/task_group.hpp"
#include "target/replication/stream_dialer.hpp"
#include "target/replication/stream_listener.hpp"
#include "tests/target/replication/stream/stream_world.hpp"

namespace mpath::target::replication::test {

namespace asio = boost::asio;
using asio::awaitable;

using Outcome = std::expected<Dialed, DialFailure>;
constexpr std::chrono::seconds long_enough{60};

inline Key key_of(int seed) {
  Key key;
  key.fill(static_cast<std::byte>(seed));
  return key;
}
inline const Key old_key = key_of(1), new_key = key_of(2);

inline Hello a_hello() {
  // Of version 1 but where a test wants another.
  Hello hello{.version_max = 1,
              .unit_name = "disk7",
              .from = Member::a,
              .incarnation = 1001,
              .view = {.number = 7, .primary = Member::a, .in_sync = {Member::a}},
              .size_bytes = 1 << 30,
              .block_bytes = 512,
              .extent_bytes = 4 << 20};
  hello.cluster.fill(std::byte{0x11});
  hello.unit.fill(std::byte{0x22});
  return hello;
}

inline Hello a_new_hello() {
  Hello hello = a_hello();
  hello.version_max = stream_version;
  hello.stream = 77;
  return hello;
}

class Handshakes : public StreamTest {
 protected:
  ~Handshakes() override { close_listener(); }

  void close_listener() {
    if (!listener) return;
    bool closed = false;
    tasks.spawn([this, &closed]() -> awaitable<void> {
      co_await listener->close();
      closed = true;
    });
    until([&] { return closed; });
  }

  // Runs the control loop and the shard until `done`.
  void until(const std::function<bool()>& done) {
    const auto end = clock.now() + std::chrono::seconds(30);
    while (!done()) {
      if (clock.now() > end) {
        FAIL() << "never came";
      }
      control.restart();
      control.run_one_for(std::chrono::milliseconds(5));
      settle();
    }
  }

  void listen(std::vector<Key> keys = {new_key}) {
    const Log log(output, "replication");
    listener =
        std::make_unique<StreamListener>(control.get_executor(), clock, log, options, std::move(keys),
                                         [this](const Hello& hello) -> awaitable<Admission> { return admit(hello); });
    listener->listen({{.address = "127.0.0.1", .port = 0}});
    port = listener->listening().at(0).port;
  }
  void listen_anew(std::vector<Key> keys = {new_key}) {
    close_listener();
    listen(std::move(keys));
  }
  awaitable<Admission> admit(const Hello& hello) {
    asked.push_back(hello);
    while (wait_in_admit) {
      if (co_await sleep_for(clock, std::chrono::milliseconds(1))) break;
    }
    Admission admission{.ready = answer, .shard = &shard};
    admission.attach = [this](std::unique_ptr<TcpStream> stream, std::uint16_t version) {
      attached_version = version;
      follower = std::move(stream);
      follower->start(at_follower);
    };
    co_return admission;
  }

  // Starts to dial; `outcome` has a value when it has ended.
  void dial(std::vector<StreamLink> links, const Hello& hello, const std::vector<Key>& keys) {
    outcome.reset();
    const StreamDialer dialer(control.get_executor(), clock, dial_options);
    dials.spawn([this, dialer, links, hello, keys]() mutable -> awaitable<void> {
      outcome.emplace(co_await dialer.connect(links, hello, keys, shard));
    });
  }
  Outcome& dialed(const Hello& hello = a_hello(), const std::vector<Key>& keys = {new_key}) {
    dial({here()}, hello, keys);
    until([&] { return outcome.has_value(); });
    return *outcome;
  }
  // A question and its answer, over the stream that both have now; which ends then.
  void expect_to_talk(std::unique_ptr<TcpStream> leader, StreamAuth auth) {
    until([&] { return follower != nullptr; });
    const std::uint64_t number = attached_version == 1 ? 0 : 1;
    Told told;
    leader->start(told);
    EXPECT_EQ(leader->counters().auth, auth);
    leader->send({.op = StreamOp::flush, .sequence = 5, .number = number}, {});
    until([&] { return at_follower.count == 1 || !at_follower.closed.empty(); });
    EXPECT_EQ(at_follower.count, 1U);
    follower->send({.op = StreamOp::ack, .sequence = 5, .number = number}, {});
    until([&] { return told.count == 1 || !told.closed.empty(); });
    EXPECT_EQ(told.count, 1U);
    // What is on the wire is what it says.
    const std::uint64_t more = leader->counters().bytes_sent - stream_head_bytes(attached_version);
    EXPECT_EQ(more, auth == StreamAuth::none ? 0U : auth == StreamAuth::hmac ? stream_tag_bytes : 5U + 1 + 16);
    follower.reset();
    at_follower = Told();
  }
  [[nodiscard]] StreamLink here() const { return {.local = "127.0.0.1", .remote = "127.0.0.1", .port = port}; }

  // A connection of the test's own to the listener, or a listening socket of its own.
  [[nodiscard]] UniqueFd stranger() const {
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = loopback(port);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return socket;
  }
  static sockaddr_in loopback(std::uint16_t of_port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(of_port);
    return address;
  }
  struct Bound {
    UniqueFd socket;
    std::uint16_t port = 0;
  };
  static Bound bound(int backlog) {
    Bound made{.socket = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))};
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(made.socket.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    if (backlog >= 0) {
      EXPECT_EQ(::listen(made.socket.get(), backlog), 0);
    }
    EXPECT_EQ(::getsockname(made.socket.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    made.port = ntohs(address.sin_port);
    return made;
  }
  // Whether the listener has hung up.
  static bool hung_up(const UniqueFd& socket) {
    std::byte byte{};
    const ssize_t got = ::recv(socket.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return got == 0 || (got < 0 && errno != EAGAIN);
  }
  // A whole message, with the loops running.
  Bytes message_from(const UniqueFd& socket) {
    Bytes bytes;
    until([&] {
      const Bytes more = read_some(socket.get());
      bytes.insert(bytes.end(), more.begin(), more.end());
      const auto length = handshake_length(bytes);
      return hung_up(socket) || (length && bytes.size() >= *length);
    });
    return bytes;
  }

  asio::io_context control{1};
  SystemClock clock{control};
  MemorySink sink;
  LogOutput output{sink, LogLevel::info};
  StreamListenerOptions options = [] {
    StreamListenerOptions made{.self = Member::b, .incarnation = 2002, .handshake_max = long_enough};
    made.cluster = a_hello().cluster;
    made.silence_max = long_enough;
    return made;
  }();
  StreamDialOptions dial_options{.connect_max = long_enough, .handshake_max = long_enough, .silence_max = long_enough};
  TaskGroup tasks{control.get_executor()};
  TaskGroup dials{control.get_executor()};
  std::unique_ptr<StreamListener> listener;
  std::uint16_t port = 0;

  Ready answer;
  bool wait_in_admit = false;
  std::vector<Hello> asked;
  std::optional<Outcome> outcome;
  Told at_leader, at_follower;
  std::uint16_t attached_version = 0;
  std::unique_ptr<PeerStream> follower;
};

}  // namespace mpath::target::replication::test
