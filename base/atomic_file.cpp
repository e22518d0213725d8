#include "base/atomic_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/unique_fd.hpp"

namespace mpath {
namespace {

error_code errno_code() {
  return {errno, std::generic_category()};
}

error_code sync_directory(const std::filesystem::path& directory) {
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return errno_code();
  return {};
}

error_code write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t size = ::write(fd, text.data(), text.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno_code();
    text.remove_prefix(static_cast<std::size_t>(size));
  }
  return {};
}

error_code write_scratch(const std::filesystem::path& scratch, const std::filesystem::path& file, std::string_view text,
                         mode_t mode) {
  const UniqueFd fd(::open(scratch.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return errno_code();
  struct stat before{};
  const bool existed = ::stat(file.c_str(), &before) == 0;
  if (::fchmod(fd.get(), existed ? before.st_mode & 07777 : mode) != 0) return errno_code();
  // Whoever may not give files away keeps his own name on it.
  if (existed && ::fchown(fd.get(), before.st_uid, before.st_gid) != 0 && errno != EPERM) return errno_code();
  if (const error_code error = write_all(fd.get(), text)) return error;
  return ::fsync(fd.get()) == 0 ? error_code{} : errno_code();
}

}  // namespace

error_code replace_file(const std::filesystem::path& file, std::string_view text, mode_t mode) {
  const std::filesystem::path directory = file.parent_path();
  error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return error;
  const std::filesystem::path scratch = file.string() + ".new";
  error = write_scratch(scratch, file, text, mode);
  if (!error && ::rename(scratch.c_str(), file.c_str()) != 0) error = errno_code();
  if (error) {
    ::unlink(scratch.c_str());
    return error;
  }
  return sync_directory(directory);
}

error_code remove_file(const std::filesystem::path& file) {
  if (::unlink(file.c_str()) != 0) return errno == ENOENT ? error_code{} : errno_code();
  return sync_directory(file.parent_path());
}

Result<std::string> read_file(const std::filesystem::path& file, std::size_t bytes_max) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return failure(errno);
  std::string text;
  char chunk[16384];
  for (;;) {
    const ssize_t size = ::read(fd.get(), chunk, sizeof chunk);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return failure(errno);
    if (size == 0) return text;
    text.append(chunk, static_cast<std::size_t>(size));
    if (text.size() > bytes_max) return failure(EFBIG);
  }
}

}  // namespace mpath
