#include "target/iscsi/write_sequence.hpp"

#include <algorithm>

namespace mpath::target {

scsi::Sense sense_of(WriteFault fault) {
  // RFC 7143, 11.4.7.2, names all but the one for a wrong order.
  switch (fault) {
    case WriteFault::none:
      return {};
    case WriteFault::unexpected_unsolicited:
      return {scsi::SenseKey::aborted_command, 0x0c, 0x0c};
    case WriteFault::wrong_amount:
      return {scsi::SenseKey::aborted_command, 0x0c, 0x0d};
    case WriteFault::sequence:
      return {scsi::SenseKey::aborted_command, 0x4b, 0x00};
    case WriteFault::digest:
      return {scsi::SenseKey::aborted_command, 0x47, 0x05};
  }
  return {};
}

void WriteSequence::begin(const Rules& rules, std::uint32_t needed, std::uint32_t expected, std::uint32_t immediate,
                          bool final) {
  rules_ = rules;
  rules_.outstanding_max = std::clamp(rules.outstanding_max, 1U, outstanding_limit);
  needed_ = needed;
  expected_ = expected;
  next_offset_ = immediate;
  r2t_sn_ = 0;
  recoveries_ = 0;
  fault_ = WriteFault::none;
  burst_count_ = 0;
  again_count_ = 0;
  unsolicited_ = immediate;
  const std::uint32_t first = std::min(rules.first_burst, expected);
  if (immediate > expected) {
    fail(WriteFault::wrong_amount);
  } else if (immediate > first || (immediate > 0 && !rules.immediate_data) || (!final && rules.initial_r2t)) {
    fail(WriteFault::unexpected_unsolicited);
  } else if (!final && immediate < first) {
    unsolicited_ = first;
    next_offset_ = first;
    open({.offset = immediate, .length = first - immediate});
  }
}

WriteSequence::Burst* WriteSequence::find(std::uint32_t ttt) {
  for (std::uint32_t index = 0; index < burst_count_; ++index) {
    if (bursts_[index].ttt == ttt) return &bursts_[index];
  }
  return nullptr;
}

WriteSequence::Placement WriteSequence::take(const iscsi::DataOut& pdu) {
  Burst* const burst = find(pdu.ttt);
  if (burst == nullptr) return {};
  Placement placement{.known = true};
  const bool in_order = pdu.data_sn == burst->data_sn && pdu.buffer_offset == burst->offset + burst->received;
  const bool fits = pdu.buffer_offset >= burst->offset && pdu.data_length <= burst->length &&
                    pdu.buffer_offset - burst->offset <= burst->length - pdu.data_length;
  if (!fits) {
    fail(pdu.data_length > burst->length - std::min(burst->length, burst->received) ? WriteFault::wrong_amount
                                                                                    : WriteFault::sequence);
  } else if (!in_order && !burst->damaged) {
    // What is missing was lost on the way, or the initiator cannot count: DataPDUInOrder is always agreed.
    const bool hole =
        !iscsi::sn_before(pdu.data_sn, burst->data_sn) && pdu.buffer_offset > burst->offset + burst->received;
    if (rules_.recover && hole) {
      burst->damaged = true;
      burst->good = burst->received;
    } else {
      fail(WriteFault::sequence);
    }
  }
  burst->data_sn = pdu.data_sn + 1;
  if (fault_ != WriteFault::none || burst->damaged) {
    if (fits) burst->received = pdu.buffer_offset - burst->offset + pdu.data_length;
    return placement;
  }
  burst->received += pdu.data_length;
  placement.offset = pdu.buffer_offset;
  placement.store = std::min(pdu.data_length, needed_ - std::min(needed_, pdu.buffer_offset));
  return placement;
}

void WriteSequence::conclude(const iscsi::DataOut& pdu, bool intact) {
  Burst* const burst = find(pdu.ttt);
  if (burst == nullptr) return;
  if (!intact && !burst->damaged) {
    burst->damaged = true;
    burst->good = burst->received - std::min(burst->received, pdu.data_length);
  }
  if (!pdu.final) {
    // All there and no end in sight: the initiator does not know where the burst ends.
    if (fault_ == WriteFault::none && burst->received >= burst->length) {
      fail(WriteFault::wrong_amount);
      close(*burst);
    }
    return;
  }
  const Burst ended = *burst;
  close(*burst);
  if (fault_ != WriteFault::none) return;
  if (ended.damaged) {
    if (!rules_.recover || ++recoveries_ > recoveries_max) {
      fail(WriteFault::digest);
    } else {
      again_[again_count_++] = {ended.offset + ended.good, ended.length - ended.good};
    }
    return;
  }
  if (ended.received == ended.length) return;
  if (ended.ttt == iscsi::reserved_tag && expected_ <= rules_.first_burst) {
    next_offset_ = ended.offset + ended.received;  // it may send less, and is asked for the rest
  } else {
    fail(WriteFault::wrong_amount);
  }
}

std::optional<WriteSequence::Burst> WriteSequence::next_r2t(std::uint32_t ttt) {
  if (fault_ != WriteFault::none || burst_count_ >= rules_.outstanding_max) return std::nullopt;
  if (find(iscsi::reserved_tag) != nullptr) return std::nullopt;
  Burst burst{.ttt = ttt, .r2t_sn = r2t_sn_};
  while (again_count_ > 0) {
    const Range range = again_[--again_count_];
    if (range.offset >= needed_) continue;
    burst.offset = range.offset;
    burst.length = std::min(range.length, needed_ - range.offset);
    break;
  }
  if (burst.length == 0) {
    if (next_offset_ >= needed_) return std::nullopt;
    burst.offset = next_offset_;
    burst.length = std::min(rules_.max_burst, needed_ - next_offset_);
    next_offset_ += burst.length;
  }
  ++r2t_sn_;
  open(burst);
  return burst;
}

bool WriteSequence::ended() const {
  if (burst_count_ > 0) return false;
  if (fault_ != WriteFault::none) return true;
  for (std::uint32_t index = 0; index < again_count_; ++index) {
    if (again_[index].offset < needed_) return false;
  }
  return next_offset_ >= needed_;
}

}  // namespace mpath::target
