#include "target/replication/voter.hpp"

#include <algorithm>

namespace mpath::target::replication {

Voter::Voter(const VoteRecord& record, Duration lease, bool restarted, TimePoint now)
    : record_(record),
      lease_(lease),
      // Words are given to the primary of the last view only.
      holder_(record_.decided.primary),
      leased_until_(restarted ? now + lease : TimePoint::min()) {}

Voter::Answer Voter::prepare(const Ballot& ballot, std::uint64_t number, TimePoint now) {
  if (number != record_.decided.number + 1) return Answer::outdated;
  if (leased_to_other(ballot.proposer, now)) return Answer::leased;
  if (ballot < record_.promised) return Answer::outbid;
  if (record_.promised != ballot) {
    record_.promised = ballot;
    changed_ = true;
  }
  return Answer::yes;
}

Voter::Answer Voter::accept(const Vote& vote, TimePoint now) {
  if (vote.view.number != record_.decided.number + 1) return Answer::outdated;
  if (leased_to_other(vote.ballot.proposer, now)) return Answer::leased;
  if (vote.ballot < record_.promised) return Answer::outbid;
  if (record_.accepted != vote) {
    record_.promised = vote.ballot;
    record_.accepted = vote;
    changed_ = true;
  }
  return Answer::yes;
}

Voter::Answer Voter::grant(Member holder, std::uint64_t number, TimePoint now) {
  if (number != record_.decided.number || record_.decided.primary != holder) return Answer::outdated;
  // Somebody else may have got, or be about to get, the next view decided with our vote.
  if (record_.promised.round > 0 && record_.promised.proposer != holder) return Answer::outbid;
  // The vote stands also when the holder has outbid it since.
  if (record_.accepted && record_.accepted->view.primary != holder) return Answer::outbid;
  if (leased_to_other(holder, now)) return Answer::leased;
  holder_ = holder;
  leased_until_ = std::max(leased_until_, now + lease_);
  return Answer::yes;
}

void Voter::forget() {
  record_ = {};
  changed_ = true;
}

bool Voter::learn(const View& view) {
  if (view.number <= record_.decided.number) return false;
  // A successor was decided, so that a majority had no word out to the old primary, or the old primary asked for it.
  if (view.primary != holder_) leased_until_ = TimePoint::min();
  holder_ = view.primary;
  record_ = {.decided = view, .promised = {}, .accepted = std::nullopt};
  changed_ = true;
  return true;
}

}  // namespace mpath::target::replication
