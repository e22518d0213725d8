#include "base/log_device.hpp"

#include <fmt/format.h>

#include "base/block_names.hpp"

namespace mpath {

LogDevice::LogDevice(BlockDevice& device, Clock& clock, const Log& log, const Options& options)
    : FilterDevice(device), clock_(clock), log_(log.about("device " + device.name())), options_(options) {}

void LogDevice::submit(BlockRequest& request) noexcept {
  constexpr auto done = [](BlockRequest& each) noexcept {
    auto& slot = static_cast<FilterSlots::Slot&>(each);
    static_cast<LogDevice*>(slot.owner)->completed(slot);
  };
  behind().submit(slots_.take(request, this, done, clock_.now()));
}

void LogDevice::completed(FilterSlots::Slot& slot) noexcept {
  const Duration took = clock_.now() - slot.started;
  BlockRequest& outer = slots_.give_back(slot);
  if (outer.status != BlockStatus::ok || took >= options_.slow) {
    log_.log(options_.level, "{} offset={} length={} fua={:d} status={} us={}", block_op_name(outer.op), outer.offset, outer.length,
             outer.fua, block_status_name(outer.status), std::chrono::duration_cast<std::chrono::microseconds>(took).count());
  }
  outer.done(outer);
}

std::string LogDevice::spec() const {
  std::string text = fmt::format("log:level={}", level_name(options_.level));
  if (options_.slow > Duration(0)) {
    text += fmt::format(",slow={}", format_duration(std::chrono::duration_cast<std::chrono::microseconds>(options_.slow)));
  }
  return text;
}

}  // namespace mpath
