// Broken media on purpose: requests that match every condition fail without reaching the device.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "base/filter_device.hpp"

namespace mpath {

class ErrorDevice final : public FilterDevice {
 public:
  struct Conditions {
    std::optional<BlockOp> op;      // any when not set
    double rate = 1;                // of those that match the rest
    std::uint64_t offset = 0;       // overlapping offset .. offset+length
    std::uint64_t length = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t count = std::numeric_limits<std::uint64_t>::max();  // then no more
    BlockStatus status = BlockStatus::io_error;
    std::uint32_t seed = 1;
  };
  ErrorDevice(BlockDevice& behind, const Conditions& conditions);
  void submit(BlockRequest& request) noexcept override;
  [[nodiscard]] std::string spec() const override;
  [[nodiscard]] std::string report() const override;
  [[nodiscard]] std::uint64_t failed() const { return failed_; }

 private:
  [[nodiscard]] bool matches(const BlockRequest& request);

  Conditions conditions_;
  std::uint64_t random_;
  std::uint64_t failed_ = 0;
};

}  // namespace mpath
