#include "mpathd/root_guard.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "base/log.hpp"
#include "base/system_clock.hpp"
#include "exports/kernel_sysfs.hpp"

namespace mpath {
namespace {

constexpr auto pause_before_next = std::chrono::milliseconds(200);

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return fmt::format("signal={}", WTERMSIG(status));
  return fmt::format("status={}", WEXITSTATUS(status));
}

}  // namespace

int guard_root(char* name, const std::function<int()>& serve) {
  StderrSink sink;
  const LogOutput output(sink, LogLevel::notice);
  const Log log(output);
  if (*name != '\0') *name = '@';
  if (const error_code error = write_attribute("/proc/self/oom_score_adj", "-1000")) {
    log.warning("may be chosen when memory is short: {}", error.message());
  }
  for (;;) {
    const pid_t child = ::fork();
    if (child < 0) {
      log.error("fork: {}", std::strerror(errno));
      return 1;
    }
    if (child == 0) return serve();
    // What waits here must not have to be read from the disk that it waits for.
    if (::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) log.info("memory is not locked: {}", std::strerror(errno));
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) std::signal(signal, SIG_IGN);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0) {
      if (errno != EINTR) return 1;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    log.error("the mpathd of the root file system has ended {}; another one starts", how_it_ended(status));
    block_for(pause_before_next);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) std::signal(signal, SIG_DFL);
  }
}

}  // namespace mpath
