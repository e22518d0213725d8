// The body of a message that is sent later than its sender lends it.
//
// Threads: the shard of the pool.
#pragma once

#include <sys/uio.h>

#include <cstring>
#include <span>

#include "base/buffer_pool.hpp"

namespace mpath::target::replication {

class BodyCopy {
 public:
  // Copies `bytes` bytes and comes back with them; they stay until reset().
  [[nodiscard]] std::span<const iovec> make(BufferPool& pool, std::span<const iovec> body, std::size_t bytes) {
    buffer_ = pool.take(bytes);
    std::size_t at = 0;
    for (const iovec& part : body) {
      std::memcpy(buffer_.data() + at, part.iov_base, part.iov_len);
      at += part.iov_len;
    }
    part_ = {buffer_.data(), bytes};
    return {&part_, 1};
  }
  void reset() { buffer_.reset(); }
  [[nodiscard]] explicit operator bool() const { return static_cast<bool>(buffer_); }

 private:
  Buffer buffer_;
  iovec part_{};
};

}  // namespace mpath::target::replication
