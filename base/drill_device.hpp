// Stands in front of a device for good, so that filters can be put in and taken out while it is in use. Without filters it costs
// one indirect call a request.
//
// Threads:   the shard of the device behind it.
// Ownership: the device behind, clock and log's output are borrowed. Destroy when nothing is in flight.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/filter_device.hpp"

namespace mpath {

class DrillDevice final : public BlockDevice {
 public:
  DrillDevice(BlockDevice& behind, Clock& clock, const Log& log);
  DrillDevice(const DrillDevice&) = delete;
  DrillDevice& operator=(const DrillDevice&) = delete;
  ~DrillDevice() override;

  // Filters for new requests, the first spec outermost: "stats;delay:all=5ms". "" takes all out. Requests under way end where they
  // are. Answers with what is wrong, and then changes nothing.
  [[nodiscard]] std::optional<std::string> set(std::string_view specs);
  [[nodiscard]] std::string specs() const;
  [[nodiscard]] std::string report() const;

  [[nodiscard]] const std::string& name() const override { return behind_.name(); }
  [[nodiscard]] const BlockLimits& limits() const override { return behind_.limits(); }
  void submit(BlockRequest& request) noexcept override { top_->submit(request); }
  void add_observer(BlockDeviceObserver& observer) override { behind_.add_observer(observer); }
  void remove_observer(BlockDeviceObserver& observer) override { behind_.remove_observer(observer); }
  [[nodiscard]] ScsiDoor* scsi_door() override { return behind_.scsi_door(); }

 private:
  using Chain = std::vector<std::unique_ptr<FilterDevice>>;  // innermost first

  void reap();

  BlockDevice& behind_;
  Clock& clock_;
  Log log_;
  Chain chain_;
  std::vector<Chain> retired_;  // still with requests under way when they were replaced
  BlockDevice* top_;
  std::unique_ptr<Alarm> reaper_;  // set() may be called by a filter's own completion, so filters are freed from the loop
};

// What is wrong with the specs, without a device: for the check of a configuration.
[[nodiscard]] std::optional<std::string> check_drills(std::string_view specs);

}  // namespace mpath
