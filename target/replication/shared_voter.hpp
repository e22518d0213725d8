// A voter whose record lies in a store that both nodes reach and that can compare and swap (etcd): each node takes its
// own questions there, and answers itself what the voter would have answered.
//
//    question ── step() ──► answer, and what to write ── compare and swap ──► committed(), the answer counts
//                                                                         └─► observed(), step() again
//
// A word given to the other node is known by the serial, which grows with each write: as long as it stands still, from
// when it was first seen for the time of a lease, no word can be out any more. Nobody's clock is compared with
// another's, and the store need not know of time.
//
// Pure.
#pragma once

#include <optional>

#include "target/replication/message.hpp"

namespace mpath::target::replication {

class SharedVoter {
 public:
  // `lease`: how long a word is kept; the same on both nodes.
  SharedVoter(Duration lease, TimePoint now) : lease_(lease), silent_until_(now + lease) {}

  // What the store holds, and when that came. Before anything else, and after each swap that failed.
  void observed(const StoredRecord& record, TimePoint now);
  [[nodiscard]] bool knows() const { return known_.has_value(); }
  [[nodiscard]] const StoredRecord& known() const { return *known_; }

  struct Step {
    Message answer;                   // counts when `put` is in the store, in place of known()
    std::optional<StoredRecord> put;  // none: nothing changes, and the answer is as good as what is known
    TimePoint silent_until;
  };
  // No answer to what is no question.
  [[nodiscard]] std::optional<Step> step(const Message& question, TimePoint now) const;
  void committed(const Step& step);

 private:
  Duration lease_;
  TimePoint silent_until_;  // until then somebody else may have a word
  std::optional<StoredRecord> known_;
};

}  // namespace mpath::target::replication
