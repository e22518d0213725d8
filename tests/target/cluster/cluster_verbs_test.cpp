// The words about the pair over a control socket: each reaches what it means, with its arguments.
#include "target/cluster/cluster_verbs.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_future.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/control.hpp"
#include "base/system_clock.hpp"
#include "target/cluster/status_json.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/target/cluster/sample_status.hpp"

namespace mpath::target::cluster {
namespace {

using boost::asio::awaitable;
using nlohmann::json;

// Writes down what it was told, and answers as it is set to.
class RecordingPair final : public ClusterControl {
 public:
  std::vector<std::string> heard;
  Done answer;

  const ClusterConfig& config() const override { return config_; }
  ClusterStatus status() override { return good_status(); }
  std::vector<Decision> decisions(std::size_t most) override {
    std::vector<Decision> all(3);
    for (std::size_t at = 0; at < all.size(); ++at) all[at].what = std::to_string(at);
    all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(std::min(most, all.size())));
    return all;
  }
  awaitable<Done> init(bool force) override { return note(force ? "init force" : "init"); }
  awaitable<Done> join() override { return note("join"); }
  awaitable<Done> switchover() override { return note("switchover"); }
  awaitable<Done> maintenance(bool on) override { return note(on ? "maintenance on" : "maintenance off"); }
  awaitable<Done> discard() override { return note("discard"); }
  awaitable<Done> standby(bool on) override { return note(on ? "standby on" : "standby off"); }
  awaitable<Done> connect(UnitNames units) override { return note("connect" + listed(units)); }
  awaitable<Done> disconnect(UnitNames units) override { return note("disconnect" + listed(units)); }
  awaitable<Done> invalidate(UnitNames units) override { return note("invalidate" + listed(units)); }
  awaitable<Done> verify(UnitNames units, bool repair) override {
    return note((repair ? "verify repair" : "verify") + listed(units));
  }
  awaitable<Done> resync(UnitNames units) override { return note("resync" + listed(units)); }

 private:
  static std::string listed(const UnitNames& units) {
    std::string text;
    for (const std::string& unit : units) text += " " + unit;
    return text;
  }
  awaitable<Done> note(std::string what) {
    heard.push_back(std::move(what));
    co_return answer;
  }
  ClusterConfig config_ = sample_config();
};

class ClusterVerbs : public testing::Test {
 protected:
  ClusterVerbs() : clock_(loop_), server_(loop_.get_executor(), clock_) {
    add_cluster_verbs(server_, [this] { return configured_ ? &pair_ : nullptr; });
    EXPECT_FALSE(server_.listen(socket()));
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~ClusterVerbs() override {
    boost::asio::co_spawn(loop_, server_.close(), boost::asio::use_future).get();
    loop_.stop();
    thread_.join();
  }

  [[nodiscard]] std::filesystem::path socket() const { return directory_ / "socket"; }
  control::Reply ask(const std::string& verb, const json& args = json::object()) {
    const auto reply = control::call(socket(), verb, args, result_, std::chrono::seconds(30));
    EXPECT_TRUE(reply) << reply.error().message();
    return reply.value_or(control::Reply{});
  }

  RecordingPair pair_;
  bool configured_ = true;
  json result_;

 private:
  boost::asio::io_context loop_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{loop_.get_executor()};
  SystemClock clock_;
  control::Server server_;
  const mpath::test::TemporaryDirectory directory_;
  std::thread thread_;
};

TEST_F(ClusterVerbs, ReachWhatTheyMean) {
  const json none = json::object();
  EXPECT_TRUE(ask("cluster.init", none).ok);
  EXPECT_TRUE(ask("cluster.init", {{"force", true}}).ok);
  EXPECT_TRUE(ask("cluster.join", none).ok);
  EXPECT_TRUE(ask("cluster.switchover", none).ok);
  EXPECT_TRUE(ask("cluster.maintenance", {{"on", true}}).ok);
  EXPECT_TRUE(ask("cluster.maintenance", {{"on", false}}).ok);
  EXPECT_TRUE(ask("cluster.standby", {{"on", true}}).ok);
  EXPECT_TRUE(ask("cluster.discard").ok);
  for (const char* verb : {"connect", "disconnect", "invalidate", "resync", "verify"}) {
    EXPECT_TRUE(ask(std::string("cluster.") + verb, {{"lus", {"x", "y"}}}).ok) << verb;
    EXPECT_TRUE(ask(std::string("cluster.") + verb, none).ok) << verb;
  }
  EXPECT_TRUE(ask("cluster.verify", {{"lus", json::array()}, {"repair", true}}).ok);
  EXPECT_THAT(pair_.heard, testing::ElementsAre("init", "init force", "join", "switchover", "maintenance on",
                                                "maintenance off", "standby on", "discard", "connect x y", "connect",
                                                "disconnect x y", "disconnect", "invalidate x y", "invalidate",
                                                "resync x y", "resync", "verify x y", "verify", "verify repair"));
}

TEST_F(ClusterVerbs, Show) {
  ASSERT_TRUE(ask("cluster.status").ok);
  EXPECT_EQ(result_.at("status"), to_json(good_status()));
  ASSERT_TRUE(ask("cluster.log").ok);
  EXPECT_EQ(result_.at("decisions").size(), 3U);
  ASSERT_TRUE(ask("cluster.log", {{"most", 1}}).ok);
  EXPECT_EQ(result_.at("decisions").at(0).at("what"), "2");
  ASSERT_TRUE(ask("cluster.what_if", {{"event", "node-a-dies"}}).ok);
  EXPECT_EQ(result_.at("lines").at(0), "serves: node b, after 700ms at most");
}

TEST_F(ClusterVerbs, SayWhyNot) {
  pair_.answer = std::unexpected("node b is not in sync");
  auto reply = ask("cluster.switchover");
  EXPECT_FALSE(reply.ok);
  EXPECT_EQ(reply.code, static_cast<int>(ExitCode::generic));
  EXPECT_EQ(reply.text, "node b is not in sync");
  pair_.answer = std::unexpected("there is no replicated lu x");
  EXPECT_EQ(ask("cluster.resync", {{"lus", {"x"}}}).code, static_cast<int>(ExitCode::no_objects_found));
  EXPECT_EQ(ask("cluster.what_if", {{"event", "rain"}}).code, static_cast<int>(ExitCode::invalid_argument));
  EXPECT_EQ(ask("cluster.maintenance").code, static_cast<int>(ExitCode::invalid_argument));
  EXPECT_EQ(ask("cluster.connect", {{"lus", "x"}}).code, static_cast<int>(ExitCode::invalid_argument));
}

TEST_F(ClusterVerbs, SayWhenThereIsNoPair) {
  configured_ = false;
  for (const char* verb :
       {"status", "log", "init", "join", "switchover", "connect", "disconnect", "invalidate", "resync", "verify"}) {
    const auto reply = ask(std::string("cluster.") + verb);
    EXPECT_EQ(reply.code, static_cast<int>(ExitCode::no_objects_found)) << verb;
    EXPECT_THAT(reply.text, testing::HasSubstr("no cluster is configured"));
  }
  EXPECT_EQ(ask("cluster.maintenance", {{"on", true}}).code, static_cast<int>(ExitCode::no_objects_found));
  EXPECT_EQ(ask("cluster.what_if", {{"event", "links-cut"}}).code, static_cast<int>(ExitCode::no_objects_found));
  EXPECT_THAT(pair_.heard, testing::IsEmpty());
}

}  // namespace
}  // namespace mpath::target::cluster
