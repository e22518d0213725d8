#include "base/control.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <fstream>
#include <functional>
#include <latch>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "base/control_server.hpp"
#include "base/event.hpp"
#include "base/instance_lock.hpp"
#include "base/sleep.hpp"
#include "base/system_clock.hpp"
#include "base/unix_socket.hpp"
#include "tests/base/loop.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath::control {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using Json = nlohmann::json;
using namespace std::chrono_literals;
using test::TemporaryDirectory;

// A server on a thread of its own, since clients block.
class Daemon {
 public:
  Daemon() : clock(context), server(context.get_executor(), clock), released(context.get_executor()) {
    server.add("echo", echo);
    server.add("fail", fail);
    server.add("typed", typed);
    server.add("throw", throw_);
    server.add("bytes", bytes);
    server.add("large", large);
    auto held = [this](Json) -> awaitable<HandlerResult> {
      co_await released.wait();
      co_return Json{{"held", true}};
    };
    server.add("hold", held);
    auto release = [this](Json) -> awaitable<HandlerResult> {
      released.set();
      co_return Json::object();
    };
    server.add("release", release);
  }
  ~Daemon() {
    if (!thread_.joinable()) return;
    stop();
  }
  void start() {
    thread_ = std::thread([this] { context.run(); });
  }
  void stop() {
    asio::co_spawn(context, server.close(), [this](const std::exception_ptr& exception) {
      if (exception) std::rethrow_exception(exception);
      work_.reset();
    });
    thread_.join();
  }

  asio::io_context context{1};
  SystemClock clock;
  Server server;
  Event released;

 private:
  static awaitable<HandlerResult> echo(Json args) { co_return args; }
  static awaitable<HandlerResult> fail(Json) {
    co_return std::unexpected(HandlerError{ExitCode::no_objects_found, "no sessions"});
  }
  static awaitable<HandlerResult> typed(Json args) { co_return Json{{"sum", args.at("a").get<int>() + 1}}; }
  static awaitable<HandlerResult> throw_(Json) {
    throw std::runtime_error("broken handler");
    co_return Json();
  }
  static awaitable<HandlerResult> bytes(Json) { co_return Json{{"name", "\xff\xfe"}}; }
  static awaitable<HandlerResult> large(Json args) { co_return std::string(args.at("size").get<std::size_t>(), 'x'); }

  asio::executor_work_guard<asio::io_context::executor_type> work_{context.get_executor()};
  std::thread thread_;
};

class ControlTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(daemon.server.listen(socket), error_code());
    daemon.start();
  }
  Result<Reply> ask(const std::string& verb, const Json& args, std::chrono::milliseconds timeout = 30s) {
    return call(socket, verb, args, result, timeout);
  }
  // What comes back for raw bytes, up to the first line end.
  Json raw(const std::string& text) {
    const auto connection = connect_unix(socket, 30s);
    if (!connection) return {};
    send_text(connection->get(), text);
    return Json::parse(read_line(connection->get()), nullptr, false);
  }
  static void send_text(int fd, std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  static std::string read_line(int fd) {
    std::string line;
    char byte = 0;
    while (::recv(fd, &byte, 1, 0) == 1 && byte != '\n') line.push_back(byte);
    return line;
  }

  TemporaryDirectory directory;
  std::filesystem::path socket = directory / "run/mpathd.sock";
  Daemon daemon;
  Json result;
};

TEST_F(ControlTest, AnswersARequest) {
  const auto reply = ask("echo", {{"name", "value"}});
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->ok);
  EXPECT_EQ(result, (Json{{"name", "value"}}));
}

TEST_F(ControlTest, CarriesCodeAndTextOfAFailure) {
  const auto reply = ask("fail", Json::object());
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->ok);
  EXPECT_EQ(reply->code, 21);
  EXPECT_EQ(reply->text, "no sessions");
}

TEST_F(ControlTest, MakesTheSocketForItsOwnerOnly) {
  struct stat status {};
  ASSERT_EQ(::lstat(socket.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  ASSERT_EQ(::lstat(socket.parent_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0755u);
}

TEST_F(ControlTest, RemovesTheSocketWhenClosed) {
  daemon.stop();
  EXPECT_FALSE(std::filesystem::exists(socket));
  const auto reply = ask("echo", Json::object());
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error(), std::errc::no_such_file_or_directory);
}

TEST_F(ControlTest, CloseEndsAHandlerThatWaits) {
  const auto connection = connect_unix(socket, 30s);
  ASSERT_TRUE(connection);
  send_text(connection->get(), "{\"v\":1,\"verb\":\"hold\"}\n");
  ASSERT_TRUE(ask("echo", Json::object()));
  daemon.stop();
  EXPECT_EQ(read_line(connection->get()), "");
}

TEST_F(ControlTest, ConnectionsDoNotWaitForEachOther) {
  std::thread held([this] {
    Json answer;
    const auto reply = call(socket, "hold", Json::object(), answer, 30s);
    EXPECT_TRUE(reply && reply->ok);
    EXPECT_EQ(answer, (Json{{"held", true}}));
  });
  const auto reply = ask("echo", Json::object());
  EXPECT_TRUE(reply && reply->ok);
  EXPECT_TRUE(ask("release", Json::object()));
  held.join();
}

TEST_F(ControlTest, AnswersOneConnectionInOrder) {
  const auto connection = connect_unix(socket, 30s);
  ASSERT_TRUE(connection);
  std::string text;
  for (int i = 0; i < 100; ++i) text += Json{{"v", 1}, {"verb", "echo"}, {"args", {{"i", i}}}}.dump() + "\n";
  send_text(connection->get(), text);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Json::parse(read_line(connection->get()))["result"]["i"], i);
}

TEST_F(ControlTest, TimesOutOnASlowAnswer) {
  const auto reply = ask("hold", Json::object(), 1ms);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error(), std::errc::timed_out);
}

TEST_F(ControlTest, CarriesMegabytesBothWays) {
  const std::string long_text(5 << 20, 'y');
  ASSERT_TRUE(ask("echo", {{"t", long_text}}));
  EXPECT_EQ(result["t"], long_text);
}

TEST_F(ControlTest, RefusesAnAnswerThatIsTooLong) {
  const auto reply = ask("large", {{"size", line_bytes_max}});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->code, 9);
}

TEST_F(ControlTest, RefusesARequestThatIsTooLongBeforeSendingIt) {
  const auto reply = ask("echo", {{"t", std::string(line_bytes_max, 'y')}});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error(), std::errc::message_size);
}

TEST_F(ControlTest, AnswersAnOversizedLineAndServesTheNext) {
  const auto connection = connect_unix(socket, 30s);
  ASSERT_TRUE(connection);
  const std::string chunk(1 << 20, 'z');
  for (int i = 0; i < 34; ++i) send_text(connection->get(), chunk);
  send_text(connection->get(), "\n{\"v\":1,\"verb\":\"echo\",\"args\":{\"a\":1}}\n");
  EXPECT_EQ(Json::parse(read_line(connection->get()))["error"]["code"], 7);
  EXPECT_EQ(Json::parse(read_line(connection->get()))["result"]["a"], 1);
}

TEST_F(ControlTest, MakesBytesThatAreNoTextHarmless) {
  const auto reply = ask("bytes", Json::object());
  EXPECT_TRUE(reply && reply->ok);
}

TEST_F(ControlTest, AnswersWhatAHandlerThrows) {
  const auto typed = ask("typed", {{"a", "text"}});
  ASSERT_TRUE(typed);
  EXPECT_EQ(typed->code, 7);
  const auto missing = ask("typed", Json::object());
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->code, 7);
  const auto thrown = ask("throw", Json::object());
  ASSERT_TRUE(thrown);
  EXPECT_EQ(thrown->code, 9);
  EXPECT_EQ(thrown->text, "throw: broken handler");
}

struct BadRequest {
  const char* name;
  std::string line;
  int code;
};

class ControlBadRequest : public ControlTest, public testing::WithParamInterface<BadRequest> {};

TEST_P(ControlBadRequest, GetsACleanError) {
  const Json reply = raw(GetParam().line + "\n");
  ASSERT_TRUE(reply.is_object()) << reply;
  EXPECT_EQ(reply["v"], 1);
  EXPECT_EQ(reply["ok"], false);
  EXPECT_EQ(reply["error"]["code"], GetParam().code);
  EXPECT_NE(reply["error"]["text"], "");
}

INSTANTIATE_TEST_SUITE_P(
    Rows, ControlBadRequest,
    testing::Values(BadRequest{"Garbage", "GET / HTTP/1.1", 7}, BadRequest{"Bytes", std::string("\xff\x00\x80", 3), 7},
                    BadRequest{"HalfAnObject", "{\"v\":1,\"verb\":", 7}, BadRequest{"AnArray", "[1]", 7},
                    BadRequest{"DeepNesting", std::string(100000, '['), 7}, BadRequest{"NoVersion", "{\"verb\":\"echo\"}", 7},
                    BadRequest{"AVersionOfText", "{\"v\":\"1\",\"verb\":\"echo\"}", 7},
                    BadRequest{"VersionZero", "{\"v\":0,\"verb\":\"echo\"}", 7},
                    BadRequest{"ANegativeVersion", "{\"v\":-1,\"verb\":\"echo\"}", 7},
                    BadRequest{"ANewerVersion", "{\"v\":2,\"verb\":\"echo\"}", 27},
                    BadRequest{"AHugeVersion", "{\"v\":18446744073709551615,\"verb\":\"echo\"}", 27},
                    BadRequest{"NoVerb", "{\"v\":1}", 7}, BadRequest{"AVerbOfNumbers", "{\"v\":1,\"verb\":3}", 7},
                    BadRequest{"AnUnknownVerb", "{\"v\":1,\"verb\":\"nonsense\"}", 16},
                    BadRequest{"ArgsThatAreNoObject", "{\"v\":1,\"verb\":\"echo\",\"args\":[1]}", 7}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(ControlListen, ReplacesTheSocketOfADeadDaemon) {
  const TemporaryDirectory directory;
  const auto path = directory / "mpathd.sock";
  ASSERT_TRUE(listen_unix(path, std::filesystem::perms::owner_all));  // closed at once, the file stays
  ASSERT_TRUE(std::filesystem::exists(path));
  Daemon daemon;
  EXPECT_EQ(daemon.server.listen(path), error_code());
  daemon.start();
  Json result;
  EXPECT_TRUE(call(path, "echo", Json::object(), result, 30s));
}

TEST(ControlListen, RefusesASecondDaemon) {
  const TemporaryDirectory directory;
  const auto path = directory / "mpathd.sock";
  Daemon first;
  ASSERT_EQ(first.server.listen(path), error_code());
  first.start();
  Daemon second;
  EXPECT_EQ(second.server.listen(path), std::errc::address_in_use);
  Json result;
  EXPECT_TRUE(call(path, "echo", Json::object(), result, 30s)) << "the first goes on";
}

TEST(ControlListen, LeavesAFileThatIsNoSocketAlone) {
  const TemporaryDirectory directory;
  const auto path = directory / "mpathd.sock";
  std::ofstream(path) << "precious";
  Daemon daemon;
  EXPECT_EQ(daemon.server.listen(path), std::errc::file_exists);
  EXPECT_EQ(std::filesystem::file_size(path), 8u);
}

TEST(ControlListen, ServesAtAPathLongerThanSocketNamesMayBe) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / std::string(90, 'a') / std::string(90, 'b') / "mpathd.sock";
  Daemon daemon;
  ASSERT_EQ(daemon.server.listen(path), error_code());
  daemon.start();
  Json result;
  const auto reply = call(path, "echo", Json::object(), result, 30s);
  EXPECT_TRUE(reply && reply->ok);
}

TEST(ControlListen, ServesOnAnInheritedSocketAndLeavesItsFile) {
  const TemporaryDirectory directory;
  const auto path = directory / "mpathd.sock";
  auto inherited = listen_unix(path, std::filesystem::perms::owner_all);
  ASSERT_TRUE(inherited);
  Daemon daemon;
  ASSERT_EQ(daemon.server.adopt(inherited->release()), error_code());
  daemon.start();
  Json result;
  EXPECT_TRUE(call(path, "echo", Json::object(), result, 30s));
  daemon.stop();
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST(ControlListen, AdoptsNothingButAListeningUnixSocket) {
  Daemon daemon;
  EXPECT_EQ(daemon.server.adopt(-1), std::errc::bad_file_descriptor);
  EXPECT_EQ(daemon.server.adopt(::open("/dev/null", O_RDONLY | O_CLOEXEC)), std::errc::invalid_argument);
  EXPECT_EQ(daemon.server.adopt(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), std::errc::invalid_argument);
}

TEST(ControlCall, NamesWhyThereIsNoDaemon) {
  const TemporaryDirectory directory;
  Json result;
  const auto missing = call(directory / "none", "echo", Json::object(), result, 1s);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error(), std::errc::no_such_file_or_directory);
  ASSERT_TRUE(listen_unix(directory / "dead", std::filesystem::perms::owner_all));
  const auto dead = call(directory / "dead", "echo", Json::object(), result, 1s);
  ASSERT_FALSE(dead);
  EXPECT_EQ(dead.error(), std::errc::connection_refused);
}

TEST(ControlCall, TellsAnAnswerThatIsNoneApart) {
  for (const std::string answer : {"nonsense\n", "[]\n", "{\"ok\":1}\n", "{\"v\":1,\"ok\":false}\n", "{\"v\":1,\"ok\":tr",
                                   "{\"v\":1,\"ok\":false,\"error\":{\"code\":\"x\"}}\n"}) {
    const TemporaryDirectory directory;
    const auto listener = listen_unix(directory / "odd", std::filesystem::perms::owner_all);
    ASSERT_TRUE(listener);
    std::thread peer([&] {
      ::fcntl(listener->get(), F_SETFL, 0);
      const UniqueFd connection(::accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));
      char request[4096];
      EXPECT_GT(::recv(connection.get(), request, sizeof request, 0), 0);
      EXPECT_EQ(::send(connection.get(), answer.data(), answer.size(), MSG_NOSIGNAL), static_cast<ssize_t>(answer.size()));
    });
    Json result;
    const auto reply = call(directory / "odd", "echo", Json::object(), result, 30s);
    peer.join();
    ASSERT_FALSE(reply) << answer;
    EXPECT_EQ(reply.error(), std::errc::protocol_error) << answer;
  }
}

TEST(InstanceLock, IsHeldByOne) {
  const TemporaryDirectory directory;
  const auto file = directory / "run/mpathd.lock";
  EXPECT_EQ(InstanceLock::holder(file), std::nullopt);
  {
    const auto lock = InstanceLock::take(file);
    ASSERT_TRUE(lock);
    EXPECT_EQ(InstanceLock::holder(file), ::getpid());
    const auto second = InstanceLock::take(file);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error(), std::errc::address_in_use);
  }
  EXPECT_EQ(InstanceLock::holder(file), std::nullopt);
  EXPECT_TRUE(InstanceLock::take(file)) << "the file that stays does not matter";
}

TEST(ExitCodes, EveryCodeHasWords) {
  for (int code = 0; code <= 33; ++code) EXPECT_STRNE(exit_text(static_cast<ExitCode>(code)), "") << code;
  EXPECT_STREQ(exit_text(ExitCode::authorization_failure), "iSCSI login failed due to authorization failure");
}

}  // namespace
}  // namespace mpath::control
