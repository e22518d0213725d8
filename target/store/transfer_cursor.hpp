// How far a scattered transfer has come: what remains after a short read or write, without copying the list. Pure.
//
// Ownership: the list and its memory are borrowed until the transfer ended.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace mpath::target {

class TransferCursor {
 public:
  static constexpr std::size_t parts_max = 1024;  // IOV_MAX: what one system call takes

  void start(std::span<const iovec> data) {
    data_ = data;
    done_ = 0;
    skip_ = 0;
    skip_empty();
  }
  [[nodiscard]] bool at_end() const { return data_.empty(); }
  [[nodiscard]] std::uint64_t done() const { return done_; }
  // What to move next, at most what one call takes: a part that was begun comes alone. Valid until advance().
  [[nodiscard]] std::span<const iovec> next_parts() {
    if (skip_ == 0) return data_.first(std::min(data_.size(), parts_max));
    begun_ = {static_cast<std::byte*>(data_.front().iov_base) + skip_, data_.front().iov_len - skip_};
    return {&begun_, 1};
  }
  void advance(std::size_t bytes) {
    done_ += bytes;
    skip_ += bytes;
    skip_empty();
  }

 private:
  void skip_empty() {
    while (!data_.empty() && skip_ >= data_.front().iov_len) {
      skip_ -= data_.front().iov_len;
      data_ = data_.subspan(1);
    }
  }

  std::span<const iovec> data_;
  std::uint64_t done_ = 0;
  std::size_t skip_ = 0;  // of the first part
  iovec begun_{};
};

}  // namespace mpath::target
