// A pair as this node sees it.
#include <algorithm>
#include <iterator>

#include "target/cluster/alarms.hpp"
#include "target/cluster/pair_impl.hpp"
#include "target/config/parse.hpp"

namespace mpath::target::cluster {

using std::chrono::milliseconds;
using std::chrono::seconds;

ClusterStatus Pair::status() {
  return impl_->status();
}

void Pair::Impl::show_links(const Copy& copy, CopyStatus& shown) const {
  const replication::BondCounters& counters = copy.bonded.counters;
  if (!copy.counters.stream || counters.up == 0) return;
  const auto& own = config.addresses_of(self);
  const auto& theirs = config.addresses_of(peer);
  for (std::size_t link = 0; link < theirs.size(); ++link) {
    const bool up = (counters.up >> link & 1U) != 0;
    shown.links.push_back({.local = format_portal(own[link]),
                           .remote = format_portal(theirs[link]),
                           .up = up,
                           .auth = up ? name(counters.links[link].auth) : "",
                           .sent_bytes = counters.links[link].bytes_sent,
                           .received_bytes = counters.links[link].bytes_received});
  }
  shown.links_lost = counters.links_lost;
  shown.sent_again = counters.sent_again;
}

ClusterStatus Pair::Impl::status() {
  ClusterStatus status;
  status.name = config.name;
  status.self = self;
  status.witness_configured = config.has_witness();
  status.virtual_address = address.text();
  status.virtual_address_here = address.here();
  status.serving = serves;
  if (agreement == nullptr) return status;
  status.joined = agreement->found();
  status.links = agreement->links();
  for (const LinkStatus& link : status.links) {
    if (link.to == Member::witness) status.witness_heard = status.witness_heard || link.heard;
    if (link.to == peer) status.peer_heard = status.peer_heard || link.heard;
  }
  status.alarms = agreement->alarms();
  std::ranges::move(address.alarms(), std::back_inserter(status.alarms));
  if (!takes_part()) {
    status.waits_for = status.joined ? agreement->trouble() : "`cluster init` or `cluster join`";
  }
  const TimePoint now = clock.now();
  View view;
  if (takes_part()) {
    const auto& fsm = agreement->fsm();
    view = status.view = fsm.view();
    status.waits_for = fsm.waits_for(now);
    status.suspect = fsm.suspect();
    status.split = fsm.split();
    status.held_back = fsm.held_back().members;
    const TimePoint until = fsm.may_serve_until(now);
    if (until > now && until != never) status.lease_left = std::chrono::duration_cast<milliseconds>(until - now);
  }
  for (std::size_t index = 0; index < copies.size(); ++index) {
    const Copy& copy = *copies[index];
    CopyStatus shown;
    shown.unit = copy.unit.name;
    shown.trouble = copy.unit.trouble;
    const bool failed = !copy.open() || (takes_part() && roles->report(index).medium_failed);
    const auto disk_of = [&](Member member) -> std::string {
      if (member == self && failed) return "Failed";
      if (!takes_part() || view.number == 0) return member == self ? "Inconsistent" : "DUnknown";
      if (view.in_sync.has(member)) return "UpToDate";
      if (member == peer && !copy.counters.stream) return "DUnknown";
      return copy.counters.stream ? "Inconsistent" : "Outdated";
    };
    shown.local_disk = disk_of(self);
    shown.peer_disk = disk_of(peer);
    shown.connection = copy.held_apart        ? "StandAlone"
                       : copy.counters.stream ? "Connected"
                       : takes_part()         ? "Connecting"
                                              : "Disconnected";
    if (takes_part() && shown.trouble.empty()) shown.trouble = roles->report(index).trouble;
    if (shown.trouble.empty() && !copy.counters.stream) shown.trouble = copy.link;
    const auto& counters = copy.counters;
    shown.size_bytes = copy.shape.size_bytes;
    shown.dirty_bytes = view.in_sync.size() == 2 ? 0 : counters.marked_bytes;
    shown.to_fill_bytes = counters.to_fill_bytes;
    shown.fill_total_bytes = counters.fill_total_bytes;
    shown.fill_bytes_per_second = copy.rate;
    if (counters.filling && copy.rate >= 1) {
      shown.fill_eta = seconds(static_cast<std::int64_t>(static_cast<double>(counters.to_fill_bytes) / copy.rate));
    }
    shown.sent_bytes = counters.sent_bytes;
    shown.received_bytes = counters.received_bytes;
    shown.read_bytes = counters.read_bytes;
    shown.written_bytes = counters.written_bytes;
    shown.pending = counters.pending;
    shown.protocol = counters.protocol;
    shown.protocol_here = config.protocol;
    shown.protocol_there = counters.of_peer;
    shown.unconfirmed_bytes = counters.unconfirmed_bytes;
    show_links(copy, shown);
    status.copies.push_back(std::move(shown));
  }
  std::ranges::move(alarms_of(status, config), std::back_inserter(status.alarms));
  return status;
}

}  // namespace mpath::target::cluster
