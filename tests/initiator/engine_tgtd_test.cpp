// Every engine against tgtd, a target that others wrote.
#include <fmt/format.h>

#include "initiator/libiscsi_session.hpp"
#include "tests/initiator/engine_bench.hpp"
#include "tests/initiator/tgtd_target.hpp"

namespace mpath::test {
namespace {

struct Engine {
  const char* name;
  SessionFactory factory;
};

class EngineOnTgtd : public testing::TestWithParam<Engine> {
 protected:
  void SetUp() override {
    if (const std::string missing = TgtdTarget::missing(); !missing.empty()) GTEST_SKIP() << "needs " << missing;
    target_ = std::make_unique<TgtdTarget>();
  }
  [[nodiscard]] SessionConfig config() const {
    SessionConfig config;
    config.initiator_name = "iqn.2025-11.test.mpath:initiator";
    config.target_name = target_->name();
    config.address = target_->address();
    config.port = target_->port();
    config.isid = {0x80, 1, 2, 3, 0, 1};
    config.nop_timeout = 20s;  // a loaded machine is not a dead path
    config.connect_timeout = config.login_timeout = 20s;
    return config;
  }
  bool log_in() { return bench_.log_in(GetParam().factory, config()); }
  // Runs one task to its end, past the unit attentions that a new nexus gets.
  void run(TestTask& task) {
    for (int attempt = 0; attempt < 10; ++attempt) {
      task.completions = 0;
      ASSERT_TRUE(bench_.session().submit(task));
      EXPECT_FALSE(task.finished()) << "completed within submit()";
      ASSERT_TRUE(bench_.run_until([&] { return task.finished(); }));
      EXPECT_EQ(task.completions, 1);
      const bool attention = task.outcome == TaskOutcome::answered && task.status == scsi::Status::check_condition &&
                             task.sense.key == scsi::SenseKey::unit_attention;
      if (!attention) return;
    }
  }
  void expect_good(const TestTask& task) {
    EXPECT_EQ(task.outcome, TaskOutcome::answered);
    EXPECT_EQ(task.status, scsi::Status::good);
    EXPECT_EQ(task.transferred, task.length);
  }

  std::unique_ptr<TgtdTarget> target_;
  Bench bench_;
};

TEST_P(EngineOnTgtd, LogsInAndOut) {
  ASSERT_TRUE(log_in()) << bench_.end_->text;
  EXPECT_TRUE(bench_.session().logged_in());
  EXPECT_GT(bench_.session().room(), 0U);
  EXPECT_EQ(bench_.session().info().portal_group, 1);
  EXPECT_EQ(bench_.session().info().net_ifacename, "lo");
  ASSERT_TRUE(bench_.log_out());
  EXPECT_EQ(bench_.end_->end, SessionEnd::logged_out) << bench_.end_->text;
}

TEST_P(EngineOnTgtd, ReadsWhatItWroteAtEverySize) {
  ASSERT_TRUE(log_in()) << bench_.end_->text;
  auto ready = TestTask::make(scsi::test_unit_ready_cdb(), DataDirection::none, 0);
  run(*ready);
  expect_good(*ready);
  std::uint32_t seed = 1;
  for (const std::size_t bytes : {512U, 1024U, 4096U, 16384U, 65536U, 262144U, 1048576U, 4194304U}) {
    for (const std::size_t pieces : {1U, 3U, 17U}) {
      SCOPED_TRACE(fmt::format("{} bytes in {} pieces", bytes, pieces));
      const std::uint64_t lba = seed * 8;
      const auto blocks = static_cast<std::uint32_t>(bytes / 512);
      auto write = TestTask::make(scsi::write_cdb(lba, blocks), DataDirection::out, bytes, pieces);
      fill_pattern(write->memory, lba, ++seed);
      run(*write);
      expect_good(*write);
      auto flush = TestTask::make(scsi::synchronize_cache_cdb(), DataDirection::none, 0);
      run(*flush);
      expect_good(*flush);
      auto read = TestTask::make(scsi::read_cdb(lba, blocks), DataDirection::in, bytes, pieces);
      run(*read);
      expect_good(*read);
      EXPECT_EQ(read->memory, write->memory);
    }
  }
  EXPECT_TRUE(bench_.log_out());
}

TEST_P(EngineOnTgtd, ShortReadsAreShort) {
  ASSERT_TRUE(log_in()) << bench_.end_->text;
  auto inquiry = TestTask::make(scsi::inquiry_cdb(255), DataDirection::in, 255);
  run(*inquiry);
  EXPECT_EQ(inquiry->status, scsi::Status::good);
  EXPECT_GE(inquiry->transferred, 36U);
  EXPECT_LT(inquiry->transferred, 255U);
}

TEST_P(EngineOnTgtd, SenseComesThrough) {
  ASSERT_TRUE(log_in()) << bench_.end_->text;
  const std::uint64_t end = TgtdTarget::size_bytes() / 512;
  auto read = TestTask::make(scsi::read_cdb(end, 8), DataDirection::in, 4096);
  run(*read);
  EXPECT_EQ(read->outcome, TaskOutcome::answered);
  EXPECT_EQ(read->status, scsi::Status::check_condition);
  EXPECT_EQ(read->sense, (scsi::Sense{scsi::SenseKey::illegal_request, 0x21, 0}));
  EXPECT_EQ(read->transferred, 0U);
  auto far = TestTask::make(scsi::test_unit_ready_cdb(), DataDirection::none, 0);
  far->lun = {100000};
  run(*far);
  EXPECT_EQ(far->sense.asc, 0x25);
}

TEST_P(EngineOnTgtd, ManyMoreTasksThanTheWindowHolds) {
  ASSERT_TRUE(log_in()) << bench_.end_->text;
  auto ready = TestTask::make(scsi::test_unit_ready_cdb(), DataDirection::none, 0);
  run(*ready);
  constexpr std::size_t count = 1000;
  std::vector<std::unique_ptr<TestTask>> tasks;
  for (std::size_t i = 0; i < count; ++i) {
    tasks.push_back(TestTask::make(scsi::write_cdb(i * 8, 8), DataDirection::out, 4096));
    fill_pattern(tasks[i]->memory, i * 8, 77);
  }
  std::size_t next = 0;
  std::uint32_t most = 0;
  std::size_t done = 0;
  const auto feed = [&] {
    while (next < count && bench_.session().submit(*tasks[next])) ++next;
    most = std::max(most, static_cast<std::uint32_t>(next - done));
  };
  for (auto& task : tasks) task->then = [&](TestTask&) { ++done; };
  bench_.on_room = feed;
  feed();
  EXPECT_LT(next, count) << "room() must end before the window does";
  ASSERT_TRUE(bench_.run_until([&] { return done == count; })) << done;
  EXPECT_GT(bench_.rooms_, 0);
  EXPECT_LE(most, config().tasks_max);
  for (auto& task : tasks) expect_good(*task);

  // And read again, in another order, each completion submitting the next.
  std::vector<std::unique_ptr<TestTask>> reads;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = (i * 7) % count;
    reads.push_back(TestTask::make(scsi::read_cdb(at * 8, 8), DataDirection::in, 4096, 2));
  }
  next = done = 0;
  const auto feed_reads = [&] {
    while (next < count && bench_.session().submit(*reads[next])) ++next;
  };
  for (auto& task : reads) {
    task->then = [&](TestTask&) {
      ++done;
      feed_reads();
    };
  }
  bench_.on_room = feed_reads;
  feed_reads();
  ASSERT_TRUE(bench_.run_until([&] { return done == count; }));
  for (std::size_t i = 0; i < count; ++i) {
    expect_good(*reads[i]);
    EXPECT_EQ(reads[i]->memory, tasks[(i * 7) % count]->memory) << i;
  }
  const SessionCounters counters = bench_.session().counters();
  EXPECT_GE(counters.commands, 2 * count);
  EXPECT_EQ(counters.commands, counters.responses);
}

TEST_P(EngineOnTgtd, TargetKilledWithTasksOnTheWire) {
  ASSERT_TRUE(log_in()) << bench_.end_->text;
  auto ready = TestTask::make(scsi::test_unit_ready_cdb(), DataDirection::none, 0);
  run(*ready);
  target_->freeze();
  std::vector<std::unique_ptr<TestTask>> tasks;
  for (std::size_t i = 0; i < 40; ++i) {
    tasks.push_back(TestTask::make(scsi::write_cdb(i * 8, 8), DataDirection::out, 4096));
    ASSERT_TRUE(bench_.session().submit(*tasks.back()));
  }
  bench_.run_for(50ms);  // they leave
  target_->kill();
  ASSERT_TRUE(bench_.run_until([&] { return bench_.end_.has_value(); }));
  EXPECT_EQ(bench_.end_->end, SessionEnd::peer_closed) << bench_.end_->text;
  for (auto& task : tasks) {
    EXPECT_EQ(task->completions, 1);
    EXPECT_TRUE(task->outcome == TaskOutcome::lost || task->outcome == TaskOutcome::answered);
  }
  EXPECT_FALSE(bench_.session().submit(*ready));
}

TEST_P(EngineOnTgtd, AbortBeforeAnythingLeftIsNotSent) {
  ASSERT_TRUE(log_in()) << bench_.end_->text;
  auto task = TestTask::make(scsi::write_cdb(0, 8), DataDirection::out, 4096);
  ASSERT_TRUE(bench_.session().submit(*task));
  bench_.session().abort(SessionEnd::aborted, "test");
  EXPECT_FALSE(task->finished()) << "completed within abort()";
  ASSERT_TRUE(bench_.run_until([&] { return bench_.end_.has_value(); }));
  EXPECT_EQ(task->completions, 1);
  EXPECT_EQ(task->outcome, TaskOutcome::not_sent);
  EXPECT_EQ(bench_.end_->end, SessionEnd::aborted);
}

TEST_P(EngineOnTgtd, SilenceEndsTheSession) {
  SessionConfig silent = config();
  silent.silence_limit = 100ms;
  silent.nop_timeout = 200ms;
  ASSERT_TRUE(bench_.log_in(GetParam().factory, silent)) << bench_.end_->text;
  target_->freeze();
  auto task = TestTask::make(scsi::read_cdb(0, 8), DataDirection::in, 4096);
  ASSERT_TRUE(bench_.session().submit(*task));
  const TimePoint begin = bench_.shard().clock().now();
  ASSERT_TRUE(bench_.run_until([&] { return bench_.end_.has_value(); }));
  const auto took = bench_.shard().clock().now() - begin;
  EXPECT_EQ(bench_.end_->end, SessionEnd::nop_timeout) << bench_.end_->text;
  EXPECT_EQ(task->outcome, TaskOutcome::lost);
  EXPECT_GE(took, 290ms);
  EXPECT_EQ(bench_.session().counters().nop_out, 1U);
}

TEST_P(EngineOnTgtd, NopKeepsAnIdleSessionAlive) {
  SessionConfig idle = config();
  idle.nop_interval = 30ms;
  ASSERT_TRUE(bench_.log_in(GetParam().factory, idle)) << bench_.end_->text;
  ASSERT_TRUE(bench_.run_until([&] { return bench_.session().counters().nop_in >= 5; }));
  EXPECT_FALSE(bench_.end_);
  EXPECT_GE(bench_.session().counters().nop_out, 5U);
}

TEST_P(EngineOnTgtd, DeadlineEndsTheSession) {
  ASSERT_TRUE(log_in()) << bench_.end_->text;
  target_->freeze();
  auto late = TestTask::make(scsi::read_cdb(0, 8), DataDirection::in, 4096);
  late->deadline = bench_.shard().clock().now() + 100ms;
  auto other = TestTask::make(scsi::read_cdb(8, 8), DataDirection::in, 4096);
  ASSERT_TRUE(bench_.session().submit(*other));
  ASSERT_TRUE(bench_.session().submit(*late));
  ASSERT_TRUE(bench_.run_until([&] { return bench_.end_.has_value(); }));
  EXPECT_EQ(bench_.end_->end, SessionEnd::task_timeout);
  EXPECT_EQ(late->outcome, TaskOutcome::timed_out);
  EXPECT_EQ(other->outcome, TaskOutcome::lost);
}

TEST_P(EngineOnTgtd, ChapOneWayAndMutual) {
  target_->require_chap("alice", "secretsecret1");
  target_->prove_chap("bob", "secretsecret2");
  SessionConfig none = config();
  EXPECT_FALSE(bench_.log_in(GetParam().factory, none));
  EXPECT_EQ(bench_.end_->end, SessionEnd::auth_failed) << bench_.end_->text;

  SessionConfig wrong = config();
  wrong.chap = {"alice", "wrongwrong12"};
  EXPECT_FALSE(bench_.log_in(GetParam().factory, wrong));
  EXPECT_EQ(bench_.end_->end, SessionEnd::auth_failed) << bench_.end_->text;
  EXPECT_EQ(bench_.end_->text.find("wrongwrong12"), std::string::npos);

  SessionConfig right = config();
  right.chap = {"alice", "secretsecret1"};
  right.chap_required = true;
  EXPECT_TRUE(bench_.log_in(GetParam().factory, right)) << bench_.end_->text;
  EXPECT_TRUE(bench_.log_out());

  SessionConfig mutual = right;
  mutual.chap_in = {"bob", "secretsecret2"};
  EXPECT_TRUE(bench_.log_in(GetParam().factory, mutual)) << bench_.end_->text;
  EXPECT_TRUE(bench_.log_out());

  SessionConfig imposter = right;
  imposter.chap_in = {"bob", "notbobssecret"};
  EXPECT_FALSE(bench_.log_in(GetParam().factory, imposter));
  EXPECT_EQ(bench_.end_->end, SessionEnd::auth_failed) << bench_.end_->text;
}

TEST_P(EngineOnTgtd, TargetWithoutChapIsRefusedWhenRequired) {
  SessionConfig strict = config();
  strict.chap = {"alice", "secretsecret1"};
  strict.chap_required = true;
  EXPECT_FALSE(bench_.log_in(GetParam().factory, strict));
  EXPECT_EQ(bench_.end_->end, SessionEnd::auth_failed) << bench_.end_->text;
}

TEST_P(EngineOnTgtd, UnknownTargetIsRejected) {
  SessionConfig unknown = config();
  unknown.target_name = "iqn.2025-11.test.mpath:nobody";
  EXPECT_FALSE(bench_.log_in(GetParam().factory, unknown));
  EXPECT_EQ(bench_.end_->end, SessionEnd::login_rejected) << bench_.end_->text;
}

TEST_P(EngineOnTgtd, NobodyListens) {
  target_->kill();
  EXPECT_FALSE(log_in());
  EXPECT_EQ(bench_.end_->end, SessionEnd::connect_failed) << bench_.end_->text;
}

TEST_P(EngineOnTgtd, HeaderDigests) {
  ASSERT_TRUE(target_->administer("--lld iscsi --mode target --op update --tid 1 --name HeaderDigest --value CRC32C"));
  SessionConfig digests = config();
  digests.header_digest = Digest::crc32c;
  ASSERT_TRUE(bench_.log_in(GetParam().factory, digests)) << bench_.end_->text;
  EXPECT_EQ(bench_.session().info().header_digest, "CRC32C");
  auto write = TestTask::make(scsi::write_cdb(8, 1024), DataDirection::out, 524288);
  fill_pattern(write->memory, 8, 5);
  run(*write);
  expect_good(*write);
  auto read = TestTask::make(scsi::read_cdb(8, 1024), DataDirection::in, 524288);
  run(*read);
  expect_good(*read);
  EXPECT_EQ(read->memory, write->memory);
  auto bad = TestTask::make(scsi::read_cdb(TgtdTarget::size_bytes() / 512, 8), DataDirection::in, 4096);
  run(*bad);
  EXPECT_EQ(bad->sense.asc, 0x21);
  EXPECT_TRUE(bench_.log_out());
}

TEST_P(EngineOnTgtd, EveryWayToBeginAWrite) {
  for (const bool immediate : {false, true}) {
    for (const bool r2t : {false, true}) {
      SCOPED_TRACE(fmt::format("ImmediateData={} InitialR2T={}", immediate, r2t));
      SessionConfig ways = config();
      ways.immediate_data = immediate;
      ways.initial_r2t = r2t;
      ASSERT_TRUE(bench_.log_in(GetParam().factory, ways)) << bench_.end_->text;
      for (const std::uint32_t blocks : {1U, 16U, 600U, 3000U}) {
        auto write = TestTask::make(scsi::write_cdb(64, blocks), DataDirection::out, blocks * 512, 5);
        fill_pattern(write->memory, 64, blocks);
        run(*write);
        expect_good(*write);
        auto read = TestTask::make(scsi::read_cdb(64, blocks), DataDirection::in, blocks * 512);
        run(*read);
        EXPECT_EQ(read->memory, write->memory);
      }
      ASSERT_TRUE(bench_.log_out());
    }
  }
}

TEST_P(EngineOnTgtd, LunReset) {
  ASSERT_TRUE(log_in()) << bench_.end_->text;
  std::optional<bool> result;
  bench_.session().reset_lun({1}, [&](bool ok) { result = ok; });
  ASSERT_TRUE(bench_.run_until([&] { return result.has_value(); }));
  EXPECT_TRUE(*result);
  EXPECT_EQ(bench_.session().counters().task_management, 1U);
}

INSTANTIATE_TEST_SUITE_P(Libiscsi, EngineOnTgtd, testing::Values(Engine{"libiscsi", make_libiscsi_session}),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace mpath::test
