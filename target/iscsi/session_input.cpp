// What comes in: every PDU that an initiator may send in full feature phase, and those that it may not.
#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"
#include "base/shard.hpp"
#include "target/iscsi/session_pdus.hpp"
#include "wire/error.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::target {
namespace {

constexpr std::uint8_t ahs_extended_cdb = 1;  // RFC 7143, 11.2.2.3
constexpr std::size_t exp_stat_sn_at = 28;    // the same in all requests

// The CDB of a command with its extension. False when the additional headers make no sense.
bool read_cdb(Command& command, std::span<const std::byte> ahs) {
  const auto& cdb = command.scsi().cdb;
  std::ranges::copy(cdb, command.cdb.begin());
  command.cdb_length = static_cast<std::uint8_t>(cdb.size());
  Reader reader(ahs);
  while (reader.remaining() > 0) {
    const std::uint16_t length = reader.u16();
    const std::uint8_t type = reader.u8();
    const auto bytes = reader.bytes(length);
    const std::size_t used = std::size_t{3} + length;
    reader.skip(std::min(iscsi::padded(used) - used, reader.remaining()));
    if (!reader.ok() || length == 0) return false;
    if (type != ahs_extended_cdb) continue;
    const auto more = bytes.subspan(1);  // a reserved byte comes first
    if (more.size() > Task::cdb_bytes_max - cdb.size()) return false;
    std::ranges::copy(more, command.cdb.begin() + cdb.size());
    command.cdb_length = static_cast<std::uint8_t>(cdb.size() + more.size());
  }
  return true;
}

}  // namespace

void Member::on_header(Connection&, Incoming& pdu) {
  session.on_header(*this, pdu);
}

void Member::on_pdu(Connection&, Incoming& pdu, bool intact) {
  session.on_pdu(*this, pdu, intact);
}

void Session::on_header(Member& member, Incoming& pdu) {
  member.target = nullptr;
  member.ignored = member.leaving || state_ != State::running;
  if (member.ignored) return;
  if (pdu.head.data_length > member.link.options().receive_segment_max) {
    ++counters_.protocol_errors;
    reject(member, iscsi::RejectReason::protocol_error, pdu.header());
    member.link.finish();
    return;
  }
  if (recovers()) {
    Reader reader(pdu.header().subspan<exp_stat_sn_at, 4>());
    acknowledge(member, reader.u32());
  }
  const bool discovery = options_.admission.discovery;
  switch (pdu.head.opcode) {
    case iscsi::Opcode::scsi_command:
    case iscsi::Opcode::task_request:
    case iscsi::Opcode::data_out:
    case iscsi::Opcode::snack_request:
      if (discovery) {
        ++counters_.protocol_errors;
        reject(member, iscsi::RejectReason::command_not_supported, pdu.header());
        return;
      }
      if (pdu.head.opcode == iscsi::Opcode::data_out) {
        take_data_out(member, pdu);
      } else if (pdu.head.opcode == iscsi::Opcode::scsi_command) {
        take_command(member, pdu);
      } else if (pdu.head.opcode == iscsi::Opcode::task_request) {
        take_other(member, pdu);
      } else if (const auto request = iscsi::decode_snack_request(pdu.header())) {
        snack(member, *request, pdu.header());
      }
      return;
    case iscsi::Opcode::nop_out:
    case iscsi::Opcode::text_request:
    case iscsi::Opcode::logout_request:
      take_other(member, pdu);
      return;
    case iscsi::Opcode::login_request:
      ++counters_.protocol_errors;
      reject(member, iscsi::RejectReason::protocol_error, pdu.header());
      member.link.finish();
      return;
    case iscsi::Opcode::nop_in:
    case iscsi::Opcode::scsi_response:
    case iscsi::Opcode::task_response:
    case iscsi::Opcode::login_response:
    case iscsi::Opcode::text_response:
    case iscsi::Opcode::data_in:
    case iscsi::Opcode::logout_response:
    case iscsi::Opcode::ready_to_transfer:
    case iscsi::Opcode::async_message:
    case iscsi::Opcode::reject:
      break;
  }
  ++counters_.protocol_errors;
  reject(member, iscsi::RejectReason::command_not_supported, pdu.header());
}

void Session::on_pdu(Member& member, Incoming& pdu, bool intact) {
  if (member.ignored) return;
  if (pdu.head.opcode == iscsi::Opcode::data_out) {
    finish_data_out(member, pdu, intact);
  } else if (member.target != nullptr) {
    arrived(member, pdu, intact);
  } else {
    deliver_ready();  // a number may have been used up
  }
}

// ---- commands ------------------------------------------------------------------------------------------------------

// What every request with a CmdSN has to pass. Null: it is ignored, or was rejected.
static constexpr bool has_tag(std::uint32_t itt) {
  return itt != iscsi::reserved_tag;
}

void Session::take_command(Member& member, Incoming& pdu) {
  const auto decoded = iscsi::decode_scsi_command(pdu.header());
  if (!decoded) {
    ++counters_.protocol_errors;
    reject(member, iscsi::RejectReason::protocol_error, pdu.header());
    return;
  }
  if (!decoded->immediate && !window_.takes(decoded->cmd_sn)) return;
  const bool known = find(decoded->itt) != nullptr;
  if (known || !has_tag(decoded->itt)) {
    ++counters_.protocol_errors;
    if (!decoded->immediate) window_.put(decoded->cmd_sn, nullptr);
    reject(member, known ? iscsi::RejectReason::task_in_progress : iscsi::RejectReason::invalid_field, pdu.header());
    return;
  }
  if (decoded->immediate && immediate_ >= options_.limits.immediate_max) {
    reject(member, iscsi::RejectReason::too_many_immediate, pdu.header());
    return;
  }
  Command& command = claim(member);
  command.request = *decoded;
  command.tag = decoded->itt;
  command.attribute = decoded->attribute;
  command.immediate = decoded->immediate;
  command.cmd_sn = decoded->cmd_sn;
  if (command.immediate) {
    command.counted = true;
    ++immediate_;
  }
  insert(command);
  if (open_command(command, pdu)) {
    member.target = &command;
    return;
  }
  ++counters_.protocol_errors;
  if (!command.immediate) window_.put(command.cmd_sn, nullptr);
  retire(command);
  reject(member, iscsi::RejectReason::invalid_field, pdu.header());
}

// Decides what data the command needs and makes room for what comes at once. False: the PDU makes no sense.
bool Session::open_command(Command& command, Incoming& pdu) {
  const iscsi::ScsiCommand& scsi = command.scsi();
  if (!read_cdb(command, pdu.ahs)) return false;
  command.expected = scsi.read || scsi.write ? scsi.expected_length : 0;
  command.slot = slot_of(scsi.lun);
  const LogicalUnit* const unit = command.slot != nullptr ? command.slot->unit.get() : nullptr;
  const std::uint32_t block_bytes = unit != nullptr ? unit->block_bytes() : 512;
  TransferNeed need = transfer_need(std::span(command.cdb).first(command.cdb_length), block_bytes);
  // More than the unit takes at once is refused by it: no memory for that.
  if (unit != nullptr && need.bytes > unit->transfer_bytes_max()) need = {};
  std::uint32_t out = 0;
  if (need.direction == TransferNeed::Direction::out && scsi.write) {
    out = static_cast<std::uint32_t>(std::min<std::uint64_t>(need.bytes, command.expected));
  }
  command.need = out;
  if (need.direction == TransferNeed::Direction::in && scsi.read && !scsi.write) {
    const std::uint64_t whole = (std::uint64_t{command.expected} + block_bytes - 1) / block_bytes * block_bytes;
    command.need = static_cast<std::uint32_t>(std::min(need.bytes, whole));
  }
  const WriteSequence::Rules rules{.initial_r2t = parameters_.initial_r2t,
                                   .immediate_data = parameters_.immediate_data,
                                   .first_burst = parameters_.first_burst,
                                   .max_burst = parameters_.max_burst,
                                   .outstanding_max = parameters_.max_outstanding_r2t,
                                   .recover = recovers()};
  const std::uint32_t announced = scsi.write ? command.expected : 0;
  command.sequence.begin(rules, out, announced, scsi.data_length, scsi.final || !scsi.write);
  if (out == 0 || command.sequence.fault() != WriteFault::none) return true;
  // What may come unasked gets its room now, whatever it costs: the window and FirstBurstLength bound it.
  const bool room = starved_.empty() && data_bytes_ + out <= options_.limits.data_bytes_max;
  command.first_bytes = room ? out : std::min(out, command.sequence.unsolicited());
  if (command.first_bytes > 0) {
    command.first = shard_.buffers().take(command.first_bytes);
    command.budget = command.first_bytes;
    data_bytes_ += command.first_bytes;
  }
  pdu.places = command.places(0, std::min(scsi.data_length, out));
  return true;
}

void Session::take_other(Member& member, Incoming& pdu) {
  Command::Request request;
  std::uint32_t cmd_sn = 0;
  bool immediate = false;
  bool sound = false;
  const auto take = [&](const auto& decoded) {
    if (!decoded) return;
    sound = true;
    cmd_sn = decoded->cmd_sn;
    immediate = decoded->immediate;
    request = *decoded;
  };
  if (pdu.head.opcode == iscsi::Opcode::nop_out) {
    take(iscsi::decode_nop_out(pdu.header()));
  } else if (pdu.head.opcode == iscsi::Opcode::text_request) {
    take(iscsi::decode_text_request(pdu.header()));
  } else if (pdu.head.opcode == iscsi::Opcode::logout_request) {
    take(iscsi::decode_logout_request(pdu.header()));
  } else {
    take(iscsi::decode_task_request(pdu.header()));
  }
  if (!sound) {
    ++counters_.protocol_errors;
    reject(member, iscsi::RejectReason::protocol_error, pdu.header());
    return;
  }
  if (!immediate && !window_.takes(cmd_sn)) return;
  const bool nop = pdu.head.opcode == iscsi::Opcode::nop_out;
  const bool known = find(pdu.head.itt) != nullptr;
  if (known || (!has_tag(pdu.head.itt) && !nop)) {
    ++counters_.protocol_errors;
    if (!immediate) window_.put(cmd_sn, nullptr);
    reject(member, known ? iscsi::RejectReason::task_in_progress : iscsi::RejectReason::invalid_field, pdu.header());
    return;
  }
  if (nop && !has_tag(pdu.head.itt)) {  // the answer to our question; that something came is all we want to know
    if (!immediate) window_.put(cmd_sn, nullptr);
    return;
  }
  if (immediate && immediate_ >= options_.limits.immediate_max) {
    reject(member, iscsi::RejectReason::too_many_immediate, pdu.header());
    return;
  }
  Command& command = claim(member);
  command.request = request;
  command.tag = pdu.head.itt;
  command.immediate = immediate;
  command.cmd_sn = cmd_sn;
  if (immediate) {
    command.counted = true;
    ++immediate_;
  }
  insert(command);
  if (pdu.head.data_length > 0) {
    command.first = shard_.buffers().take(pdu.head.data_length);
    command.first_bytes = pdu.head.data_length;
    pdu.places[0] = command.first.bytes();
  }
  member.target = &command;
}

// A request is here with all of its data segment.
void Session::arrived(Member& member, Incoming& pdu, bool intact) {
  Command& command = *std::exchange(member.target, nullptr);
  if (!intact) {
    // Its CmdSN stays open, so that it can be sent again. Without recovery nobody would: the connection ends.
    reject(member, iscsi::RejectReason::data_digest, pdu.header());
    retire(command);
    if (!recovers()) member.link.finish();
    return;
  }
  if (command.immediate) {
    deliver(command);
  } else if (window_.takes(command.cmd_sn)) {
    command.state = Command::State::early;
    window_.put(command.cmd_sn, &command);
  } else {
    retire(command);
  }
  deliver_ready();
}

// ---- data ----------------------------------------------------------------------------------------------------------

void Session::take_data_out(Member& member, Incoming& pdu) {
  const auto decoded = iscsi::decode_data_out(pdu.header());
  Command* const command = decoded ? find(decoded->itt) : nullptr;
  // Data of a command that has ended or was ignored: it is what the initiator sent before it knew.
  if (command == nullptr || !command->is_scsi() || command->state == Command::State::working ||
      command->state == Command::State::answering) {
    return;
  }
  if (command->member != &member) {
    ++counters_.protocol_errors;
    reject(member, iscsi::RejectReason::protocol_error, pdu.header());
    return;
  }
  const WriteSequence::Placement placement = command->sequence.take(*decoded);
  if (!placement.known) {
    ++counters_.protocol_errors;
    reject(member, iscsi::RejectReason::protocol_error, pdu.header());
    return;
  }
  pdu.places = command->places(placement.offset, placement.store);
  member.target = command;
  member.data_out = *decoded;
}

void Session::finish_data_out(Member& member, Incoming& pdu, bool intact) {
  Command* const command = std::exchange(member.target, nullptr);
  if (command == nullptr) return;
  if (!intact) reject(member, iscsi::RejectReason::data_digest, pdu.header());
  command->sequence.conclude(member.data_out, intact);
  if (!command->granted) return;
  while (const auto burst = command->sequence.next_r2t(ttt_)) {
    ttt_ = ttt_ + 1 == iscsi::reserved_tag ? 0 : ttt_ + 1;
    send_r2t(*command, *burst);
  }
  if (command->sequence.ended()) gathered(*command);
}

// ---- recovery ------------------------------------------------------------------------------------------------------

void Session::acknowledge(Member& member, std::uint32_t exp_stat_sn) {
  if (iscsi::sn_before(member.stat_sn, exp_stat_sn)) return;  // it cannot have seen that
  while (OutPdu* const pdu = member.unacknowledged.front()) {
    if (!iscsi::sn_before(pdu->stat_sn, exp_stat_sn)) return;
    static_cast<void>(member.unacknowledged.pop_front());
    pdu->numbered = false;
    on_sent(*pdu);
  }
}

// RFC 7143, 11.16.
void Session::snack(Member& member, const iscsi::SnackRequest& request, iscsi::Bhs bhs) {
  bool answered = false;
  if (recovers() && request.type == iscsi::SnackType::status) {
    for (OutPdu* old = member.unacknowledged.front(); old != nullptr; old = old->next) {
      const std::uint32_t distance = old->stat_sn - request.begin_run;
      if (iscsi::sn_before(old->stat_sn, request.begin_run)) continue;
      if (request.run_length > 0 && distance >= request.run_length) continue;
      OutPdu& again = pdus_.get();
      again.head = old->head;
      again.numbered = false;
      again.stat_sn = old->stat_sn;
      again.command = old->command;
      if (again.command != nullptr) ++again.command->out_pdus;
      again.body = old->body;
      if (old->own) {
        again.own = shard_.buffers().take(old->own.size());
        std::ranges::copy(old->own.bytes(), again.own.data());
        again.body = again.own.bytes().first(old->body.size());
      }
      member.link.send(again);
      answered = true;
    }
    // What was not sent yet, and what was acknowledged, is not sent again, and that is no mistake of the initiator.
    answered = answered || request.begin_run == member.stat_sn;
  }
  Command* const command = recovers() && request.type == iscsi::SnackType::data_or_r2t ? find(request.itt) : nullptr;
  if (command != nullptr && command->is_scsi() && command->member == &member) {
    if (command->state == Command::State::answering && command->scsi().read) {
      const std::uint32_t run = request.run_length > 0 ? request.run_length : 0xffffffff;
      const std::uint32_t bytes = std::min(command->data_in_bytes, command->expected);
      send_data(*command, bytes, false, request.begin_run, run);
      answered = bytes > 0;
    } else if (command->state == Command::State::gathering) {
      // One that was answered meanwhile is not sent again, and that is no mistake of the initiator.
      answered = iscsi::sn_before(request.begin_run, command->sequence.r2t_sn());
      for (const WriteSequence::Burst& burst : command->sequence.outstanding()) {
        if (burst.ttt == iscsi::reserved_tag || iscsi::sn_before(burst.r2t_sn, request.begin_run)) continue;
        if (request.run_length > 0 && burst.r2t_sn - request.begin_run >= request.run_length) continue;
        send_r2t(*command, burst);
      }
    }
  }
  if (answered) return;
  ++counters_.protocol_errors;
  const bool ack = request.type == iscsi::SnackType::data_ack;  // we never ask for one
  reject(member, ack ? iscsi::RejectReason::invalid_data_ack : iscsi::RejectReason::snack, bhs);
}

}  // namespace mpath::target
