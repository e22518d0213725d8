// Unix stream sockets at paths of any length, made with the right modes, and told apart from what a dead process left.
#pragma once

#include <chrono>
#include <filesystem>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace mpath {

// A listening, non-blocking socket at `path`, mode `mode`. A missing parent directory is made (0755). A socket file that nobody
// listens on is replaced; one that answers fails with EADDRINUSE; a file that is no socket with EEXIST.
[[nodiscard]] Result<UniqueFd> listen_unix(const std::filesystem::path& path, std::filesystem::perms mode);

// A connected, blocking socket. Fails with ENOENT or ECONNREFUSED (nobody there), EACCES, or ETIMEDOUT when the backlog
// stayed full for `timeout`.
[[nodiscard]] Result<UniqueFd> connect_unix(const std::filesystem::path& path, std::chrono::milliseconds timeout);

// Checks a descriptor that the service manager handed over and makes it non-blocking and close-on-exec. Fails with EBADF, or
// EINVAL when it is no listening unix stream socket. Takes ownership in any case.
[[nodiscard]] Result<UniqueFd> adopt_unix_listener(int fd);

}  // namespace mpath
