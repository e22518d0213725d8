// Between the agreement and the copies of this node: what a view means for them, and what they have to say to it.
//
// Pure: the owner hands in every report and calls update() after each event of the NodeFsm; then it gives each copy its
// orders, sets Serving, and lets the NodeFsm's actions be carried out.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "target/replication/node_fsm.hpp"
#include "target/replication/orders.hpp"

namespace mpath::target::replication {

class Roles {
 public:
  // `fsm` is borrowed. `copies`: how many replicated units there are; with none there is nothing to fill. `give_up`: a
  // leader that may not answer for so long ends what it has under way, so that initiators look for it elsewhere.
  Roles(NodeFsm& fsm, Member self, std::size_t copies, Duration give_up);

  void on_report(std::size_t copy, const Report& report, TimePoint now);
  // Looks at the view anew.
  void update(TimePoint now);

  [[nodiscard]] Orders orders(std::size_t copy) const;
  // For Serving: TimePoint::min() until every copy has left what it did before.
  [[nodiscard]] TimePoint serving_until(TimePoint now) const;
  [[nodiscard]] bool leads() const { return orders_.role == CopyRole::lead; }
  [[nodiscard]] bool ready() const;
  [[nodiscard]] const Report& report(std::size_t copy) const { return reports_[copy]; }

 private:
  void tell_fsm(TimePoint now);
  void watch_lapse(TimePoint now);

  NodeFsm& fsm_;
  Member self_;
  Duration give_up_;
  TimePoint lapsed_at_ = never;
  Orders orders_;
  Member led_by_ = Member::witness;  // nobody yet
  std::vector<Report> reports_;
  bool lost_said_ = false;
};

}  // namespace mpath::target::replication
