#include "initiator/reconnect_policy.hpp"

#include <algorithm>

namespace mpath {

std::chrono::milliseconds ReconnectPolicy::pause(unsigned attempt, std::uint32_t random) const {
  std::int64_t nominal = std::max<std::int64_t>(first.count(), 0);
  const std::int64_t most = std::max(nominal, static_cast<std::int64_t>(longest.count()));
  for (unsigned i = 1; i < attempt && nominal < most; ++i) nominal = std::max<std::int64_t>(nominal * 2, 1);
  nominal = std::min(nominal, most);
  const std::int64_t spread = nominal / 4;  // 0 .. 25 % off
  return std::chrono::milliseconds(nominal - static_cast<std::int64_t>((static_cast<std::uint64_t>(spread) * random) >> 32));
}

}  // namespace mpath
