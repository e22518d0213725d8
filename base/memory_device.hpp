// A disk in memory, for tests and drills: sparse, with holes that can be seen, and counters that say what reached it.
//
// Threads:    one shard, or one test.
// Completion: inside submit(), or after `latency` from the clock's loop.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/block_device.hpp"
#include "base/block_names.hpp"
#include "base/clock.hpp"
#include "base/delay_queue.hpp"

namespace mpath {

class MemoryDevice final : public BlockDevice {
 public:
  struct Options {
    std::string name = "memory";
    BlockLimits limits{.size_bytes = 16 << 20, .can_trim = true, .can_zero = true, .can_report_extents = true};
    Clock* clock = nullptr;  // needed with a latency
    Duration latency{0};
  };
  struct Counters {
    std::array<std::uint64_t, block_op_count> requests{};  // by BlockOp
    std::uint64_t fua = 0;
    std::uint64_t bytes_read = 0;
    std::uint64_t bytes_written = 0;
    [[nodiscard]] std::uint64_t of(BlockOp op) const { return requests[static_cast<std::size_t>(op)]; }
  };

  MemoryDevice() : MemoryDevice(Options()) {}
  explicit MemoryDevice(Options options);
  ~MemoryDevice() override;

  [[nodiscard]] const std::string& name() const override { return options_.name; }
  [[nodiscard]] const BlockLimits& limits() const override { return options_.limits; }
  void submit(BlockRequest& request) noexcept override;
  void add_observer(BlockDeviceObserver& observer) override;
  void remove_observer(BlockDeviceObserver& observer) override;

  [[nodiscard]] const Counters& counters() const { return counters_; }
  [[nodiscard]] std::uint64_t allocated_bytes() const;
  // What is stored, past all checks and counters.
  [[nodiscard]] std::vector<std::byte> peek(std::uint64_t offset, std::size_t length) const;
  void poke(std::uint64_t offset, std::span<const std::byte> bytes);

  // What happens to disks. Contents past a smaller size are lost.
  void resize(std::uint64_t size_bytes);
  void set_read_only(bool read_only);
  void go_away();

 private:
  static constexpr std::size_t chunk_bytes = 16384;
  using Chunk = std::unique_ptr<std::byte[]>;

  [[nodiscard]] BlockStatus carry_out(BlockRequest& request);
  [[nodiscard]] BlockStatus check(const BlockRequest& request) const;
  template <typename Visit>
  static void each_chunk(std::uint64_t offset, std::uint64_t length, Visit visit);
  std::byte* chunk(std::size_t index);
  void copy(std::uint64_t offset, std::span<const iovec> data, bool to_device);
  void clear(std::uint64_t offset, std::uint64_t length);
  void list_extents(BlockRequest& request) const;
  void notify_limits();

  Options options_;
  std::vector<Chunk> chunks_;  // null: a hole
  Counters counters_;
  std::vector<BlockDeviceObserver*> observers_;
  bool gone_ = false;
  std::unique_ptr<DelayQueue> delayed_;
};

}  // namespace mpath
