// The way to a logical unit for commands that a block request cannot say: reservations, mode pages, COMPARE AND WRITE.
// A map has one and sends such a command down whichever of its paths is best; errors of a path are its own business.
//
// Threads:    the device's shard.
// Ownership:  the submitter owns the request and its data from submit_scsi() until done() ran.
// Re-entry:   done() may submit again, and may run inside submit_scsi() itself.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "wire/scsi.hpp"

namespace mpath {

enum class ScsiOutcome : std::uint8_t {
  answered,  // by the logical unit: status, sense and transferred are valid
  no_path,   // there is none, and the map is told to fail
  lost,      // it may have been carried out; it cannot run any more, and is not one to be sent twice
  shutdown,  // the device is going away
};

struct ScsiRequest {
  using Done = void (*)(ScsiRequest&) noexcept;

  // Set by the submitter.
  scsi::Cdb cdb;
  scsi::DataDirection direction = scsi::DataDirection::none;
  std::uint32_t length = 0;     // of `data`
  std::span<const iovec> data;  // borrowed until done()
  bool changes = true;          // medium or state: a lost one is fenced before anything follows it
  bool repeatable = true;       // carried out twice is as good as once
  bool lengthy = false;         // may take minutes
  Done done = nullptr;

  // Set by the device before done().
  ScsiOutcome outcome = ScsiOutcome::answered;
  scsi::Status status = scsi::Status::good;
  scsi::Sense sense;
  std::uint32_t transferred = 0;

  // For whoever holds the request at the moment. Not for the submitter while in flight.
  ScsiRequest* next = nullptr;
};

class ScsiDoor {
 public:
  virtual void submit_scsi(ScsiRequest& request) noexcept = 0;

 protected:
  ~ScsiDoor() = default;
};

}  // namespace mpath
