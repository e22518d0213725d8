// What the members of a pair tell each other, in host order.
#pragma once

#include <optional>
#include <variant>

#include "target/replication/voter.hpp"

namespace mpath::target::replication {

// Every keepalive: I am here. A primary asks for a word with it.
struct Beat {
  std::uint64_t lease_id = 0;  // 0: asks for nothing
};
struct Grant {
  std::uint64_t lease_id = 0;
};
struct Prepare {
  Ballot ballot;
};
struct Promise {
  Ballot ballot;
  std::optional<Vote> accepted;
};
struct Propose {
  Vote vote;
};
struct Accepted {
  Ballot ballot;
};
// Not now: `promised` was promised to another, or another has our word for `wait` longer.
struct Refused {
  Ballot ballot;  // round 0: a word was asked for
  Ballot promised;
  Duration wait{};
};
using Body = std::variant<Beat, Grant, Prepare, Promise, Propose, Accepted, Refused>;

struct Message {
  Member from = Member::a;
  std::uint64_t incarnation = 0;  // of the sender: another one after each start
  bool suspect = false;           // the sender may have lost what it acknowledged
  View decided;                   // the last that the sender knows of
  Body body;
};

// A voter's answer to a question; none to an answer. Leaves when every change of the record before it is durable.
// `view_number` is the asker's last decided one, of which the voter has heard already.
[[nodiscard]] std::optional<Body> answer(Voter& voter, Member from, std::uint64_t view_number, const Body& question,
                                         TimePoint now);

struct Send {
  Member to = Member::a;  // may be the node itself: its own vote, when it is durable
  Message message;
  bool after_persist = false;
};
struct Persist {
  VoteRecord record;
};
struct Fence {};  // run the handler; report with on_fenced()
using Action = std::variant<Send, Persist, Fence>;

}  // namespace mpath::target::replication
