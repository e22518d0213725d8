#include "target/store/fd_file.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "target/store/transfer_cursor.hpp"

namespace mpath::target {

error_code FdFile::write(std::uint64_t offset, std::span<const iovec> data) {
  TransferCursor cursor;
  cursor.start(data);
  while (!cursor.at_end()) {
    const std::span<const iovec> parts = cursor.next_parts();
    const auto at = static_cast<off_t>(offset + cursor.done());
    const ssize_t written = ::pwritev2(fd_, parts.data(), static_cast<int>(parts.size()), at, RWF_DSYNC);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return {written < 0 ? errno : EIO, std::generic_category()};
    cursor.advance(static_cast<std::size_t>(written));
  }
  return {};
}

error_code FdFile::read(std::uint64_t offset, std::span<std::byte> data) {
  while (!data.empty()) {
    const ssize_t got = ::pread(fd_, data.data(), data.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {errno, std::generic_category()};
    if (got == 0) {
      std::fill(data.begin(), data.end(), std::byte{0});
      return {};
    }
    data = data.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return {};
}

}  // namespace mpath::target
