// One voter of the pair: either data node, or the witness, which is nothing else.
//
// Pure. The record is durable state: it changes in memory here, and answers that rest on a change may leave only when
// it is on the medium (take_changed()). Leases are not durable: a voter that has restarted keeps still for one lease.
#pragma once

#include <optional>
#include <utility>

#include "base/clock.hpp"
#include "wire/replication.hpp"

namespace mpath::target::replication {

using namespace mpath::replication;  // the words of the pair

class Voter {
 public:
  // `lease`: how long a word is kept. `restarted`: an earlier life may have given one just before `now`.
  Voter(const VoteRecord& record, Duration lease, bool restarted, TimePoint now);

  enum class Answer : std::uint8_t { yes, outdated, outbid, leased };

  // Phase 1 and 2 for the view after `record().decided`. `outdated`: the asker knows an older view than we do;
  // `outbid`: a higher ballot was promised; `leased`: somebody else has our word until leased_until().
  [[nodiscard]] Answer prepare(const Ballot& ballot, std::uint64_t number, TimePoint now);
  [[nodiscard]] Answer accept(const Vote& vote, TimePoint now);
  // Our word to the primary of the view `number`.
  [[nodiscard]] Answer grant(Member holder, std::uint64_t number, TimePoint now);
  // A view that was decided. True when it was news.
  bool learn(const View& view);
  // Somebody else than the primary is not helped before then: a word of which is known from elsewhere.
  void resume(TimePoint leased_until) { leased_until_ = leased_until; }
  // Nothing was decided, promised or voted for, as far as this voter knows: as one that joins.
  void forget();

  [[nodiscard]] const VoteRecord& record() const { return record_; }
  [[nodiscard]] TimePoint leased_until() const { return leased_until_; }
  // How long a word is kept.
  [[nodiscard]] Duration lease() const { return lease_; }
  // Whether the record has changed since the last call: it is to be made durable.
  [[nodiscard]] bool take_changed() { return std::exchange(changed_, false); }

 private:
  [[nodiscard]] bool leased_to_other(Member asker, TimePoint now) const {
    return now < leased_until_ && holder_ != asker;
  }

  VoteRecord record_;
  Duration lease_;
  Member holder_;
  TimePoint leased_until_;
  bool changed_ = false;
};

}  // namespace mpath::target::replication
