// The results of EXTENDED COPY that RECEIVE COPY RESULTS asks for, by nexus and list identifier (SPC-4, 5.17.4).
//
// Threads: the unit's shard.
// Bounds:  a list identifier is a byte: 256 results a nexus at most. They go with the nexus, with a reset, and when
//          they were told.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "target/scsi/unit_core.hpp"

namespace mpath::target {

class CopyManager {
 public:
  struct Result {
    bool running = true;
    bool good = false;
    std::uint16_t segments = 0;  // worked through
    std::uint64_t bytes = 0;     // written
    scsi::Sense sense;           // when it failed
  };
  // Shared with the copy, which goes on when the result is forgotten.
  using ResultPointer = std::shared_ptr<Result>;

  // Null when there is none.
  [[nodiscard]] ResultPointer find(const Nexus& nexus, std::uint8_t list_id) const {
    const auto found = results_.find({nexus.id, list_id});
    return found == results_.end() ? nullptr : found->second;
  }
  // Replaces the result of an earlier copy.
  ResultPointer add(const Nexus& nexus, std::uint8_t list_id) {
    return results_[{nexus.id, list_id}] = std::make_shared<Result>();
  }
  void forget(const Nexus& nexus, std::uint8_t list_id) { results_.erase({nexus.id, list_id}); }
  void forget(const Nexus& nexus) {
    results_.erase(results_.lower_bound({nexus.id, 0}), results_.upper_bound({nexus.id, 0xff}));
  }
  void forget_all() { results_.clear(); }

 private:
  std::map<std::pair<std::uint64_t, std::uint8_t>, ResultPointer> results_;
};

}  // namespace mpath::target
