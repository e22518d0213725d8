// Every engine against the scripted target: right answers, and each wrong one in turn.
#include <fmt/format.h>

#include "initiator/discovery.hpp"
#include "initiator/libiscsi_session.hpp"
#include "tests/initiator/engine_bench.hpp"
#include "tests/support/script_target.hpp"

namespace mpath::test {
namespace {

struct Engine {
  const char* name;
  SessionFactory factory;
};

SessionConfig config_for(const ScriptTarget& target) {
  SessionConfig config;
  config.initiator_name = "iqn.2025-11.test.mpath:initiator";
  config.target_name = target.target_name();
  config.address = target.portals()[0].address;
  config.port = target.portals()[0].port;
  config.isid = {0x80, 1, 2, 3, 0, 1};
  config.nop_timeout = 20s;  // a loaded machine is not a dead path
  config.connect_timeout = config.login_timeout = 20s;
  return config;
}

std::unique_ptr<TestTask> task_on_lun_0(scsi::Cdb cdb, DataDirection direction, std::size_t bytes, std::size_t pieces = 1) {
  auto task = TestTask::make(cdb, direction, bytes, pieces);
  task->lun = {0};
  return task;
}

class EngineOnScript : public testing::TestWithParam<Engine> {
 protected:
  bool log_in(const ScriptTarget& target) { return bench_.log_in(GetParam().factory, config_for(target)); }
  void submit_and_wait(TestTask& task) {
    ASSERT_TRUE(bench_.session().submit(task));
    ASSERT_TRUE(bench_.run_until([&] { return task.finished(); }));
    EXPECT_EQ(task.completions, 1);
  }
  // Past the unit attentions of a new nexus.
  void settle() {
    for (int i = 0; i < 5; ++i) {
      auto ready = task_on_lun_0(scsi::test_unit_ready_cdb(), DataDirection::none, 0);
      submit_and_wait(*ready);
      if (ready->status == scsi::Status::good) return;
    }
    FAIL() << "never ready";
  }
  [[nodiscard]] bool wait_for_end() {
    return bench_.run_until([&] { return bench_.end_.has_value(); });
  }

  Bench bench_;
};

TEST_P(EngineOnScript, SendsNothingThatNoInitiatorMaySend) {
  ScriptTarget target;
  ASSERT_TRUE(log_in(target)) << bench_.end_->text;
  settle();
  for (const std::uint32_t blocks : {1U, 8U, 130U, 600U, 4096U}) {
    auto write = task_on_lun_0(scsi::write_cdb(3, blocks), DataDirection::out, blocks * 512, 4);
    fill_pattern(write->memory, 3, blocks);
    submit_and_wait(*write);
    EXPECT_EQ(write->status, scsi::Status::good);
    EXPECT_EQ(write->transferred, write->length);
    EXPECT_EQ(target.disk_bytes(0, 3 * 512, write->memory.size()), write->memory);
    auto read = task_on_lun_0(scsi::read_cdb(3, blocks), DataDirection::in, blocks * 512, 7);
    submit_and_wait(*read);
    EXPECT_EQ(read->memory, write->memory);
    EXPECT_EQ(read->transferred, read->length);
  }
  target.send_nop_in();
  ASSERT_TRUE(bench_.run_until([&] { return target.record().nops_answered == 1; }));
  ASSERT_TRUE(bench_.log_out());
  const Record record = target.record();
  EXPECT_EQ(record.protocol_errors, 0U) << testing::PrintToString(record.errors);
  EXPECT_EQ(record.cmd_sn_gaps, 0U) << testing::PrintToString(record.errors);
  EXPECT_EQ(record.logouts, 1U);
  ASSERT_EQ(record.logins.size(), 1U);
  EXPECT_EQ(record.logins[0].isid, (iscsi::Isid{0x80, 1, 2, 3, 0, 1}));
}

TEST_P(EngineOnScript, SmallWindowAndSmallSegments) {
  ScriptConfig small;
  small.window = 4;
  small.segment_max = 4096;
  small.max_burst = 16384;
  small.first_burst = 8192;
  ScriptTarget target(small);
  ASSERT_TRUE(log_in(target)) << bench_.end_->text;
  settle();
  EXPECT_LE(bench_.session().room(), 4U);
  EXPECT_GE(bench_.session().room(), 1U);
  std::vector<std::unique_ptr<TestTask>> tasks;
  for (std::uint64_t i = 0; i < 60; ++i) {
    tasks.push_back(task_on_lun_0(scsi::write_cdb(i * 100, 100), DataDirection::out, 51200, 3));
    fill_pattern(tasks.back()->memory, i * 100, 9);
  }
  std::size_t next = 0, done = 0;
  const auto feed = [&] {
    while (next < tasks.size() && bench_.session().submit(*tasks[next])) ++next;
  };
  for (auto& task : tasks) task->then = [&](TestTask&) { ++done; };
  bench_.on_room = feed;
  feed();
  ASSERT_TRUE(bench_.run_until([&] { return done == tasks.size(); })) << done;
  for (std::uint64_t i = 0; i < tasks.size(); ++i) EXPECT_EQ(target.disk_bytes(0, i * 51200, 51200), tasks[i]->memory) << i;
  EXPECT_EQ(target.record().cmd_sn_gaps, 0U);
  EXPECT_EQ(target.record().protocol_errors, 0U) << testing::PrintToString(target.record().errors);
}

TEST_P(EngineOnScript, CheckConditionWithoutSense) {
  ScriptTarget target;
  ASSERT_TRUE(log_in(target)) << bench_.end_->text;
  settle();
  target.add_fault({.step = Step::command, .action = Action::no_sense});
  auto read = task_on_lun_0(scsi::read_cdb(0, 8), DataDirection::in, 4096);
  submit_and_wait(*read);
  EXPECT_EQ(read->outcome, TaskOutcome::answered);
  EXPECT_EQ(read->status, scsi::Status::check_condition);
  EXPECT_EQ(read->sense.key, scsi::SenseKey::no_sense);
  EXPECT_EQ(read->transferred, 0U);
  settle();
}

TEST_P(EngineOnScript, ShortReadsWithAndWithoutResidual) {
  for (const Action action : {Action::short_residual, Action::short_silent}) {
    SCOPED_TRACE(name(action));
    ScriptTarget target;
    ASSERT_TRUE(log_in(target)) << bench_.end_->text;
    settle();
    target.add_fault({.step = Step::command, .action = action});
    auto read = task_on_lun_0(scsi::read_cdb(0, 16), DataDirection::in, 8192);
    submit_and_wait(*read);
    EXPECT_EQ(read->outcome, TaskOutcome::answered);
    EXPECT_EQ(read->status, scsi::Status::good);
    EXPECT_EQ(read->transferred, 4096U);
  }
}

TEST_P(EngineOnScript, StatusAndSenseOfATargetInTrouble) {
  ScriptTarget target;
  ASSERT_TRUE(log_in(target)) << bench_.end_->text;
  settle();
  for (const scsi::Status status : {scsi::Status::busy, scsi::Status::task_set_full, scsi::Status::reservation_conflict,
                                    scsi::Status::task_aborted, scsi::Status::aca_active}) {
    target.add_fault({.step = Step::command, .action = Action::bad_status, .status = status});
    auto write = task_on_lun_0(scsi::write_cdb(0, 8), DataDirection::out, 4096);
    submit_and_wait(*write);
    EXPECT_EQ(write->outcome, TaskOutcome::answered);
    EXPECT_EQ(write->status, status);
  }
  target.add_fault({.step = Step::command, .action = Action::bad_status, .sense = scsi::sense::no_space});
  auto write = task_on_lun_0(scsi::write_cdb(0, 8), DataDirection::out, 4096);
  submit_and_wait(*write);
  EXPECT_EQ(write->sense, scsi::sense::no_space);
  EXPECT_FALSE(bench_.end_);
}

TEST_P(EngineOnScript, AsyncEvents) {
  ScriptTarget target;
  ASSERT_TRUE(log_in(target)) << bench_.end_->text;
  settle();
  target.send_async(iscsi::AsyncEvent::scsi_event, scsi::sense::luns_changed);
  ASSERT_TRUE(bench_.run_until([&] { return !bench_.events_.empty(); }));
  EXPECT_EQ(bench_.events_[0], scsi::sense::luns_changed);
  EXPECT_FALSE(bench_.end_);
  target.send_async(iscsi::AsyncEvent::logout_request);
  ASSERT_TRUE(wait_for_end());
  EXPECT_EQ(bench_.end_->end, SessionEnd::asked_to_leave) << bench_.end_->text;
  EXPECT_EQ(target.record().logouts, 1U);
}

TEST_P(EngineOnScript, ZeroSegmentLengthIsRefused) {
  ScriptTarget target;
  target.add_fault({.step = Step::login_response, .times = 0, .action = Action::zero_segment});
  EXPECT_FALSE(log_in(target));
  EXPECT_EQ(bench_.end_->end, SessionEnd::protocol_error) << bench_.end_->text;
}

TEST_P(EngineOnScript, LoginStatusBecomesAReason) {
  struct Row {
    iscsi::LoginStatus status;
    SessionEnd end;
  };
  for (const Row& row : {Row{iscsi::LoginStatus::authentication_failure, SessionEnd::auth_failed},
                         Row{iscsi::LoginStatus::not_found, SessionEnd::login_rejected},
                         Row{iscsi::LoginStatus::service_unavailable, SessionEnd::target_unavailable}}) {
    ScriptTarget target;
    target.add_fault({.step = Step::login_request, .action = Action::bad_status, .login_status = row.status});
    EXPECT_FALSE(log_in(target));
    EXPECT_EQ(bench_.end_->end, row.end) << bench_.end_->text;
  }
}

// Goes wrong once, at each step and in each way: the session ends with a reason within bounds, or works; the next one works.
TEST_P(EngineOnScript, LoginSweep) {
  for (Fault fault : login_sweep()) {
    if (fault.action == Action::delay) fault.delay = 20ms;
    SCOPED_TRACE(name(fault));
    ScriptTarget target;
    target.add_fault(fault);
    SessionConfig config = config_for(target);
    config.connect_timeout = config.login_timeout = 300ms;
    config.logout_timeout = 200ms;
    const bool up = bench_.log_in(GetParam().factory, config);
    if (up) {
      // Time for what comes after the login, then goodbye.
      bench_.session().log_out();
      EXPECT_TRUE(wait_for_end());
    } else {
      EXPECT_FALSE(bench_.end_->text.empty());
    }
    target.clear_faults();
    SessionConfig again = config_for(target);
    EXPECT_TRUE(bench_.log_in(GetParam().factory, again)) << bench_.end_->text;
    EXPECT_TRUE(bench_.log_out());
  }
}

// With tasks on the wire, whatever happens: each comes back exactly once.
TEST_P(EngineOnScript, CommandSweep) {
  for (const Step step : {Step::command, Step::response, Step::data_in, Step::data_out, Step::ready}) {
    for (const Action action : {Action::close, Action::reset, Action::hang, Action::silence, Action::garbage, Action::reject,
                                Action::wrong_itt, Action::wrong_stat_sn, Action::nop_in, Action::async_event}) {
      SCOPED_TRACE(fmt::format("{}:{}", name(step), name(action)));
      ScriptConfig small;
      small.first_burst = 4096;
      small.max_burst = 16384;
      small.segment_max = 4096;
      ScriptTarget target(small);
      SessionConfig config = config_for(target);
      config.silence_limit = 100ms;
      config.nop_timeout = 300ms;
      ASSERT_TRUE(bench_.log_in(GetParam().factory, config)) << bench_.end_->text;
      settle();
      target.add_fault({.step = step, .nth = 3, .action = action});
      std::vector<std::unique_ptr<TestTask>> tasks;
      for (std::uint64_t i = 0; i < 16; ++i) {
        const bool write = i % 2 == 0;
        const auto cdb = write ? scsi::write_cdb(i * 64, 64) : scsi::read_cdb(i * 64, 64);
        tasks.push_back(task_on_lun_0(cdb, write ? DataDirection::out : DataDirection::in, 32768, 3));
        tasks.back()->deadline = bench_.shard().clock().now() + 700ms;
        ASSERT_TRUE(bench_.session().submit(*tasks.back()));
      }
      const auto all_done = [&] {
        return std::all_of(tasks.begin(), tasks.end(), [](const auto& task) { return task->finished(); });
      };
      ASSERT_TRUE(bench_.run_until(all_done));
      if (!bench_.end_) {
        bench_.session().abort(SessionEnd::aborted, "test");
        ASSERT_TRUE(wait_for_end());
      }
      for (const auto& task : tasks) {
        EXPECT_EQ(task->completions, 1);
        if (task->outcome != TaskOutcome::answered || task->status != scsi::Status::good) continue;
        EXPECT_EQ(task->transferred, task->length);
      }
    }
  }
}

TEST_P(EngineOnScript, SilentPortalWhileConnecting) {
  ScriptTarget target;
  target.set_silent(0, true);
  SessionConfig config = config_for(target);
  config.login_timeout = 200ms;
  EXPECT_FALSE(bench_.log_in(GetParam().factory, config));
  EXPECT_EQ(bench_.end_->end, SessionEnd::login_timeout) << bench_.end_->text;
}

INSTANTIATE_TEST_SUITE_P(Libiscsi, EngineOnScript, testing::Values(Engine{"libiscsi", make_libiscsi_session}),
                         [](const auto& row) { return std::string(row.param.name); });

// ---- discovery

DiscoveryConfig discovery_of(const ScriptTarget& target) {
  DiscoveryConfig config;
  config.session = config_for(target);
  config.session.target_name.clear();
  return config;
}

TEST(Discovery, FindsEveryPortal) {
  ScriptConfig two;
  two.portals = {{.address = "127.0.0.1", .group = 1}, {.address = "127.0.0.2", .group = 2}};
  ScriptTarget target(two);
  const auto found = discover(discovery_of(target));
  ASSERT_TRUE(found) << found.error().text;
  ASSERT_EQ(found->size(), 2U);
  EXPECT_EQ((*found)[0], (DiscoveredPortal{target.target_name(), "127.0.0.1", target.portals()[0].port, 1}));
  EXPECT_EQ((*found)[1], (DiscoveredPortal{target.target_name(), "127.0.0.2", target.portals()[1].port, 2}));
  EXPECT_EQ(target.record().protocol_errors, 0U) << testing::PrintToString(target.record().errors);
  EXPECT_EQ(target.record().logouts, 1U);
}

TEST(Discovery, Chap) {
  ScriptConfig locked;
  locked.chap = Account{"alice", "secretsecret1"};
  ScriptTarget target(locked);
  DiscoveryConfig config = discovery_of(target);
  const auto refused = discover(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().end, SessionEnd::auth_failed) << refused.error().text;
  config.session.chap = {"alice", "secretsecret1"};
  const auto found = discover(config);
  ASSERT_TRUE(found) << found.error().text;
  EXPECT_EQ(found->size(), 1U);
}

TEST(Discovery, Sweep) {
  std::vector<Fault> faults = login_sweep();
  for (const Action action : {Action::close, Action::reset, Action::hang, Action::silence, Action::garbage, Action::reject}) {
    faults.push_back({.step = Step::text_request, .action = action});
    faults.push_back({.step = Step::text_response, .action = action});
  }
  for (Fault fault : faults) {
    if (fault.action == Action::delay) fault.delay = 20ms;
    SCOPED_TRACE(name(fault));
    ScriptTarget target;
    target.add_fault(fault);
    DiscoveryConfig config = discovery_of(target);
    config.session.connect_timeout = config.session.login_timeout = config.answer_timeout = 300ms;
    const auto result = discover(config);
    EXPECT_TRUE(result || !result.error().text.empty());
    target.clear_faults();
    config = discovery_of(target);
    const auto again = discover(config);
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_EQ(again->size(), 1U);
  }
}

TEST(Discovery, ReadsAnswersAsTheyAre) {
  const auto parse = [](std::string_view text) {
    return parse_send_targets(std::as_bytes(std::span(text.data(), text.size())), "192.0.2.1", 3261);
  };
  using namespace std::string_view_literals;
  EXPECT_TRUE(parse(""sv)->empty());
  const auto found = parse("TargetName=iqn.a\0TargetAlias=x\0TargetAddress=[fe80::1]:3262,7\0TargetName=iqn.b\0"sv);
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)[0], (DiscoveredPortal{"iqn.a", "fe80::1", 3262, 7}));
  EXPECT_EQ((*found)[1], (DiscoveredPortal{"iqn.b", "192.0.2.1", 3261, -1}));
  EXPECT_FALSE(parse("TargetAddress=1.2.3.4,1\0"sv));
  EXPECT_FALSE(parse("TargetName=iqn.a\0TargetAddress=1.2.3.4:0,1\0"sv));
  EXPECT_FALSE(parse("TargetName=iqn.a"sv));
  EXPECT_FALSE(parse("nonsense\0"sv));
}

}  // namespace
}  // namespace mpath::test
