// The unit attentions one nexus has not been told of yet, most important first (SAM-5, 5.14; SPC-4, 4.5.6).
//
// Pure. A condition that is queued already is not queued twice; a reset replaces what it makes pointless. Bounded:
// there are fewer kinds than places.
#pragma once

#include <optional>
#include <vector>

#include "wire/scsi_sense.hpp"

namespace mpath::target {

class UnitAttentions {
 public:
  void establish(const scsi::Sense& condition);
  [[nodiscard]] bool pending() const { return !queue_.empty(); }
  [[nodiscard]] const scsi::Sense& first() const { return queue_.front(); }
  // The first one, which is thereby cleared.
  [[nodiscard]] std::optional<scsi::Sense> take();
  void clear() { queue_.clear(); }
  // Takes one kind back: REPORT LUNS does it with 3F/0E (SPC-4, 6.33).
  void clear(const scsi::Sense& condition);

 private:
  std::vector<scsi::Sense> queue_;  // by priority, equal ones in order of arrival
};

}  // namespace mpath::target
