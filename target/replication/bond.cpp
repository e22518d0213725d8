#include "target/replication/bond.hpp"

#include <algorithm>
#include <bit>

#include "base/check.hpp"

namespace mpath::target::replication {
namespace {

constexpr std::uint64_t small_bytes = 1024;  // what goes where its sender happens to be
constexpr int round_trips = 4;               // a link over a long way is given that many

}  // namespace

// ---- what is sent --------------------------------------------------------------------------------------------------

void Bond::send(BondMessage& message, std::size_t hint) {
  CHECK(!full());
  if (next_ - first_ == ring_.size()) {
    std::vector<BondMessage*> wider(ring_.size() * 2);
    for (std::uint64_t number = first_; number < next_; ++number) wider[number & (wider.size() - 1)] = at(number);
    ring_ = std::move(wider);
  }
  message.number = next_++;
  at(message.number) = &message;
  message.link = no_link;
  if (up_ == 0) {
    ++waiting_;
    return;
  }
  const bool as_hinted = hint < no_link && is_up(hint) && message.bytes <= small_bytes;
  carry(message, as_hinted ? hint : choose());
}

std::size_t Bond::choose() {
  if (std::has_single_bit(up_)) return current_ = static_cast<std::size_t>(std::countr_zero(up_));
  std::size_t least = no_link;
  for (std::size_t link = 0; link < states_.size(); ++link) {
    if (is_up(link) && (least == no_link || states_[link].bytes < states_[least].bytes)) least = link;
  }
  if (!is_up(current_) || states_[current_].bytes > states_[least].bytes + options_.spread_bytes) current_ = least;
  return current_;
}

void Bond::carry(BondMessage& message, std::size_t link) {
  message.link = link;
  ++states_[link].messages;
  states_[link].bytes += message.bytes;
}

void Bond::forget_load(const BondMessage& message) {
  if (message.link == no_link) {
    --waiting_;
    return;
  }
  --states_[message.link].messages;
  states_[message.link].bytes -= message.bytes;
}

// ---- links ---------------------------------------------------------------------------------------------------------

void Bond::up(std::size_t link) {
  CHECK(link < states_.size() && !is_up(link));
  // The first look finds that it lives.
  states_[link] = {.heard = true, .answered = true};
  up_ |= 1U << link;
}

void Bond::down(std::size_t link) {
  CHECK(is_up(link));
  up_ &= ~(1U << link);
  for (std::uint64_t number = first_; number < next_; ++number) {
    BondMessage& message = *at(number);
    if (message.link != link) continue;
    forget_load(message);
    message.link = no_link;
    ++waiting_;
  }
}

// ---- whether they live ---------------------------------------------------------------------------------------------

bool Bond::busy() const {
  return std::ranges::any_of(states_, [this](const State& state) {
    return is_up(static_cast<std::size_t>(&state - states_.data())) && state.waits();
  });
}

Bond::Judgement Bond::look(TimePoint now, std::span<const Sight> sights) {
  // Time in which nobody looked does not count: what came meanwhile may lie there unread.
  const Duration passed = looked_at_ ? now - *looked_at_ : Duration();
  watched_ += std::min(passed, look_interval());
  looked_at_ = now;
  ++looks_;
  Judgement judgement;
  bool suspected = false;
  for (std::size_t link = 0; link < states_.size(); ++link) {
    State& state = states_[link];
    if (!is_up(link)) continue;
    const std::uint64_t acknowledged = sights[link].acknowledged_bytes;
    const bool lives = state.answered || acknowledged != state.acknowledged_bytes;
    if (state.heard) state.heard_at = now, state.heard_in = looks_;
    state.heard = state.answered = false;
    state.acknowledged_bytes = acknowledged;
    if (lives || !state.waits()) {
      state.lived_at = watched_;
      state.asked = false;
      if (!state.waits() && now - state.heard_at >= options_.idle_interval) judgement.ask |= 1U << link;
      continue;
    }
    const Duration patience = std::max(options_.stall_max, sights[link].round_trip * round_trips) / 2;
    if (!state.asked) {
      suspected = suspected || watched_ - state.lived_at >= patience;
      continue;
    }
    if (watched_ - state.asked_at < patience) continue;
    for (std::size_t other = 0; other < states_.size(); ++other) {
      if (other != link && is_up(other) && states_[other].heard_in > state.asked_in) judgement.give_up |= 1U << link;
    }
  }
  if (suspected || judgement.ask != 0) judgement.ask = up_;  // all, so that one can speak for the others
  judgement.ask &= ~judgement.give_up;
  for (std::size_t link = 0; link < states_.size(); ++link) {
    State& state = states_[link];
    if ((judgement.ask >> link & 1U) == 0 || state.asked) continue;
    state.asked = true;
    state.asked_at = watched_;
    state.asked_in = looks_;
  }
  return judgement;
}

}  // namespace mpath::target::replication
