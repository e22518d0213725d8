#include "target/replication/message.hpp"

namespace mpath::target::replication {
namespace {

std::optional<Body> refusal(const Voter& voter, Voter::Answer why, const Ballot& ballot, TimePoint now) {
  const Duration left = why == Voter::Answer::leased ? voter.leased_until() - now : Duration{};
  const auto wait = std::chrono::ceil<std::chrono::microseconds>(left);
  return Refused{.ballot = ballot, .promised = voter.record().promised, .wait = wait};
}

}  // namespace

std::optional<Body> answer(Voter& voter, Member from, std::uint64_t view_number, const Body& question, TimePoint now) {
  using Answer = Voter::Answer;
  if (const auto* const beat = std::get_if<Beat>(&question)) {
    // Who knows less is told, by the head of any message.
    if (beat->lease_id == 0)
      return view_number < voter.record().decided.number ? std::optional<Body>(Beat{}) : std::nullopt;
    const Answer given = voter.grant(from, view_number, now);
    if (given == Answer::yes) {
      // Rounded down: the asker may count on less, never on more.
      const auto kept = std::chrono::floor<std::chrono::microseconds>(voter.lease());
      return Grant{.lease_id = beat->lease_id, .lease = kept};
    }
    return refusal(voter, given, {}, now);
  }
  if (const auto* const prepare = std::get_if<Prepare>(&question)) {
    const Answer given = voter.prepare(prepare->ballot, view_number + 1, now);
    if (given == Answer::yes) return Promise{.ballot = prepare->ballot, .accepted = voter.record().accepted};
    return refusal(voter, given, prepare->ballot, now);
  }
  if (const auto* const propose = std::get_if<Propose>(&question)) {
    const Answer given = voter.accept(propose->vote, now);
    if (given == Answer::yes) return Accepted{.ballot = propose->vote.ballot};
    return refusal(voter, given, propose->vote.ballot, now);
  }
  return std::nullopt;
}

}  // namespace mpath::target::replication
