// A backing store: the medium of a logical unit, as a BlockDevice that a target can trust.
//
// Kinds:      file (sparse; holes are punched and found), block device, RAM, null (reads zeroes, forgets writes: for
//             measuring).
// Durability: a write with `fua`, and a flush, have reached the medium when they complete. After a failed flush
//             everything written since the last good one is in doubt: the store says so once, and every later flush and
//             FUA write fails until it is opened anew (the page cache has forgotten which pages were lost).
// Engines:    io_uring, one submission a wake for all that came in it; a pool of threads where the kernel or a
//             container forbids io_uring. Both give the same results.
// Threads:    the shard given at opening; all members run there, and none of them blocks. open() blocks: call it
//             through offload() or at start. Destroy after close() called back, on the shard or when its loop
//             has ended.
// Errors:     EIO is io_error, ENOSPC, EDQUOT and EFBIG no_space, EROFS and EPERM read_only; `error_offset()` tells
//             where.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>

#include "base/block_device.hpp"
#include "base/log.hpp"
#include "base/result.hpp"

namespace mpath {
class Shard;
}

namespace mpath::target {

enum class StoreKind : std::uint8_t { file, block, ram, null };
enum class StoreEngine : std::uint8_t { automatic, io_uring, threads };

struct StoreOptions {
  std::string name;
  StoreKind kind = StoreKind::file;
  std::string path;                 // file, block
  std::uint64_t size_bytes = 0;     // ram, null: needed. file: created and grown to it; 0: as it is
  bool create = false;              // file: may be made
  std::uint32_t block_bytes = 512;  // 512 or 4096
  bool direct = false;              // O_DIRECT
  bool read_only = false;
  StoreEngine engine = StoreEngine::automatic;
  // Atomic writes of a file, or of a block device that is given a journal path. 0: none, and no journal is made.
  std::uint32_t atomic_bytes_max = 256 << 10;
  std::string journal;  // file: `path` + ".journal" when empty. It belongs to the medium: move both or neither
};

class Store : public BlockDevice {
 public:
  // One process a store: a lock (open file description, or O_EXCL for block devices) says so. The error is one line for
  // the administrator, with the path and the reason.
  [[nodiscard]] static std::expected<std::unique_ptr<Store>, std::string> open(Shard& shard,
                                                                               const StoreOptions& options,
                                                                               const Log& log);

  // Takes the new size from the medium, or extends a file to `size_bytes`; never shrinks. Observers hear of it before
  // `done` is called.
  virtual void grow(std::uint64_t size_bytes, std::function<void(error_code)> done) = 0;
  // Bytes that the medium really holds, and that it could still take: for thin provisioning. Cheap; at most a second
  // old.
  struct Usage {
    std::uint64_t allocated_bytes = 0;
    std::uint64_t available_bytes = 0;
  };
  [[nodiscard]] virtual Usage usage() const = 0;
  // An all-or-nothing write, also against a crash in the middle of it: through a small journal beside the medium. At
  // most atomic_bytes_max(), 0 when the store has no journal. Same rules as submit() of a write; completes durable.
  [[nodiscard]] virtual std::uint32_t atomic_bytes_max() const = 0;
  virtual void submit_atomic(BlockRequest& request) noexcept = 0;
  // Calls `closed` when nothing is in flight and the medium was synchronised; no request after that.
  virtual void close(std::function<void(error_code)> closed) = 0;
  [[nodiscard]] virtual StoreEngine engine() const = 0;  // never automatic
  // Where the medium failed: the first byte that could not be moved by the last request that ended in io_error or
  // no_space. To be asked in its done().
  [[nodiscard]] virtual std::uint64_t error_offset() const = 0;
  // System calls that the shard made for I/O so far: for measuring.
  [[nodiscard]] virtual std::uint64_t system_calls() const = 0;
};

}  // namespace mpath::target
