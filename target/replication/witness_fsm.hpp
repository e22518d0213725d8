// The witness: a voter and nothing else. It says nothing unless it is asked.
//
// Pure, like NodeFsm.
#pragma once

#include <utility>
#include <variant>
#include <vector>

#include "target/replication/message.hpp"

namespace mpath::target::replication {

class WitnessFsm {
 public:
  WitnessFsm(const VoteRecord& record, Duration lease, std::uint64_t incarnation, TimePoint now)
      : voter_(record, lease, true, now), incarnation_(incarnation) {}

  void on_message(const Message& message, TimePoint now) {
    voter_.learn(message.decided);
    auto body = answer(voter_, message.from, message.decided.number, message.body, now);
    if (voter_.take_changed()) actions_.emplace_back(Persist{voter_.record()});
    // Whoever asks for nothing hears that there is a witness.
    if (!body && std::holds_alternative<Beat>(message.body)) body = Beat{};
    if (!body) return;
    actions_.emplace_back(Send{.to = message.from,
                               .message = {.from = Member::witness,
                                           .incarnation = incarnation_,
                                           .decided = voter_.record().decided,
                                           .body = *body},
                               .after_persist = true});
  }
  [[nodiscard]] std::vector<Action> take_actions() { return std::exchange(actions_, {}); }
  [[nodiscard]] const VoteRecord& record() const { return voter_.record(); }

 private:
  Voter voter_;
  std::uint64_t incarnation_;
  std::vector<Action> actions_;
};

}  // namespace mpath::target::replication
