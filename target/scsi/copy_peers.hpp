// The other units of this daemon, as EXTENDED COPY reaches them.
//
// Threads: called on the shard of the unit that copies.
#pragma once

#include "wire/scsi_data.hpp"

namespace mpath::target {

class LogicalUnit;

class CopyPeers {
 public:
  virtual ~CopyPeers() = default;
  // The unit of that name; it stays until it is given back as often. Null: there is none.
  [[nodiscard]] virtual LogicalUnit* hold(const scsi::Designator& name) = 0;
  virtual void give_back(LogicalUnit& unit) = 0;
};

}  // namespace mpath::target
