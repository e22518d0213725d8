// When the preferred node takes over again by itself (auto_failback).
//
// Not at once: a node that comes and goes would make initiators pay for each time. It has to be there, filled, and
// heard without a break for initdead.
//
// Pure.
#pragma once

#include <algorithm>
#include <optional>

#include "base/clock.hpp"
#include "target/cluster/status.hpp"
#include "target/config/model.hpp"

namespace mpath::target::cluster {

class Failback {
 public:
  explicit Failback(const ClusterConfig& config)
      : wanted_(config.auto_failback == AutoFailback::on), preferred_(config.preferred), wait_(config.initdead) {}

  // Whether this node is to hand over now. Asked whenever the status may have changed, and after that once more when
  // the wait is over: see due_at(). After a yes the wait begins anew, so that a hand-over that failed is not tried all
  // the time.
  [[nodiscard]] bool due(const ClusterStatus& status, TimePoint now) {
    if (!possible(status)) {
      since_.reset();
      return false;
    }
    if (!since_) since_ = now;
    if (now < *since_ + wait_) return false;
    since_ = now;
    return true;
  }
  [[nodiscard]] std::optional<TimePoint> due_at() const {
    return since_ ? std::optional(*since_ + wait_) : std::nullopt;
  }

 private:
  [[nodiscard]] bool possible(const ClusterStatus& status) const {
    const auto settled = [](const CopyStatus& copy) {
      return copy.connection == "Connected" && copy.local_disk == "UpToDate" && copy.peer_disk == "UpToDate" &&
             copy.to_fill_bytes == 0;
    };
    return wanted_ && preferred_ && *preferred_ == peer_of(status.self) && status.serving &&
           !status.held_back.has(*preferred_) && !status.maintenance() && status.peer_heard &&
           status.view.in_sync.size() == 2 && std::ranges::all_of(status.copies, settled);
  }

  bool wanted_;
  std::optional<Member> preferred_;
  Duration wait_;
  std::optional<TimePoint> since_;
};

}  // namespace mpath::target::cluster
