// The sanitize operation of a unit (SBC-3, 4.11): every block overwritten, or given back and read as zeroes, in the
// background.
//
// Threads:    the unit's shard.
// Durability: LuState.sanitize says what is under way, and now and then how far it is: resets do not touch it, a
//             restart goes on from there. It ends with a flush, then the state, then the answer.
// Exclusion:  waits for the commands that work on the medium already. New ones are refused while it runs (obstacle()).
#pragma once

#include <cstdint>
#include <memory>

#include "target/scsi/command_support.hpp"

namespace mpath::target {

inline constexpr scsi::Sense sanitize_running{scsi::SenseKey::not_ready, 0x04, 0x1b};
inline constexpr scsi::Sense sanitize_failed{scsi::SenseKey::medium_error, 0x31, 0x03};

class Sanitizer {
 public:
  explicit Sanitizer(UnitCore& core) : core_(core) {}

  // Begins anew. `task` is answered at the end, or with `immediate` once the state says that it runs.
  void begin(const SanitizeState& operation, Task& task, bool immediate);
  // Goes on with what the state says; when it is just ending, as soon as it has ended.
  void resume();
  // Runs or is about to; commands of the medium are refused.
  [[nodiscard]] bool running() const { return running_; }
  [[nodiscard]] std::uint16_t progress() const;  // of 65536
  // Ends the work at its next step; the state keeps it for the next life. It ends like that by itself when the unit is
  // not this node's any more: the other one continues it.
  void interrupt();

 private:
  Job work(bool announce);
  Part<BlockStatus> pass_over();
  Part<BlockStatus> save();
  void answer(const Outcome& outcome);
  [[nodiscard]] std::uint64_t all_bytes() const;

  UnitCore& core_;
  SanitizeState now_;
  bool running_ = false;
  bool interrupted_ = false;
  bool again_ = false;  // resume() came before the end of what was interrupted
  bool immediate_ = false;
  Task* task_ = nullptr;  // waits for the end; not when it was aborted
  std::unique_ptr<Pause> pause_;
  std::uint64_t saved_bytes_ = 0;
};

}  // namespace mpath::target
