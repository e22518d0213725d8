// One daemon a root: a lock file that holds the daemon's process id. The kernel drops the lock with the process, so what a
// killed daemon leaves behind does not matter.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace mpath {

class InstanceLock {
 public:
  // Fails with EADDRINUSE while another process holds it, otherwise with what the file system said. A missing parent
  // directory is made (0755).
  [[nodiscard]] static Result<InstanceLock> take(const std::filesystem::path& file);
  // Who holds it now.
  [[nodiscard]] static std::optional<pid_t> holder(const std::filesystem::path& file);

  InstanceLock(InstanceLock&&) noexcept = default;
  InstanceLock& operator=(InstanceLock&&) noexcept = default;
  ~InstanceLock();  // empties the file and lets go

 private:
  explicit InstanceLock(UniqueFd file) : file_(std::move(file)) {}
  UniqueFd file_;
};

}  // namespace mpath
