// One end of a copy: the unit itself, or another unit of the daemon, which gets commands like those of a session.
//
// Threads: the shard of the unit that copies; another unit may live elsewhere.
#pragma once

#include <memory>
#include <span>

#include "target/scsi/command_support.hpp"

namespace mpath::target {

class CopyEnd {
 public:
  virtual ~CopyEnd() = default;
  // Before everything else: the size is known then.
  [[nodiscard]] virtual Part<Outcome> open() = 0;
  [[nodiscard]] virtual Part<Outcome> read(std::uint64_t lba, std::uint64_t blocks, std::span<std::byte> into) = 0;
  [[nodiscard]] virtual Part<Outcome> write(std::uint64_t lba, std::uint64_t blocks, std::span<std::byte> from) = 0;
  // After everything else, when open() went well or not.
  [[nodiscard]] virtual Part<Outcome> close() = 0;

  std::uint32_t block_bytes = 0;
  std::uint64_t block_count = 0;
};

[[nodiscard]] std::unique_ptr<CopyEnd> own_end(UnitCore& core, Task& task);
// The other unit sees the initiator on whose behalf it is copied, so its reservations hold for that one.
[[nodiscard]] std::unique_ptr<CopyEnd> other_end(UnitCore& core, LogicalUnit& unit, const NexusName& on_behalf_of);

}  // namespace mpath::target
