// The unsent bytes of a queue, for one sendmsg: the pieces are added in their order, those that have left are passed
// over.
//
// Ownership: the pieces are borrowed until send() has returned. Allocation: none; it is large for a stack frame (16
// KiB).
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "base/result.hpp"

namespace mpath {

class Gather {
 public:
  static constexpr std::size_t pieces_max = 1024;  // the kernel's limit for one sendmsg

  // The first `gone` bytes have left already.
  explicit Gather(std::size_t gone) : gone_(gone) {}

  // What is added when it is full is left for the next one, and so must be everything after it.
  void add(std::span<const std::byte> piece) {
    const std::size_t left_before = std::min(gone_, piece.size());
    gone_ -= left_before;
    const auto rest = piece.subspan(left_before);
    if (rest.empty() || full()) return;
    pieces_[count_++] = {const_cast<std::byte*>(rest.data()), rest.size()};
    bytes_ += rest.size();
  }
  [[nodiscard]] bool full() const { return count_ == pieces_.size(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] std::span<const iovec> pieces() const { return std::span(pieces_).first(count_); }

  // How many bytes the socket took: fewer than bytes(), or none, when it takes no more for now. Never raises SIGPIPE.
  [[nodiscard]] Result<std::size_t> send(int socket);

 private:
  std::size_t gone_;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
  std::array<iovec, pieces_max> pieces_;  // the first `count_` are set
};

}  // namespace mpath
