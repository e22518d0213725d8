// The seam between a map and the doors that offer it: a disk that takes requests and completes each once.
//
// Threads:    a device lives on one shard; submit(), completions and observers all run there.
// Allocation: none per request. The submitter owns the request (usually as a base of its own slab object) and its data
//             from submit() until done() ran.
// Re-entry:   done() may submit new requests, and may run inside submit() itself: submitters iterate, never recurse.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace mpath {

enum class BlockOp : std::uint8_t {
  read,
  write,
  flush,         // all writes completed before this was submitted are on the medium when it completes
  trim,          // contents may become anything; advisory
  write_zeroes,  // reads as zeroes afterwards
  prefetch,      // advisory
  extents,       // which parts are allocated; fills `extents`
};

enum class BlockStatus : std::uint8_t {
  ok,
  io_error,       // medium error, or no path left and the map is told to fail
  invalid,        // the request makes no sense to the device (alignment, field)
  no_space,       // thin provisioning ran out, or the range ends past the device
  read_only,      // write protected
  not_supported,  // the device cannot do this op (or not as fast as `fast_only` asks)
  conflict,       // a reservation is held by another initiator
  shutdown,       // the device is going away
};

// One run of base:allocation: `hole` = not allocated, `zero` = reads as zeroes.
struct BlockExtent {
  std::uint64_t length;
  bool hole;
  bool zero;
  friend bool operator==(const BlockExtent&, const BlockExtent&) = default;
};

struct BlockRequest {
  using Done = void (*)(BlockRequest&) noexcept;

  // Set by the submitter.
  BlockOp op = BlockOp::read;
  bool fua = false;        // write, write_zeroes, trim: on the medium before completion
  bool may_unmap = true;   // write_zeroes: the range may be deallocated
  bool fast_only = false;  // write_zeroes: fail with not_supported rather than write zeroes out slowly
  bool on_all_copies = false;  // write: completed when every copy of a replicated unit has it, whatever its protocol
  std::uint64_t offset = 0;      // bytes, multiple of block_size
  std::uint64_t length = 0;      // bytes, multiple of block_size
  std::span<const iovec> data;   // read, write: borrowed (array and memory) until done(); the lengths add up to `length`
  std::vector<BlockExtent>* extents = nullptr;  // extents: appended to, at least one; may cover less or more than `length`
  std::uint32_t extents_max = 0;                // extents: stop after so many
  Done done = nullptr;

  // Set by the device before done().
  BlockStatus status = BlockStatus::ok;

  // For whoever holds the request at the moment (queues, slabs). Not for the submitter while in flight.
  BlockRequest* next = nullptr;
};

struct BlockLimits {
  std::uint64_t size_bytes = 0;
  std::uint32_t block_size = 512;       // logical block; every offset and length is a multiple
  std::uint32_t preferred_block = 4096; // physical block or optimal granularity
  std::uint64_t transfer_max = 0;       // bytes a read or write may carry at once; the device splits below that by itself
  bool read_only = false;
  bool can_trim = false;
  bool can_zero = false;        // write_zeroes without sending zeroes
  bool can_report_extents = false;
  bool write_cache = true;      // flush does something
  friend bool operator==(const BlockLimits&, const BlockLimits&) = default;
};

class BlockDeviceObserver {
 public:
  virtual ~BlockDeviceObserver() = default;
  virtual void on_limits_changed(const BlockLimits& limits) = 0;  // grown, write protection switched
  virtual void on_gone() = 0;  // no request is accepted any more: each completes with shutdown
};

class ScsiDoor;  // exports/scsi_door.hpp: only those who use it know more

class BlockDevice {
 public:
  virtual ~BlockDevice() = default;
  [[nodiscard]] virtual const std::string& name() const = 0;
  [[nodiscard]] virtual const BlockLimits& limits() const = 0;
  virtual void submit(BlockRequest& request) noexcept = 0;
  // The observer must outlive the device or be removed first. Either may be called from a callback.
  virtual void add_observer(BlockDeviceObserver& observer) = 0;
  virtual void remove_observer(BlockDeviceObserver& observer) = 0;
  // Where it takes SCSI commands as well. None: it is no SCSI disk.
  [[nodiscard]] virtual ScsiDoor* scsi_door() { return nullptr; }
};

}  // namespace mpath
