#include "target/scsi/unit_attention.hpp"

#include <algorithm>

namespace mpath::target {
namespace {

// SAM-5 5.14.2: the deeper the reset, the earlier it is told. Everything else comes after, in order of arrival.
unsigned rank(const scsi::Sense& condition) {
  namespace sense = scsi::sense;
  if (condition == sense::power_on) return 0;
  if (condition == sense::bus_reset) return 1;
  if (condition == sense::unit_reset) return 2;
  if (condition == sense::nexus_loss) return 3;
  if (condition == sense::commands_cleared) return 4;
  return 5;
}

constexpr unsigned ordinary = 5;

}  // namespace

void UnitAttentions::establish(const scsi::Sense& condition) {
  if (std::ranges::find(queue_, condition) != queue_.end()) return;
  const unsigned level = rank(condition);
  if (level < ordinary) {
    // A deeper reset that waits to be told says it all; a shallower one has nothing to add any more.
    if (!queue_.empty() && rank(queue_.front()) < level && level != rank(scsi::sense::commands_cleared)) return;
    std::erase_if(queue_,
                  [&](const scsi::Sense& waiting) { return rank(waiting) > level && rank(waiting) < ordinary; });
  }
  const auto place = std::ranges::find_if(queue_, [&](const scsi::Sense& waiting) { return rank(waiting) > level; });
  queue_.insert(place, condition);
}

std::optional<scsi::Sense> UnitAttentions::take() {
  if (queue_.empty()) return std::nullopt;
  const scsi::Sense condition = queue_.front();
  queue_.erase(queue_.begin());
  return condition;
}

void UnitAttentions::clear(const scsi::Sense& condition) {
  std::erase(queue_, condition);
}

}  // namespace mpath::target
