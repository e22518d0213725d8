// The doors of a map: what is opened, what is remembered over a restart, and who may close what. The kernel's disks are
// fakes; those of exports/ are tested in a virtual machine (tests/vm).
#include "mpathd/map_exports.hpp"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <fstream>

#include "base/memory_device.hpp"
#include "base/system_clock.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath {
namespace {

using boost::asio::awaitable;
using Calls = std::vector<std::string>;

// What the kernel would have: survives the daemon.
struct FakeKernel {
  std::set<std::string> held;      // devices
  std::set<std::string> disks;     // kind and identity
  error_code refuses;
  Calls calls;
};

class FakeDisk final : public KernelDisk {
 public:
  FakeDisk(FakeKernel& kernel, std::string word, KernelDiskSetup setup)
      : kernel_(kernel), word_(std::move(word)), setup_(std::move(setup)) {}
  awaitable<Result<std::string>> attach() override {
    kernel_.calls.push_back((kernel_.disks.contains(word_ + setup_.identity) ? "take over " : "make ") + word_);
    if (kernel_.refuses) co_return failure(kernel_.refuses);
    kernel_.disks.insert(word_ + setup_.identity);
    co_return word_ + "0";
  }
  awaitable<error_code> detach(bool force) override {
    if (!force && kernel_.held.contains(word_ + "0")) co_return error_code(EBUSY, std::generic_category());
    kernel_.calls.push_back("detach " + word_);
    kernel_.disks.erase(word_ + setup_.identity);
    co_return error_code{};
  }
  awaitable<void> leave() override {
    kernel_.calls.push_back("leave " + word_);
    co_return;
  }

 private:
  FakeKernel& kernel_;
  std::string word_;
  KernelDiskSetup setup_;
};

class MapExportsTest : public testing::Test {
 protected:
  // A daemon's life.
  struct Life {
    Life(MapExportsTest& test, FakeKernel& kernel)
        : nbd(test.control, test.clock, test.log, NbdServerOptions{.directory = test.layout.nbd_sockets()}),
          exports({.control = test.control,
                   .blocking = test.blocking,
                   .clock = test.clock,
                   .nbd = nbd,
                   .layout = test.layout,
                   .for_root = test.for_root,
                   .log = test.log,
                   .former_ended = [&kernel](std::string) -> awaitable<void> {
                     kernel.calls.emplace_back("fence");
                     co_return;
                   },
                   .by_path = [](std::string) -> awaitable<std::vector<std::string>> {
                     co_return std::vector<std::string>{"ip-10.0.0.1:3260-iscsi-iqn.a:b-lun-0"};
                   },
                   .maker = [&kernel](ExportKind kind, KernelDiskSetup setup) -> std::unique_ptr<KernelDisk> {
                     return std::make_unique<FakeDisk>(kernel, std::string(word_of(kind)), std::move(setup));
                   },
                   .find_nbd = [&kernel](const std::string& identity) -> std::optional<std::string> {
                     if (!kernel.disks.contains("nbd" + identity)) return std::nullopt;
                     return "nbd7";
                   }}) {}
    NbdServer nbd;
    MapExports exports;
  };

  MapExportsTest() {
    shard.start();
    begin();
  }
  ~MapExportsTest() override {
    if (life) end();
    shard.stop();
    blocking.join();
  }

  template <typename Work>
  void run(Work work) {
    bool done = false;
    boost::asio::co_spawn(control, std::move(work), [&done](const std::exception_ptr& exception) {
      if (exception) std::rethrow_exception(exception);
      done = true;
    });
    const auto limit = clock.now() + std::chrono::seconds(20);
    while (!done && clock.now() < limit) control.run_one_for(std::chrono::milliseconds(20));
    ASSERT_TRUE(done);
  }
  void begin() {
    life = std::make_unique<Life>(*this, kernel);
    run([this]() -> awaitable<void> { co_await life->exports.begin(); });
  }
  // In order, as Daemon::stop() does.
  void end() {
    run([this]() -> awaitable<void> {
      co_await life->exports.leave();
      co_await life->nbd.close();
      co_await life->exports.finish();
    });
    life.reset();
  }
  // Nothing is said to anybody: as after kill -9, but for the sockets.
  void die() {
    run([this]() -> awaitable<void> { co_await life->nbd.close(); });
    life.reset();
  }
  void add(std::optional<ExportKinds> kinds) {
    life->exports.add({.name = "data", .wwid = "3600", .device = &device, .shard = &shard, .settings = {.kinds = std::move(kinds)}});
  }
  void wait_for_places(const std::vector<std::string>& places, ExportKind not_open = ExportKind::tcmu) {
    const auto limit = clock.now() + std::chrono::seconds(20);
    while (life->exports.places("data") != places && clock.now() < limit) control.run_one_for(std::chrono::milliseconds(20));
    EXPECT_EQ(life->exports.places("data"), places);
    // The end of the turn.
    CommandOutcome ignored;
    run([&]() -> awaitable<void> { ignored = co_await life->exports.close("data", not_open); });
  }
  CommandOutcome open(ExportKind kind) {
    CommandOutcome outcome;
    run([&]() -> awaitable<void> { outcome = co_await life->exports.open("data", kind); });
    return outcome;
  }
  CommandOutcome close(ExportKind kind) {
    CommandOutcome outcome;
    run([&]() -> awaitable<void> { outcome = co_await life->exports.close("data", kind); });
    return outcome;
  }
  [[nodiscard]] std::string socket() const { return "unix:" + (layout.nbd_sockets() / "data.sock").string(); }

  boost::asio::io_context control{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard{control.get_executor()};
  boost::asio::thread_pool blocking{1};
  SystemClock clock{control};
  Shard shard{0};
  MemorySink sink;
  LogOutput output{sink, LogLevel::error};
  Log log{output};
  const test::TemporaryDirectory root;
  Layout layout{root.path()};
  bool for_root = false;
  MemoryDevice device;
  FakeKernel kernel;
  std::unique_ptr<Life> life;
};

TEST_F(MapExportsTest, OpensWhatIsWrittenAndShowsIt) {
  add(ExportKinds{ExportKind::nbd_socket, ExportKind::ublk});
  wait_for_places({socket(), "/dev/ublk0"});
  EXPECT_EQ(life->exports.device_name("data"), "ublk0");
  std::ifstream in(layout.run() / "udev/ublk0");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(text, "MPATH_NAME=data\nMPATH_WWID=3600\nMPATH_WAY_0=ip-10.0.0.1:3260-iscsi-iqn.a:b-lun-0\n");
  EXPECT_EQ(kernel.calls, Calls{"make ublk"}) << "nobody was there before: nothing to wait for";
}

TEST_F(MapExportsTest, OfTheRootFileSystemIsAnNbdDiskOfItsOwnAndNothingElse) {
  kernel.disks.insert("nbd3600");  // the usual mpathd's
  end();
  for_root = true;
  begin();
  add(ExportKinds{ExportKind::nbd_socket, ExportKind::ublk});
  wait_for_places({"/dev/nbd0"});
  EXPECT_EQ(kernel.calls, Calls{"make nbd"});
  EXPECT_TRUE(kernel.disks.contains("nbdmpathd-root:3600"));
  EXPECT_EQ(open(ExportKind::nbd_socket).status, CommandStatus::not_supported);
}

TEST_F(MapExportsTest, AMapThatTheRootFileSystemIsOnGetsNoSecondDisk) {
  kernel.disks.insert("nbdmpathd-root:3600");
  add(ExportKinds{ExportKind::nbd_socket, ExportKind::nbd});
  wait_for_places({socket()});
  const CommandOutcome outcome = open(ExportKind::nbd);
  EXPECT_EQ(outcome.status, CommandStatus::in_use);
  EXPECT_EQ(outcome.text, "it is /dev/nbd7 already, by the mpathd of the root file system");
  EXPECT_EQ(kernel.calls, Calls{});
}

TEST_F(MapExportsTest, NothingAtAllWhenNoneIsWritten) {
  add(ExportKinds{});
  wait_for_places({});
  EXPECT_EQ(life->exports.device_name("data"), "");
}

TEST_F(MapExportsTest, OpensAndClosesOnCommandButNotWhatIsHeld) {
  add(ExportKinds{ExportKind::nbd_socket});
  wait_for_places({socket()});
  EXPECT_TRUE(open(ExportKind::nbd).ok());
  EXPECT_TRUE(open(ExportKind::nbd).ok()) << "a second time is no failure, and nothing else";
  EXPECT_EQ(kernel.calls, Calls{"make nbd"});
  EXPECT_EQ(life->exports.places("data"), (std::vector{socket(), std::string("/dev/nbd0")}));
  kernel.held.insert("nbd0");
  const CommandOutcome held = close(ExportKind::nbd);
  EXPECT_EQ(held.status, CommandStatus::in_use);
  EXPECT_EQ(held.text, "/dev/nbd0 is in use");
  kernel.held.clear();
  EXPECT_TRUE(close(ExportKind::nbd).ok());
  EXPECT_FALSE(std::filesystem::exists(layout.run() / "udev/nbd0"));
  EXPECT_EQ(close(ExportKind::nbd).status, CommandStatus::failed) << "it is not there any more";
  EXPECT_TRUE(close(ExportKind::nbd_socket).ok());
  EXPECT_TRUE(life->exports.places("data").empty());
}

TEST_F(MapExportsTest, WaitsForWhoeverLooksForAMoment) {
  add(ExportKinds{ExportKind::tcmu});
  wait_for_places({"/dev/tcmu0"}, ExportKind::nbd);
  kernel.held.insert("tcmu0");
  const auto alarm = clock.make_alarm([this] { kernel.held.clear(); });
  alarm->set(clock.now() + std::chrono::milliseconds(300));
  EXPECT_TRUE(close(ExportKind::tcmu).ok());
}

TEST_F(MapExportsTest, SaysWhatTheKernelLacks) {
  add(ExportKinds{});
  wait_for_places({});
  kernel.refuses = error_code(ENODEV, std::generic_category());
  const CommandOutcome outcome = open(ExportKind::ublk);
  EXPECT_EQ(outcome.status, CommandStatus::failed);
  EXPECT_NE(outcome.text.find("ublk_drv"), std::string::npos) << outcome.text;
  EXPECT_TRUE(life->exports.places("data").empty());
}

// What a killed process had open, by hand too, is taken over, and not before its sessions have ended.
TEST_F(MapExportsTest, TakesOverAfterADeathAndFencesFirst) {
  add(ExportKinds{});
  wait_for_places({});
  ASSERT_TRUE(open(ExportKind::nbd).ok());
  die();
  kernel.calls.clear();
  begin();
  add(ExportKinds{});
  wait_for_places({"/dev/nbd0"});
  EXPECT_EQ(kernel.calls, (Calls{"fence", "take over nbd"}));
}

TEST_F(MapExportsTest, LeavesWhatIsHeldToTheNextAndTakesTheRestAway) {
  add(ExportKinds{ExportKind::nbd_socket, ExportKind::nbd, ExportKind::ublk});
  wait_for_places({socket(), "/dev/nbd0", "/dev/ublk0"});
  kernel.held.insert("ublk0");
  kernel.calls.clear();
  end();
  EXPECT_EQ(kernel.calls, (Calls{"detach nbd", "leave ublk"}));
  kernel.calls.clear();
  begin();
  add(ExportKinds{});
  wait_for_places({"/dev/ublk0"});
  EXPECT_EQ(kernel.calls, (Calls{"fence", "take over ublk"}));
}

// A disk that nobody uses goes with the daemon, and comes back with it.
TEST_F(MapExportsTest, WhatWasSaidByCommandHoldsOverARestart) {
  add(ExportKinds{ExportKind::nbd_socket, ExportKind::nbd});
  wait_for_places({socket(), "/dev/nbd0"});
  ASSERT_TRUE(close(ExportKind::nbd).ok());
  ASSERT_TRUE(open(ExportKind::ublk).ok());
  end();
  kernel.calls.clear();
  begin();
  add(ExportKinds{ExportKind::nbd_socket, ExportKind::nbd});
  wait_for_places({socket(), "/dev/ublk0"});
  EXPECT_EQ(kernel.calls, Calls{"make ublk"}) << "nothing was left to take over, so nothing to wait for";
}

TEST_F(MapExportsTest, WhatWasSaidByCommandHoldsUntilTheSettingsChange) {
  add(ExportKinds{ExportKind::nbd_socket, ExportKind::nbd});
  wait_for_places({socket(), "/dev/nbd0"});
  ASSERT_TRUE(close(ExportKind::nbd).ok());
  life->exports.set_settings("data", {.kinds = ExportKinds{ExportKind::nbd}});
  wait_for_places({"/dev/nbd0"});
  end();
  begin();
  add(ExportKinds{ExportKind::nbd});
  wait_for_places({"/dev/nbd0"});
}

TEST_F(MapExportsTest, AnotherBootHasNothingToTakeOver) {
  add(ExportKinds{ExportKind::nbd});
  wait_for_places({"/dev/nbd0"});
  die();
  const auto file = layout.run() / "exports.json";
  std::ifstream in(file);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  const std::size_t boot = text.find("\"boot\": \"");
  ASSERT_NE(boot, std::string::npos) << text;
  text[boot + 9] = text[boot + 9] == '0' ? '1' : '0';
  std::ofstream(file) << text;
  kernel = {};
  begin();
  add(ExportKinds{});
  wait_for_places({});
  EXPECT_TRUE(kernel.calls.empty());
}

TEST_F(MapExportsTest, AMapThatGoesTakesItsDisksAlongHoweverHeld) {
  add(ExportKinds{ExportKind::nbd_socket, ExportKind::tcmu});
  kernel.held.insert("tcmu0");
  int removed = 0;
  life->exports.remove("data", [&removed] { ++removed; });  // while its doors are being opened
  EXPECT_TRUE(life->exports.places("data").empty());
  const auto limit = clock.now() + std::chrono::seconds(20);
  while (removed == 0 && clock.now() < limit) control.run_one_for(std::chrono::milliseconds(20));
  EXPECT_EQ(removed, 1);
  EXPECT_TRUE(kernel.disks.empty());
}

TEST_F(MapExportsTest, NewSettingsOpenAndClose) {
  add(ExportKinds{ExportKind::nbd_socket, ExportKind::nbd});
  wait_for_places({socket(), "/dev/nbd0"});
  life->exports.set_settings("data", {.kinds = ExportKinds{ExportKind::nbd_socket, ExportKind::ublk}});
  wait_for_places({socket(), "/dev/ublk0"});
  EXPECT_EQ(std::ranges::count(kernel.calls, "fence"), 0) << "what is noted is our own";
}

}  // namespace
}  // namespace mpath
