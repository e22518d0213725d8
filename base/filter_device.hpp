// A device in front of a device: it looks at the requests, changes what happens to some, and passes on the rest.
//
// Threads:    the shard of the device behind it.
// Ownership:  the device behind is borrowed. Destroy when nothing is in flight: requests a filter still holds back then complete
//             with shutdown.
// Allocation: none per request in steady state.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/block_device.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/units.hpp"

namespace mpath {

class FilterDevice : public BlockDevice {
 public:
  explicit FilterDevice(BlockDevice& behind) : behind_(behind) {}
  FilterDevice(const FilterDevice&) = delete;
  FilterDevice& operator=(const FilterDevice&) = delete;

  [[nodiscard]] const std::string& name() const override { return behind_.name(); }
  [[nodiscard]] const BlockLimits& limits() const override { return behind_.limits(); }
  // A filter changes no limits: observers watch the device behind.
  void add_observer(BlockDeviceObserver& observer) override { behind_.add_observer(observer); }
  void remove_observer(BlockDeviceObserver& observer) override { behind_.remove_observer(observer); }
  // Filters look at block requests: SCSI commands pass them by.
  [[nodiscard]] ScsiDoor* scsi_door() override { return behind_.scsi_door(); }

  // What it was made from, and what it has to say: "" or lines for people.
  [[nodiscard]] virtual std::string spec() const = 0;
  [[nodiscard]] virtual std::string report() const { return {}; }
  // Requests it holds, or waits for on behalf of a submitter.
  [[nodiscard]] virtual std::size_t in_flight() const { return 0; }

 protected:
  [[nodiscard]] BlockDevice& behind() { return behind_; }

 private:
  BlockDevice& behind_;
};

// Makes a filter from what an operator wrote:
//
//   delay:read=20ms,write=5ms,flush=1s,trim=..,write_zeroes=..,all=..,jitter=2ms   holds requests back before they run
//   error:rate=0.01,op=write,status=io_error,offset=1M,length=4k,count=3,seed=7    fails those that match all conditions
//   log:slow=50ms,level=info     a line per request (only slow or failed ones with `slow`)
//   stats                        counts and latencies
[[nodiscard]] Parsed<std::unique_ptr<FilterDevice>> wrap_device(std::string_view spec, BlockDevice& behind, Clock& clock,
                                                               const Log& log);

}  // namespace mpath
