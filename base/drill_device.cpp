#include "base/drill_device.hpp"

#include <algorithm>

#include "base/memory_device.hpp"
#include "base/sim_clock.hpp"

namespace mpath {
namespace {

bool is_idle(const std::vector<std::unique_ptr<FilterDevice>>& chain) {
  return std::all_of(chain.begin(), chain.end(), [](const auto& filter) { return filter->in_flight() == 0; });
}

}  // namespace

DrillDevice::DrillDevice(BlockDevice& device, Clock& clock, const Log& log)
    : behind_(device), clock_(clock), log_(log), top_(&device), reaper_(clock.make_alarm([this] { reap(); })) {}

DrillDevice::~DrillDevice() {
  // Outermost first: what a filter holds back must not be passed into one that is gone.
  while (!chain_.empty()) chain_.pop_back();
  for (Chain& chain : retired_) {
    while (!chain.empty()) chain.pop_back();
  }
}

std::optional<std::string> DrillDevice::set(std::string_view specs) {
  Chain chain;
  BlockDevice* top = &behind_;
  while (!specs.empty()) {
    const std::size_t last = specs.rfind(';');
    const std::size_t begin = last == std::string_view::npos ? 0 : last + 1;
    auto filter = wrap_device(specs.substr(begin), *top, clock_, log_);
    if (!filter) return std::move(filter.error());
    top = filter->get();
    chain.push_back(std::move(*filter));
    specs = specs.substr(0, begin == 0 ? 0 : begin - 1);
  }
  if (!chain_.empty()) {
    retired_.push_back(std::move(chain_));
    reaper_->set(clock_.now());
  }
  chain_ = std::move(chain);
  top_ = top;
  return std::nullopt;
}

void DrillDevice::reap() {
  std::erase_if(retired_, is_idle);
  if (!retired_.empty()) reaper_->set(clock_.now() + std::chrono::seconds(1));
}

std::string DrillDevice::specs() const {
  std::string text;
  for (auto filter = chain_.rbegin(); filter != chain_.rend(); ++filter) {
    if (!text.empty()) text.push_back(';');
    text += (*filter)->spec();
  }
  return text;
}

std::string DrillDevice::report() const {
  std::string text;
  for (auto filter = chain_.rbegin(); filter != chain_.rend(); ++filter) text += (*filter)->report();
  return text;
}

std::optional<std::string> check_drills(std::string_view specs) {
  MemorySink sink;
  const LogOutput output(sink);
  SimClock clock;
  MemoryDevice disk;
  DrillDevice rehearsal(disk, clock, Log(output));
  return rehearsal.set(specs);
}

}  // namespace mpath
