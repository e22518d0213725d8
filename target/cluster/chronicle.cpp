#include "target/cluster/chronicle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/units.hpp"
#include "target/cluster/status_text.hpp"

namespace mpath::target::cluster {
namespace {

using Weight = Told::Weight;

const char* member_text(Member member) {
  switch (member) {
    case Member::a:
      return "node a";
    case Member::b:
      return "node b";
    case Member::witness:
      return "the witness";
  }
  return "";
}

std::string held_back_line(MemberSet held) {
  if (held.empty()) return "no node is held back from taking over";
  if (held.size() == 2) return "maintenance is on: no takeover by itself";
  return fmt::format("{} stands by: it does not take over by itself",
                     member_text(held.has(Member::a) ? Member::a : Member::b));
}

bool filling(const CopyStatus& copy) {
  return copy.connection == "Connected" && copy.to_fill_bytes > 0;
}

}  // namespace

std::vector<Told> Chronicle::look(const ClusterStatus& status) {
  lines_.clear();
  if (!last_) {
    tell(Weight::notice,
         fmt::format("node {} started: {}", name(status.self),
                     status.view.number == 0 ? "nothing is decided yet" : "view " + format_view(status.view)));
    if (status.suspect) tell(Weight::warning, "suspect: writes that were acknowledged may be missing here");
  }
  tell_links(status);
  if (last_) {
    tell_members(status);
    tell_view(status);
    tell_service(status);
    tell_copies(status);
  }
  last_ = status;
  return std::exchange(lines_, {});
}

// A link that was never heard is not yet silent; the member is told of as a whole.
void Chronicle::tell_links(const ClusterStatus& status) {
  for (const LinkStatus& link : status.links) {
    const bool known = hearing_.contains(link.local + link.remote);
    const Hearing now = !link.heard ? Hearing::dead : link.silent > warntime_ ? Hearing::late : Hearing::heard;
    Hearing& before = hearing_[link.local + link.remote];
    if (!known && link.received == 0) {
      before = Hearing::dead;
      continue;
    }
    const std::string where = fmt::format("link {} to {} at {}", link.local, member_text(link.to), link.remote);
    if (now == Hearing::late && before == Hearing::heard)
      tell(Weight::warning, fmt::format("{}: late, silent for {}", where, format_duration(link.silent)));
    if (now == Hearing::dead && before != Hearing::dead && link.received > 0)
      tell(Weight::warning, fmt::format("{}: dead, silent for {}", where, format_duration(link.silent)));
    if (now == Hearing::heard && before != Hearing::heard) tell(Weight::notice, fmt::format("{}: heard", where));
    before = now;
  }
}

void Chronicle::tell_members(const ClusterStatus& status) {
  const auto changed = [this](Member member, bool before, bool now) {
    if (before == now) return;
    tell(now ? Weight::notice : Weight::warning,
         fmt::format("{} is {}", member_text(member), now ? "heard" : "not heard on any link"));
  };
  changed(peer_of(status.self), last_->peer_heard, status.peer_heard);
  if (status.witness_configured) changed(Member::witness, last_->witness_heard, status.witness_heard);
  if (last_->held_back != status.held_back) tell(Weight::notice, held_back_line(status.held_back));
  if (!last_->split && status.split)
    tell(Weight::error, "the pair was split: both nodes went on alone, and an administrator has to choose one");
  if (last_->split && !status.split) tell(Weight::notice, "the pair is split no longer");
  if (last_->suspect && !status.suspect) tell(Weight::notice, "no longer suspect: everything is here again");
}

void Chronicle::tell_view(const ClusterStatus& status) {
  if (status.view.number <= last_->view.number) return;
  tell(Weight::notice,
       fmt::format("view {}: {}{}", format_view(status.view), why_new_view(status), what_is_lost(status)));
  reason_.clear();
}

// How long the other node was silent: on the link on which it was heard last.
std::string Chronicle::silence(const ClusterStatus& status) const {
  const Member peer = peer_of(status.self);
  std::optional<std::chrono::milliseconds> shortest;
  std::size_t links = 0;
  for (const LinkStatus& link : status.links) {
    if (link.to != peer) continue;
    ++links;
    if (link.received > 0) shortest = std::min(shortest.value_or(link.silent), link.silent);
  }
  if (!shortest) return fmt::format("{} was not heard since this node started", member_text(peer));
  return fmt::format("{} was silent for {} on {}", member_text(peer), format_duration(*shortest),
                     links == 1 ? "its link" : fmt::format("all {} links", links));
}

// With protocol A the one that was primary may have answered what did not come here.
std::string Chronicle::what_is_lost(const ClusterStatus& status) const {
  const Member peer = peer_of(status.self);
  const bool takes_over = last_->view.primary == peer && status.view.primary == status.self &&
                          last_->view.in_sync.has(status.self) && !status.view.in_sync.has(peer);
  if (!takes_over ||
      std::ranges::none_of(last_->copies, [](const CopyStatus& copy) { return copy.protocol == Protocol::a; }))
    return {};
  return fmt::format("; protocol A: writes that {} answered last and that did not come here are lost",
                     member_text(peer));
}

std::string Chronicle::why_new_view(const ClusterStatus& status) {
  const View& before = last_->view;
  const View& now = status.view;
  const Member self = status.self;
  const Member peer = peer_of(self);
  if (!reason_.empty()) return reason_;
  if (before.number == 0) return now.primary == self ? "the first that serves" : "learned when this node joined";
  if (now.number > before.number + 1) return "learned after views that were decided without this node";
  const bool peer_silent = !status.peer_heard || !last_->peer_heard;
  if (now.primary != before.primary) {
    if (now.primary == peer)
      return now.in_sync.has(self)
                 ? fmt::format("{} took over by agreement", member_text(peer))
                 : fmt::format("{} took over while this node was not heard or did not answer", member_text(peer));
    if (peer_silent) return silence(status);
    return now.in_sync.has(peer)
               ? fmt::format("{} handed over", member_text(peer))
               : fmt::format("{} is heard, but cannot go on: it restarted or lost its memory", member_text(peer));
  }
  if (now.in_sync.size() < before.in_sync.size()) {
    const Member out = before.primary == self ? peer : self;
    if (out == self) return fmt::format("this node was voted out by {}", member_text(peer));
    return peer_silent ? silence(status)
                       : fmt::format("{} is heard, but its copy cannot be written", member_text(peer));
  }
  if (now.in_sync.size() > before.in_sync.size())
    return fmt::format("{} is filled", now.primary == self ? member_text(peer) : "this node");
  return fmt::format("{} goes on", member_text(now.primary));
}

void Chronicle::tell_service(const ClusterStatus& status) {
  if (last_->serving != status.serving) {
    const std::string why = status.waits_for.empty() ? "" : ": waits for " + status.waits_for;
    tell(status.serving || status.view.primary != status.self ? Weight::notice : Weight::error,
         status.serving ? "this node serves" : "this node does not serve any more" + why);
  }
  if (!status.virtual_address.empty() && last_->virtual_address_here != status.virtual_address_here)
    tell(Weight::notice,
         fmt::format("{} is {}", status.virtual_address, status.virtual_address_here ? "here" : "not here any more"));
}

void Chronicle::tell_copies(const ClusterStatus& status) {
  for (const CopyStatus& copy : status.copies) {
    const auto before = std::ranges::find(last_->copies, copy.unit, &CopyStatus::unit);
    if (before == last_->copies.end()) continue;
    const auto changed = [&](const char* what, const std::string& from, const std::string& to, bool bad) {
      if (from != to)
        tell(bad ? Weight::error : Weight::notice, fmt::format("lu {}: {} {}, was {}", copy.unit, what, to, from));
    };
    changed("connection", before->connection, copy.connection, false);
    changed("protocol", std::string(1, letter(before->protocol)), std::string(1, letter(copy.protocol)), false);
    changed("the copy here", before->local_disk, copy.local_disk, copy.local_disk == "Failed");
    changed("the copy there", before->peer_disk, copy.peer_disk, copy.peer_disk == "Failed");
    if (filling(copy) && !filling(*before))
      tell(Weight::notice, fmt::format("lu {}: {} to be filled", copy.unit, format_amount(copy.to_fill_bytes)));
    if (!copy.trouble.empty() && copy.trouble != before->trouble)
      tell(Weight::warning, fmt::format("lu {}: {}", copy.unit, copy.trouble));
  }
}

}  // namespace mpath::target::cluster
