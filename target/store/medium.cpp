#include "target/store/medium.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace mpath::target {
namespace {

constexpr std::size_t zero_chunk_bytes = std::size_t{1} << 18;
constexpr std::uint64_t transfer_bytes_max = std::uint64_t{16} << 20;

off_t at(std::uint64_t offset) {
  return static_cast<off_t>(offset);
}

int try_fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t length) {
  for (;;) {
    if (::fallocate(fd, mode, at(offset), at(length)) == 0) return 0;
    if (errno != EINTR) return errno;
  }
}

bool is_unsupported(int error_number) {
  return error_number == EOPNOTSUPP || error_number == ENOSYS || error_number == ENOTTY;
}

std::string describe(const StoreOptions& options, std::string_view what, int error_number) {
  return fmt::format("{}: {}: {}", options.path, what, std::strerror(error_number));
}

// What has one part, as most commands do, goes by the calls that fetch no list: 5 % of what the kernel spends on 4 KiB.
ssize_t move(bool reads, int fd, std::span<const iovec> parts, off_t offset, int flags) {
  if (parts.size() == 1 && flags == 0) {
    const iovec& part = parts.front();
    return reads ? ::pread(fd, part.iov_base, part.iov_len, offset) : ::pwrite(fd, part.iov_base, part.iov_len, offset);
  }
  const auto count = static_cast<int>(parts.size());
  return reads ? ::preadv2(fd, parts.data(), count, offset, flags) : ::pwritev2(fd, parts.data(), count, offset, flags);
}

// A file that was made must still be there after a power cut.
int sync_directory_of(const std::string& path) {
  std::filesystem::path directory = std::filesystem::path(path).parent_path();
  if (directory.empty()) directory = ".";
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return errno;
  return 0;
}

std::string lock(int fd, const StoreOptions& options) {
  struct flock whole{};
  whole.l_type = static_cast<short>(options.read_only ? F_RDLCK : F_WRLCK);
  whole.l_whence = SEEK_SET;
  if (::fcntl(fd, F_OFD_SETLK, &whole) == 0) return {};
  if (errno == EAGAIN || errno == EACCES)
    return fmt::format("{}: in use: another process holds its lock", options.path);
  return describe(options, "cannot be locked", errno);
}

}  // namespace

BlockStatus status_of(int error_number) {
  switch (error_number) {
    case 0:
      return BlockStatus::ok;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return BlockStatus::no_space;
    case EROFS:
    case EPERM:
    case EBADF:
      return BlockStatus::read_only;  // EBADF: the descriptor is open for reading only
    case EOPNOTSUPP:
      return BlockStatus::not_supported;
    case EINVAL:
      return BlockStatus::invalid;
    default:
      return BlockStatus::io_error;
  }
}

std::expected<std::unique_ptr<Medium>, std::string> Medium::open(const StoreOptions& options) {
  std::unique_ptr<Medium> medium(new Medium);
  const bool wants_block = options.kind == StoreKind::block;
  struct stat found{};
  const bool exists = ::stat(options.path.c_str(), &found) == 0;
  if (!exists && errno != ENOENT) return std::unexpected(describe(options, "cannot be looked at", errno));
  if (!exists && (!options.create || wants_block))
    return std::unexpected(describe(options, "cannot be opened", ENOENT));
  if (exists && wants_block && !S_ISBLK(found.st_mode)) return std::unexpected(options.path + ": is no block device");
  if (exists && !wants_block && !S_ISREG(found.st_mode)) return std::unexpected(options.path + ": is no regular file");

  int flags = O_CLOEXEC | (options.read_only ? O_RDONLY : O_RDWR);
  if (options.direct) flags |= O_DIRECT;
  if (wants_block) flags |= O_EXCL;
  if (!exists) flags |= O_CREAT;
  medium->fd_.reset(::open(options.path.c_str(), flags, 0600));
  if (!medium->fd_ && errno == EINVAL && options.direct) {
    return std::unexpected(options.path + ": this file system has no direct I/O");
  }
  if (!medium->fd_ && errno == EBUSY) return std::unexpected(options.path + ": in use: mounted or opened elsewhere");
  if (!medium->fd_) return std::unexpected(describe(options, "cannot be opened", errno));
  if (!exists) {
    if (const int error = sync_directory_of(options.path))
      return std::unexpected(describe(options, "cannot be made", error));
  }
  if (!wants_block) {
    if (std::string wrong = lock(medium->fd_.get(), options); !wrong.empty()) return std::unexpected(std::move(wrong));
  }
  medium->block_device_ = wants_block;
  medium->direct_ = options.direct;
  if (std::string wrong = medium->find_limits(options); !wrong.empty()) return std::unexpected(std::move(wrong));
  return medium;
}

std::string Medium::find_limits(const StoreOptions& options) {
  Result<std::uint64_t> size = size_now();
  if (size && !block_device_ && options.size_bytes > *size) {
    if (options.read_only) return options.path + ": is smaller than configured, and read-only";
    size = grow(options.size_bytes);
  }
  if (!size) return describe(options, "its size", size.error().value());
  if (block_device_ && options.size_bytes > *size) return options.path + ": is smaller than configured";
  struct stat found{};
  if (::fstat(fd_.get(), &found) != 0) return describe(options, "cannot be looked at", errno);

  limits_.block_size = options.block_bytes;
  limits_.size_bytes = *size / options.block_bytes * options.block_bytes;
  if (limits_.size_bytes == 0) return options.path + ": is empty: give it a size";
  limits_.preferred_block = std::max<std::uint32_t>(static_cast<std::uint32_t>(found.st_blksize), options.block_bytes);
  limits_.transfer_max = transfer_bytes_max;
  limits_.read_only = options.read_only;
  if (block_device_) {
    int logical = 0;
    unsigned physical = 0;
    if (::ioctl(fd_.get(), BLKSSZGET, &logical) == 0 && options.block_bytes < static_cast<std::uint32_t>(logical)) {
      return fmt::format("{}: its blocks have {} bytes: block_bytes {} is too small", options.path, logical,
                         options.block_bytes);
    }
    if (::ioctl(fd_.get(), BLKPBSZGET, &physical) == 0)
      limits_.preferred_block = std::max(physical, options.block_bytes);
  }
  if (direct_) {
    // Whether this block size can be read directly shows by reading one block.
    alignas(4096) std::array<std::byte, 4096> block;
    if (::pread(fd_.get(), block.data(), options.block_bytes, 0) < 0 && errno == EINVAL) {
      return fmt::format("{}: direct I/O does not work with blocks of {} bytes here", options.path,
                         options.block_bytes);
    }
  }
  // Past the end nothing can be lost: the answer is only whether the file system knows the call. Block devices know it,
  // and say for each range whether they can. Who punches holes can zero; the opposite was not met.
  const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  can_punch_ = block_device_ || !is_unsupported(try_fallocate(fd_.get(), punch, *size, options.block_bytes));
  limits_.can_trim = can_punch_;
  limits_.can_zero = can_punch_;
  limits_.can_report_extents = !block_device_;
  limits_.write_cache = !options.read_only;
  return {};
}

Result<UniqueFd> Medium::open_again() const {
  const int flags = O_CLOEXEC | (limits_.read_only ? O_RDONLY : O_RDWR) | (direct_ ? O_DIRECT : 0);
  UniqueFd fd(::open(fmt::format("/proc/self/fd/{}", fd_.get()).c_str(), flags));
  if (!fd) return failure(errno);
  return fd;
}

Result<std::uint64_t> Medium::size_now() const {
  if (block_device_) {
    std::uint64_t bytes = 0;
    if (::ioctl(fd_.get(), BLKGETSIZE64, &bytes) != 0) return failure(errno);
    return bytes;
  }
  struct stat found{};
  if (::fstat(fd_.get(), &found) != 0) return failure(errno);
  return static_cast<std::uint64_t>(found.st_size);
}

Result<std::uint64_t> Medium::grow(std::uint64_t size_bytes) const {
  Result<std::uint64_t> size = size_now();
  if (!size || size_bytes <= *size) return size;
  if (block_device_) return failure(ENOSPC);
  if (::ftruncate(fd_.get(), at(size_bytes)) != 0 || ::fdatasync(fd_.get()) != 0) return failure(errno);
  return size_bytes;
}

Store::Usage Medium::usage() const {
  if (block_device_) return {.allocated_bytes = limits_.size_bytes, .available_bytes = 0};
  struct stat file{};
  struct statvfs system{};
  Store::Usage usage;
  if (::fstat(fd_.get(), &file) == 0) usage.allocated_bytes = static_cast<std::uint64_t>(file.st_blocks) * 512;
  if (::fstatvfs(fd_.get(), &system) == 0) usage.available_bytes = std::uint64_t{system.f_bavail} * system.f_frsize;
  return usage;
}

int Medium::sync(int fd) const noexcept {
  while (::fdatasync(fd) != 0) {
    if (errno != EINTR) return errno;
  }
  const Result<std::uint64_t> size = size_now();
  return size && *size >= limits_.size_bytes ? 0 : EIO;
}

bool Medium::transfer(StoreIo& io, int fd, int flags) const noexcept {
  const BlockRequest& request = *io.request;
  TransferCursor& cursor = io.cursor;
  while (!cursor.at_end()) {
    const std::span<const iovec> parts = cursor.next_parts();
    const off_t offset = at(request.offset + cursor.done());
    const ssize_t moved = move(request.op == BlockOp::read, fd, parts, offset, flags);
    if (moved > 0) {
      cursor.advance(static_cast<std::size_t>(moved));
      continue;
    }
    if (moved < 0 && errno == EINTR) continue;
    if ((flags & RWF_NOWAIT) != 0) return false;
    io.error_number = moved == 0 ? EIO : errno;  // no byte where there should be one: it shrank under us
    io.status = status_of(io.error_number);
    return true;
  }
  return true;
}

void Medium::carry_out(StoreIo& io, int sync_fd) const noexcept {
  BlockRequest& request = *io.request;
  int error = 0;
  switch (request.op) {
    case BlockOp::read:
      transfer(io, fd_.get(), 0);
      return;
    case BlockOp::write:
      transfer(io, request.fua ? sync_fd : fd_.get(), request.fua ? RWF_DSYNC : 0);
      return;
    case BlockOp::flush:
      error = limits_.read_only ? 0 : sync(sync_fd);
      break;
    case BlockOp::trim:
      error = trim(request.offset, request.length);
      break;
    case BlockOp::write_zeroes:
      error = zero(request.offset, request.length, request.may_unmap, request.fast_only);
      break;
    case BlockOp::prefetch:
      static_cast<void>(::posix_fadvise(fd_.get(), at(request.offset), at(request.length), POSIX_FADV_WILLNEED));
      break;
    case BlockOp::extents:
      error = list_extents(request);
      break;
  }
  const bool changed = request.op == BlockOp::trim || request.op == BlockOp::write_zeroes;
  if (error == 0 && changed && request.fua) error = sync(sync_fd);
  io.error_number = error;
  io.status = status_of(error);
}

int Medium::trim(std::uint64_t offset, std::uint64_t length) const noexcept {
  const int error = try_fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  if (!is_unsupported(error) || !block_device_) return error;
  // A disk that cannot promise zeroes can still discard.
  std::uint64_t range[2] = {offset, length};
  return ::ioctl(fd_.get(), BLKDISCARD, range) == 0 ? 0 : is_unsupported(errno) ? EOPNOTSUPP : errno;
}

int Medium::zero(std::uint64_t offset, std::uint64_t length, bool may_unmap, bool fast_only) const noexcept {
  if (may_unmap && can_punch_) {
    const int error = try_fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    if (!is_unsupported(error)) return error;
  }
  // On a block device ZERO_RANGE may be zeroes written one by one, which is what fast_only does not want.
  if (!(block_device_ && fast_only)) {
    const int error = try_fallocate(fd_.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
    if (!is_unsupported(error)) return error;
  }
  if (fast_only) return EOPNOTSUPP;
  if (block_device_) {
    std::uint64_t range[2] = {offset, length};
    if (::ioctl(fd_.get(), BLKZEROOUT, range) == 0) return 0;
    if (!is_unsupported(errno)) return errno;
  }
  return write_zeroes(offset, length);
}

int Medium::write_zeroes(std::uint64_t offset, std::uint64_t length) const noexcept {
  alignas(4096) static std::array<std::byte, zero_chunk_bytes> zeroes{};  // never written to
  while (length > 0) {
    const ssize_t written =
        ::pwrite(fd_.get(), zeroes.data(), std::min<std::uint64_t>(length, zeroes.size()), at(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : EIO;
    offset += static_cast<std::uint64_t>(written);
    length -= static_cast<std::uint64_t>(written);
  }
  return 0;
}

int Medium::list_extents(BlockRequest& request) const noexcept {
  std::uint64_t position = request.offset;
  const std::uint64_t end = request.offset + request.length;
  // The file system counts in its own blocks; the answer in those of the device, with a block that has any data as
  // data.
  const std::uint64_t block = limits_.block_size;
  for (std::uint32_t count = 0; position < end && count < std::max(request.extents_max, 1u);) {
    const off_t data = ::lseek(fd_.get(), at(position), SEEK_DATA);
    if (data < 0 && errno != ENXIO) return errno;  // ENXIO: no data up to the end of the file
    const std::uint64_t data_at = data < 0 ? end : std::min(static_cast<std::uint64_t>(data) / block * block, end);
    if (data_at > position) {
      request.extents->push_back({.length = data_at - position, .hole = true, .zero = true});
      position = data_at;
      ++count;
      continue;
    }
    const off_t hole =
        ::lseek(fd_.get(), at(std::max(position, data < 0 ? position : static_cast<std::uint64_t>(data))), SEEK_HOLE);
    if (hole < 0) return errno;
    const std::uint64_t hole_at = std::min((static_cast<std::uint64_t>(hole) + block - 1) / block * block, end);
    request.extents->push_back({.length = hole_at - position, .hole = false, .zero = false});
    position = hole_at;
    ++count;
  }
  return 0;
}

}  // namespace mpath::target
