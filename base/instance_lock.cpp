#include "base/instance_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string>

namespace mpath {

Result<InstanceLock> InstanceLock::take(const std::filesystem::path& file) {
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  if (error) return failure(error);
  UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) return failure(errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return failure(errno == EWOULDBLOCK ? EADDRINUSE : errno);
  const std::string line = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) != 0) return failure(errno);
  const ssize_t written = ::pwrite(fd.get(), line.data(), line.size(), 0);
  if (written != static_cast<ssize_t>(line.size())) return failure(written < 0 ? errno : ENOSPC);
  return InstanceLock(std::move(fd));
}

std::optional<pid_t> InstanceLock::holder(const std::filesystem::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  if (::flock(fd.get(), LOCK_SH | LOCK_NB) == 0) return std::nullopt;  // nobody; closing lets go again
  char text[32];
  const ssize_t size = ::pread(fd.get(), text, sizeof text, 0);
  pid_t pid = 0;
  if (size <= 0 || std::from_chars(text, text + size, pid).ec != std::errc{} || pid <= 0) return std::nullopt;
  return pid;
}

InstanceLock::~InstanceLock() {
  if (file_ && ::ftruncate(file_.get(), 0) != 0) return;  // the file goes on without a lock, which is what counts
}

}  // namespace mpath
