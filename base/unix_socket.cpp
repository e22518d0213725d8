#include "base/unix_socket.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace mpath {
namespace {

namespace fs = std::filesystem;

// sun_path holds 107 characters, which a --root deep in some build tree exceeds; a directory's descriptor under /proc names
// the same place in few.
struct Address {
  UniqueFd directory;
  sockaddr_un name{};
  socklen_t length = 0;

  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&name); }
};

Result<Address> address_of(const fs::path& path) {
  Address address;
  address.name.sun_family = AF_UNIX;
  std::string text = path.string();
  if (text.size() >= sizeof address.name.sun_path) {
    address.directory.reset(::open(path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!address.directory) return failure(errno);
    text = "/proc/self/fd/" + std::to_string(address.directory.get()) + "/" + path.filename().string();
  }
  if (text.empty() || text.size() >= sizeof address.name.sun_path) return failure(ENAMETOOLONG);
  std::memcpy(address.name.sun_path, text.data(), text.size());
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size() + 1);
  return address;
}

// Holds off others who replace a stale socket in the same directory at the same time.
Result<UniqueFd> lock_directory(const fs::path& directory) {
  UniqueFd fd(::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return failure(errno);
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return failure(errno);
  }
  return fd;
}

error_code make_directory(const fs::path& directory) {
  std::error_code error;
  if (directory.empty() || fs::is_directory(directory, error)) return {};
  if (const error_code above = make_directory(directory.parent_path())) return above;
  if (::mkdir(directory.c_str(), 0755) != 0) {
    if (errno == EEXIST) return {};
    return {errno, std::generic_category()};
  }
  ::chmod(directory.c_str(), 0755);  // whatever the umask says: clients must be able to reach the socket
  return {};
}

// Removes a socket file that refuses connections.
error_code remove_stale(const fs::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return {errno, std::generic_category()};
  if (!S_ISSOCK(status.st_mode)) return {EEXIST, std::generic_category()};
  const auto peer = connect_unix(path, std::chrono::milliseconds(100));
  if (peer || peer.error() != std::errc::connection_refused) return {EADDRINUSE, std::generic_category()};
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return {errno, std::generic_category()};
  return {};
}

}  // namespace

Result<UniqueFd> listen_unix(const fs::path& path, fs::perms mode) {
  if (const error_code error = make_directory(path.parent_path())) return failure(error);
  const auto lock = lock_directory(path.parent_path());
  if (!lock) return failure(lock.error());
  const auto address = address_of(path);
  if (!address) return failure(address.error());

  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return failure(errno);
  // bind() gives the file the mode of the socket: it is never there with a wider one.
  ::fchmod(socket.get(), static_cast<mode_t>(mode));
  if (::bind(socket.get(), address->get(), address->length) != 0) {
    if (errno != EADDRINUSE) return failure(errno);
    if (const error_code error = remove_stale(path)) return failure(error);
    if (::bind(socket.get(), address->get(), address->length) != 0) return failure(errno);
  }
  if (::chmod(path.c_str(), static_cast<mode_t>(mode)) != 0) return failure(errno);
  if (::listen(socket.get(), SOMAXCONN) != 0) return failure(errno);
  return socket;
}

Result<UniqueFd> connect_unix(const fs::path& path, std::chrono::milliseconds timeout) {
  const auto address = address_of(path);
  if (!address) return failure(address.error());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return failure(errno);
  // A unix connect waits for room in the backlog as long as a send may wait.
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timeval limit{.tv_sec = whole.count(), .tv_usec = std::chrono::microseconds(timeout - whole).count()};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (::connect(socket.get(), address->get(), address->length) != 0) {
    return failure(errno == EAGAIN || errno == EINPROGRESS ? ETIMEDOUT : errno);
  }
  return socket;
}

Result<UniqueFd> adopt_unix_listener(int fd) {
  UniqueFd socket(fd);
  const auto option = [fd](int name) {
    int value = 0;
    socklen_t size = sizeof value;
    return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
  };
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return failure(EBADF);
  if (option(SO_DOMAIN) != AF_UNIX || option(SO_TYPE) != SOCK_STREAM || option(SO_ACCEPTCONN) != 1) return failure(EINVAL);
  ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return socket;
}

}  // namespace mpath
