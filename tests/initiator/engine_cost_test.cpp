// What an I/O costs, counted: system calls of the engine and allocations of the process, against a target that answers in
// batches. Counts are the same on every machine, times are not.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "initiator/libiscsi_session.hpp"
#include "tests/initiator/engine_bench.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNT_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNT_ALLOCATIONS 0
#endif
#endif
#ifndef COUNT_ALLOCATIONS
#define COUNT_ALLOCATIONS 1
#endif

namespace {
std::atomic<std::uint64_t> allocations{0};
}

#if COUNT_ALLOCATIONS
// glibc lets a program put its own in front of these.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* malloc(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(old, size);
}
}
#endif

namespace mpath::test {
namespace {

// The null target, a program of bench/, on a free port.
class NullProcess {
 public:
  NullProcess() {
    int lines[2];
    if (pipe(lines) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      dup2(lines[1], 1);
      execl(NULL_TARGET_PROGRAM, NULL_TARGET_PROGRAM, "--address", "127.0.0.1", "--port", "0", static_cast<char*>(nullptr));
      _exit(127);
    }
    close(lines[1]);
    // "listening on ADDRESS:PORT TARGET"
    if (FILE* const said = fdopen(lines[0], "r"); said != nullptr) {
      char name[256] = "";
      if (std::fscanf(said, "listening on 127.0.0.1:%hu %255s", &port_, name) == 2) target_ = name;
      std::fclose(said);
    }
  }
  ~NullProcess() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  NullProcess(const NullProcess&) = delete;
  NullProcess& operator=(const NullProcess&) = delete;

  [[nodiscard]] SessionConfig config() const {
    SessionConfig config;
    config.initiator_name = "iqn.2025-11.test.mpath:initiator";
    config.target_name = target_;
    config.address = "127.0.0.1";
    config.port = port_;
    config.isid = {0x80, 1, 2, 3, 0, 1};
    config.nop_timeout = 20s;
    return config;
  }

 private:
  std::string target_;
  std::uint16_t port_ = 0;
  pid_t pid_ = -1;
};

struct Cost {
  double system_calls;
  double allocations;
};

Cost measure(Bench& bench, bool write, std::size_t depth, std::size_t bytes, std::size_t count) {
  Session& session = bench.session();
  std::vector<std::unique_ptr<TestTask>> tasks;
  std::vector<TestTask*> idle;
  std::size_t submitted = 0, done = 0;
  idle.reserve(depth);
  const auto blocks = static_cast<std::uint32_t>(bytes / 512);
  for (std::size_t i = 0; i < depth; ++i) {
    const auto cdb = write ? scsi::write_cdb(i * blocks, blocks) : scsi::read_cdb(i * blocks, blocks);
    tasks.push_back(TestTask::make(cdb, write ? DataDirection::out : DataDirection::in, bytes));
    tasks.back()->lun = {0};
    idle.push_back(tasks.back().get());
  }
  std::size_t limit = 0;
  const auto feed = [&] {
    while (!idle.empty() && submitted < limit && session.submit(*idle.back())) {
      idle.pop_back();
      ++submitted;
    }
  };
  for (auto& task : tasks) {
    task->then = [&](TestTask& self) {
      EXPECT_EQ(self.transferred, self.length);
      ++done;
      idle.push_back(&self);
      feed();
    };
  }
  bench.on_room = feed;
  const auto run = [&](std::size_t more) {
    limit += more;
    feed();
    EXPECT_TRUE(bench.run_until([&] { return done == limit; }));
  };
  run(depth * 8);  // caches fill
  const std::uint64_t calls = session.counters().system_calls;
  const std::uint64_t before = allocations;
  run(count);
  const std::uint64_t allocated = allocations - before;
  const Cost cost{static_cast<double>(session.counters().system_calls - calls) / static_cast<double>(count),
                  static_cast<double>(allocated) / static_cast<double>(count)};
  bench.on_room = {};
  return cost;
}

TEST(EngineCost, FewCallsAndNoAllocationAtDepth32) {
  NullProcess target;
  Bench bench;
  ASSERT_TRUE(bench.log_in(make_libiscsi_session, target.config())) << bench.end_->text;
  for (const bool write : {false, true}) {
    const Cost cost = measure(bench, write, 32, 4096, 20000);
    RecordProperty(write ? "write_calls" : "read_calls", std::to_string(cost.system_calls));
    RecordProperty(write ? "write_allocations" : "read_allocations", std::to_string(cost.allocations));
    std::printf("  %s: %.3f system calls and %.4f allocations an I/O\n", write ? "write" : "read", cost.system_calls, cost.allocations);
    EXPECT_LE(cost.system_calls, 0.3);
    EXPECT_LE(cost.allocations, 0.01);
  }
  EXPECT_TRUE(bench.log_out());
}

TEST(EngineCost, OtherDepthsAndSizes) {
  NullProcess target;
  Bench bench;
  ASSERT_TRUE(bench.log_in(make_libiscsi_session, target.config())) << bench.end_->text;
  for (const auto& [depth, bytes] : {std::pair{1, 4096}, {8, 4096}, {96, 4096}, {16, 65536}, {4, 262144}}) {
    for (const bool write : {false, true}) {
      const Cost cost = measure(bench, write, static_cast<std::size_t>(depth), static_cast<std::size_t>(bytes), 2000);
      std::printf("  QD %d, %d bytes, %s: %.3f system calls and %.4f allocations an I/O\n", depth, bytes, write ? "write" : "read",
                  cost.system_calls, cost.allocations);
      EXPECT_LE(cost.system_calls, 8.0);
    }
  }
}

}  // namespace
}  // namespace mpath::test
