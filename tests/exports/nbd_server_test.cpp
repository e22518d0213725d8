#include "exports/nbd_server.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <boost/asio/co_spawn.hpp>
#include <filesystem>
#include <future>

#include "base/system_clock.hpp"
#include "base/unix_socket.hpp"
#include "tests/exports/ram_device.hpp"

namespace mpath {
namespace {

namespace fs = std::filesystem;
using nbd::Bytes;
using nbd::Command;
using nbd::Error;
using test::RamDevice;
using namespace std::chrono_literals;

// A client on blocking sockets, with a limit on every wait.
class Client {
 public:
  explicit Client(const fs::path& path) {
    auto connected = connect_unix(path, 5s);
    if (connected) socket_ = std::move(*connected);
    limit_waits();
  }
  explicit Client(UniqueFd socket) : socket_(std::move(socket)) { limit_waits(); }

  [[nodiscard]] bool connected() const { return static_cast<bool>(socket_); }
  void send(std::span<const std::byte> bytes) {
    EXPECT_EQ(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  Bytes receive(std::size_t wanted) {
    Bytes bytes(wanted);
    if (wanted == 0) return bytes;  // recv() would wait for a byte all the same
    const ssize_t got = ::recv(socket_.get(), bytes.data(), wanted, MSG_WAITALL);
    bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return bytes;
  }
  // The peer closed, and not merely kept us waiting.
  bool at_eof() {
    std::byte byte;
    const ssize_t got = ::recv(socket_.get(), &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }
  bool greeted() { return receive(nbd::greeting_bytes).size() == nbd::greeting_bytes; }
  // GO; false when refused.
  bool go(const std::string& name = "") {
    if (!greeted()) return false;
    Bytes hello(nbd::client_flags_bytes);
    nbd::encode_client_flags(3, std::span(hello).first<nbd::client_flags_bytes>());
    send(hello);
    send(nbd::encode_option(nbd::Option::go, nbd::encode_info_request({.name = name})));
    for (;;) {
      const Bytes header = receive(nbd::option_reply_header_bytes);
      if (header.size() != nbd::option_reply_header_bytes) return false;
      const auto reply = nbd::decode_option_reply_header(std::span(header).first<nbd::option_reply_header_bytes>());
      const Bytes data = receive(reply->length);
      if (reply->reply == nbd::OptionReply::ack) return true;
      if (nbd::is_error(reply->reply)) return false;
      if (*nbd::decode_info_type(data) == nbd::InfoType::export_info) size = nbd::decode_info_export(data)->size_bytes;
    }
  }
  std::optional<Error> request(const nbd::Request& wire, std::span<const std::byte> payload = {}) {
    Bytes bytes(nbd::request_bytes);
    nbd::encode_request(wire, std::span(bytes).first<nbd::request_bytes>());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    send(bytes);
    return answer();
  }
  std::optional<Error> answer() {
    const Bytes reply = receive(nbd::simple_reply_bytes);
    if (reply.size() != nbd::simple_reply_bytes) return std::nullopt;
    return nbd::decode_simple_reply(std::span(reply).first<nbd::simple_reply_bytes>())->error;
  }
  std::uint64_t size = 0;

 private:
  void limit_waits() {
    const timeval limit{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  UniqueFd socket_;
};

// A server with its control thread and one shard; the test itself is the client.
class Server : public ::testing::Test {
 protected:
  template <typename Function>
  auto on(boost::asio::io_context& context, Function function) {
    std::promise<decltype(function())> promise;
    boost::asio::post(context, [&] {
      if constexpr (std::is_void_v<decltype(function())>) {
        function();
        promise.set_value();
      } else {
        promise.set_value(function());
      }
    });
    return promise.get_future().get();
  }
  template <typename Function>
  auto on_control(Function function) {
    return on(control, std::move(function));
  }
  template <typename Function>
  auto on_shard(Function function) {
    return on(shard.context(), std::move(function));
  }
  // Waits for what the loops do in their own time.
  template <typename Condition>
  bool eventually(Condition condition) {
    for (int i = 0; i < 4000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }

  void SetUp() override {
    directory = fs::temp_directory_path() / ("nbd_server_test." + std::to_string(::getpid()));
    fs::remove_all(directory);
    shard.start();
    control_thread = std::thread([this] { control.run(); });
  }
  void TearDown() override {
    if (server) {
      std::promise<void> closed;
      const auto close = [this]() -> boost::asio::awaitable<void> { return server->close(); };
      boost::asio::co_spawn(control, close, [&](std::exception_ptr) { closed.set_value(); });
      closed.get_future().wait();
      on_control([this] { server.reset(); });
    }
    work.reset();
    control_thread.join();
    shard.stop();
    EXPECT_EQ(disk.observers(), 0u) << "the server still watches the device";
    EXPECT_TRUE(fs::is_empty(directory)) << "a socket file stayed";
    fs::remove_all(directory);
  }

  void start(NbdServerOptions options = {}) {
    options.directory = directory;
    fs::create_directories(directory);
    server = on_control([&] { return std::make_unique<NbdServer>(control, clock, Log(output), options); });
  }
  error_code offer(const std::string& name, BlockDevice& device) {
    const error_code error = on_control([&] { return server->add_export(name, device, shard); });
    EXPECT_TRUE(error || eventually([&] { return status(name).ready; }));
    return error;
  }
  NbdExportStatus status(const std::string& name) {
    return on_control([&] {
      for (const NbdExportStatus& each : server->exports()) {
        if (each.name == name) return each;
      }
      return NbdExportStatus();
    });
  }
  fs::path socket(const std::string& name) const { return directory / (name + ".sock"); }

  fs::path directory;
  MemorySink sink;
  LogOutput output{sink, LogLevel::debug};
  boost::asio::io_context control{1};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work{control.get_executor()};
  SystemClock clock{control};
  Shard shard{0};
  RamDevice disk{"disk", RamDevice::all_features(1 << 20)};
  std::unique_ptr<NbdServer> server;
  std::thread control_thread;
};

TEST_F(Server, ServesAnExportAtItsSocket) {
  start();
  ASSERT_FALSE(offer("disk", disk));
  struct stat about{};
  ASSERT_EQ(::stat(socket("disk").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  Client client(socket("disk"));
  ASSERT_TRUE(client.go());
  EXPECT_EQ(client.size, 1u << 20);
  EXPECT_EQ(client.request({.command = Command::write, .length = 512}, Bytes(512, std::byte{7})), Error::ok);
  EXPECT_EQ(status("disk").connections, 1u);
  EXPECT_TRUE(sink.contains("nbd: client connected export=disk peer="));
}

TEST_F(Server, ANameIsOfferedOnceAndMustBeAFileName) {
  start();
  ASSERT_FALSE(offer("disk", disk));
  RamDevice other("other", RamDevice::all_features(1 << 20));
  EXPECT_EQ(offer("disk", other), std::errc::file_exists);
  for (const char* name : {"", ".", "..", "a/b"}) EXPECT_EQ(offer(name, other), std::errc::invalid_argument) << name;
}

TEST_F(Server, AnExportsSocketOffersOnlyThatExport) {
  start();
  RamDevice other("other", RamDevice::all_features(2 << 20));
  ASSERT_FALSE(offer("a", disk));
  ASSERT_FALSE(offer("b", other));
  EXPECT_TRUE(Client(socket("b")).go("b"));
  EXPECT_TRUE(Client(socket("b")).go(""));
  EXPECT_FALSE(Client(socket("b")).go("a"));
  std::promise<void> removed;
  on_control([&] { EXPECT_TRUE(server->remove_export("b", [&] { removed.set_value(); })); });
  removed.get_future().wait();
}

TEST_F(Server, RemovingAnExportDrainsItAndFreesTheDevice) {
  start();
  ASSERT_FALSE(offer("disk", disk));
  Client client(socket("disk"));
  ASSERT_TRUE(client.go());
  on_shard([&] { disk.hold = true; });
  Bytes flush(nbd::request_bytes);
  nbd::encode_request({.command = Command::flush, .cookie = 1}, std::span(flush).first<nbd::request_bytes>());
  client.send(flush);
  ASSERT_TRUE(eventually([&] { return on_shard([&] { return !disk.held.empty(); }); }));

  std::promise<void> removed;
  auto gone = removed.get_future();
  on_control([&] { EXPECT_TRUE(server->remove_export("disk", [&] { removed.set_value(); })); });
  EXPECT_FALSE(fs::exists(socket("disk")));
  on_shard([] {});
  EXPECT_EQ(gone.wait_for(0s), std::future_status::timeout) << "a request is still in the device";
  EXPECT_EQ(client.request({.command = Command::read, .cookie = 2, .length = 512}), Error::shutdown);
  on_shard([&] { disk.release_all(); });
  EXPECT_EQ(client.answer(), Error::ok);
  EXPECT_TRUE(client.at_eof());
  client = Client(UniqueFd());
  EXPECT_EQ(gone.wait_for(20s), std::future_status::ready);
  EXPECT_EQ(on_shard([&] { return disk.observers(); }), 0u);
  EXPECT_FALSE(on_control([&] { return server->remove_export("disk", {}); }));
}

TEST_F(Server, AClientThatTakesNoAnswersDoesNotHoldUpARemoval) {
  NbdServerOptions options;
  options.exports.drain_limit = 50ms;
  start(options);
  ASSERT_FALSE(offer("disk", disk));
  Client client(socket("disk"));
  ASSERT_TRUE(client.go());
  EXPECT_EQ(client.request({.command = Command::flush}), Error::ok);
  std::promise<void> removed;
  on_control([&] { EXPECT_TRUE(server->remove_export("disk", [&] { removed.set_value(); })); });
  EXPECT_EQ(removed.get_future().wait_for(20s), std::future_status::ready);
}

TEST_F(Server, ANameCanBeOfferedAgainWhileItsOldClientsLeave) {
  start();
  ASSERT_FALSE(offer("disk", disk));
  Client client(socket("disk"));
  ASSERT_TRUE(client.go());
  EXPECT_EQ(client.request({.command = Command::flush}), Error::ok);
  std::promise<void> removed;
  on_control([&] { EXPECT_TRUE(server->remove_export("disk", [&] { removed.set_value(); })); });
  RamDevice next("disk", RamDevice::all_features(4 << 20));
  ASSERT_FALSE(offer("disk", next));
  Client second(socket("disk"));
  ASSERT_TRUE(second.go());
  EXPECT_EQ(second.size, 4u << 20);
  EXPECT_EQ(second.request({.command = Command::flush}), Error::ok);
  client = Client(UniqueFd());
  removed.get_future().wait();
  EXPECT_EQ(status("disk").connections, 1u);
  second = Client(UniqueFd());
  std::promise<void> removed_next;
  on_control([&] { EXPECT_TRUE(server->remove_export("disk", [&] { removed_next.set_value(); })); });
  removed_next.get_future().wait();
}

TEST_F(Server, AGrownDeviceIsToldToNewClientsAndServedToOldOnes) {
  start();
  RamDevice big("disk", RamDevice::all_features(2 << 20));
  BlockLimits small = big.limits();
  small.size_bytes = 1 << 20;
  big.change_limits(small);
  ASSERT_FALSE(offer("disk", big));
  Client old(socket("disk"));
  ASSERT_TRUE(old.go());
  EXPECT_EQ(old.request({.command = Command::write, .offset = 1 << 20, .length = 512}, Bytes(512)), Error::nospc);
  on_shard([&] { big.change_limits(RamDevice::all_features(2 << 20)); });
  EXPECT_EQ(old.request({.command = Command::write, .offset = 1 << 20, .length = 512}, Bytes(512)), Error::ok);
  ASSERT_TRUE(eventually([&] { return status("disk").limits.size_bytes == 2 << 20; }));
  Client fresh(socket("disk"));
  ASSERT_TRUE(fresh.go());
  EXPECT_EQ(fresh.size, 2u << 20);
  std::promise<void> removed;
  old = Client(UniqueFd());
  fresh = Client(UniqueFd());
  on_control([&] { EXPECT_TRUE(server->remove_export("disk", [&] { removed.set_value(); })); });
  removed.get_future().wait();
}

TEST_F(Server, AGoneDeviceIsNoLongerOfferedAndItsClientsAreLet) {
  start();
  ASSERT_FALSE(offer("disk", disk));
  Client client(socket("disk"));
  ASSERT_TRUE(client.go());
  EXPECT_EQ(client.request({.command = Command::flush}), Error::ok);
  on_shard([&] { disk.go(); });
  EXPECT_TRUE(client.at_eof());
  ASSERT_TRUE(eventually([&] { return !status("disk").ready; }));
  EXPECT_FALSE(Client(socket("disk")).go());
}

TEST_F(Server, ASilentClientIsCutOffInTheHandshake) {
  NbdServerOptions options;
  options.handshake_limit = 50ms;
  start(options);
  ASSERT_FALSE(offer("disk", disk));
  Client client(socket("disk"));
  EXPECT_TRUE(client.greeted());
  EXPECT_TRUE(client.at_eof());
  EXPECT_TRUE(eventually([&] { return sink.contains("handshake ended reason=timeout"); }));
}

TEST_F(Server, TheOldestHandshakeMakesRoomForANewClient) {
  NbdServerOptions options;
  options.half_open_max = 2;
  start(options);
  ASSERT_FALSE(offer("disk", disk));
  Client first(socket("disk"));
  EXPECT_TRUE(first.greeted());
  Client second(socket("disk"));
  EXPECT_TRUE(second.greeted());
  Client third(socket("disk"));
  EXPECT_TRUE(third.go());
  EXPECT_TRUE(first.at_eof());
}

TEST_F(Server, OneConnectionTooManyIsTurnedAway) {
  NbdServerOptions options;
  options.connections_max = 1;
  start(options);
  ASSERT_FALSE(offer("disk", disk));
  Client first(socket("disk"));
  ASSERT_TRUE(first.go());
  EXPECT_EQ(first.request({.command = Command::flush}), Error::ok);
  Client second(socket("disk"));
  EXPECT_TRUE(second.go());
  EXPECT_TRUE(second.at_eof());
  EXPECT_EQ(first.request({.command = Command::flush}), Error::ok);
}

TEST_F(Server, AdoptsAConnectedClientAndSaysWhenItIsIdle) {
  std::promise<void> idle;
  NbdServerOptions options;
  options.on_idle = [&] { idle.set_value(); };
  start(options);
  ASSERT_FALSE(offer("disk", disk));
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  on_control([&] { EXPECT_FALSE(server->adopt(UniqueFd(ends[1]))); });
  Client client{UniqueFd(ends[0])};
  EXPECT_TRUE(client.go());
  client = Client(UniqueFd());
  EXPECT_EQ(idle.get_future().wait_for(20s), std::future_status::ready);
}

TEST_F(Server, RefusesToAdoptWhatIsNoStreamSocket) {
  start();
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd other(ends[0]);
  EXPECT_EQ(on_control([&] { return server->adopt(UniqueFd(ends[1])); }), std::errc::invalid_argument);
  EXPECT_EQ(on_control([&] { return server->adopt(UniqueFd(::dup(2))); }), std::errc::invalid_argument);
}

TEST_F(Server, ClosingEndsClientsInEveryPhase) {
  start();
  ASSERT_FALSE(offer("disk", disk));
  Client half(socket("disk"));
  EXPECT_TRUE(half.greeted());
  Client whole(socket("disk"));
  ASSERT_TRUE(whole.go());
  std::promise<void> closed;
  const auto close = [this]() -> boost::asio::awaitable<void> { return server->close(); };
  boost::asio::co_spawn(control, close, [&](std::exception_ptr) { closed.set_value(); });
  EXPECT_TRUE(half.at_eof());
  EXPECT_TRUE(whole.at_eof());
  whole = Client(UniqueFd());
  EXPECT_EQ(closed.get_future().wait_for(20s), std::future_status::ready);
  EXPECT_FALSE(fs::exists(socket("disk")));
}

}  // namespace
}  // namespace mpath
