// A descriptor as the journal wants it: every write durable.
//
// Ownership: the descriptor is borrowed.
#pragma once

#include "target/store/journal.hpp"

namespace mpath::target {

class FdFile final : public DurableFile {
 public:
  explicit FdFile(int fd) : fd_(fd) {}
  [[nodiscard]] error_code write(std::uint64_t offset, std::span<const iovec> data) override;
  [[nodiscard]] error_code read(std::uint64_t offset, std::span<std::byte> data) override;

 private:
  int fd_;
};

}  // namespace mpath::target
