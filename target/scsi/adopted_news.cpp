#include "target/scsi/adopted_news.hpp"

#include "target/scsi/access.hpp"

namespace mpath::target {
namespace {

namespace sense = scsi::sense;

// SPC-4 5.13.11: RELEASE and what takes the reservation with it tell the registrants that stay, CLEAR and PREEMPT those
// that go.
void tell_persistent(const NexusName& nexus, const Reservations& before, const Reservations& after,
                     std::vector<scsi::Sense>& news) {
  if (find_registration(before, nexus) == nullptr) return;
  if (find_registration(after, nexus) == nullptr) {
    news.push_back(after.registrations.empty() ? sense::reservations_preempted : sense::registrations_preempted);
    return;
  }
  if (!before.held || !shared(before.held->type)) return;
  const bool ended = !after.held || after.held->type != before.held->type;
  if (ended) news.push_back(sense::reservations_released);
}

// RESERVE(6) through a port of this node, ended by the other one.
void tell_reserved(const NexusName& nexus, const Reservations& before, const Reservations& after,
                   std::vector<scsi::Sense>& news) {
  if (!before.reserved || !is_nexus(*before.reserved, nexus)) return;
  if (!after.reserved || !is_nexus(*after.reserved, nexus)) news.push_back(sense::reservations_preempted);
}

}  // namespace

std::vector<scsi::Sense> adopted_news(const NexusName& nexus, const LuState& before, const LuState& after) {
  std::vector<scsi::Sense> news;
  tell_persistent(nexus, before.reservations, after.reservations, news);
  tell_reserved(nexus, before.reservations, after.reservations, news);
  if (before.modes != after.modes) news.push_back(sense::mode_parameters_changed);
  return news;
}

}  // namespace mpath::target
