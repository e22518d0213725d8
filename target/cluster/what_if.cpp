#include "target/cluster/what_if.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.hpp"
#include "target/cluster/status_text.hpp"

namespace mpath::target::cluster {
namespace {

using replication::PeerLoss;
using std::chrono::milliseconds;

struct Word {
  Mishap mishap;
  const char* word;
};
constexpr Word words[] = {{Mishap::node_a_dies, "node-a-dies"},
                          {Mishap::node_b_dies, "node-b-dies"},
                          {Mishap::witness_dies, "witness-dies"},
                          {Mishap::links_cut, "links-cut"}};

// Collects the four kinds of lines, and leaves out what there is nothing to say about.
struct Answer {
  std::string serves, waits, lost, then;

  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> all;
    for (const auto& [what, text] : {std::pair("serves", &serves), std::pair("waits", &waits), std::pair("lost", &lost),
                                     std::pair("then", &then)}) {
      if (!text->empty()) all.push_back(fmt::format("{:<7} {}", std::string(what) + ":", *text));
    }
    return all;
  }
};

constexpr const char* nothing_lost = "nothing: every write that was answered is on node {}";
constexpr const char* in_memory =
    "nothing: every write that was answered is on node {0} or in its memory; if mptargetd ends on node {0} meanwhile, "
    "that node has to be filled first";
constexpr const char* last_ones =
    "the last answered writes that node {} has not received: {}{} of each lu at most; none that was flushed, or had "
    "FUA";

class Oracle {
 public:
  Oracle(const ClusterStatus& status, const ClusterConfig& config) : status_(status), config_(config) {}

  [[nodiscard]] Answer answer(Mishap mishap) const {
    if (!status_.joined || status_.view.number == 0)
      return {.serves = "nobody, as now: the pair has decided nothing yet (mptargetctl cluster init)"};
    switch (mishap) {
      case Mishap::node_a_dies:
        return node_dies(Member::a);
      case Mishap::node_b_dies:
        return node_dies(Member::b);
      case Mishap::witness_dies:
        return witness_dies();
      case Mishap::links_cut:
        return links_cut();
    }
    return {};
  }

 private:
  [[nodiscard]] bool in_sync(Member member) const { return status_.view.in_sync.has(member); }
  [[nodiscard]] Member primary() const { return status_.view.primary; }
  // Lives, as far as this node can tell.
  [[nodiscard]] bool heard(Member member) const {
    if (member == status_.self) return true;
    return member == Member::witness ? status_.witness_heard : status_.peer_heard;
  }
  [[nodiscard]] bool witness() const { return status_.witness_configured; }
  [[nodiscard]] bool witness_votes() const { return witness() && status_.witness_heard; }

  // Silence has to be noticed, and the word that the witness gave the other has to run out by the witness's clock; the
  // beat covers the round of votes.
  [[nodiscard]] milliseconds takeover_at_most() const {
    const auto word = config_.lease + config_.lease * config_.drift_percent / 100;
    return std::max(config_.deadtime, word) + config_.keepalive;
  }
  [[nodiscard]] static std::string node(Member member) { return fmt::format("node {}", name(member)); }

  // What the copy of a node that is not in sync still lacks.
  [[nodiscard]] std::string lacks() const {
    std::uint64_t left = 0;
    for (const CopyStatus& copy : status_.copies) left += std::max(copy.dirty_bytes, copy.to_fill_bytes);
    return left == 0 ? "" : fmt::format(" ({} left)", format_amount(left));
  }

  [[nodiscard]] Answer node_dies(Member dead) const {
    const Member other = peer_of(dead);
    if (!heard(dead) && dead != primary())
      return {.serves = fmt::format("as now: {} is not heard already", node(dead))};
    return dead == primary() ? primary_dies(dead, other) : follower_dies(dead, other);
  }

  [[nodiscard]] Answer primary_dies(Member dead, Member other) const {
    Answer answer{.lost = fmt::format(fmt::runtime(nothing_lost), name(dead))};
    if (!in_sync(other)) {
      answer.serves = fmt::format("nobody: {} is not in sync{}", node(other), lacks());
      answer.waits =
          fmt::format("every command, until {} is back; or `cluster init --force` on {}, which loses what it lacks",
                      node(dead), node(other));
      return answer;
    }
    answer.lost = lost_with_primary(other);
    answer.waits = fmt::format("every command, until {} or another vote is back", node(dead));
    if (!heard(other)) {
      answer.serves = fmt::format("nobody: {} is not heard", node(other));
      return answer;
    }
    if (other == status_.self && status_.suspect) {
      answer.serves =
          fmt::format("nobody: {} has lost its memory of cached writes and must be filled first", node(other));
      return answer;
    }
    if (status_.held_back.has(other)) {
      const char* const word = status_.maintenance() ? "maintenance" : "standby";
      answer.serves = fmt::format("nobody: {} is on, so that {} does not take over by itself", word, node(other));
      answer.waits = fmt::format("every command, until `cluster {} off`", word);
      return answer;
    }
    if (witness() && !status_.witness_heard) {
      answer.serves = fmt::format("nobody: {} alone is no majority, and the witness is not heard", node(other));
      return answer;
    }
    return witness() ? taken_over(answer, other, takeover_at_most(), "") : without_witness(answer, dead, other);
  }

  // What the other node does not have.
  [[nodiscard]] std::string lost_with_primary(Member other) const {
    Protocol weakest = Protocol::c;
    std::uint64_t now = 0;
    for (const CopyStatus& copy : status_.copies) {
      weakest = std::min(weakest, copy.protocol);
      now += copy.unconfirmed_bytes;
    }
    switch (weakest) {
      case Protocol::a:
        return fmt::format(fmt::runtime(last_ones), name(other),
                           primary() == status_.self ? format_amount(now) + " by now, " : "",
                           format_amount(config_.send_window_bytes));
      case Protocol::b:
        return fmt::format(fmt::runtime(in_memory), name(other));
      case Protocol::c:
        return fmt::format(fmt::runtime(nothing_lost), name(other));
    }
    return {};
  }

  [[nodiscard]] Answer taken_over(Answer answer, Member other, milliseconds at_most, std::string_view if_so) const {
    answer.serves = fmt::format("node {}, after {} at most{}", name(other), format_duration(at_most), if_so);
    answer.waits =
        fmt::format("commands under way, until then; initiators with ALUA change to the paths of {}{}", node(other),
                    config_.virtual_ips.empty() ? "" : ", the others find it by the virtual IP");
    answer.then = fmt::format("{} is alone: nothing may happen to it until the other is back and filled", node(other));
    return answer;
  }

  // The vote of the dead is missing: what was configured stands in for it, or nothing does.
  [[nodiscard]] Answer without_witness(Answer answer, Member dead, Member other) const {
    switch (config_.on_peer_loss) {
      case PeerLoss::freeze:
        answer.serves = fmt::format("nobody: without a witness, {} cannot know that {} is dead (on_peer_loss freeze)",
                                    node(other), node(dead));
        answer.waits = fmt::format("every command, until {} is back; a witness would avoid it", node(dead));
        return answer;
      case PeerLoss::fence:
        return taken_over(answer, other, takeover_at_most() + config_.fence_timeout,
                          fmt::format(", if {} says that {} is off; else nobody",
                                      config_.fence.empty() ? "the fence command" : config_.fence.front(), node(dead)));
      case PeerLoss::proceed:
        return taken_over(answer, other, takeover_at_most(), " (on_peer_loss continue)");
    }
    return answer;
  }

  [[nodiscard]] Answer follower_dies(Member dead, Member other) const {
    Answer answer{.lost = "nothing"};
    if (!heard(other)) {
      answer.serves = fmt::format("nobody: {} serves or served last, and is not heard", node(other));
      return answer;
    }
    if (!in_sync(dead)) {
      answer.serves = fmt::format("{}, as now: {} is not in sync", node(other), node(dead));
      answer.waits = "nothing";
      answer.then = fmt::format("{} goes on being filled when it is back", node(dead));
      return answer;
    }
    return goes_on_alone(answer, other, dead);
  }

  // The primary has to get rid of the other before it answers another write.
  [[nodiscard]] Answer goes_on_alone(Answer answer, Member primary_node, Member other) const {
    const auto alone = [&](milliseconds at_most, std::string_view if_so) {
      answer.serves = fmt::format("{}, as now{}", node(primary_node), if_so);
      answer.waits =
          fmt::format("writes, for {} at most, until {} is voted out", format_duration(at_most), node(other));
      answer.then = fmt::format("{} is alone: nothing may happen to it until {} is back and filled", node(primary_node),
                                node(other));
      return answer;
    };
    if (witness_votes()) return alone(takeover_at_most(), "");
    if (witness()) {
      answer.serves = fmt::format("nobody: {} alone is no majority, and the witness is not heard", node(primary_node));
      answer.waits = fmt::format("every command, until {} or the witness is back", node(other));
      return answer;
    }
    switch (config_.on_peer_loss) {
      case PeerLoss::freeze:
        answer.serves = fmt::format("nobody: without a witness, {} cannot know that {} is dead (on_peer_loss freeze)",
                                    node(primary_node), node(other));
        answer.waits = fmt::format("every command, until {} is back; a witness would avoid it", node(other));
        return answer;
      case PeerLoss::fence:
        return alone(takeover_at_most() + config_.fence_timeout,
                     fmt::format(", if {} says that {} is off; else nobody",
                                 config_.fence.empty() ? "the fence command" : config_.fence.front(), node(other)));
      case PeerLoss::proceed:
        return alone(takeover_at_most(), " (on_peer_loss continue)");
    }
    return answer;
  }

  [[nodiscard]] Answer witness_dies() const {
    if (!witness()) return {.serves = "as now: there is no witness"};
    if (!status_.witness_heard) return {.serves = "as now: the witness is not heard already"};
    Answer answer{.lost = "nothing"};
    if (status_.view.in_sync.size() == 1) {
      answer.serves = fmt::format("{}, as now: it is the only one in sync and needs nobody's word", node(primary()));
      answer.waits = fmt::format("nothing; but {} cannot be taken in again before the witness or a majority is back",
                                 node(peer_of(primary())));
      if (status_.peer_heard) answer.waits = "nothing";
      return answer;
    }
    if (!status_.peer_heard) {
      answer.serves = fmt::format("nobody: {} and the witness are not heard then", node(peer_of(status_.self)));
      answer.waits = "every command, until one of them is back";
      return answer;
    }
    answer.serves = fmt::format("{}, as now: both nodes are a majority", node(primary()));
    answer.waits = "nothing";
    answer.then = "the loss of either node stops the other: bring the witness back first";
    return answer;
  }

  // The nodes do not hear each other any more; the witness hears both.
  [[nodiscard]] Answer links_cut() const {
    const Member other = peer_of(primary());
    if (!status_.peer_heard)
      return {.serves = fmt::format("as now: {} is not heard already", node(peer_of(status_.self)))};
    Answer answer{.lost = "nothing"};
    if (!in_sync(other)) {
      answer.serves = fmt::format("{}, as now: {} is not in sync", node(primary()), node(other));
      answer.waits = fmt::format("nothing; {} is filled when the links are back", node(other));
      return answer;
    }
    if (!witness() && config_.on_peer_loss == PeerLoss::proceed)
      return {.serves = "BOTH nodes, each for itself: the pair splits (on_peer_loss continue)",
              .waits = "commands, for about " + format_duration(takeover_at_most()),
              .lost = "all writes that one of the nodes answers from then on: an administrator has to choose which",
              .then = "when they hear each other again neither serves until that is done; a witness avoids it"};
    if (!witness() && config_.on_peer_loss == PeerLoss::fence)
      return {.serves = "whichever node's fence command succeeds first; nobody if none does",
              .waits = fmt::format("every command, for {} at most",
                                   format_duration(takeover_at_most() + config_.fence_timeout)),
              .lost = "nothing",
              .then = "the node that serves is alone"};
    return goes_on_alone(answer, primary(), other);
  }

  const ClusterStatus& status_;
  const ClusterConfig& config_;
};

}  // namespace

std::optional<Mishap> parse_mishap(std::string_view word) {
  const auto* const place = std::ranges::find(words, word, &Word::word);
  return place == std::end(words) ? std::nullopt : std::optional(place->mishap);
}

const char* mishap_word(Mishap mishap) {
  return std::ranges::find(words, mishap, &Word::mishap)->word;
}

std::vector<std::string> what_if(const ClusterStatus& status, Mishap mishap, const ClusterConfig& config) {
  return Oracle(status, config).answer(mishap).lines();
}

}  // namespace mpath::target::cluster
