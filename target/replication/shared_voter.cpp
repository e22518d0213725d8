#include "target/replication/shared_voter.hpp"

#include <utility>
#include <variant>

#include "base/check.hpp"

namespace mpath::target::replication {

void SharedVoter::observed(const StoredRecord& record, TimePoint now) {
  if (known_ && known_->serial == record.serial) return;
  // Whatever it was, it may have been a word.
  known_ = record;
  silent_until_ = now + lease_;
}

std::optional<SharedVoter::Step> SharedVoter::step(const Message& question, TimePoint now) const {
  CHECK(known_);
  Voter voter(known_->record, lease_, false, now);
  voter.resume(silent_until_);
  voter.learn(question.decided);
  auto body = replication::answer(voter, question.from, question.decided.number, question.body, now);
  if (!body && std::holds_alternative<Beat>(question.body)) body = Beat{};
  if (!body) return std::nullopt;
  Step step;
  const bool changed = voter.take_changed();
  if (changed || std::holds_alternative<Grant>(*body)) {
    step.put = *known_;
    step.put->record = voter.record();
    ++step.put->serial;
  }
  step.silent_until = voter.leased_until();
  step.answer = {.from = Member::witness, .incarnation = 1, .decided = voter.record().decided, .body = *body};
  return step;
}

void SharedVoter::committed(const Step& step) {
  if (step.put) known_ = step.put;
  silent_until_ = step.silent_until;
}

}  // namespace mpath::target::replication
