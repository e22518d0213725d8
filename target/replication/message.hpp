// What a voter answers, and what a member of the pair wants done.
#pragma once

#include <optional>
#include <variant>

#include "target/replication/voter.hpp"

namespace mpath::target::replication {

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
