#include "base/delay_device.hpp"

#include <fmt/format.h>

#include "base/random.hpp"

namespace mpath {

DelayDevice::DelayDevice(BlockDevice& device, Clock& clock, const Delays& delays)
    : FilterDevice(device), clock_(clock), delays_(delays), random_(delays.seed),
      held_(clock, [this](BlockRequest& request) { behind().submit(request); }) {}

DelayDevice::~DelayDevice() {
  while (BlockRequest* request = held_.take()) {
    request->status = BlockStatus::shutdown;
    request->done(*request);
  }
}

void DelayDevice::submit(BlockRequest& request) noexcept {
  Duration delay = delays_.of[static_cast<std::size_t>(request.op)];
  if (delay > Duration(0) && delays_.jitter > Duration(0)) {
    delay += Duration(static_cast<Duration::rep>(next_fraction(random_) * static_cast<double>(delays_.jitter.count())));
  }
  if (delay <= Duration(0)) {
    behind().submit(request);
  } else {
    held_.push(request, clock_.now() + delay);
  }
}

std::string DelayDevice::spec() const {
  std::string text = "delay:";
  const auto add = [&text](std::string_view key, Duration value) {
    if (value <= Duration(0)) return;
    if (!text.ends_with(':')) text.push_back(',');
    text += fmt::format("{}={}", key, format_duration(std::chrono::duration_cast<std::chrono::microseconds>(value)));
  };
  for (std::size_t i = 0; i < block_op_count; ++i) add(block_op_name(static_cast<BlockOp>(i)), delays_.of[i]);
  add("jitter", delays_.jitter);
  return text;
}

}  // namespace mpath
