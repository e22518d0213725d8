// Slow media on purpose: holds requests back for a time that depends on what they do.
#pragma once

#include <array>
#include <cstdint>

#include "base/block_names.hpp"
#include "base/delay_queue.hpp"
#include "base/filter_device.hpp"

namespace mpath {

class DelayDevice final : public FilterDevice {
 public:
  struct Delays {
    std::array<Duration, block_op_count> of{};  // by BlockOp
    Duration jitter{0};                         // 0..jitter more, evenly
    std::uint32_t seed = 1;
  };
  DelayDevice(BlockDevice& behind, Clock& clock, const Delays& delays);
  ~DelayDevice() override;
  void submit(BlockRequest& request) noexcept override;
  [[nodiscard]] std::string spec() const override;
  [[nodiscard]] std::size_t in_flight() const override { return held_.size(); }

 private:
  Clock& clock_;
  Delays delays_;
  std::uint64_t random_;
  DelayQueue held_;
};

}  // namespace mpath
