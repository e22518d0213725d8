#include "mpathd/judgement.hpp"

namespace mpath {
namespace {

Judgement to_caller(BlockStatus status) {
  return {.verdict = Verdict::to_caller, .status = status};
}
Judgement path_failed(CheckerState checker, bool by_access = false) {
  return {.verdict = Verdict::path_failed, .checker = checker, .by_access = by_access};
}

// SPC-4 4.5.6 and annex D (ASC/ASCQ).
Judgement judge_not_ready(const scsi::Sense& sense) {
  if (sense.asc == 0x04) {
    switch (sense.ascq) {
      case 0x0a:  // asymmetric access state transition
        return path_failed(CheckerState::pending, true);
      case 0x0b:  // target port in standby
        return path_failed(CheckerState::ghost, true);
      case 0x0c:  // target port unavailable
        return path_failed(CheckerState::faulty, true);
      default:
        return path_failed(CheckerState::faulty);
    }
  }
  return path_failed(CheckerState::faulty);
}

Judgement judge_illegal_request(const scsi::Sense& sense) {
  if (sense.asc == 0x25) return path_failed(CheckerState::disconnected);  // logical unit not supported: unmapped here
  if (sense.asc == 0x21) return to_caller(BlockStatus::invalid);          // LBA out of range
  if (sense.asc == 0x20) return to_caller(BlockStatus::not_supported);    // invalid operation code
  if (sense.asc == 0x24) return to_caller(BlockStatus::not_supported);    // invalid field in CDB
  return to_caller(BlockStatus::invalid);
}

Judgement judge_data_protect(const scsi::Sense& sense) {
  if (sense.asc == 0x27 && sense.ascq == 0x07) return to_caller(BlockStatus::no_space);  // space allocation failed
  return to_caller(BlockStatus::read_only);
}

Judgement judge_unit_attention(const scsi::Sense& sense) {
  const bool changed = sense.asc == 0x29                             // power on, reset, nexus loss: anything may be new
                       || (sense.asc == 0x2a && sense.ascq == 0x09)  // capacity data has changed
                       || sense.asc == 0x3f;                         // inquiry data, LUNs data have changed
  return {.verdict = Verdict::attention, .reread_identity = changed};
}

Judgement judge_sense(const scsi::Sense& sense) {
  switch (sense.key) {
    case scsi::SenseKey::recovered_error:
    case scsi::SenseKey::completed:
      return {.verdict = Verdict::done};
    case scsi::SenseKey::no_sense:  // CHECK CONDITION that says nothing: the path is not to be trusted
      return path_failed(CheckerState::faulty);
    case scsi::SenseKey::not_ready:
      return judge_not_ready(sense);
    case scsi::SenseKey::unit_attention:
      return judge_unit_attention(sense);
    case scsi::SenseKey::aborted_command:
      return {.verdict = Verdict::retry};
    case scsi::SenseKey::illegal_request:
      return judge_illegal_request(sense);
    case scsi::SenseKey::data_protect:
      return judge_data_protect(sense);
    case scsi::SenseKey::volume_overflow:
      return to_caller(BlockStatus::no_space);
    case scsi::SenseKey::medium_error:
    case scsi::SenseKey::hardware_error:
    case scsi::SenseKey::blank_check:
    case scsi::SenseKey::vendor_specific:
    case scsi::SenseKey::copy_aborted:
    case scsi::SenseKey::miscompare:
      return to_caller(BlockStatus::io_error);
  }
  return to_caller(BlockStatus::io_error);
}

}  // namespace

Judgement judge(scsi::Status status, const scsi::Sense& sense) {
  switch (status) {
    case scsi::Status::good:
    case scsi::Status::condition_met:
      return {.verdict = Verdict::done};
    case scsi::Status::check_condition:
      return judge_sense(sense);
    case scsi::Status::busy:
    case scsi::Status::task_set_full:
    case scsi::Status::aca_active:
      return {.verdict = Verdict::retry_later};
    case scsi::Status::reservation_conflict:
      return to_caller(BlockStatus::conflict);
    case scsi::Status::task_aborted:
      return {.verdict = Verdict::retry};
  }
  return path_failed(CheckerState::faulty);  // a status code that SAM does not know
}

}  // namespace mpath
