#include "target/cluster/alarms.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "target/cluster/status_text.hpp"

namespace mpath::target::cluster {
namespace {

std::uint64_t lacking(const ClusterStatus& status) {
  std::uint64_t bytes = 0;
  for (const CopyStatus& copy : status.copies) bytes += std::max(copy.dirty_bytes, copy.to_fill_bytes);
  return bytes;
}

// A node that should serve and does not, or a pair with one copy.
void service_alarms(const ClusterStatus& status, const ClusterConfig& config, std::vector<std::string>& lines) {
  const Member peer = peer_of(status.self);
  const bool primary_here = status.view.primary == status.self;
  const bool frozen = !status.witness_configured && config.on_peer_loss == replication::PeerLoss::freeze &&
                      !status.peer_heard && status.view.in_sync.size() == 2;
  if (status.split)
    lines.push_back(fmt::format(
        "SPLIT: nodes {} and {} went on each without the other; neither serves before `mptargetctl cluster connect "
        "--discard-my-data` is said on the one whose data does not count",
        name(status.self), name(peer)));
  else if (frozen)
    lines.push_back(
        fmt::format("FROZEN: node {} is lost, and without a witness nobody can tell whether it serves", name(peer)));
  else if (primary_here && !status.serving)
    lines.push_back(fmt::format("nobody is served{}{}", status.waits_for.empty() ? "" : ": this node waits for ",
                                status.waits_for));
  if (status.view.in_sync.size() == 1) {
    const Member out = peer_of(status.view.primary);
    const std::uint64_t left = lacking(status);
    lines.push_back(fmt::format("node {} is not in sync{}: if node {} is lost now, nobody serves", name(out),
                                left == 0 ? "" : fmt::format(" ({} left)", format_amount(left)),
                                name(status.view.primary)));
  }
}

void member_alarms(const ClusterStatus& status, std::vector<std::string>& lines) {
  if (!status.peer_heard) lines.push_back(fmt::format("node {} is not heard", name(peer_of(status.self))));
  if (status.witness_configured && !status.witness_heard)
    lines.push_back(status.peer_heard ? "the witness is not heard: the loss of one node would stop the other"
                                      : "the witness is not heard");
  for (const LinkStatus& link : status.links) {
    const bool member_heard = link.to == Member::witness ? status.witness_heard : status.peer_heard;
    if (member_heard && !link.heard)
      lines.push_back(fmt::format("the link {} to {} ({}) is silent", link.local, link.remote, name(link.to)));
  }
}

void copy_alarms(const ClusterStatus& status, std::vector<std::string>& lines) {
  const char* const peer = name(peer_of(status.self));
  for (const CopyStatus& copy : status.copies) {
    if (copy.local_disk == "Failed") lines.push_back(fmt::format("lu {}: the medium of this node failed", copy.unit));
    if (copy.peer_disk == "Failed")
      lines.push_back(fmt::format("lu {}: the medium of node {} failed", copy.unit, peer));
    if (copy.connection == "StandAlone" || copy.connection == "Disconnected")
      lines.push_back(
          fmt::format("lu {}: the copies are disconnected: mptargetctl cluster connect {}", copy.unit, copy.unit));
    else if (copy.connection == "Connecting" && status.peer_heard)
      lines.push_back(fmt::format("lu {}: node {} is heard, and its copy cannot be reached", copy.unit, peer));
    if (copy.connection == "Connected" && copy.to_fill_bytes > 0 && copy.fill_bytes_per_second < 1)
      lines.push_back(fmt::format("lu {}: the filling stands still", copy.unit));
  }
}

}  // namespace

std::vector<std::string> alarms_of(const ClusterStatus& status, const ClusterConfig& config) {
  std::vector<std::string> lines;
  if (!status.joined || status.view.number == 0) return lines;  // not begun is no trouble
  service_alarms(status, config, lines);
  member_alarms(status, lines);
  copy_alarms(status, lines);
  return lines;
}

}  // namespace mpath::target::cluster
