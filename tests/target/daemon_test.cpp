// The daemon in this process, on loopback and a root of its own: start, reload, edits, and what a mistake leaves
// behind.
#include "target/daemon.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <fstream>
#include <sstream>

#include "base/atomic_file.hpp"
#include "target/edits.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath::target {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class TargetDaemonTest : public testing::Test {
 protected:
  ~TargetDaemonTest() override {
    if (daemon_ != nullptr) wait(daemon_->stop());
    daemon_.reset();
  }

  void configure(const std::string& text) {
    ASSERT_FALSE(replace_file(layout_.target_conf(), "portal_group 1 { portal 127.0.0.1:0 }\n" + text));
  }
  [[nodiscard]] error_code start() {
    TargetDaemonOptions options{.layout = layout_, .shards = 2, .control_socket = false};
    daemon_ = std::make_unique<TargetDaemon>(control_, std::move(options), Log(output_));
    return wait(daemon_->start());
  }
  [[nodiscard]] std::string file(const char* name) const { return (root_ / name).string(); }

  template <typename T>
  T wait(boost::asio::awaitable<T> work) {
    std::optional<T> value;
    boost::asio::co_spawn(control_, std::move(work), [&](const std::exception_ptr& exception, T result) {
      if (exception) std::rethrow_exception(exception);
      value.emplace(std::move(result));
    });
    run_until([&] { return value.has_value(); });
    return std::move(*value);
  }
  void wait(boost::asio::awaitable<void> work) {
    bool done = false;
    boost::asio::co_spawn(control_, std::move(work), [&](const std::exception_ptr& exception) {
      if (exception) std::rethrow_exception(exception);
      done = true;
    });
    run_until([&] { return done; });
  }
  void run_until(const std::function<bool()>& condition) {
    control_.restart();
    while (!condition()) control_.run_one();
  }

  const mpath::test::TemporaryDirectory root_;
  Layout layout_{root_.path()};
  MemorySink sink_;
  LogOutput output_{sink_};
  boost::asio::io_context control_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_{control_.get_executor()};
  std::unique_ptr<TargetDaemon> daemon_;
};

constexpr const char* ram = "lu r {\n type ram\n size 1M\n}\ntarget iqn.2026-01.org.example:r { lun 0 r }\n";

TEST_F(TargetDaemonTest, ServesTheOthersWhenOneUnitCannotBeOpened) {
  configure(std::string(ram) + "lu missing { path " + file("nothing.img") + " }\n");
  ASSERT_FALSE(start());
  EXPECT_NE(daemon_->units().find("r"), nullptr);
  EXPECT_EQ(daemon_->units().find("missing"), nullptr);
  EXPECT_TRUE(sink_.contains("lu missing: offline reason="));
  ASSERT_EQ(daemon_->listening().size(), 1U);
  EXPECT_NE(daemon_->listening()[0].port, 0);

  // Once the cause is mended a reload brings it.
  std::ofstream(file("nothing.img")) << std::string(1 << 20, 'x');
  const auto plan = wait(daemon_->reload());
  ASSERT_TRUE(plan);
  EXPECT_THAT(*plan, ElementsAre("~ lu missing (opened anew)"));
  EXPECT_NE(daemon_->units().find("missing"), nullptr);
}

TEST_F(TargetDaemonTest, DoesNotStartWithAMistake) {
  configure("lu a { type ram }\n");
  EXPECT_TRUE(start());
  EXPECT_TRUE(sink_.contains("mptarget.conf:2: lu a of type ram needs a size"));
}

TEST_F(TargetDaemonTest, AReloadWithAMistakeChangesNothing) {
  configure(ram);
  ASSERT_FALSE(start());
  const auto before = daemon_->units().find("r");
  configure(std::string(ram) + "lu more { type ram; size 1M }\nnonsense\n");
  const auto plan = wait(daemon_->reload());
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().kind, Refusal::Kind::invalid);
  EXPECT_EQ(daemon_->units().find("r"), before);
  EXPECT_EQ(daemon_->units().find("more"), nullptr);
}

TEST_F(TargetDaemonTest, AReloadLeavesWhatDidNotChange) {
  configure(std::string(ram) + "lu f {\n path " + file("f.img") + "\n size 1M\n create yes\n}\n");
  ASSERT_FALSE(start());
  const auto ram_unit = daemon_->units().find("r");
  const auto file_unit = daemon_->units().find("f");
  configure(std::string(ram) + "lu f {\n path " + file("f.img") +
            "\n size 2M\n create yes\n}\nlu n { type null; size 1G }\n");
  const auto plan = wait(daemon_->reload());
  ASSERT_TRUE(plan);
  EXPECT_THAT(*plan, ElementsAre("+ lu n", "~ lu f (in use)"));
  EXPECT_EQ(daemon_->units().find("r"), ram_unit);
  EXPECT_EQ(daemon_->units().find("f"), file_unit);
  EXPECT_EQ(std::filesystem::file_size(file("f.img")), 2U << 20);
}

TEST_F(TargetDaemonTest, ARemovedUnitIsGoneAndItsFileFree) {
  configure("lu f {\n path " + file("f.img") + "\n size 1M\n create yes\n}\n");
  ASSERT_FALSE(start());
  configure("lu g {\n path " + file("f.img") + "\n}\n");
  ASSERT_TRUE(wait(daemon_->reload()));
  EXPECT_EQ(daemon_->units().find("f"), nullptr);
  EXPECT_NE(daemon_->units().find("g"), nullptr) << "the store was still locked";
}

TEST_F(TargetDaemonTest, ReloadsAtTheSameTimeTakeTurns) {
  configure(ram);
  ASSERT_FALSE(start());
  configure(std::string(ram) + "lu n { type null; size 1G }\n");
  int done = 0;
  for (int each = 0; each < 3; ++each) {
    boost::asio::co_spawn(control_, daemon_->reload(), [&done](const std::exception_ptr& exception, const auto& plan) {
      EXPECT_EQ(exception, nullptr);
      EXPECT_TRUE(plan);
      ++done;
    });
  }
  run_until([&done] { return done == 3; });
  EXPECT_NE(daemon_->units().find("n"), nullptr);
}

TEST_F(TargetDaemonTest, AnEditThatWouldBeWrongLeavesNoFile) {
  configure(ram);
  ASSERT_FALSE(start());
  EditRequest request{.op = EditRequest::Op::create, .kind = "lu", .label = "bad"};
  request.entries.push_back({.key = "type", .value = "ram", .words = {"ram"}});
  const auto edit = plan_edit(layout_, daemon_->parsed(), request);
  ASSERT_TRUE(edit);
  const auto outcome = wait(daemon_->edit(edit->file, edit->text));
  ASSERT_FALSE(outcome);
  EXPECT_THAT(outcome.error().lines[0], HasSubstr("needs a size"));
  EXPECT_FALSE(std::filesystem::exists(edit->file));
}

TEST_F(TargetDaemonTest, HandWrittenObjectsAreNotChanged) {
  configure(ram);
  ASSERT_FALSE(start());
  const auto edit = plan_edit(layout_, daemon_->parsed(), {.op = EditRequest::Op::remove, .kind = "lu", .label = "r"});
  ASSERT_FALSE(edit);
  EXPECT_THAT(edit.error().lines[0], HasSubstr("mptarget.conf:2, a file that mptargetctl does not change"));
}

TEST_F(TargetDaemonTest, AnAddressInUseIsSaidAndChangesNothing) {
  configure(ram);
  ASSERT_FALSE(start());
  const auto taken = daemon_->listening()[0].port;
  TargetDaemonOptions options{.layout = Layout{root_ / "second"}, .shards = 1, .control_socket = false};
  ASSERT_FALSE(replace_file(options.layout.target_conf(),
                            "portal_group 1 { portal 127.0.0.1:" + std::to_string(taken) + " }\n"));
  TargetDaemon second(control_, std::move(options), Log(output_));
  EXPECT_TRUE(wait(second.start()));
  EXPECT_TRUE(sink_.contains(std::to_string(taken)));
  wait(second.stop());
}

}  // namespace
}  // namespace mpath::target
