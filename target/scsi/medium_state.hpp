// What the commands of the medium keep between commands: whether the medium is in, who forbids to take it out, the
// sanitize operation, results of copies, and how full the store was last.
//
// Threads:   the unit's shard.
// Ownership: part of UnitCore. The unit calls start() once its state is there, and stop() before it ends.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "target/scsi/unit_core.hpp"

namespace mpath::target {

class Sanitizer;
class CopyManager;

class MediumState {
 public:
  explicit MediumState(UnitCore& core);
  ~MediumState();

  // --- called by the unit -------------------------------------------------------------------------------------------
  // Work that an earlier life, the other node of a pair, or stop() left undone goes on: a sanitize operation.
  void start();
  // Work in the background ends at its next step (the next start() continues it); then `stopped` is called. Every
  // caller is called.
  void stop(std::function<void()> stopped);
  // The nexus is no more: its PREVENT and the results of its copies are forgotten.
  void nexus_ended(Nexus& nexus);
  // LOGICAL UNIT RESET and everything harder.
  void reset();
  [[nodiscard]] bool present() const;
  void set_present(bool present) { present_ = present; }

  // Writes that were answered by the other node of a pair are lost with it (protocol A). Initiators that live on do not
  // know: a flush that was on its way to that node comes here. So each is told by flushes that fail: its first one,
  // and those which it may have had under way with it.
  void cache_lost();

  // Why commands of the medium cannot be carried out now: a sanitize operation runs (02/04/1B with its progress) or has
  // failed (03/31/03).
  struct Obstacle {
    scsi::Sense sense;
    SenseDetail detail;
  };
  [[nodiscard]] std::optional<Obstacle> obstacle() const;

  // --- called by the commands ---------------------------------------------------------------------------------------
  [[nodiscard]] bool fails_flush(const Nexus& nexus);
  [[nodiscard]] bool removal_prevented() const { return !preventing_.empty(); }
  void prevent_removal(Nexus& nexus, bool prevent);
  // After `bytes` were written: looks now and then how full the store is (unit attention 38/07).
  void note_written(std::uint64_t bytes);
  // Work in the background that stop() waits for.
  void work_began() { ++background_; }
  void work_ended();
  [[nodiscard]] Sanitizer& sanitizer() { return *sanitizer_; }
  [[nodiscard]] CopyManager& copies() { return *copies_; }

 private:
  UnitCore& core_;
  std::optional<bool> present_;  // none: as configured
  std::vector<Nexus*> preventing_;
  TimePoint cache_lost_at_ = never;
  std::map<std::string, TimePoint> told_of_loss_;  // by initiator: its first flush since
  std::uint64_t written_since_look_ = 0;
  bool threshold_reported_ = false;
  unsigned background_ = 0;
  std::vector<std::function<void()>> stopped_;
  std::unique_ptr<Sanitizer> sanitizer_;
  std::unique_ptr<CopyManager> copies_;
};

}  // namespace mpath::target
