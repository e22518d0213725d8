#include "base/memory_device.hpp"

#include <algorithm>
#include <cstring>

#include "base/block_rules.hpp"
#include "base/check.hpp"

namespace mpath {

MemoryDevice::MemoryDevice(Options options) : options_(std::move(options)) {
  if (options_.latency > Duration(0)) {
    CHECK(options_.clock != nullptr);
    delayed_ = std::make_unique<DelayQueue>(*options_.clock, [this](BlockRequest& request) {
      request.status = carry_out(request);
      request.done(request);
    });
  }
  chunks_.resize((options_.limits.size_bytes + chunk_bytes - 1) / chunk_bytes);
}

MemoryDevice::~MemoryDevice() {
  if (!delayed_) return;
  gone_ = true;
  while (BlockRequest* request = delayed_->take()) {
    request->status = BlockStatus::shutdown;
    request->done(*request);
  }
}

void MemoryDevice::submit(BlockRequest& request) noexcept {
  if (delayed_ && !gone_) {
    delayed_->push(request, options_.clock->now() + options_.latency);
    return;
  }
  request.status = carry_out(request);
  request.done(request);
}

void MemoryDevice::add_observer(BlockDeviceObserver& observer) { observers_.push_back(&observer); }
void MemoryDevice::remove_observer(BlockDeviceObserver& observer) {
  std::replace(observers_.begin(), observers_.end(), &observer, static_cast<BlockDeviceObserver*>(nullptr));
}

BlockStatus MemoryDevice::check(const BlockRequest& request) const {
  return gone_ ? BlockStatus::shutdown : check_request(options_.limits, request);
}

BlockStatus MemoryDevice::carry_out(BlockRequest& request) {
  if (const BlockStatus refused = check(request); refused != BlockStatus::ok) return refused;
  ++counters_.requests[static_cast<std::size_t>(request.op)];
  if (request.fua) ++counters_.fua;
  switch (request.op) {
    case BlockOp::read:
      counters_.bytes_read += request.length;
      copy(request.offset, request.data, false);
      break;
    case BlockOp::write:
      counters_.bytes_written += request.length;
      copy(request.offset, request.data, true);
      break;
    case BlockOp::trim: clear(request.offset, request.length); break;
    case BlockOp::write_zeroes:
      clear(request.offset, request.length);
      if (!request.may_unmap) {
        each_chunk(request.offset, request.length,
                   [this](std::size_t index, std::size_t, std::size_t) { static_cast<void>(chunk(index)); });
      }
      break;
    case BlockOp::extents: list_extents(request); break;
    case BlockOp::flush:
    case BlockOp::prefetch: break;
  }
  return BlockStatus::ok;
}

// Calls visit(chunk index, offset in the chunk, length in the chunk).
template <typename Visit>
void MemoryDevice::each_chunk(std::uint64_t offset, std::uint64_t length, Visit visit) {
  while (length > 0) {
    const std::size_t start = offset % chunk_bytes;
    const std::size_t part = std::min<std::uint64_t>(length, chunk_bytes - start);
    visit(static_cast<std::size_t>(offset / chunk_bytes), start, part);
    offset += part;
    length -= part;
  }
}

std::byte* MemoryDevice::chunk(std::size_t index) {
  if (!chunks_[index]) chunks_[index] = std::make_unique<std::byte[]>(chunk_bytes);
  return chunks_[index].get();
}

void MemoryDevice::copy(std::uint64_t offset, std::span<const iovec> data, bool to_device) {
  for (const iovec& part : data) {
    auto* memory = static_cast<std::byte*>(part.iov_base);
    each_chunk(offset, part.iov_len, [&](std::size_t index, std::size_t start, std::size_t length) {
      if (to_device) {
        std::memcpy(chunk(index) + start, memory, length);
      } else if (chunks_[index]) {
        std::memcpy(memory, chunks_[index].get() + start, length);
      } else {
        std::memset(memory, 0, length);
      }
      memory += length;
    });
    offset += part.iov_len;
  }
}

void MemoryDevice::clear(std::uint64_t offset, std::uint64_t length) {
  each_chunk(offset, length, [this](std::size_t index, std::size_t start, std::size_t part) {
    if (part == chunk_bytes) {
      chunks_[index].reset();
    } else if (chunks_[index]) {
      std::memset(chunks_[index].get() + start, 0, part);
    }
  });
}

void MemoryDevice::list_extents(BlockRequest& request) const {
  const std::size_t first = request.extents->size();
  bool full = false;
  each_chunk(request.offset, request.length, [&](std::size_t index, std::size_t, std::size_t length) {
    if (full) return;
    const bool hole = chunks_[index] == nullptr;
    if (request.extents->size() > first && request.extents->back().hole == hole) {
      request.extents->back().length += length;
    } else if (request.extents->size() - first >= std::max(request.extents_max, 1u)) {
      full = true;
    } else {
      request.extents->push_back({.length = length, .hole = hole, .zero = hole});
    }
  });
}

std::uint64_t MemoryDevice::allocated_bytes() const {
  const auto count = std::count_if(chunks_.begin(), chunks_.end(), [](const Chunk& each) { return each != nullptr; });
  return static_cast<std::uint64_t>(count) * chunk_bytes;
}

std::vector<std::byte> MemoryDevice::peek(std::uint64_t offset, std::size_t length) const {
  CHECK(offset + length <= options_.limits.size_bytes);
  std::vector<std::byte> bytes(length);
  const iovec whole{bytes.data(), length};
  const_cast<MemoryDevice*>(this)->copy(offset, std::span(&whole, 1), false);  // reads only
  return bytes;
}

void MemoryDevice::poke(std::uint64_t offset, std::span<const std::byte> bytes) {
  CHECK(offset + bytes.size() <= options_.limits.size_bytes);
  const iovec whole{const_cast<std::byte*>(bytes.data()), bytes.size()};
  copy(offset, std::span(&whole, 1), true);
}

void MemoryDevice::notify_limits() {
  // By index: an observer may add or remove observers.
  for (std::size_t i = 0; i < observers_.size(); ++i) {
    if (observers_[i] != nullptr) observers_[i]->on_limits_changed(options_.limits);
  }
  std::erase(observers_, nullptr);
}

void MemoryDevice::resize(std::uint64_t size_bytes) {
  if (size_bytes < options_.limits.size_bytes) clear(size_bytes, options_.limits.size_bytes - size_bytes);
  options_.limits.size_bytes = size_bytes;
  chunks_.resize((size_bytes + chunk_bytes - 1) / chunk_bytes);
  notify_limits();
}

void MemoryDevice::set_read_only(bool read_only) {
  options_.limits.read_only = read_only;
  notify_limits();
}

void MemoryDevice::go_away() {
  gone_ = true;
  for (std::size_t i = 0; i < observers_.size(); ++i) {
    if (observers_[i] != nullptr) observers_[i]->on_gone();
  }
  std::erase(observers_, nullptr);
}

}  // namespace mpath
