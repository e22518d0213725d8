// What a device refuses before it touches its medium: one answer for every device. Pure.
#pragma once

#include "base/block_device.hpp"

namespace mpath {

// ok, or why the request cannot be carried out by a device with these limits.
[[nodiscard]] BlockStatus check_request(const BlockLimits& limits, const BlockRequest& request);

}  // namespace mpath
