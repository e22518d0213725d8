// When to try a lost nexus again: exponential back-off with jitter, for ever unless told otherwise. Pure.
#pragma once

#include <chrono>
#include <cstdint>

namespace mpath {

struct ReconnectPolicy {
  std::chrono::milliseconds first{100};     // after the first failure
  std::chrono::milliseconds longest{5000};  // the back-off doubles up to here
  unsigned attempts_max = 0;                // 0 = for ever (node.session.reopen_max)

  // The pause before attempt `attempt` (1 = the first retry). `random` is any 32 bits: the pause is spread over
  // 75..100 % of its nominal value, so that many sessions do not return in step.
  [[nodiscard]] std::chrono::milliseconds pause(unsigned attempt, std::uint32_t random) const;
};

}  // namespace mpath
