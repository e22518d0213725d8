#include "tests/initiator/tgtd_target.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <vector>

namespace mpath::test {
namespace {

pid_t spawn(const std::vector<std::string>& words, const std::filesystem::path& log) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error == 0 ? pid : -1;
}

int next_number() {
  static int instance = 0;
  return static_cast<int>(getpid()) * 4 + instance++ % 4;  // pids are below 2^22
}

}  // namespace

std::string TgtdTarget::missing() {
  if (geteuid() != 0) return "root (tgtd keeps its socket in /var/run/tgtd)";
  for (const char* program : {"/usr/sbin/tgtd", "/usr/sbin/tgtadm"}) {
    if (access(program, X_OK) != 0) return program;
  }
  return {};
}

// One control number (tgtd takes up to 32767) and one address for each process and instance.
TgtdTarget::TgtdTarget(int number)
    : address_(fmt::format("127.{}.{}.{}", 64 + (number >> 16) % 64, (number >> 8) % 256, 1 + number % 254)),
      name_(fmt::format("iqn.2025-11.test.mpath:d{}", number)), control_(1000 + number % 30000) {
  folder_ = std::filesystem::temp_directory_path() / fmt::format("mpath-tgtd-{}", number);
  std::filesystem::create_directories(folder_);
}

TgtdTarget::TgtdTarget() : TgtdTarget(next_number()) {
  const auto image = folder_ / "lun1";
  const int fd = open(image.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(size_bytes())) != 0) throw std::runtime_error("no image");
  close(fd);
  pid_ = spawn({"/usr/sbin/tgtd", "-f", "-C", std::to_string(control_), "--iscsi", "portal=" + address_ + ":3260"},
               folder_ / "log");
  if (pid_ < 0) throw std::runtime_error("tgtd does not start");
  const std::string target = fmt::format("--lld iscsi --mode target --op new --tid 1 -T {}", name_);
  for (int tries = 0; !administer(target); ++tries) {
    if (tries == 1500) throw std::runtime_error("tgtd does not answer");
    poll(nullptr, 0, 20);
  }
  const bool ok = administer(fmt::format("--lld iscsi --mode logicalunit --op new --tid 1 --lun 1 -b {}", image.string())) &&
                  administer("--lld iscsi --mode target --op bind --tid 1 -I ALL");
  if (!ok) throw std::runtime_error("tgtd takes no disk");
}

TgtdTarget::~TgtdTarget() {
  kill();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
  std::filesystem::remove(fmt::format("/var/run/tgtd/socket.{}", control_), ignored);
  std::filesystem::remove(fmt::format("/var/run/tgtd/socket.{}.lock", control_), ignored);
}

bool TgtdTarget::administer(const std::string& words) const {
  std::vector<std::string> all{"/usr/sbin/tgtadm", "-C", std::to_string(control_)};
  for (std::size_t at = 0; at < words.size();) {
    const std::size_t end = std::min(words.find(' ', at), words.size());
    all.push_back(words.substr(at, end - at));
    at = end + 1;
  }
  const pid_t pid = spawn(all, folder_ / "log");
  int status = -1;
  return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

void TgtdTarget::require_chap(const std::string& user, const std::string& secret) {
  if (!administer(fmt::format("--lld iscsi --mode account --op new --user {} --password {}", user, secret)) ||
      !administer(fmt::format("--lld iscsi --mode account --op bind --tid 1 --user {}", user))) {
    throw std::runtime_error("tgtd takes no account");
  }
}

void TgtdTarget::prove_chap(const std::string& user, const std::string& secret) {
  if (!administer(fmt::format("--lld iscsi --mode account --op new --user {} --password {}", user, secret)) ||
      !administer(fmt::format("--lld iscsi --mode account --op bind --tid 1 --user {} --outgoing", user))) {
    throw std::runtime_error("tgtd takes no outgoing account");
  }
}

void TgtdTarget::freeze() { ::kill(pid_, SIGSTOP); }
void TgtdTarget::thaw() { ::kill(pid_, SIGCONT); }

void TgtdTarget::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);  // it ignores SIGTERM
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace mpath::test
