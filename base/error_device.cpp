#include "base/error_device.hpp"

#include <fmt/format.h>

#include "base/block_names.hpp"
#include "base/random.hpp"

namespace mpath {

ErrorDevice::ErrorDevice(BlockDevice& device, const Conditions& conditions)
    : FilterDevice(device), conditions_(conditions), random_(conditions.seed) {}

bool ErrorDevice::matches(const BlockRequest& request) {
  if (failed_ >= conditions_.count) return false;
  if (conditions_.op && request.op != *conditions_.op) return false;
  const bool whole = conditions_.offset == 0 && conditions_.length == std::numeric_limits<std::uint64_t>::max();
  if (!whole) {
    if (request.op == BlockOp::flush) return false;
    const bool ends_before = request.offset < conditions_.offset && conditions_.offset - request.offset >= request.length;
    const bool begins_behind = request.offset >= conditions_.offset && request.offset - conditions_.offset >= conditions_.length;
    if (ends_before || begins_behind) return false;
  }
  return conditions_.rate >= 1 || next_fraction(random_) < conditions_.rate;
}

void ErrorDevice::submit(BlockRequest& request) noexcept {
  if (!matches(request)) {
    behind().submit(request);
    return;
  }
  ++failed_;
  request.status = conditions_.status;
  request.done(request);
}

std::string ErrorDevice::spec() const {
  constexpr auto all = std::numeric_limits<std::uint64_t>::max();
  std::string text = fmt::format("error:rate={},status={}", conditions_.rate, block_status_name(conditions_.status));
  if (conditions_.op) text += fmt::format(",op={}", block_op_name(*conditions_.op));
  if (conditions_.offset != 0) text += fmt::format(",offset={}", format_size(conditions_.offset));
  if (conditions_.length != all) text += fmt::format(",length={}", format_size(conditions_.length));
  if (conditions_.count != all) text += fmt::format(",count={}", conditions_.count);
  return text;
}

std::string ErrorDevice::report() const { return fmt::format("failed {}\n", failed_); }

}  // namespace mpath
