#include "target/replication/roles.hpp"

#include <algorithm>

namespace mpath::target::replication {

Roles::Roles(NodeFsm& fsm, Member self, std::size_t copies, Duration give_up)
    : fsm_(fsm), self_(self), give_up_(give_up), reports_(copies) {
  orders_.term = 1;
}

void Roles::on_report(std::size_t copy, const Report& report, TimePoint now) {
  reports_[copy] = report;
  update(now);
}

bool Roles::ready() const {
  return std::ranges::all_of(reports_,
                             [this](const Report& report) { return report.term == orders_.term && report.ready; });
}

TimePoint Roles::serving_until(TimePoint now) const {
  return leads() && ready() ? fsm_.may_serve_until(now) : TimePoint::min();
}

void Roles::update(TimePoint now) {
  tell_fsm(now);
  watch_lapse(now);
  const View& view = fsm_.view();
  const Member peer = peer_of(self_);
  CopyRole role = CopyRole::rest;
  Member led_by = Member::witness;
  if (view.number > 0) {
    role = fsm_.primary() ? CopyRole::lead : CopyRole::follow;
    if ((fsm_.interrupted() && !fsm_.alone()) || fsm_.split()) role = CopyRole::rest;
    led_by = view.primary;
  }
  if (role != orders_.role || led_by != led_by_) {
    ++orders_.term;
    orders_.role = role;
    led_by_ = led_by;
    lost_said_ = false;
  }
  const bool lead = role == CopyRole::lead;
  orders_.peer_needed = lead && fsm_.holders().has(peer);
  orders_.peer_in_sync = lead && view.in_sync.has(peer);
  orders_.may_fill = lead && !orders_.peer_in_sync && fsm_.alone();
  orders_.peer_incarnation = lead ? fsm_.peer_life(now) : 0;
}

// What is under way cannot be answered here, and may be answered elsewhere by now.
void Roles::watch_lapse(TimePoint now) {
  if (!leads() || fsm_.may_serve(now)) {
    lapsed_at_ = never;
    return;
  }
  if (lapsed_at_ == never) lapsed_at_ = now;
  if (now >= lapsed_at_ + give_up_) fsm_.interrupt(now);
}

// What the copies say together.
void Roles::tell_fsm(TimePoint now) {
  const bool failed = std::ranges::any_of(reports_, &Report::medium_failed);
  if (failed) fsm_.distrust(now);
  if (reports_.empty() || !ready()) return;
  if (orders_.role == CopyRole::follow) {
    // It was once, but what came since may not be there.
    if (!failed && std::ranges::all_of(reports_, &Report::whole)) fsm_.filled();
    return;
  }
  if (orders_.role != CopyRole::lead || !fsm_.primary()) return;
  const bool in_sync = fsm_.view().in_sync.has(peer_of(self_));
  const auto filled = reports_.front().filled;
  const bool all_filled =
      filled && std::ranges::all_of(reports_, [&](const Report& report) { return report.filled == filled; });
  const bool lost = std::ranges::any_of(reports_, &Report::peer_lost);
  if (in_sync ? lost : fsm_.peer_is_filled() && !all_filled) {
    if (!lost_said_) fsm_.peer_lost(now);
    lost_said_ = true;
    return;
  }
  lost_said_ = false;
  if (!in_sync && all_filled && !fsm_.peer_is_filled() && *filled == fsm_.peer_life(now)) {
    fsm_.peer_filled(*filled, now);
  }
}

Orders Roles::orders(std::size_t copy) const {
  Orders orders = orders_;
  orders.seen = reports_[copy].number;
  return orders;
}

}  // namespace mpath::target::replication
