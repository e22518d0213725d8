// What goes out: data, status, requests for data, and the answers that need no logical unit.
#include <algorithm>

#include "base/bytes.hpp"
#include "base/shard.hpp"
#include "target/iscsi/residual.hpp"
#include "target/iscsi/send_targets.hpp"
#include "target/iscsi/session_pdus.hpp"
#include "target/scsi/absent_unit.hpp"
#include "wire/iscsi_limits.hpp"
#include "wire/scsi_cdb.hpp"
#include "wire/scsi_data.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::target {

void Member::on_sent(OutPdu& pdu) noexcept {
  if (pdu.numbered && !gone && session.recovers()) {
    unacknowledged.push_back(pdu);
    if (unacknowledged.size() > session.options_.limits.unacknowledged_max) link.finish();
    return;
  }
  session.on_sent(pdu);
}

void Session::on_sent(OutPdu& pdu) noexcept {
  Command* const command = std::exchange(pdu.command, nullptr);
  pdu.own.reset();
  pdus_.put(pdu);
  if (command != nullptr && --command->out_pdus == 0) retire(*command);
}

// ---- SCSI ----------------------------------------------------------------------------------------------------------

// The data, if any, and the status: together in the last Data-In when the status is GOOD and nothing may have to be
// sent again.
void Session::respond(Command& command) {
  Member& member = *command.member;
  command.state = Command::State::answering;
  if (better_unsaid(command)) hush(member);
  release(command);
  const std::uint32_t bytes = command.scsi().read ? std::min(command.data_in_bytes, command.expected) : 0;
  counters_.data_in += bytes;
  const bool together = bytes > 0 && command.status == scsi::Status::good && !recovers();
  command.segment_max = member.send_segment_max;
  ++command.out_pdus;  // it may not be retired before all of it is queued
  if (bytes > 0) send_data(command, bytes, together, 0, 0xffffffff);
  if (!together) {
    const Residual rest = residual(command.expected, command.transfer_bytes);
    const std::uint32_t segments = std::exchange(command.data_sn, 0);
    iscsi::ScsiResponse response{.residual_underflow = rest.underflow,
                                 .residual_overflow = rest.overflow,
                                 .status = command.status,
                                 .itt = command.tag,
                                 .exp_data_sn = segments,
                                 .residual = rest.count};
    std::span<const std::byte> body;
    if (command.sense.length > 0) {
      Writer writer(command.sense_segment);
      writer.u16(command.sense.length);
      writer.bytes(command.sense.view());
      body = writer.written();
    }
    send(member, response, true, &command, body);
  }
  if (--command.out_pdus == 0) retire(command);
}

// Data-In PDUs `first_sn` to `first_sn + run` of the command.
void Session::send_data(Command& command, std::uint32_t bytes, bool with_status, std::uint32_t first_sn,
                        std::uint32_t run) {
  std::uint32_t offset = 0;
  std::uint32_t in_burst = 0;
  std::uint32_t sn = 0;
  while (offset < bytes) {
    const std::uint32_t length = std::min({command.segment_max, parameters_.max_burst - in_burst, bytes - offset});
    in_burst += length;
    const bool last = offset + length == bytes;
    const bool final = last || in_burst == parameters_.max_burst;
    if (final) in_burst = 0;
    if (sn >= first_sn && sn - first_sn < run) {
      iscsi::DataIn pdu{
          .final = final, .lun = command.scsi().lun, .itt = command.tag, .data_sn = sn, .buffer_offset = offset};
      if (last && with_status) {
        const Residual rest = residual(command.expected, command.transfer_bytes);
        pdu.has_status = true;
        pdu.status = command.status;
        pdu.residual_overflow = rest.overflow;
        pdu.residual_underflow = rest.underflow;
        pdu.residual = rest.count;
      }
      send(*command.member, pdu, pdu.has_status, &command, command.first.bytes().subspan(offset, length));
    }
    ++sn;
    offset += length;
  }
  command.data_sn = sn;
}

void Session::send_r2t(Command& command, const WriteSequence::Burst& burst) {
  const iscsi::ReadyToTransfer pdu{.lun = command.scsi().lun,
                                   .itt = command.tag,
                                   .ttt = burst.ttt,
                                   .r2t_sn = burst.r2t_sn,
                                   .buffer_offset = burst.offset,
                                   .desired_length = burst.length};
  send(*command.member, pdu, false, nullptr, {});
}

void Session::fail(Command& command, const scsi::Sense& sense) {
  const scsi::SenseBytes bytes = scsi::encode_sense({.sense = sense});
  std::ranges::copy(bytes.view(), command.sense.bytes.begin());
  command.sense.length = bytes.length;
  command.status = scsi::Status::check_condition;
  command.data_in_bytes = 0;
  command.transfer_bytes = 0;
  respond(command);
}

// Commands that are the target's own: the list of LUNs, and all that go to a LUN where nobody is.
void Session::run_local(Command& command) {
  std::vector<scsi::Lun> luns;
  if (is_report_luns(command)) {
    for (const LunEntry& entry : view_->luns) luns.push_back(entry.lun);
    // The list is what "reported LUNs data has changed" asks for (SPC-4, 6.33).
    for (const auto& slot : slots_) {
      if (slot->state != LunSlot::State::attached) continue;
      slot->unit->shard().post(
          [self = shared_from_this(), unit = slot->unit, nexus = slot->nexus] { unit->luns_reported(*nexus); });
    }
  }
  set_buffers(command);
  answer_absent(command, luns);
  respond(command);
}

// ---- the rest ------------------------------------------------------------------------------------------------------

void Session::reject(Member& member, iscsi::RejectReason reason, iscsi::Bhs bhs) {
  Buffer own = shard_.buffers().take(bhs.size());
  std::ranges::copy(bhs, own.data());
  const std::span<const std::byte> body = own.bytes();
  send(member, iscsi::Reject{.reason = reason}, true, nullptr, body, std::move(own));
}

void Session::answer_nop(Command& command) {
  const auto& request = std::get<iscsi::NopOut>(command.request);
  Member& member = *command.member;
  command.state = Command::State::answering;
  release(command);
  const std::span<const std::byte> data = command.first.bytes();
  const iscsi::NopIn answer{.lun = request.lun, .itt = request.itt, .ttt = iscsi::reserved_tag};
  send(member, answer, true, &command, data.first(std::min<std::size_t>(data.size(), member.send_segment_max)));
}

void Session::ping(Member& member) {
  member.pinged = true;
  member.ping_tag = member.ping_tag + 1 == iscsi::reserved_tag ? 0 : member.ping_tag + 1;
  send(member, iscsi::NopIn{.itt = iscsi::reserved_tag, .ttt = member.ping_tag}, false, nullptr, {});
}

void Session::answer_text(Command& command) {
  const auto request = std::get<iscsi::TextRequest>(command.request);
  Member& member = *command.member;
  const auto next = member.text.take(request, command.first.bytes());
  if (next == TextExchange::Next::refuse) {
    ++counters_.protocol_errors;
    std::array<std::byte, iscsi::bhs_bytes> bhs;
    iscsi::encode(request, bhs);
    retire(command);
    reject(member, iscsi::RejectReason::protocol_error, bhs);
    return;
  }
  if (next == TextExchange::Next::answer) {
    iscsi::KeyValues answers;
    const auto pairs = member.text.request();
    if (!pairs) {
      ++counters_.protocol_errors;
      retire(command);
      member.link.finish();
      return;
    }
    const Admission& admission = options_.admission;
    for (const iscsi::KeyValue& pair : *pairs) {
      const iscsi::KeySpec* const spec = iscsi::find_key(pair.key);
      if (pair.key == "SendTargets") {
        SendTargetsAsker asker{.initiator = admission.initiator_name,
                               .address = std::string_view(member.remote).substr(0, member.remote.rfind(':')),
                               .logged_in = admission.discovery ? nullptr : view_.get()};
        if (const auto here = iscsi::parse_target_address(member.local)) asker.came_to = *here;
        const iscsi::KeyValues found = answer_send_targets(pair.value, *options_.targets, asker);
        answers.insert(answers.end(), found.begin(), found.end());
      } else if (spec != nullptr && spec->id == iscsi::Key::max_recv_data_segment_length) {
        const auto bytes = iscsi::parse_number(pair.value);
        if (iscsi::valid_value(*spec, pair.value) && bytes) {
          member.send_segment_max = static_cast<std::uint32_t>(*bytes);
        } else {
          answers.push_back({pair.key, std::string(iscsi::reply_reject)});
        }
      } else if (spec == nullptr || spec->rule != iscsi::Rule::declare) {
        answers.push_back({pair.key, std::string(spec == nullptr ? iscsi::reply_not_understood : iscsi::reply_reject)});
      }
    }
    member.text.set_answer(answers);
  }
  iscsi::TextResponse response{.lun = request.lun, .itt = request.itt};
  const std::vector<std::byte> part =
      member.text.part(response, std::min<std::size_t>(member.send_segment_max, iscsi::limits::text_bytes_max));
  command.state = Command::State::answering;
  release(command);
  Buffer own;
  std::span<const std::byte> body;
  if (!part.empty()) {
    own = shard_.buffers().take(part.size());
    std::ranges::copy(part, own.data());
    body = own.bytes();
  }
  send(member, response, true, &command, body, std::move(own));
}

void Session::send_async(Member& member, const iscsi::AsyncMessage& message, std::span<const std::byte> data) {
  if (!member.link.open()) return;
  Buffer own;
  std::span<const std::byte> body;
  if (!data.empty()) {
    own = shard_.buffers().take(data.size());
    std::ranges::copy(data, own.data());
    body = own.bytes();
  }
  send(member, message, true, nullptr, body, std::move(own));
}

}  // namespace mpath::target
