#include "target/cluster/fence_command.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/this_coro.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/sleep.hpp"
#include "base/units.hpp"

namespace mpath::target::cluster {
namespace {

using std::chrono::milliseconds;

constexpr Duration look_every = milliseconds(20);
constexpr Duration killed_ends_within = std::chrono::seconds(2);
const std::string prefix = "MPTARGET_";

std::vector<std::string> environment_of(const FenceSubject& subject) {
  std::vector<std::string> all;
  for (char** each = environ; *each != nullptr; ++each) {
    if (!std::string_view(*each).starts_with(prefix)) all.emplace_back(*each);
  }
  all.push_back(prefix + "CLUSTER=" + subject.cluster);
  all.push_back(prefix + "SELF=" + name(subject.self));
  all.push_back(prefix + "PEER=" + name(peer_of(subject.self)));
  all.push_back(fmt::format("{}PEER_ADDRESSES={}", prefix, fmt::join(subject.peer_addresses, " ")));
  return all;
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

// In a process group of its own, with the signals as a program expects them.
std::expected<pid_t, std::string> start(std::vector<std::string> command, const FenceSubject& subject) {
  std::vector<std::string> environment = environment_of(subject);
  const std::vector<char*> arguments = pointers_to(command);
  const std::vector<char*> variables = pointers_to(environment);
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, arguments.front(), &files, &attributes, arguments.data(), variables.data());
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return std::unexpected(fmt::format("{}: {}", command.front(), std::strerror(error)));
  return child;
}

// How it ended; nothing while it runs.
std::optional<int> ended(pid_t child) {
  int status = 0;
  const pid_t found = ::waitpid(child, &status, WNOHANG);
  if (found == child) return status;
  // Somebody else has taken its status: it is not known.
  if (found < 0 && errno == ECHILD) return W_EXITCODE(255, 0);
  return std::nullopt;
}

std::expected<void, std::string> judged(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFSIGNALED(status)) return std::unexpected(fmt::format("ended by signal {}", WTERMSIG(status)));
  return std::unexpected(fmt::format("exit status {}", WEXITSTATUS(status)));
}

}  // namespace

boost::asio::awaitable<std::expected<void, std::string>> run_fence_command(Clock& clock, FenceOptions options,
                                                                           FenceSubject subject,
                                                                           std::function<bool()> wanted) {
  if (options.command.empty()) co_return std::unexpected("no command is configured");
  const auto child = start(options.command, subject);
  if (!child) co_return std::unexpected(child.error());
  co_await boost::asio::this_coro::throw_if_cancelled(false);
  const TimePoint deadline = clock.now() + options.timeout;
  bool cancelled = false;
  while (!cancelled && wanted() && clock.now() < deadline) {
    if (const auto status = ended(*child)) co_return judged(*status);
    cancelled = co_await sleep_for(clock, look_every);
  }
  if (!cancelled) {
    if (const auto status = ended(*child)) co_return judged(*status);
  }
  ::kill(-*child, SIGKILL);
  // It may hang in the kernel: then it is left to the end of this process.
  const TimePoint given_up = clock.now() + killed_ends_within;
  while (!ended(*child) && clock.now() < given_up && !cancelled) cancelled = co_await sleep_for(clock, look_every);
  if (cancelled || !wanted()) co_return std::unexpected("it was broken off");
  const auto limit = std::chrono::duration_cast<std::chrono::microseconds>(options.timeout);
  co_return std::unexpected(fmt::format("no answer within {}: killed", format_duration(limit)));
}

}  // namespace mpath::target::cluster
