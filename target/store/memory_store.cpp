#include "target/store/memory_store.hpp"

#include <cstring>

#include "base/block_rules.hpp"

namespace mpath::target {
namespace {

BlockLimits limits_of(const StoreOptions& options) {
  return {.size_bytes = options.size_bytes / options.block_bytes * options.block_bytes,
          .block_size = options.block_bytes,
          .preferred_block = 4096,
          .transfer_max = std::uint64_t{16} << 20,
          .read_only = options.read_only,
          .can_trim = true,
          .can_zero = true,
          .can_report_extents = true,
          .write_cache = false};
}

}  // namespace

MemoryStore::MemoryStore(const StoreOptions& options)
    : StoreBase(options.name, limits_of(options)), atomic_bytes_max_(options.atomic_bytes_max) {
  if (options.kind == StoreKind::ram) {
    memory_ = std::make_unique<MemoryDevice>(MemoryDevice::Options{.name = options.name, .limits = limits_});
  }
}

void MemoryStore::submit(BlockRequest& request) noexcept {
  if (closed_) {
    finish(request, BlockStatus::shutdown);
  } else if (memory_) {
    memory_->submit(request);
  } else {
    finish(request, forget(request));
  }
}

BlockStatus MemoryStore::forget(const BlockRequest& request) const {
  if (const BlockStatus refused = check_request(limits_, request); refused != BlockStatus::ok) return refused;
  if (request.op == BlockOp::read) {
    for (const iovec& part : request.data) std::memset(part.iov_base, 0, part.iov_len);
  }
  if (request.op == BlockOp::extents)
    request.extents->push_back({.length = request.length, .hole = true, .zero = true});
  return BlockStatus::ok;
}

void MemoryStore::submit_atomic(BlockRequest& request) noexcept {
  if (request.op != BlockOp::write || request.length > atomic_bytes_max_) {
    finish(request, BlockStatus::invalid);
  } else {
    submit(request);  // one thread, no medium that could lose half of it
  }
}

void MemoryStore::grow(std::uint64_t size_bytes, std::function<void(error_code)> done) {
  if (memory_ && size_bytes > limits_.size_bytes) memory_->resize(size_bytes / limits_.block_size * limits_.block_size);
  set_size(size_bytes);
  done({});
}

Store::Usage MemoryStore::usage() const {
  const std::uint64_t allocated = memory_ ? std::min(memory_->allocated_bytes(), limits_.size_bytes) : 0;
  return {.allocated_bytes = allocated, .available_bytes = limits_.size_bytes - allocated};
}

void MemoryStore::close(std::function<void(error_code)> closed) {
  closed_ = true;
  closed({});
}

}  // namespace mpath::target
