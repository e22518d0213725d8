// Says what a device was asked and how that went, one line a request.
#pragma once

#include "base/filter_device.hpp"
#include "base/filter_slots.hpp"

namespace mpath {

class LogDevice final : public FilterDevice {
 public:
  struct Options {
    LogLevel level = LogLevel::info;
    Duration slow{0};  // above 0: only requests that took as long, or failed
  };
  LogDevice(BlockDevice& behind, Clock& clock, const Log& log, const Options& options);
  void submit(BlockRequest& request) noexcept override;
  [[nodiscard]] std::string spec() const override;
  [[nodiscard]] std::size_t in_flight() const override { return slots_.used(); }

 private:
  void completed(FilterSlots::Slot& slot) noexcept;

  Clock& clock_;
  Log log_;
  Options options_;
  FilterSlots slots_;
};

}  // namespace mpath
