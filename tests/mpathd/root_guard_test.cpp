// The process that starts the root file system's mpathd again.
#include "mpathd/root_guard.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <new>
#include <string>

namespace mpath {
namespace {

// Shared between the processes of the test.
struct Seen {
  std::atomic<int> runs = 0;
  std::atomic<bool> marked = false;
};

TEST(RootGuard, StartsAnotherOneAfterAKillAndAFailureAndEndsWhenToldTo) {
  void* const place = ::mmap(nullptr, sizeof(Seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(place, MAP_FAILED);
  Seen& seen = *new (place) Seen;
  const pid_t guard = ::fork();
  ASSERT_GE(guard, 0);
  if (guard == 0) {
    std::string name = "/usr/sbin/mpathd";
    const auto serve = [&seen, &name] {
      seen.marked = name == "@usr/sbin/mpathd";
      switch (++seen.runs) {
        case 1: ::raise(SIGKILL); break;
        case 2: return 3;
        default: break;
      }
      return 0;
    };
    ::_exit(guard_root(name.data(), serve));
  }
  int status = -1;
  ASSERT_EQ(::waitpid(guard, &status, 0), guard);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(seen.runs, 3);
  EXPECT_TRUE(seen.marked);
  ::munmap(place, sizeof(Seen));
}

}  // namespace
}  // namespace mpath
