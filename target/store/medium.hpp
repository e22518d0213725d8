// A file or block device by its blocking system calls: what the workers of a store do, and what opening needs.
//
// Threads: any, several at a time, after open(). Ownership: owns its descriptors and with them the lock.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "base/block_device.hpp"
#include "base/unique_fd.hpp"
#include "target/store/store.hpp"
#include "target/store/store_io.hpp"

namespace mpath::target {

// EIO and what else tells of a broken medium is io_error, a full disk or quota no_space, a write protection read_only.
[[nodiscard]] BlockStatus status_of(int error_number);

class Medium {
 public:
  // Opens, makes, grows and locks as told. The error is a line for the administrator.
  [[nodiscard]] static std::expected<std::unique_ptr<Medium>, std::string> open(const StoreOptions& options);

  [[nodiscard]] const BlockLimits& limits() const { return limits_; }  // as found at opening
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool direct() const { return direct_; }
  // Another open file description of the same medium: the kernel tells each of them about lost writes once.
  [[nodiscard]] Result<UniqueFd> open_again() const;
  [[nodiscard]] Store::Usage usage() const;

  // --- blocking -----------------------------------------------------------------------------------------------------
  // Carries the request out; `sync_fd` is used for what must be durable. Sets status and error_number.
  void carry_out(StoreIo& io, int sync_fd) const noexcept;
  // Moves what the cursor has left. `flags` are RWF_*. Fills status and error_number; false when it would block.
  bool transfer(StoreIo& io, int fd, int flags) const noexcept;
  // 0 or an errno. Also fails when the medium has become smaller than it was.
  [[nodiscard]] int sync(int fd) const noexcept;
  // The new size; extends a file to `size_bytes` when that is more than it has.
  [[nodiscard]] Result<std::uint64_t> grow(std::uint64_t size_bytes) const;

 private:
  Medium() = default;
  std::string find_limits(const StoreOptions& options);  // empty, or what is wrong
  [[nodiscard]] int zero(std::uint64_t offset, std::uint64_t length, bool may_unmap, bool fast_only) const noexcept;
  [[nodiscard]] int trim(std::uint64_t offset, std::uint64_t length) const noexcept;
  [[nodiscard]] int write_zeroes(std::uint64_t offset, std::uint64_t length) const noexcept;
  [[nodiscard]] int list_extents(BlockRequest& request) const noexcept;
  [[nodiscard]] Result<std::uint64_t> size_now() const;

  UniqueFd fd_;
  bool block_device_ = false;
  bool direct_ = false;
  bool can_punch_ = false;
  BlockLimits limits_;
};

}  // namespace mpath::target
